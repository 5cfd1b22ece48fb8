#!/usr/bin/env bash
# Trains, evaluates and predicts in a loop in one process for MINUTES (default: 60), and prints every five seconds what
# the process holds: resident memory, tensors, open files. Exit code 1: something grew after the first minute, resident
# memory by 1 % or more. Builds what it needs.
#   bash tools/soak.sh [MINUTES]      the network on images of many sizes, a table and texts
#   bash tools/soak.sh --scale        trains one epoch on a table of 1,000,000 rows, then on 112,120 images, within
#                                     2 GiB and 1 GiB of memory; needs 1 GB of room and 112,120 files in the folder for temporary files
#   bash tools/soak.sh --self-check   plants a leak of memory, of a tensor, of an open file, and expects each to be found
# Environment: BUILD_DIR (default: build) is the folder of the build trees; DEVICE (default: cpu) is cpu or sim.
set -euo pipefail
cd "$(dirname "$0")/.."

minutes=60
self_check=false
scale=false
case "${1:-}" in
  "") ;;
  --self-check) self_check=true ;;
  --scale) scale=true ;;
  -h|--help) sed -n '2,9p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
  *[!0-9]*) echo "soak.sh: expected a number of minutes, got $1; try --help" >&2; exit 2 ;;
  *) minutes=$1 ;;
esac

build=${BUILD_DIR:-build}/release
mkdir -p "$build"
[ -f "$build/build.ninja" ] || cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DMEDFUSION_CUDA=OFF \
  -DMEDFUSION_PCH=ON -DMEDFUSION_UNITY=ON >"$build.configure.log" 2>&1 || { cat "$build.configure.log"; exit 1; }
cmake --build "$build" --target soak >"$build.soak.log" || { cat "$build.soak.log"; exit 1; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Of the configurations: the columns of the table that `soak data` makes, and its images.
columns='file = "data.csv"
patient_column = "patient"
text_column = "note"
labels = ["ill", "old"]
exclude = ["id"]'
images='images = "images"
image_column = "image"'

if $scale; then
  program=$build/tests/soak
  "$program" data "$folder/rows" --rows 1000000
  cat >"$folder/rows.toml" <<TOML
[data]
format = "csv"
root = "$folder/rows"
$columns
[model]
size = "tiny"
modalities.image = false
branches.dense = false
branches.pyramid = false
[train]
epochs = 1
batch_size = 1024
TOML
  echo "a table of 1,000,000 rows:"
  "$program" once "$folder/rows.toml" "$folder/run" --most 2048
  rm -r "$folder/rows"
  "$program" data "$folder/images" --rows 112120 --size 8 16
  cat >"$folder/images.toml" <<TOML
[data]
format = "csv"
root = "$folder/images"
$columns
$images
image_size = 16
[model]
size = "tiny"
[train]
epochs = 1
batch_size = 256
TOML
  echo "112,120 images:"
  "$program" once "$folder/images.toml" "$folder/run" --most 1024
  exit
fi

"$build/tests/soak" data "$folder/data" --rows 96 --size 20 300
cat >"$folder/soak.toml" <<TOML
threads = 1
[data]
format = "csv"
root = "$folder/data"
$columns
$images
val_fraction = 0.25
image_size = 32
cache_megabytes = 0
[augment]
rotation = 5.0
[model]
size = "tiny"
[train]
epochs = 3
batch_size = 8
workers = 2
ema_decay = 0.9
TOML
soak() { "$build/tests/soak" run "$folder/soak.toml" "$folder/run" "$folder/data/images" --device "${DEVICE:-cpu}" "$@"; }

if ! $self_check; then
  soak --minutes "$minutes"
  exit
fi
for leak in memory tensor descriptor; do
  if soak --minutes 0.5 --warm-up 0.2 --plant $leak; then
    echo "soak.sh: a planted leak ($leak) was not found" >&2
    exit 1
  fi
done
echo "soak.sh: every planted leak was found"
