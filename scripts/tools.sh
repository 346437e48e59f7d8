#!/usr/bin/env bash
# Installs the Debian packages that the tests need, those alone that are missing.
set -euo pipefail

declare -A package_of=(
  [dockerd]=docker.io
  [docker]=docker.io
  [skopeo]=skopeo
  [busybox]=busybox-static
  [nginx]=nginx-light
  [pg_lsclusters]=postgresql
  [setpriv]=util-linux
)

# The engine and the cluster tools live where a person's PATH may not look.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

declare -A missing=()
for program in "${!package_of[@]}"; do
  command -v "$program" >/dev/null || missing[${package_of[$program]}]=1
done
# Tests use the docker that comes with the engine, whatever other one comes first in PATH.
[[ -x /usr/bin/docker ]] || missing[docker.io]=1

if ((${#missing[@]} == 0)); then
  exit 0
fi
echo "installing: ${!missing[*]}"
command -v apt-get >/dev/null || {
  echo "this is no Debian: install what gives ${!missing[*]} by hand" >&2
  exit 1
}
as_root=()
((EUID == 0)) || as_root=(sudo)
options=(-o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 -qq)
"${as_root[@]}" apt-get "${options[@]}" update
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get "${options[@]}" install --yes --no-install-recommends "${!missing[@]}"
