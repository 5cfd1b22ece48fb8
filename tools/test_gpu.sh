#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU: builds with the `cuda` device, runs every test (those of devices run on the
# GPU too), checks every CUDA kernel against the float64 reference, runs these checks and the tests of devices under
# compute-sanitizer, and trains twice from one seed for the same bytes. Called by tools/test.sh --gpu; BUILD_DIR as there.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "test.sh --gpu: $1" >&2
  exit 1
}
nvidia-smi -L 2>/dev/null | grep -q '^GPU ' || fail "this machine has no NVIDIA GPU with a driver (nvidia-smi -L lists none)"
cuda=${CUDA_HOME:-${CUDA_PATH:-/usr/local/cuda}}
export PATH="$PATH:$cuda/bin"
for tool in nvcc compute-sanitizer; do
  command -v "$tool" >/dev/null || fail "$tool is not in the PATH nor in $cuda/bin"
done

build=${BUILD_DIR:-build}/gpu
mkdir -p "$build"
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DMEDFUSION_CUDA=ON >"$build.configure.log" 2>&1 ||
  { cat "$build.configure.log"; exit 1; }
cmake --build "$build" -j "$(nproc)"
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader

ctest --test-dir "$build" --output-on-failure --no-tests=error
medfusion="$build/bin/medfusion"
"$medfusion" kernels check --device cuda
for tool in memcheck racecheck; do
  compute-sanitizer --tool "$tool" --error-exitcode 1 "$medfusion" kernels check --device cuda
done
# Tests of devices, under the sanitizer as well. They reach what no case of a kernel does: whole networks, captured
# steps, calls of libraries. That of kernels_tests is small, since there the cases run on `cpu` and `sim` alone: on
# `cuda` they are `kernels check`, above. Some provoke errors of the CUDA runtime: those are not counted.
for folder in core kernels models optim; do
  tests=$(find "$build" -type f -name "${folder}_tests" -perm -u+x)
  "$tests" --gtest_filter='*/cuda' --gtest_list_tests | grep -q '^  ' || fail "${folder}_tests has no test on the GPU"
  compute-sanitizer --tool memcheck --report-api-errors no --error-exitcode 1 "$tests" --gtest_filter='*/cuda'
done

# Two runs of one seed, captured, and one that is not: the same weights.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$medfusion" synth --out "$work/phantom" --images 200 --seed 3
train() {
  "$medfusion" train tools/configs/tiny.toml --device cuda --quiet --out "$work/$1" --set data.root="$work/phantom" \
    --set train.epochs=2 --set train.graph="$2"
}
train first true
train second true
train step_by_step false
for other in second step_by_step; do
  cmp "$work/first/last.safetensors" "$work/$other/last.safetensors" ||
    fail "two runs of one seed gave different weights (first and $other)"
done
echo "test.sh --gpu: passed"
