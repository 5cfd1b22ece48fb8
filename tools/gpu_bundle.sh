#!/usr/bin/env bash
# Makes the folder gpu-bundle/ (not in git) for a machine that has a GPU but no compiler: the program, the engine, the
# test programs, the benchmark of training steps, and the shared libraries they need that are not of every system. Builds for compute capability 9.0.
#   bash tools/gpu_bundle.sh [--build DIR]     DIR: a build with the `cuda` device; none is made then
# There: bash tools/test_gpu.sh --prebuilt gpu-bundle; bash bench/gpu.sh --prebuilt gpu-bundle
set -euo pipefail
cd "$(dirname "$0")/.."

most=$((64 * 1024 * 1024))
programs="core kernels models optim"  # the gpu_folders of test_gpu.sh
fail() {
  echo "gpu_bundle.sh: $1" >&2
  exit 1
}

build=""
while [ $# -gt 0 ]; do
  case "$1" in
    --build)
      [ $# -ge 2 ] || { echo "gpu_bundle.sh: --build needs a folder; try --help" >&2; exit 2; }
      build=$2
      shift 2 ;;
    -h|--help) sed -n '2,5p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
    *) echo "gpu_bundle.sh: unknown argument $1; try --help" >&2; exit 2 ;;
  esac
done
if [ -z "$build" ]; then
  build=${BUILD_DIR:-build}/bundle
  mkdir -p "$build"
  cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DMEDFUSION_CUDA=ON -DMEDFUSION_PCH=ON -DMEDFUSION_UNITY=ON \
    -DMEDFUSION_BENCH=ON -DMEDFUSION_CUDA_ARCHITECTURES=90-real >"$build.configure.log" 2>&1 || { cat "$build.configure.log"; exit 1; }
  # shellcheck disable=SC2046
  cmake --build "$build" -j "$(nproc)" --target medfusion train_step $(printf '%s_tests ' $programs)
fi
for program in bin/medfusion bench/train_step; do
  [ -x "$build/$program" ] || fail "$build has no program $program (-DMEDFUSION_BENCH=ON builds the latter)"
done
"$build/bin/medfusion" kernels list | grep ' cuda ' >/dev/null || fail "$build was built without the cuda device"

bundle=gpu-bundle
rm -rf "$bundle"
mkdir -p "$bundle/lib"
cp "$build/bin/medfusion" "$build/bench/train_step" "$bundle/"
for folder in $programs; do cp "$build/tests/${folder}_tests" "$bundle/"; done
# Every system has its own libc, which must fit its loader; all else comes along.
for program in "$bundle"/*; do
  [ -f "$program" ] || continue
  ldd "$program" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }'
done | sort -u | while read -r library; do
  case "$(basename "$library")" in
    libc.so*|libm.so*|libstdc++.so*|libgcc_s.so*|ld-linux*|libpthread.so*|libdl.so*|librt.so*) ;;
    *) cp -L "$library" "$bundle/lib/" ;;
  esac
done
strip --strip-unneeded "$bundle"/medfusion "$bundle"/train_step "$bundle"/*_tests "$bundle"/lib/*
# The copies, and not the build's, are what will be loaded.
if LD_LIBRARY_PATH="$bundle/lib" ldd "$bundle/medfusion" | grep 'not found' >/dev/null; then fail "$bundle/medfusion lacks a library"; fi

size=$(du -sb "$bundle" | cut -f1)
echo "gpu_bundle.sh: $bundle has $((size / 1024)) KiB"
[ "$size" -le "$most" ] || fail "that is more than $((most / 1024 / 1024)) MiB"
