#!/usr/bin/env bash
# Measures what the project's goals on a GPU are about, PyTorch beside each figure in the same run, and puts both beside
# the goals. Nothing else should run on the machine.
#   bash bench/gpu.sh [--out DIR] [--build DIR | --prebuilt DIR] [--python PROGRAM] [--device cuda|cpu] [--part PART]...
#   --out DIR      a new folder for the results (default: gpu-results): JSON of each part, goals.md, how it was made
#   --build DIR    the build, with -DMEDFUSION_BENCH=ON (default: build/gpu, which tools/test_gpu.sh makes)
#   --prebuilt DIR what tools/gpu_bundle.sh made, in place of a build
#   --python P     the Python that has PyTorch (default: python3)
#   --device cpu   rehearses: small networks, no graphs
#   --part PART    measures that alone, of attention, upsample_add, dense_block and steps; may be given several times
# A part that fails, or takes longer than its limit, is named at the end, and the others go on.
set -uo pipefail

refuse() {
  echo "bench/gpu.sh: $1; try --help" >&2
  exit 2
}
all_parts="attention upsample_add dense_block steps"
out=gpu-results build=build/gpu prebuilt='' python=python3 device=cuda parts=''
while [ $# -gt 0 ]; do
  case "$1" in
    --out|--build|--prebuilt|--python|--device)
      [ $# -ge 2 ] || refuse "$1 needs a value"
      printf -v "${1#--}" '%s' "$2"
      shift 2 ;;
    --part)
      [ $# -ge 2 ] || refuse "--part needs one of: $all_parts"
      case " $all_parts " in
        *" $2 "*) parts="$parts $2" ;;
        *) refuse "expected a part of: $all_parts; got '$2'" ;;
      esac
      shift 2 ;;
    -h|--help) sed -n '2,11p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
    *) refuse "unknown argument $1" ;;
  esac
done
case "$device" in cuda|cpu) ;; *) refuse "--device: expected cuda or cpu, got '$device'" ;; esac
folder=$(cd "${prebuilt:-$build}" 2>/dev/null && pwd) || refuse "there is no folder ${prebuilt:-$build}"
if [ -n "$prebuilt" ]; then
  medfusion=$folder/medfusion train_step=$folder/train_step
  export LD_LIBRARY_PATH="$folder/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
else
  medfusion=$folder/bin/medfusion train_step=$folder/bench/train_step
fi
for program in "$medfusion" "$train_step"; do
  [ -x "$program" ] || refuse "$program is not there; build with -DMEDFUSION_BENCH=ON"
done
"$python" -c 'import torch' 2>/dev/null || refuse "$python has no PyTorch (--python names one that does)"
case "$python" in */*) python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python") ;; esac
# What an earlier run left must not count as this one's.
[ -z "$(ls -A "$out" 2>/dev/null)" ] || refuse "--out: $out is not empty"
mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)
cd "$(dirname "$0")/.." || exit 1
if [ "$device" = cuda ]; then
  seconds=0.3 model=medfusionnet-densenet121 size=224 large=64 precision=bf16 steps=20 graph=--graph variant=''
else
  seconds=0.01 model=medfusionnet-tiny size=32 large=16 precision=f32 steps=3 graph='' variant=/cpu
fi

wanted() { case " ${parts:-$all_parts} " in *" $1 "*) true ;; *) false ;; esac; }
failed=""
part() {  # NAME LIMIT_SECONDS COMMAND...
  local name="$1" limit="$2" start
  shift 2
  [ "$device" = cuda ] || limit=$((limit * 4))
  start=$(date +%s)
  echo "== $name: $*" | tee -a "$out/commands.txt"
  timeout "$limit" "$@" 2>"$out/$name.log" | tee "$out/$name.txt"
  local status=${PIPESTATUS[0]}
  echo "== $name: $(($(date +%s) - start)) s, exit code $status"
  if [ "$status" -ne 0 ]; then
    tail -3 "$out/$name.log" >&2
    failed="$failed $name"
  fi
}
bench() {  # NAME LIMIT OPERATION OPTIONS...
  local name="$1" limit="$2" operation="$3"
  shift 3
  part "$name-$operation" "$limit" "$medfusion" kernels bench "$operation$variant" --device "$device" --seconds "$seconds" \
    --peer --python "$python" --json "$out/$name-$operation.json" "$@"
}
# One file of what several operations gave.
together() {  # NAME
  "$python" - "$out" "$1" <<'PROGRAM'
import json, pathlib, sys
folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
parts = [json.loads(file.read_text()) for file in sorted(folder.glob(name + "-*.json"))]
if parts:
    parts[0]["rows"] = [row for part in parts for row in part["rows"]]
    (folder / (name + ".json")).write_text(json.dumps(parts[0], indent=2))
PROGRAM
}
steps() {  # BATCH LIMIT MODES
  part "steps-$1" "$2" "$python" bench/peers/compare_steps.py "$train_step" --python "$python" --model "$model" \
    --device "$device" --precision "$precision" --size "$size" --batch "$1" --steps "$steps" --rounds 3 --modes "$3" \
    --json "$out/steps-$1.json"
}

: >"$out/commands.txt"
{
  date -u +%Y-%m-%dT%H:%M:%SZ
  git rev-parse HEAD 2>/dev/null || echo "commit not known: no git here"
  nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,power.limit --format=csv,noheader 2>/dev/null
  "$python" -c 'import torch; print("PyTorch", torch.__version__, "CUDA", torch.version.cuda, "cuDNN", torch.backends.cudnn.version())'
} | tee "$out/machine.txt"

if wanted attention; then
  bench forward 120 attention --direction forward
  bench backward 120 attention --direction backward
  # shellcheck disable=SC2086
  bench graph 150 attention --direction both $graph
fi
if wanted upsample_add; then
  bench forward 60 upsample_add --direction forward
  bench backward 60 upsample_add --direction backward
fi
if wanted dense_block; then bench both 180 dense_block --direction both; fi
for name in forward backward both graph; do together "$name"; done
if wanted steps; then
  steps 8 300 eager,channels_last
  steps "$large" 600 compiled
  [ "$large" = 64 ] || mv "$out/steps-$large.json" "$out/steps-64.json"
fi
"$python" bench/goals.py "$out" | tee "$out/goals.md"
if [ -n "$failed" ]; then
  echo "bench/gpu.sh: failed or cut off:$failed (logs in $out)" >&2
  exit 1
fi
