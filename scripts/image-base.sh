#!/usr/bin/env bash
# Makes a base for Berth's image out of Debian packages, as Distroless makes its "cc" (less the time zones, which are
# many small files and which Berth does not read), and prints the path of its tar file. For tests: no registry need be
# in reach.
set -euo pipefail

packages=(base-files ca-certificates libc6 libgcc-s1 netbase)

cache=${XDG_CACHE_HOME:-$HOME/.cache}/berth
# The program that will run in it was linked with this machine's C library.
libc_version=$(dpkg-query --show --showformat='${Version}' libc6)
recipe=$(sha256sum "${BASH_SOURCE[0]}")
tar=$cache/image-base-$libc_version-${recipe:0:8}.tar
if [[ -s $tar ]]; then
  echo "$tar"
  exit
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/packages" "$work/root"
cd "$work/packages"

download() { apt-get -o Acquire::Retries=3 -o APT::Sandbox::User=root -qq download "${packages[@]}" >&2; }
download || {
  apt-get -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 -qq update >&2
  download
}
for package in *.deb; do
  dpkg-deb --extract "$package" "$work/root"
done

# What the packages' own scripts would do, and what Distroless adds.
cd "$work/root"
cat usr/share/ca-certificates/mozilla/*.crt >etc/ssl/certs/ca-certificates.crt
echo 'hosts: files dns' >etc/nsswitch.conf
printf '%s\n' 'root:x:0:0:root:/root:/sbin/nologin' 'nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin' >etc/passwd
printf '%s\n' 'root:x:0:' 'nonroot:x:65532:' >etc/group
install -d --owner=65532 --group=65532 --mode=0700 home/nonroot
rm -rf usr/share/{bug,doc,lintian,man}

mkdir -p "$cache"
tar --create --numeric-owner --file="$work/base.tar" .
# Whole or not at all: another run may be looking.
mv "$work/base.tar" "$tar.$$"
mv "$tar.$$" "$tar"
echo "$tar"
