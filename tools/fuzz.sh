#!/usr/bin/env bash
# Feeds made-up bytes to the readers of the program until the time is over, under AddressSanitizer and
# UndefinedBehaviorSanitizer (docs/fuzzing.md). Needs clang.
#   bash tools/fuzz.sh [MINUTES] [TARGET...]     runs each target for MINUTES of processor time (default: 1); all targets by default
#   --seconds N    runs each target for N seconds of processor time; 0 only runs what the corpus holds
#   --jobs N       runs N targets at once (default: the number of cores)
#   --corpus DIR   inputs found before and now, a folder for each target (default: BUILD_DIR/fuzz-corpus)
#   --coverage     fuzzes nothing: builds the targets anew and says which part of each reader's lines the corpus reaches
# Exit code: 1 where a target crashed, leaked, hung or could not be built; the reproducer is named.
# Environment: BUILD_DIR (default: build) is the folder of the build trees; CLANG (default: clang++) the compiler.
set -euo pipefail
cd "$(dirname "$0")/.."

targets=(csv image npz safetensors config tokenizer schema predictions)
build=${BUILD_DIR:-build}
corpus=$build/fuzz-corpus
jobs=$(nproc)
seconds=60
coverage=false
chosen=()

fail() {
  echo "fuzz.sh: $1; try --help" >&2
  exit 2
}
number() { [[ $2 =~ ^[0-9]+$ ]] || fail "$1: expected a whole number, got '$2'"; }

while [ $# -gt 0 ]; do
  case "$1" in
    -h|--help) sed -n '2,10p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
    --coverage) coverage=true ;;
    --seconds|--jobs|--corpus)
      [ $# -ge 2 ] || fail "$1: expected a value"
      [ "$1" = --corpus ] || number "$1" "$2"
      declare "${1#--}=$2"
      shift ;;
    -*) fail "unknown option $1" ;;
    [0-9]*) number MINUTES "$1"; seconds=$((60 * $1)) ;;
    *) [[ " ${targets[*]} " = *" $1 "* ]] || fail "unknown target $1, expected one of ${targets[*]}"; chosen+=("$1") ;;
  esac
  shift
done
[ ${#chosen[@]} -gt 0 ] || chosen=("${targets[@]}")
[ "$jobs" -gt 0 ] || fail "--jobs: expected at least 1"
command -v "${CLANG:-clang++}" >/dev/null || fail "no clang++ found: tools/packages.sh installs it"

# build_targets DIRECTORY KIND
build_targets() {
  mkdir -p "$build"
  cmake -S . -B "$1" -G Ninja -DMEDFUSION_FUZZ="$2" -DCMAKE_CXX_COMPILER="${CLANG:-clang++}" -DCMAKE_BUILD_TYPE=Debug -DMEDFUSION_CUDA=OFF \
    >"$1.configure.log" 2>&1 || { cat "$1.configure.log"; return 1; }
  cmake --build "$1" -j "$(nproc)" --target $(printf 'fuzz_%s ' "${chosen[@]}")
}

# The files of the readers that a target is for.
sources_of() {
  case "$1" in
    csv) echo data/readers/{csv,csv_classes,csv_folder,csv_inputs,text_file}.cpp data/number_writing.cpp ;;
    image) echo data/images/{image,exif}.cpp ;;
    npz) echo data/readers/{npz,medmnist}.cpp ;;
    safetensors) echo core/safetensors.cpp ;;
    config) echo tools/medfusion/config/{config,settings_file,settings_text,toml}.cpp ;;
    tokenizer) echo data/text/{characters,tokenizer}.cpp data/table/{table_encoder,table_selection}.cpp ;;
    schema) echo data/schema_json.cpp ;;
    predictions) echo tools/evaluation/measures/predictions_file.cpp data/readers/csv.cpp ;;
  esac
}

