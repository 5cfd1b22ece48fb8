#!/usr/bin/env python3
"""Times two builds of the program against each other: the same training, in turns, on one machine.

    python3 bench/alternate.py BEFORE AFTER CONFIG [--rounds N] [--set KEY=VALUE ...]

BEFORE and AFTER are two `medfusion` programs. Prints the median seconds of a training step of each, and the median and
range of the ratio AFTER / BEFORE over the rounds. What the first epoch of each run takes is left out: it fills caches.
Needs only the standard library.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile


def seconds_per_image(program, config, settings, folder):
    """The median over the epochs of a run, but for the first."""
    command = [program, "train", config, "--out", str(folder), "--quiet"]
    for setting in settings:
        command += ["--set", setting]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    if len(lines) < 2:
        sys.exit("alternate.py: expected train.epochs of at least 2")
    return statistics.median(1.0 / line["images_per_second"] for line in lines[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("config")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    times = {options.before: [], options.after: []}
    for round_number in range(options.rounds):
        order = [options.before, options.after]
        if round_number % 2:
            order.reverse()
        for program in order:
            with tempfile.TemporaryDirectory() as folder:
                run = pathlib.Path(folder) / "run"
                times[program].append(seconds_per_image(program, options.config, options.set, run))
    before, after = times[options.before], times[options.after]
    ratios = [b / a for a, b in zip(before, after)]
    print(f"before {1e3 * statistics.median(before):.3f} ms/image, after {1e3 * statistics.median(after):.3f} ms/image")
    print(f"ratio {statistics.median(ratios):.4f} ({min(ratios):.4f} to {max(ratios):.4f}) over {options.rounds} rounds")


if __name__ == "__main__":
    main()
