#!/usr/bin/env bash
# Builds everything and runs every test. Then it runs the tests of core, the simulator and data under AddressSanitizer
# and UndefinedBehaviorSanitizer; those of the kernels would take ten minutes. At last it runs each fuzz target for a few
# seconds. If nvcc is found, the first build has the `cuda` device, and a test checks the machine code of its kernels.
# No GPU is needed.
#   bash tools/test.sh              what continuous integration runs
#   bash tools/test.sh --sanitize   only this: every test under the sanitizers
#   bash tools/test.sh --sanitize=thread   only this: core, the simulator, data and optim under ThreadSanitizer
#   bash tools/test.sh --gpu ...    tests and kernels on this machine's GPU; ... is passed to tools/test_gpu.sh
# Environment: BUILD_DIR (default: build) is the folder of the build trees.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" = --gpu ]; then
  shift
  exec bash tools/test_gpu.sh "$@"
fi
all_sanitized=false
threads_sanitized=false
for argument in "$@"; do
  case "$argument" in
    --sanitize) all_sanitized=true ;;
    --sanitize=thread) threads_sanitized=true ;;
    -h|--help) sed -n '2,10p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
    *) echo "test.sh: unknown argument $argument; try --help" >&2; exit 2 ;;
  esac
done

bash tools/packages.sh
build=${BUILD_DIR:-build}
jobs=$(nproc)

# build_and_test DIRECTORY "CMAKE ARGUMENTS" "TARGETS" "TEST NAMES as a regular expression"
build_and_test() {
  # shellcheck disable=SC2086
  cmake -S . -B "$1" -G Ninja $2 >"$1.configure.log" 2>&1 || { cat "$1.configure.log"; return 1; }
  # shellcheck disable=SC2086
  cmake --build "$1" -j "$jobs" --target $3
  ctest --test-dir "$1" -j "$jobs" --output-on-failure --no-tests=error -R "$4"
}

mkdir -p "$build"
# Each tree is built once from nothing, so precompiled headers and files compiled together pay.
release="-DCMAKE_BUILD_TYPE=Release -DMEDFUSION_BENCH=ON -DMEDFUSION_CUDA=AUTO -DMEDFUSION_PCH=ON -DMEDFUSION_UNITY=ON"
sanitizers="-DCMAKE_BUILD_TYPE=Debug -DMEDFUSION_SANITIZE=address,undefined -DMEDFUSION_CUDA=OFF -DMEDFUSION_PCH=ON -DMEDFUSION_UNITY=ON"
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1}
if $threads_sanitized; then
  # parallel_for and ranks (core), the loader and what computes statistics (data), staging, progress and training (optim),
  # and the streams of the simulated device. The other tests start threads by parallel_for only. Of the simulated device,
  # which is one thread and takes a hundred times as long here, training runs once.
  export GTEST_FILTER='-*TrainingStep*:Shards.*SimulatedDevice:*ThoseThatMeetTrain*:*NonfiniteOn*:*Frozen*'
  build_and_test "$build/thread" "${sanitizers/address,undefined/thread} -DMEDFUSION_FOLDERS=core;kernels;kernels/simulator;layers;models;data;optim" \
    "core_tests kernels_simulator_tests data_tests optim_tests" '^(core|kernels_simulator|data|optim)$'
elif $all_sanitized; then
  build_and_test "$build/sanitized" "$sanitizers -UMEDFUSION_FOLDERS" all '.'  # not what an earlier run left in the cache
else
  build_and_test "$build/release" "$release" all '.'
  build_and_test "$build/sanitized" "$sanitizers -DMEDFUSION_FOLDERS=core;kernels/simulator;data" \
    "core_tests kernels_simulator_tests data_tests" '^(core|kernels_simulator|data)$'
  bash tools/fuzz.sh --seconds 3
fi
