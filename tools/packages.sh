#!/usr/bin/env bash
# Installs the missing packages that the build needs, on Debian 12 or Ubuntu 24.04. Needs root or sudo.
set -euo pipefail

packages=(
  g++ cmake ninja-build pkg-config git ccache mold python3
  libeigen3-dev libhwy-dev libstb-dev libcli11-dev libtomlplusplus-dev nlohmann-json3-dev libfmt-dev
  libzip-dev zlib1g-dev libxxhash-dev libboost-context-dev libgtest-dev libgmock-dev libbenchmark-dev
  libopenmpi-dev openmpi-bin
  clang libclang-rt-dev
)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

sudo=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "packages.sh: needs root or sudo to install: ${missing[*]}" >&2; exit 1; }
  sudo=(sudo)
fi
echo "installing: ${missing[*]}"
"${sudo[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
