#!/usr/bin/env python3
"""Times a training step on N ranks of one thread against one rank of N threads, and against PyTorch, in turns.

  python3 bench/peers/compare_ranks.py build/release/bench/train_step --python PEERS/bin/python [--ranks 2 --rounds 5 --steps 3]

All compute the same batch (DenseNet-121, 224x224, 16 images by default). Ours has as many shards as ranks in both columns, so
both write the same bytes. The peer is DistributedDataParallel over gloo, N processes of one thread, eager, channels-last and
compiled; its fastest mode counts. With --rate 2gbit the ranks talk over TCP through a loopback of that rate, in a network
namespace of their own (Linux, as root: unshare, ip and tc of iproute2), and a further column exchanges only after the
backward pass. A column is the median over the rounds with the smallest and largest round; a ratio is of the
same round. Nothing else should run on the machine.
"""
import argparse
import json
import pathlib
import statistics
import sys

from compare_steps import FOLDER, MODES, run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="the engine's benchmark, e.g. build/release/bench/train_step")
    parser.add_argument("--python", default="", help="a Python with PyTorch; without it only ours is timed")
    parser.add_argument("--model", default="densenet121")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rate", default="", help="limit of the ranks' network, e.g. 2gbit, as tc has it")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=float, default=900, help="seconds for one process")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()

    step = ["--model", options.model, "--size", options.size, "--batch", options.batch, "--steps", options.steps, "--warmup",
            options.warmup]
    ours = [options.program, *step, "--shards", options.ranks, "--json", "--threads"]
    one = f"1 rank x {options.ranks} threads"
    many = f"{options.ranks} ranks x 1 thread"
    launch = ["mpirun", "--allow-run-as-root", "-q", "-n", options.ranks]
    if options.rate:
        limit = f"ip link set lo up && tc qdisc add dev lo root tbf rate {options.rate} burst 1mb latency 100ms && exec \"$@\""
        launch = ["unshare", "-n", "sh", "-c", limit, "sh", *launch, "--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", "lo",
                  "--mca", "oob_tcp_if_include", "lo"]
    commands = {one: [*ours, options.ranks], many: [*launch, *ours, 1]}
    if options.rate:
        commands["exchange afterwards"] = [*launch, *ours, 1, "--bucket-mib", 1 << 20]
    if options.python:
        torchrun = [options.python, "-m", "torch.distributed.run", "--nproc-per-node", options.ranks, FOLDER / "steps_torch.py"]
        for mode in MODES:
            commands["DDP " + mode] = [*torchrun, "--mode", mode, *step, "--threads", 1]
    results = {name: [] for name in commands}
    for number in range(options.rounds):
        for name, command in commands.items():
            if results[name] is None:
                continue
            result = run(command, options.limit)
            if isinstance(result, str):
                print(f"round {number + 1} {name}: {result}: {' '.join(map(str, command))}", file=sys.stderr, flush=True)
                results[name] = None
            else:
                results[name].append(result)
                print(f"round {number + 1} {name}: {result['median_s']:.3f} s", file=sys.stderr, flush=True)
    print(f"{options.model}, {options.size}x{options.size}, batch {options.batch}, {options.rounds} rounds of {options.steps} steps")
    print(f"{'':22}{'s/step':>9}{'min':>9}{'max':>9}{'ours/it':>9}{'per round':>16}")
    for name, rounds in results.items():
        if not rounds:
            print(f"{name:22}failed")
            continue
        seconds = [r["median_s"] for r in rounds]
        line = f"{name:22}{statistics.median(seconds):9.3f}{min(seconds):9.3f}{max(seconds):9.3f}"
        if results[many] and name != many:
            ratios = [a["median_s"] / b["median_s"] for a, b in zip(results[many], rounds)]
            line += f"{statistics.median(ratios):8.2f}x{min(ratios):8.2f} to {max(ratios):.2f}"
        print(line)
    if results[many]:
        print(f"bytes sent by a rank in a step: {results[many][0]['bytes_sent_per_step']}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
