#!/usr/bin/env bash
# Installs the Debian packages that the tests need, those alone that are missing, and ORAS, Schemathesis and the schemas
# of Kubernetes into environments of their own, and Garage, an S3 server; or with the word `bench` what
# `make bench-quick` needs, or with the word `garage` Garage alone.
set -euo pipefail

declare -A package_of=(
  [dockerd]=docker.io
  [docker]=docker.io
  [podman]=podman
  [buildah]=buildah
  [skopeo]=skopeo
  [containerd]=containerd
  [ctr]=containerd
  [runc]=runc
  [busybox]=busybox-static
  [nginx]=nginx-light
  [pg_lsclusters]=postgresql
  [pgbouncer]=pgbouncer
  [rclone]=rclone
  [setpriv]=util-linux
  [ps]=procps
  [strip]=binutils
  [systemd-analyze]=systemd
  [/usr/bin/kubectl]=kubernetes-client
)
python=/usr/bin/python3
for_tests=true
if [[ ${1:-tests} == bench ]]; then
  for_tests=false
  package_of=(
    [docker-registry]=docker-registry
    [nginx]=nginx-light
    [skopeo]=skopeo
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

# $1: the name of the client. The copy of the file of its packages inside says that the environment is whole.
install_from_pypi() {
  local packages environment
  packages=$(dirname "${BASH_SOURCE[0]}")/../tests/clients/$1_requirements.txt
  environment=${XDG_CACHE_HOME:-$HOME/.cache}/berth/$1
  if cmp --silent "$packages" "$environment/requirements.txt"; then
    return
  fi
  echo "installing: $1 into $environment"
  "$python" -m venv --clear "$environment"
  "$environment/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement "$packages"
  cp "$packages" "$environment/requirements.txt"
}

# Built where cargo's own clean does not reach.
install_garage() {
  local version=2.5.0 folder=${XDG_CACHE_HOME:-$HOME/.cache}/berth/garage
  [[ $("$folder/bin/garage" --version 2>/dev/null) == *"$version"* ]] && return
  echo "installing: Garage $version into $folder (some ten minutes, once)"
  CARGO_TARGET_DIR=$folder/target cargo install garage --version "$version" --locked --root "$folder"
  rm -rf "$folder/target"
}

if [[ ${1:-tests} == garage ]]; then
  install_garage
  exit 0
fi
install_packages
$for_tests || exit 0
install_garage
install_from_pypi oras
install_from_pypi schemathesis
install_from_pypi kubernetes
