#!/usr/bin/env bash
# Installs a build into a scratch prefix, moves it, and runs it from another folder: README's "Use it" in small, the
# shells' completions, the man page, and a program that finds the library with find_package.
#   bash tests/tools/install_test.sh BUILD CXX
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
build=$1 compiler=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
fail() {
  echo "install_test.sh: $1" >&2
  exit 1
}

cmake --install "$build" --prefix "$scratch/first" >"$scratch/install.log" || { cat "$scratch/install.log"; fail "no installation"; }
mv "$scratch/first" "$scratch/moved"
prefix=$scratch/moved
readelf -d "$prefix/bin/medfusion" | grep -F '[$ORIGIN/../lib]' >/dev/null || fail "the program's RUNPATH is not \$ORIGIN/../lib"
if grep -rlF -e "$scratch/first" -e "$source/" "$prefix" --include='*.cmake' --include='*.1'; then fail "these files name a folder of the build"; fi

# Nothing but the installation is at hand: another folder, and the program by its name.
mkdir "$scratch/elsewhere"
cd "$scratch/elsewhere"
export PATH=$prefix/bin:$PATH
[ "$(command -v medfusion)" = "$prefix/bin/medfusion" ] || fail "another program is found"
small=(--quiet --threads 2)
tiny=("${small[@]}" --set train.epochs=1)
medfusion synth --out phantom --images 120 --size 32 "${small[@]}"
medfusion train tiny --out runs/tiny "${tiny[@]}"
medfusion train tiny "${tiny[@]}" --out runs/other --seed 2   # by name, beside a folder phantom
medfusion train phantom "${tiny[@]}" --set data.image_size=32
[ -f runs/phantom/config.toml ] || fail "train phantom did not write runs/phantom"
medfusion eval runs/tiny --split test "${small[@]}"
medfusion eval runs/other --split test "${small[@]}"
medfusion predict runs/tiny --images phantom/images --table phantom/Data_Entry_2017.csv --out predictions.csv "${small[@]}"
[ "$(wc -l <predictions.csv)" -eq 121 ] || fail "predictions.csv does not have a row per image"
medfusion cv tiny --folds 2 "${tiny[@]}"
medfusion features phantom-clinical "${small[@]}"
medfusion compare runs/tiny runs/other "${small[@]}"
medfusion explain runs/tiny --split test --limit 2 --boxes phantom/BBox_List_2017.csv "${small[@]}"
medfusion report runs/tiny "${small[@]}"
[ -s runs/tiny/report.html ] || fail "there is no report"
medfusion info | grep -F "($prefix/share/medfusion/configs)" >/dev/null || fail "info does not name the installed configurations"
medfusion kernels list softmax | grep reference >/dev/null || fail "there is no reference of softmax"
if medfusion train phantm 2>message; then fail "train phantm did not fail"; fi
grep -q "^medfusion: phantm: .*cervical, .*tiny; did you mean 'phantom'?$" message || fail "$(cat message)"

# Completions and man page, each read by its own program where that is here.
completion=$prefix/share/bash-completion/completions/medfusion
completed() {  # WORDS...: what bash offers for the last one
  bash -c 'source "$0"; COMP_WORDS=(medfusion "$@"); COMP_CWORD=$#; _medfusion; echo "${COMPREPLY[@]}"' "$completion" "$@"
}
expect() {  # WANTED WORDS...
  [ "$(completed "${@:2}")" = "$1" ] || fail "completion of '${*:2}' is '$(completed "${@:2}")', not '$1'"
}
expect train tr
expect "phantom phantom-clinical" train ph
expect --schedules kernels check --sch
expect "honest as-published" cv tiny --protocol ""
expect "" train tiny --out ""
if command -v zsh >/dev/null; then zsh -n "$prefix/share/zsh/site-functions/_medfusion"; fi
if command -v fish >/dev/null; then fish --no-execute "$prefix/share/fish/vendor_completions.d/medfusion.fish"; fi
for command in train cv "kernels check"; do
  grep -qF ".SS \"medfusion $command\"" "$prefix/share/man/man1/medfusion.1" || fail "the man page lacks $command"
done
if command -v groff >/dev/null; then
  groff -man -Tutf8 -ww -z "$prefix/share/man/man1/medfusion.1" 2>warnings || true
  [ ! -s warnings ] || { cat warnings; fail "groff warns of the man page"; }
fi

# With every header, so that one that is not installed, or needs what is not looked for, shows. kernels/simd.h asks for more.
(cd "$prefix/include/medfusion" && find . -name '*.h' ! -name simd.h | sort | sed 's|^\./\(.*\)|#include "\1"|') >all.h
echo "add_compile_options(-include \"$PWD/all.h\")" >all.cmake
cmake -S "$source/tests/fixtures/installed" -B example -G Ninja -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_CXX_COMPILER="$compiler" \
  -DCMAKE_CXX_FLAGS=-O0 -DCMAKE_PROJECT_example_INCLUDE="$PWD/all.cmake" >example.log && cmake --build example >>example.log || { cat example.log; fail "the example is not built"; }
[ "$(example/example)" = "0.250 0.250 0.500" ] || fail "the example printed $(example/example)"
ldd example/example | grep -F "$prefix/lib/libmedfusion_engine.so" >/dev/null || fail "the example runs with another engine"
