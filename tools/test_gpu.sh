#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU, in stages, each piece in a process of its own; --help says how. Called by
# tools/test.sh --gpu.
exec python3 "$(dirname "$0")/gpu_run.py" test "$@"
