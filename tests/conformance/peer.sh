#!/bin/sh
# Runs the suite against Debian's docker-registry, to see whether the suite judges rightly a registry that is not ours.
#
# usage: tests/conformance/peer.sh [FOLDER]
#
# FOLDER (default target/conformance-peer) receives output.txt, all of what the runner says, and failures.txt, the names of the failing cases.
# The registry listens on a free port, stores into a temporary folder, and is stopped by its process id.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
folder=${1:-$root/target/conformance-peer}
registry=${DOCKER_REGISTRY:-/usr/bin/docker-registry}
temporary=$(mktemp -d)
mkdir -p "$folder"

cat > "$temporary/config.yml" <<CONFIG
version: 0.1
log:
  level: info
  accesslog:
    disabled: true
storage:
  filesystem:
    rootdirectory: $temporary/data
  delete:
    enabled: true
http:
  addr: 127.0.0.1:0
CONFIG

"$registry" serve "$temporary/config.yml" > "$temporary/registry.log" 2>&1 &
process=$!
trap 'kill "$process" 2>/dev/null || true; wait "$process" 2>/dev/null || true; rm -rf "$temporary"' EXIT

# The registry names the port it was given once it listens.
address=
attempts=0
while [ -z "$address" ]; do
    attempts=$((attempts + 1))
    if [ "$attempts" -gt 100 ] || ! kill -0 "$process" 2>/dev/null; then
        echo "docker-registry does not start:" >&2
        cat "$temporary/registry.log" >&2
        exit 1
    fi
    sleep 0.1
    address=$(sed -n 's/.*listening on \(127\.0\.0\.1:[0-9]*\).*/\1/p' "$temporary/registry.log" | head -n 1)
done

version=$("$registry" --version)
echo "$version at $address"
# Failures are what this run is for, so they do not end it.
BERTH_CONFORMANCE_URL="http://$address" BERTH_CONFORMANCE_NAME=peer \
    cargo test --manifest-path "$root/Cargo.toml" -p berth --test conformance -- --color never \
    > "$folder/output.txt" 2>&1 || true

sed -n 's/^test peer::\([a-z0-9_:]*\) *\.\.\. FAILED.*/\1/p' "$folder/output.txt" | sort > "$folder/failures.txt"
grep '^test result' "$folder/output.txt" || { cat "$folder/output.txt" >&2; exit 1; }
echo "failing cases: $folder/failures.txt"
