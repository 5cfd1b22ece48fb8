#!/usr/bin/env bash
# Measures what the project's goals on a GPU are about, PyTorch beside each figure in the same run; --help says how.
exec python3 "$(dirname "$0")/../tools/gpu_run.py" bench "$@"
