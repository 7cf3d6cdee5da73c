# To be sourced by scripts that try other people's programs.

# step SECONDS COMMAND… runs a command in a process group of its own, of which nothing
# is left afterwards: one that hangs would leave its server behind.
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
