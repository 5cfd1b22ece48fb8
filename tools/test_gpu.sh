#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU, in stages. Called by tools/test.sh --gpu; BUILD_DIR as there.
#   bash tools/test_gpu.sh [--stage STAGE]... [--prebuilt DIR]
# Stages, all of them in this order unless named:
#   build      build with the `cuda` device
#   tests      the tests that run on the GPU
#   check      every CUDA kernel against the float64 reference
#   memcheck   these checks, and the tests, under compute-sanitizer's memcheck
#   racecheck  these checks under its racecheck
#   train      two captured runs of one seed and one that is not captured, in f32 and in bf16: the same weights
# --prebuilt DIR takes the programs of a folder that tools/gpu_bundle.sh made, in place of building.
set -euo pipefail  # hence no grep -q: it ends early, and what writes to it fails then

all_stages="build tests check memcheck racecheck train"
fail() {
  echo "test_gpu.sh: $1" >&2
  exit 1
}
refuse() {
  echo "test_gpu.sh: $1; try --help" >&2
  exit 2
}

stages="" prebuilt=""
while [ $# -gt 0 ]; do
  case "$1" in
    --stage)
      [ $# -ge 2 ] || refuse "--stage needs one of: $all_stages"
      case " $all_stages " in
        *" $2 "*) stages="$stages $2" ;;
        *) refuse "expected a stage of: $all_stages; got '$2'" ;;
      esac
      shift 2 ;;
    --prebuilt)
      [ $# -ge 2 ] || refuse "--prebuilt needs a folder"
      [ -x "$2/medfusion" ] || refuse "--prebuilt: $2 has no program medfusion (tools/gpu_bundle.sh makes such a folder)"
      prebuilt=$(cd "$2" && pwd)
      shift 2 ;;
    -h|--help) sed -n '2,11p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
    *) refuse "unknown argument $1" ;;
  esac
done
cd "$(dirname "$0")/.."
stages=${stages:-$all_stages}
if [ -n "$prebuilt" ]; then stages=$(for stage in $stages; do [ "$stage" = build ] || printf ' %s' "$stage"; done); fi
wanted() { case " $stages " in *" $1 "*) true ;; *) false ;; esac; }

nvidia-smi -L 2>/dev/null | grep '^GPU ' >/dev/null || fail "this machine has no NVIDIA GPU with a driver (nvidia-smi -L lists none)"
cuda=${CUDA_HOME:-${CUDA_PATH:-/usr/local/cuda}}
export PATH="$PATH:$cuda/bin"
tools=""
if wanted build; then tools="nvcc"; fi
if wanted memcheck || wanted racecheck; then tools="$tools compute-sanitizer"; fi
for tool in $tools; do
  command -v "$tool" >/dev/null || fail "$tool is not in the PATH nor in $cuda/bin"
done
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader

build=${BUILD_DIR:-build}/gpu
if [ -n "$prebuilt" ]; then
  medfusion="$prebuilt/medfusion"
  export LD_LIBRARY_PATH="$prebuilt/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
else
  if wanted build; then
    mkdir -p "$build"
    cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DMEDFUSION_CUDA=ON -DMEDFUSION_BENCH=ON \
      -DMEDFUSION_PCH=ON -DMEDFUSION_UNITY=ON >"$build.configure.log" 2>&1 || { cat "$build.configure.log"; exit 1; }
    cmake --build "$build" -j "$(nproc)"
  fi
  medfusion="$build/bin/medfusion"
  [ -x "$medfusion" ] || fail "$medfusion is not built yet: --stage build"
fi
# The test program of a folder.
tests_of() {
  if [ -n "$prebuilt" ]; then echo "$prebuilt/$1_tests"; else echo "$build/tests/$1_tests"; fi
}

# Where cuDNN is installed, convolutions must run on it: a build without its header, or a library that is not found,
# would be tested on kernels that nobody trains with.
has_cudnn() {
  ldconfig -p 2>/dev/null | grep 'libcudnn\.so' >/dev/null || compgen -G "$cuda/lib64/libcudnn.so*" >/dev/null ||
    { [ -n "${MEDFUSION_CUDNN_DIR:-}" ] && compgen -G "$MEDFUSION_CUDNN_DIR/lib/libcudnn.so*" >/dev/null; }
}
if has_cudnn; then
  "$medfusion" kernels list convolution | grep ' cudnn  *cuda ' >/dev/null ||
    fail "this machine has cuDNN, but the program has no variant convolution/cudnn on cuda: it was built without cudnn.h (MEDFUSION_CUDNN_DIR names its folder)"
fi

# Tests of devices. They reach what no case of a kernel does: whole networks, captured steps, calls of libraries. That of
# kernels_tests is small, since there the cases run on `cpu` and `sim` alone: on `cuda` they are `kernels check`.
gpu_folders="core kernels models optim"
run_tests() {  # COMMAND BEFORE THE PROGRAM...
  local folder program
  for folder in $gpu_folders; do
    program=$(tests_of "$folder")
    [ -x "$program" ] || fail "$program is not there"
    "$program" --gtest_filter='*cuda*' --gtest_list_tests | grep '^  ' >/dev/null || fail "${folder}_tests has no test on the GPU"
    "$@" "$program" --gtest_filter='*cuda*'
  done
}
# Kernels of libraries are not ours to check, and the slowest part. Tests provoke errors of the CUDA runtime, and the
# program asks it questions that it answers with one: those are not counted.
sanitize() {  # TOOL PROGRAM ARGUMENTS...
  local tool="$1" filter=--kernel-regex
  shift
  if compute-sanitizer --help 2>&1 | grep -- '--kernel-name' >/dev/null; then filter=--kernel-name; fi
  compute-sanitizer --tool "$tool" "$filter" kns=medfusion --report-api-errors no --error-exitcode 1 "$@"
}

if wanted tests; then run_tests; fi
if wanted check; then "$medfusion" kernels check --device cuda; fi
if wanted memcheck; then
  sanitize memcheck "$medfusion" kernels check --device cuda
  run_tests sanitize memcheck
fi
if wanted racecheck; then sanitize racecheck "$medfusion" kernels check --device cuda; fi

if wanted train; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  "$medfusion" synth --out "$work/phantom" --images 200 --seed 3
  train() {  # NAME PRECISION GRAPH
    "$medfusion" train tools/configs/tiny.toml --device cuda --quiet --out "$work/$1" --set data.root="$work/phantom" \
      --set train.epochs=2 --set train.precision="$2" --set train.graph="$3"
  }
  for precision in f32 bf16; do
    train "$precision" "$precision" true
    train "$precision-again" "$precision" true
    train "$precision-step-by-step" "$precision" false
    for other in again step-by-step; do
      cmp "$work/$precision/last.safetensors" "$work/$precision-$other/last.safetensors" ||
        fail "two runs of one seed in $precision gave different weights (the second: $other)"
    done
  done
fi
echo "test_gpu.sh: passed:$(for stage in $all_stages; do if wanted "$stage"; then printf ' %s' "$stage"; fi; done)"
