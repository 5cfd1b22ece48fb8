"""Times a DenseNet training step of this engine against PyTorch, alternating in one run.

  python3 bench/peers/compare_densenet.py build/release/bench/train_step [--size 224 --batch 16 --threads 2 --rounds 3 --steps 3]

Every round runs PROGRAM and then each PyTorch mode, each in a process of its own; PROGRAM is called as
`PROGRAM --model M --size S --batch B --threads T --steps N [--inference] --json` and prints one JSON line with median_s,
images_per_s, peak_rss_bytes and peak_bytes. A column is the median over the rounds with the smallest and largest round; the
ratio is ours over the best PyTorch mode. Nothing else should run on the machine.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

FOLDER = pathlib.Path(__file__).resolve().parent
MODES = ("eager", "channels_last", "compiled")


def run(command):
    """The last line of the command's output as JSON."""
    result = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, text=True)
    if result.returncode != 0:
        sys.exit(f"{command[0]} exited with {result.returncode}: {' '.join(map(str, command))}")
    try:
        return json.loads(result.stdout.strip().splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        sys.exit(f"{command[0]}: expected one JSON line, got {result.stdout!r}")


def measure(options, modes):
    """{name: [one JSON object per round]}"""
    common = ["--model", options.model, "--size", options.size, "--batch", options.batch, "--threads", options.threads]
    common += ["--steps", options.steps] + (["--inference"] if options.inference else [])
    commands = {"medfusion": [options.program, *common, "--json"]}
    for mode in modes:
        commands["torch " + mode] = [options.python, FOLDER / "densenet_torch.py", "--mode", mode, *common]
    rounds = {name: [] for name in commands}
    for number in range(options.rounds):
        for name, command in commands.items():
            result = run(command)
            rounds[name].append(result)
            print(f"round {number + 1} {name}: {result['median_s']:.3f} s", file=sys.stderr, flush=True)
    return rounds


def summarize(rounds):
    table = {}
    for name, results in rounds.items():
        seconds = [r["median_s"] for r in results]
        table[name] = {"median_s": statistics.median(seconds), "min_s": min(seconds), "max_s": max(seconds),
                       "images_per_s": statistics.median(r["images_per_s"] for r in results),
                       "peak_rss_bytes": max(r["peak_rss_bytes"] for r in results)}
        if "peak_bytes" in results[0]:
            table[name]["peak_bytes"] = max(r["peak_bytes"] for r in results)
    peers = [name for name in table if name != "medfusion"]
    fastest = min(peers, key=lambda name: table[name]["median_s"])
    ours, best = table["medfusion"], table[fastest]
    # each round compared with the same round of the fastest mode: its spread says how far the ratio can be trusted
    pairs = [a["median_s"] / b["median_s"] for a, b in zip(rounds["medfusion"], rounds[fastest])]
    return {"table": table, "fastest_peer": fastest, "time_ratio": ours["median_s"] / best["median_s"],
            "time_ratio_per_round": pairs, "memory_ratio": ours["peak_rss_bytes"] / best["peak_rss_bytes"],
            "memory_ratio_leanest": ours["peak_rss_bytes"] / min(table[p]["peak_rss_bytes"] for p in peers)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="the engine's benchmark, e.g. build/release/bench/train_step")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--model", default="densenet121")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3, help="measured steps per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--modes", default=",".join(MODES), help="comma-separated PyTorch modes")
    parser.add_argument("--inference", action="store_true")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args()
    summary = summarize(measure(options, options.modes.split(",")))
    if options.json:
        print(json.dumps(summary))
        return
    what = "inference" if options.inference else "training step"
    print(f"{options.model} {what}, {options.size}x{options.size}, batch {options.batch}, {options.threads} threads, "
          f"{options.rounds} rounds of {options.steps} steps")
    print(f"{'':22}{'s/step':>9}{'min':>9}{'max':>9}{'images/s':>10}{'peak MB':>9}")
    for name, row in summary["table"].items():
        print(f"{name:22}{row['median_s']:9.3f}{row['min_s']:9.3f}{row['max_s']:9.3f}{row['images_per_s']:10.2f}"
              f"{row['peak_rss_bytes'] / 1e6:9.0f}")
    pairs = summary["time_ratio_per_round"]
    print(f"time: {summary['time_ratio']:.2f}x of {summary['fastest_peer']} (per round {min(pairs):.2f} to {max(pairs):.2f}); "
          f"peak memory: {summary['memory_ratio']:.2f}x of it, {summary['memory_ratio_leanest']:.2f}x of the leanest mode")


if __name__ == "__main__":
    main()
