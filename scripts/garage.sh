#!/usr/bin/env bash
# Starts Garage, an S3 server, unless the one of this folder runs already, and prints how tests reach it, as JSON for
# BERTH_TEST_S3. It listens on loopback, keeps everything in the folder, and holds tests' data alone.
#
#   scripts/garage.sh         starts it
#   scripts/garage.sh stop    stops it and removes the folder
#
# BERTH_TEST_GARAGE_FOLDER names another folder than the one in /tmp. Garage itself: scripts/tools.sh garage.
set -euo pipefail

folder=${BERTH_TEST_GARAGE_FOLDER:-${TMPDIR:-/tmp}/berth-garage-$UID}
garage=$(command -v garage || echo "${XDG_CACHE_HOME:-$HOME/.cache}/berth/garage/bin/garage")
region=garage
bucket=berth-test

is_running() {
  [[ -f $folder/pid && -f $folder/endpoint.json ]] || return 1
  local pid
  pid=$(<"$folder/pid")
  # Another process may have the number by now.
  [[ $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) == *"$folder/garage.toml"* ]]
}

if [[ ${1:-start} == stop ]]; then
  if is_running; then
    pid=$(<"$folder/pid")
    kill "$pid"
    for _ in {1..100}; do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
  fi
  rm -rf "$folder"
  exit 0
fi

mkdir -p -m 0700 "$folder"
exec 9>"$folder/lock"
flock 9
if is_running; then
  cat "$folder/endpoint.json"
  exit 0
fi
[[ -x $garage ]] || {
  echo "there is no Garage: install it with scripts/tools.sh garage" >&2
  exit 1
}

random_hex() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }
free_ports() {
  python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(socket.getsockname()[1] for socket in sockets))'
}

rm -rf "$folder/meta" "$folder/data"
read -r s3_port rpc_port < <(free_ports)
cat >"$folder/garage.toml" <<TOML
metadata_dir = "$folder/meta"
data_dir = "$folder/data"
db_engine = "sqlite"
replication_factor = 1
rpc_bind_addr = "127.0.0.1:$rpc_port"
rpc_public_addr = "127.0.0.1:$rpc_port"
rpc_secret = "$(random_hex 32)"
[s3_api]
s3_region = "$region"
api_bind_addr = "127.0.0.1:$s3_port"
TOML
chmod 0600 "$folder/garage.toml"
key=GK$(random_hex 12)
secret=$(random_hex 32)
GARAGE_DEFAULT_ACCESS_KEY=$key GARAGE_DEFAULT_SECRET_KEY=$secret GARAGE_DEFAULT_BUCKET=$bucket \
  setsid "$garage" -c "$folder/garage.toml" server --single-node --default-bucket \
  >"$folder/log" 2>&1 </dev/null 9>&- &
pid=$!
echo "$pid" >"$folder/pid"

# The bucket is made some time after the port is open; until then its answer to anybody is 404.
for _ in {1..300}; do
  kill -0 "$pid" 2>/dev/null || {
    tail -n 20 "$folder/log" >&2
    echo "Garage ended before it was ready" >&2
    exit 1
  }
  status=$(python3 -c '
import sys, urllib.error, urllib.request
try:
    urllib.request.urlopen(sys.argv[1], timeout=2)
except urllib.error.HTTPError as error:
    print(error.code)
except OSError:
    pass' "http://127.0.0.1:$s3_port/$bucket/")
  [[ $status == 403 ]] && break
  sleep 0.1
done
[[ $status == 403 ]] || {
  tail -n 20 "$folder/log" >&2
  echo "Garage was not ready in time" >&2
  exit 1
}
json=$(printf '{"endpoint":"http://127.0.0.1:%s","region":"%s","bucket":"%s","accessKeyId":"%s","secretAccessKey":"%s"}' \
  "$s3_port" "$region" "$bucket" "$key" "$secret")
(umask 077 && echo "$json" >"$folder/endpoint.json")
echo "$json"
