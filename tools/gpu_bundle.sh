#!/usr/bin/env bash
# Makes a folder to send, beside the repository, to a machine with a GPU and without packages. git ignores both folders.
#   bash tools/gpu_bundle.sh [--build DIR]            gpu-bundle/: for a machine without a compiler
#   bash tools/gpu_bundle.sh --source [--build DIR]   gpu-dependencies/: for a machine with nvcc, g++, CMake and ninja
# gpu-bundle/ holds the program, the tests, the benchmark of training steps, the engine with the shared libraries that
# not every system has (lib/), and an engine that stops endless waits (watchdog/). On the machine with the GPU, run
# bash tools/test_gpu.sh --prebuilt gpu-bundle; bash bench/gpu.sh --prebuilt gpu-bundle
# gpu-dependencies/ holds the headers that the build reads, and the libraries. On the machine with the GPU, run
# bash tools/gpu_build.sh --dependencies gpu-dependencies
# DIR is the folder to build in (default: build/bundle).
set -euo pipefail

most=$((64 * 1024 * 1024))  # of a folder and the repository
programs="bin/medfusion bench/train_step tests/core_tests tests/kernels_tests tests/models_tests tests/optim_tests"
fail() {
  echo "gpu_bundle.sh: $1" >&2
  exit 1
}

build='' source=''
while [ $# -gt 0 ]; do
  case "$1" in
    --build)
      [ $# -ge 2 ] || { echo "gpu_bundle.sh: --build needs a folder; try --help" >&2; exit 2; }
      build=$(realpath -m "$2")
      shift 2 ;;
    --source) source=yes; shift ;;
    -h|--help) sed -n '2,10p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
    *) echo "gpu_bundle.sh: unknown argument $1; try --help" >&2; exit 2 ;;
  esac
done
cd "$(dirname "$0")/.."
build=${build:-${BUILD_DIR:-build}/bundle}

# Every system has its own libc, which must fit its loader, and g++'s libraries; all else comes along.
carried_libraries() {  # PROGRAM...
  ldd "$@" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u |
    grep -vE '/(libc|libm|libstdc\+\+|libgcc_s|libpthread|libdl|librt)\.so'
}
# Programs are linked to what libzip needs, too: its own paths do not name the bundle's folder.
needs=$(carried_libraries "$(${CXX:-g++} -print-file-name=libzip.so)" | paste -sd,)
build_with() {
  bash tools/gpu_build.sh --build "$build" -DMEDFUSION_CUDA_ARCHITECTURES=90-real -DMEDFUSION_CUDA_COMPRESS=ON \
    -DCMAKE_BUILD_RPATH_USE_ORIGIN=ON '-DCMAKE_BUILD_RPATH=$ORIGIN;$ORIGIN/lib;$ORIGIN/../lib' \
    "-DCMAKE_EXE_LINKER_FLAGS=-Wl,--push-state,--no-as-needed,$needs,--pop-state" "$@"
}
report() {  # FOLDER
  local repository size
  repository=$(git ls-files -z | du -cb --files0-from=- | tail -1 | cut -f1)
  size=$(du -sb "$1" | cut -f1)
  echo "gpu_bundle.sh: $1 has $((size / 1024)) KiB, the repository $((repository / 1024)) KiB"
  [ $((size + repository)) -le "$most" ] || fail "together that is more than $((most / 1024 / 1024)) MiB"
}

if [ -n "$source" ]; then
  build_with
  folder=gpu-dependencies
  rm -rf $folder
  mkdir -p $folder/include $folder/cuda $folder/lib
  ninja -C "$build" -t deps | sed -n 's/^ *\(\/.*\)/\1/p' | sort -u >"$build/headers"
  # Headers of packages other than those of the compiler and the C library, and the others of their folders, which
  # another compiler may read.
  # shellcheck disable=SC2046
  dpkg -S $(grep '^/usr/include/' "$build/headers") |
    awk -F': ' '$1 !~ /^(libc6|linux-libc|libstdc\+\+|libgcc)/ { print $2 }' |
    while read -r header; do
      case "${header%/*}" in
        /usr/include|*/"$(gcc -print-multiarch)") cp "$header" $folder/include/ ;;
        *) echo "${header%/*}" ;;
      esac
    done | sort -u |
    while read -r directory; do
      mkdir -p "$folder/${directory#/usr/}"
      find "$directory" -maxdepth 1 ! -type d -exec cp -Lt "$folder/${directory#/usr/}" {} +
    done
  # A toolkit may come without these, whose libraries are opened at run time.
  sed -nE '/\/(cublas|cudnn|nccl)[a-z0-9_]*\.h$/p' "$build/headers" | xargs -r realpath | sort -u |
    xargs -r cp -t $folder/cuda
  # shellcheck disable=SC2046,SC2086
  cp -L $(carried_libraries "$build"/lib*.so $(printf "$build/%s " $programs) | grep -v '/libmedfusion_') $folder/lib/
  for library in gtest gtest_main gmock; do cp "$(gcc -print-file-name=lib$library.a)" $folder/lib/; done
  report $folder
  exit 0
fi

bundle=gpu-bundle
rm -rf $bundle
mkdir -p $bundle/lib $bundle/watchdog
build_with --watchdog
cp "$build/libmedfusion_engine.so" $bundle/watchdog/
build_with  # all but the kernels with wgmma stays as it is
for program in $programs; do cp "$build/$program" $bundle/; done
# shellcheck disable=SC2046,SC2086
cp -L "$build/libmedfusion_engine.so" $(carried_libraries "$build"/lib*.so $(printf "$build/%s " $programs) | grep -v '/libmedfusion_') $bundle/lib/
strip --strip-unneeded $bundle/{medfusion,train_step,*_tests,lib/*,watchdog/*}

# What is loaded there are these files, wherever the folder lies, and the engine that LD_LIBRARY_PATH names.
for program in $programs; do
  program=$bundle/${program##*/}
  if ldd "$program" | grep 'not found'; then fail "$program lacks a library"; fi
  if carried_libraries "$program" | grep -v "^$PWD/$bundle/lib/"; then fail "$program would take a library from outside of $bundle"; fi
  LD_LIBRARY_PATH=$bundle/watchdog ldd "$program" | grep " $bundle/watchdog/libmedfusion_engine.so" >/dev/null ||
    fail "LD_LIBRARY_PATH does not give $program the engine of $bundle/watchdog"
done
report $bundle
