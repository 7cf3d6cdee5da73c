# syntax=docker/dockerfile:1

# Caddy with buildtoken, from this checkout:
#
#   docker build -t buildtoken .
#   docker run --rm -p 8080:8080 -v buildtoken:/data -v "$PWD/Caddyfile:/etc/caddy/Caddyfile:ro" buildtoken
#
# Stop it with `docker stop -t 60`. docs/operations.md has more.

ARG CADDY_VERSION=2.11.9

FROM caddy:${CADDY_VERSION}-builder AS builder
ARG CADDY_VERSION
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN xcaddy build "v${CADDY_VERSION}" \
    --with github.com/buildtoken/buildtoken/caddy-module \
    --replace github.com/buildtoken/buildtoken=/src \
    --output /usr/bin/caddy

FROM caddy:${CADDY_VERSION}
# What your builds need goes here too. tini collects the processes that builds leave behind.
RUN apk add --no-cache git tini
COPY --from=builder /usr/bin/caddy /usr/bin/caddy
# Ports below 1024 without root; the copy does not have the right any more.
RUN setcap cap_net_bind_service=+ep /usr/bin/caddy \
    && mkdir -p /data/caddy /config/caddy \
    && chown -R 1000:1000 /data /config
USER 1000:1000
ENV HOME=/data XDG_DATA_HOME=/data XDG_CONFIG_HOME=/config
VOLUME /data
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:2019/build_token/ready"]
ENTRYPOINT ["/sbin/tini", "--"]
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
