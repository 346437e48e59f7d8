#!/usr/bin/env bash
# Installs the Debian packages that the tests need, those alone that are missing, and ORAS into an environment of its own;
# or with the word `bench` what `make bench-quick` needs.
set -euo pipefail

declare -A package_of=(
  [dockerd]=docker.io
  [docker]=docker.io
  [podman]=podman
  [buildah]=buildah
  [skopeo]=skopeo
  [containerd]=containerd
  [ctr]=containerd
  [busybox]=busybox-static
  [nginx]=nginx-light
  [pg_lsclusters]=postgresql
  [setpriv]=util-linux
  [ps]=procps
  [strip]=binutils
  [systemd-analyze]=systemd
)
python=/usr/bin/python3
for_tests=true
if [[ ${1:-tests} == bench ]]; then
  for_tests=false
  package_of=(
    [docker-registry]=docker-registry
    [nginx]=nginx-light
    [taskset]=util-linux
  )
fi

# The engine and the cluster tools live where a person's PATH may not look.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

install_packages() {
  declare -A missing=()
  for program in "${!package_of[@]}"; do
    command -v "$program" >/dev/null || missing[${package_of[$program]}]=1
  done
  if $for_tests; then
    # Tests use the docker that comes with the engine, whatever other one comes first in PATH.
    [[ -x /usr/bin/docker ]] || missing[docker.io]=1
    "$python" -c 'import ensurepip' 2>/dev/null || missing[python3-venv]=1
  fi

  if ((${#missing[@]} == 0)); then
    return
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
}

# $1: the file of the packages; $2: where the environment goes. The copy of the file inside says that it is whole.
install_oras() {
  if cmp --silent "$1" "$2/requirements.txt"; then
    return
  fi
  echo "installing: oras into $2"
  "$python" -m venv --clear "$2"
  "$2/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement "$1"
  cp "$1" "$2/requirements.txt"
}

install_packages
$for_tests || exit 0
install_oras "$(dirname "${BASH_SOURCE[0]}")/../tests/clients/oras_requirements.txt" \
  "${XDG_CACHE_HOME:-$HOME/.cache}/berth/oras"
