#!/usr/bin/env bash
# Builds what a machine with a GPU runs, with the `cuda` device: the program, the benchmark of training steps and the
# tests that use a GPU. Compiles for this machine's GPU, or for compute capability 9.0 if it finds none.
#   bash tools/gpu_build.sh [--build DIR] [--dependencies DIR] [--watchdog] [-DNAME=VALUE]...
#   --build DIR         where to build (default: build/gpu)
#   --dependencies DIR  takes the libraries from the folder of tools/gpu_bundle.sh --source; then no packages are needed
#   --watchdog          a wait inside a kernel that never ends stops the program; for checks, not for measurements
#   -DNAME=VALUE        is passed to CMake
set -euo pipefail

refuse() {
  echo "gpu_build.sh: $1; try --help" >&2
  exit 2
}

build='' dependencies='' watchdog=OFF options=()
while [ $# -gt 0 ]; do
  case "$1" in
    --build|--dependencies)
      [ $# -ge 2 ] || refuse "$1 needs a folder"
      printf -v "${1#--}" '%s' "$2"
      shift 2 ;;
    --watchdog) watchdog=ON; shift ;;
    -D?*=*) options+=("$1"); shift ;;
    -h|--help) sed -n '2,8p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
    *) refuse "unknown argument $1" ;;
  esac
done
if [ -n "$dependencies" ]; then
  [ -d "$dependencies/include" ] || refuse "--dependencies: $dependencies has no folder include (tools/gpu_bundle.sh --source makes such a folder)"
  dependencies=$(cd "$dependencies" && pwd)
fi
if [ -n "$build" ]; then build=$(realpath -m "$build"); fi
cd "$(dirname "$0")/.."
build=${build:-${BUILD_DIR:-build}/gpu}

capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -1 | tr -dc 0-9) || capability=''
mkdir -p "$build"
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DMEDFUSION_CUDA=ON -DMEDFUSION_BENCH=ON -DMEDFUSION_PCH=ON \
  -DMEDFUSION_UNITY=ON -DMEDFUSION_CUDA_ARCHITECTURES="${capability:-90}-real" -DMEDFUSION_WATCHDOG=$watchdog \
  -DMEDFUSION_DEPENDENCIES="$dependencies" "${options[@]}" >"$build.configure.log" 2>&1 || { cat "$build.configure.log" >&2; exit 1; }
cmake --build "$build" -j "$(nproc)" --target medfusion train_step core_tests kernels_tests models_tests optim_tests
