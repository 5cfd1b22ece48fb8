#!/usr/bin/env bash
# Tests everything that needs an NVIDIA GPU, in stages, each part in its own process. --help explains it.
# tools/test.sh --gpu calls it.
exec python3 "$(dirname "$0")/gpu_run.py" test "$@"
