#!/usr/bin/env bash
# Starts PostgreSQL if it is stopped, gives the tests a role and a database of their own, and prints their URL.
# Tests make a schema or a database each; they need the right to create databases, and no other.
set -euo pipefail

name=berth_test

as_postgres=(sudo -u postgres --)
((EUID == 0)) && as_postgres=(runuser -u postgres --)
as_root=(sudo)
((EUID == 0)) && as_root=()

read -r version cluster port status _ < <(pg_lsclusters --no-header) || {
  echo "there is no PostgreSQL cluster: make one with pg_createcluster" >&2
  exit 1
}
if [[ $status != online* ]]; then
  "${as_root[@]}" pg_ctlcluster "$version" "$cluster" start >&2
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
# A password that everyone knows is fine here: the server listens on loopback and holds tests' data alone.
sql --command="ALTER ROLE $name LOGIN CREATEDB PASSWORD '$name'" >&2
if [[ -z $(sql --command="SELECT 1 FROM pg_database WHERE datname = '$name'") ]]; then
  sql --command="CREATE DATABASE $name OWNER $name" >&2
fi
echo "postgres://$name:$name@127.0.0.1:$port/$name"
