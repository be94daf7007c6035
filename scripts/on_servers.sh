#!/usr/bin/env bash
# Runs tests on servers of `scripts/servers.sh`, one after the other:  scripts/on_servers.sh all|core NAME...
#
# `all` is the whole suite, `core` what differs most between servers: scripts, and workers that wait, stop and recover.
# A server that cannot be had here is said aloud, and fails nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
what=$1
shift

log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0

# One test binary alone does not bring the examples that its tests run.
[ "$what" = core ] || ${CARGO:-cargo} build --quiet --all-features --examples

tests() { # what to build, then what to run of it
  local code=0 target=$1
  shift
  # shellcheck disable=SC2086 # the target is one word or two
  ${CARGO:-cargo} test --all-features $target -- --test-threads=4 "$@" ${skip[@]+"${skip[@]}"} 2>&1 | tee -a "$log" || code=$?
  [ "$code" = 0 ] || failed=1
}

for name in "$@"; do
  code=0
  server=$(scripts/servers.sh "$name") || code=$?
  case "$code" in
    0) ;;
    3)
      echo "=== $name: NOT CHECKED" | tee -a "$log"
      continue
      ;;
    *) exit "$code" ;;
  esac
  echo "=== $name: $("$server" --version)" | tee -a "$log"
  skip=()
  if { timeout 5 "$server" --port 0 --tls-port 1 </dev/null 2>&1 || true; } | grep -qE 'Bad directive|Failed finding TLS'; then
    echo "    NOT CHECKED: TLS, which this server is built without" | tee -a "$log"
    skip+=(--skip faults::tls --skip over_tls)
  fi
  export OXMQ_TEST_SERVER=$server
  if [ "$what" = core ]; then
    tests --lib script:: engine::
    tests '--test main' worker:: events:: faults::access faults::kill faults::server acl:: interop::mixed --skip version_5
  else
    tests --lib
    tests '--test main'
  fi
  # What no other server can do.
  [ "$name" != valkey-9 ] || tests '--test main' a_slot_that_moves_in_one_step --ignored
done

echo "=== summary"
grep -E '^(===|    NOT CHECKED|test result:|test .*FAILED)' "$log"
exit "$failed"
