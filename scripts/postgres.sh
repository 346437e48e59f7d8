#!/usr/bin/env bash
# Starts a PostgreSQL cluster of the tests' own if it is stopped, gives the tests a role and a database of their own, and prints their URL.
# Tests make a schema or a database each; they need the right to create databases, and no other.
set -euo pipefail

name=berth_test

as_postgres=(sudo -u postgres --)
((EUID == 0)) && as_postgres=(runuser -u postgres --)
as_root=(sudo)
((EUID == 0)) && as_root=()

cluster=berth
# In memory where there is such a folder: tests make hundreds of databases, and nothing of them has to outlive a power
# loss. The server syncs as it always does, to what takes no time for it.
folder=/var/lib/postgresql/$cluster
room_kib=$(df --output=avail --block-size=1K /dev/shm 2>/dev/null | tail -n 1)
((${room_kib:-0} > 4 * 1024 * 1024)) && folder=/dev/shm/berth-postgres

versions=(/usr/lib/postgresql/*/bin/initdb)
version=$(basename "$(dirname "$(dirname "${versions[-1]}")")")
[[ -x ${versions[-1]} ]] || {
  echo "there is no PostgreSQL: install it with scripts/tools.sh" >&2
  exit 1
}
exec 9>"${TMPDIR:-/tmp}/berth-postgres-$UID.lock"
flock 9
is_known() { [[ -e /etc/postgresql/$version/$cluster/postgresql.conf ]]; }
if is_known && ! "${as_root[@]}" test -e "$folder/PG_VERSION"; then
  # The machine was started anew since.
  "${as_root[@]}" pg_dropcluster --stop "$version" "$cluster" >&2 || true
fi
if ! is_known; then
  "${as_root[@]}" pg_createcluster --datadir="$folder" "$version" "$cluster" >&2
  "${as_root[@]}" pg_conftool "$version" "$cluster" set max_connections 400
fi
port=$("${as_root[@]}" pg_conftool --short "$version" "$cluster" show port)
is_new=false
if ! "${as_root[@]}" pg_ctlcluster "$version" "$cluster" status >/dev/null; then
  is_new=true
  "${as_root[@]}" pg_ctlcluster "$version" "$cluster" start 9>&- >&2
fi

cd / # The server's own user may not read this folder.
for _ in {1..100}; do
  pg_isready --quiet --host=127.0.0.1 --port="$port" && break
  sleep 0.1
done

sql() { "${as_postgres[@]}" psql --quiet --no-psqlrc --port="$port" --set=ON_ERROR_STOP=1 --tuples-only --no-align "$@"; }
if [[ -z $(sql --command="SELECT 1 FROM pg_roles WHERE rolname = '$name'") ]]; then
  sql --command="CREATE ROLE $name" >&2
fi
# A password that everyone knows is fine here: the server listens on loopback and holds tests' data alone. Written is what
# PostgreSQL keeps of "berth_test" with one round of hashing: both sides would else do 4096 at each log-in, and tests log
# in some thousands of times.
password='SCRAM-SHA-256$1:YmVydGhfdGVzdCBzYWx0Lg==$23dZwuXJgxikL2yXHnaUHDKI65Zl2G4qi9iU/Z1/d9I=:rc43N+cMozxriVKcS4Ivq/j7wOrNFUV/DuoA2ICyUqI='
sql --command="ALTER ROLE $name LOGIN CREATEDB PASSWORD '$password'" >&2
if [[ -z $(sql --command="SELECT 1 FROM pg_database WHERE datname = '$name'") ]]; then
  sql --command="CREATE DATABASE $name OWNER $name" >&2
fi
if $is_new; then
  # What tests left that were broken off.
  for database in $(sql --command="SELECT datname FROM pg_database WHERE datname LIKE '${name}\_%'"); do
    sql --command="DROP DATABASE $database" >&2
  done
fi
echo "postgres://$name:$name@127.0.0.1:$port/$name"
