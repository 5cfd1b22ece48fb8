#!/usr/bin/env bash
# Measures what the project's goals on a GPU need, with PyTorch beside each figure in the same run. --help explains it.
exec python3 "$(dirname "$0")/../tools/gpu_run.py" bench "$@"
