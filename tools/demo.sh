#!/usr/bin/env bash
# Leads from a fresh machine to a trained network: installs missing packages, builds (with the `cuda` device where nvcc
# and a GPU are found, for that GPU), makes phantom data, trains MedFusionNet, evaluates and explains it, and writes the
# report. Then it trains three times more: without table and text, without the attention branch, and without the
# pyramid branch.
#   bash tools/demo.sh
# Environment: OUT (default: out) is the folder for data and runs, BUILD_DIR (default: build) that of the build tree.
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in
  "") ;;
  -h|--help) sed -n '2,7p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
  *) echo "demo.sh: unknown argument $1; try --help" >&2; exit 2 ;;
esac

out=${OUT:-out}
build=${BUILD_DIR:-build}/release
start=$SECONDS
bash tools/packages.sh
mkdir -p "$build" "$out"
if [ ! -f "$build/build.ninja" ]; then
  # Without a GPU the kernels would only cost time: some four minutes of a processor.
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -1 | tr -dc 0-9) || capability=''
  if [ -n "$capability" ]; then cuda="-DMEDFUSION_CUDA=AUTO -DMEDFUSION_CUDA_ARCHITECTURES=$capability-real"; else cuda=-DMEDFUSION_CUDA=OFF; fi
  # shellcheck disable=SC2086
  cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release $cuda -DMEDFUSION_PCH=ON \
    -DMEDFUSION_UNITY=ON >"$out/configure.log" 2>&1 ||
    { cat "$out/configure.log"; exit 1; }
fi
cmake --build "$build" --target medfusion
medfusion=$build/bin/medfusion
echo "built after $((SECONDS - start)) s"

rm -rf "$out/phantom"
"$medfusion" synth --out "$out/phantom" --images 2000 --size 64 --seed 1

# run NAME [--set ...]: trains and evaluates; the test macro AUROC goes to $out/NAME.auroc
run() {
  local name=$1
  shift
  "$medfusion" train tools/configs/phantom.toml --set "data.root=$out/phantom" "$@" --out "$out/$name" --force
  "$medfusion" eval "$out/$name" --split test
  sed -n 's/^ *"auroc": *\([0-9.]*\),*$/\1/p' "$out/$name/metrics.json" | head -1 >"$out/$name.auroc"
}

train_start=$SECONDS
run demo
echo "trained and evaluated in $((SECONDS - train_start)) s"
"$medfusion" explain "$out/demo" --split test --limit 24 --boxes "$out/phantom/BBox_List_2017.csv"
"$medfusion" report "$out/demo"
run demo-no-table --set model.modalities.table=false --set model.modalities.text=false
run demo-no-attention --set model.branches.attention=false
run demo-no-pyramid --set model.branches.pyramid=false

printf '\n%-34s %s\n' "phantom data, test part" "macro AUROC"
printf '%-34s %s\n' "full model" "$(cat "$out/demo.auroc")" "without table and text" "$(cat "$out/demo-no-table.auroc")" \
  "without the attention branch" "$(cat "$out/demo-no-attention.auroc")" \
  "without the pyramid branch" "$(cat "$out/demo-no-pyramid.auroc")"
echo "report: $out/demo/report.html"
echo "all in $((SECONDS - start)) s"
echo "to install the program, which then runs from any folder: cmake --install $build --prefix ~/.local"