if $coverage; then
  build_targets "$build/fuzz-coverage" COVERAGE
  printf '%-12s  %s\n' target "lines reached, of those of its readers"
  for target in "${chosen[@]}"; do
    program=$build/fuzz-coverage/tests/fuzz/fuzz_$target
    LLVM_PROFILE_FILE=$program.profraw "$program" -runs=0 "$corpus/$target" >"$program.log" 2>&1 ||
      { tail -20 "$program.log"; exit 1; }
    llvm-profdata merge -o "$program.profdata" "$program.profraw"
    llvm-cov report "$program" -instr-profile="$program.profdata" >"$program.report"  # of every file: name, ..., lines, missed
    awk -v target="$target" -v sources="$(sources_of "$target")" '
      BEGIN { count = split(sources, names, " "); for (i in names) wanted[names[i]] = 1 }
      $1 in wanted { lines += $8; missed += $9; found += 1 }
      END {
        if (found != count) { print target ": the report has " found " of " count " files"; exit 1 }
        printf "%-12s  %d of %d, %.1f %%\n", target, lines - missed, lines, 100 * (lines - missed) / lines
      }' "$program.report"
  done
  exit 0
fi

build_targets "$build/fuzz" ON
python3 tests/fuzz/make_corpus.py "$corpus"
mkdir -p "$corpus/found"
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:allocator_may_return_null=0}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}

# The longest input: images and archives are larger than the rest, which is faster where it is short.
longest() {
  case "$1" in
    image|npz) echo 8192 ;;
    tokenizer|schema|safetensors) echo 4096 ;;
    *) echo 2048 ;;
  esac
}

# Runs one target until it has used its processor time: a busy machine makes it last longer, not search less. A long time
# is several runs, each for what is left; their logs follow each other.
run_target() {
  local program=$build/fuzz/tests/fuzz/fuzz_$1 log=$corpus/found/$1.log left=$seconds limit=-runs=0
  local times=$corpus/found/$1.times
  : >"$log"
  : >"$times"
  TIMEFORMAT='%R %U %S'
  while true; do
    [ "$seconds" -eq 0 ] || limit=-max_total_time=$left
    { time "$program" "$limit" -dict="$corpus/$1.dict" -max_len="$(longest "$1")" -timeout=120 -rss_limit_mb=2048 -malloc_limit_mb=1024 \
      -print_final_stats=1 -artifact_prefix="$corpus/found/$1-" "$corpus/$1" >>"$log" 2>&1; } 2>>"$times" ||
      { touch "$corpus/found/$1.failed"; break; }
    left=$(awk -v seconds="$seconds" '{ used += $2 + $3 } END { printf "%d", seconds - used }' "$times")
    [ "$left" -gt 0 ] || break
  done
}

rm -f "$corpus"/found/*.failed
for target in "${chosen[@]}"; do
  while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
  run_target "$target" &
done
wait

status=0
printf '%-12s %8s %12s %12s %8s %8s %8s\n' target seconds "CPU seconds" executions edges inputs KiB
for target in "${chosen[@]}"; do
  log=$corpus/found/$target.log
  read -r wall used < <(awk '{ wall += $1; used += $2 + $3 } END { print wall, used }' "$corpus/found/$target.times")
  edges=$(grep -o 'cov: [0-9]*' "$log" | tail -1 | cut -d' ' -f2 || true)
  executions=$(awk '/^stat::number_of_executed_units/ { sum += $2 } END { if (NR > 0) print sum }' "$log")
  printf '%-12s %8.0f %12.0f %12s %8s %8s %8s\n' "$target" "$wall" "$used" \
    "${executions:--}" "${edges:--}" "$(find "$corpus/$target" -type f | wc -l)" "$(du -sk --apparent-size "$corpus/$target" | cut -f1)"
  if [ -e "$corpus/found/$target.failed" ]; then
    status=1
    grep -E -m5 'FOUND:|ERROR:|SUMMARY:|runtime error:|Test unit written to' "$log" | sed "s/^/  $target: /"
    echo "  $target: the whole log is $log"
  fi
done
exit $status
