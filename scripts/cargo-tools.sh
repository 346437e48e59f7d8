#!/usr/bin/env bash
# Installs the programs that `make lint` needs into the folder given, unless these versions are there.
set -euo pipefail

folder=$1
install() {
  local crate=$1 version=$2
  [[ $("$folder/bin/$crate" --version 2>/dev/null) == *"$version"* ]] && return
  echo "installing $crate $version (a few minutes, once)"
  cargo install "$crate" --version "$version" --locked --root "$folder"
}
install cargo-deny 0.20.2
install cargo-machete 0.9.2
