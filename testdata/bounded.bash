# Sourced by scripts that run programs written by others.

# step SECONDS COMMAND… runs a command in a separate process group and ends the whole group
# afterwards. Otherwise a test that hangs would leave its server behind.
step() {
  set -m
  timeout --kill-after=10 "$@" </dev/null &
  group=$!
  set +m
  local status=0
  wait "$group" || status=$?
  end
  [ "$status" -ne 124 ] || echo "stopped after $1 seconds: ${*:2}" >&2
  return "$status"
}
end() { [ -z "$group" ] || kill -TERM -- "-$group" 2>/dev/null || true; group=""; }
group=""
trap end EXIT
