"""Times training steps or inference of this engine against PyTorch, alternating in one run.

  python3 bench/peers/compare_steps.py build/release/bench/train_step [--size 224 --batch 16 --threads 2 --rounds 3 --steps 3]
  python3 bench/peers/compare_steps.py build/gpu/bench/train_step --model medfusionnet-densenet121 --device cuda --precision bf16 \\
    --batch 64 --steps 20

Every round runs PROGRAM and then each PyTorch mode, each in a process of its own; PROGRAM is called as
`PROGRAM --model M --device D --precision P --size S --batch B --threads T --steps N [--inference] --json` and prints one JSON
line with median_s, images_per_s, peak_rss_bytes, peak_bytes and reserved_bytes. A column is the median over the rounds with the
smallest and largest round; a ratio is ours over a PyTorch mode. Memory is that of the process on the cpu; on cuda it is the most
that both allocators handed out after the warm-up, and beside it the most that they held from the card, what they cached included.
A process that fails or takes longer than --limit is named, and the others go on; --json FILE is written anew after each process.
Nothing else should run on the machine.
"""

import argparse
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys

FOLDER = pathlib.Path(__file__).resolve().parent
MODES = ("eager", "channels_last", "compiled")
OURS = "medfusion"


def run(command, limit):
    """The last line of the command's output as a JSON object; an error's text where there is none."""
    try:
        child = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True, errors="replace", start_new_session=True)
    except OSError as error:
        return str(error)
    try:
        output, _ = child.communicate(timeout=limit)
    except BaseException as error:
        os.killpg(child.pid, signal.SIGKILL)  # with the workers that compile for it
        child.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            return f"took longer than {limit:.0f} s"
        raise
    if child.returncode != 0:
        return f"exited with {child.returncode}"
    try:
        result = json.loads(output.strip().splitlines()[-1])
        result["median_s"], result["images_per_s"]
        return result
    except (LookupError, TypeError, ValueError):
        return f"expected one JSON line, got {output!r}"


def measure(options, modes, done):
    """{name: [one JSON object per round]}, {name: what went wrong}; done(both) after every process."""
    common = ["--model", options.model, "--device", options.device, "--precision", options.precision, "--size", options.size,
              "--batch", options.batch, "--threads", options.threads, "--steps", options.steps]
    common += ["--inference"] if options.inference else []
    commands = {OURS: [options.program, *common, "--json"]}
    for mode in modes:
        commands["torch " + mode] = [options.python, FOLDER / "steps_torch.py", "--mode", mode, *common]
    rounds, failed = {}, {}
    for number in range(options.rounds):
        for name, command in commands.items():
            if name in failed:
                continue
            result = run(command, options.limit)
            if isinstance(result, str):
                failed[name] = result
                print(f"round {number + 1} {name}: {result}: {' '.join(map(str, command))}", file=sys.stderr, flush=True)
            else:
                rounds.setdefault(name, []).append(result)
                print(f"round {number + 1} {name}: {result['median_s']:.4f} s", file=sys.stderr, flush=True)
            done(rounds, failed)
    return rounds, failed


def summarize(rounds, device):
    memory = "peak_rss_bytes" if device == "cpu" else "peak_bytes"
    ours = rounds.get(OURS, [])
    table = {}
    for name, results in rounds.items():
        seconds = [r["median_s"] for r in results]
        table[name] = {"median_s": statistics.median(seconds), "min_s": min(seconds), "max_s": max(seconds),
                       "images_per_s": statistics.median(r["images_per_s"] for r in results),
                       "peak_memory_bytes": max(r[memory] for r in results)}
        if device != "cpu":
            table[name]["reserved_memory_bytes"] = max(r["reserved_bytes"] for r in results)
    for name, row in table.items() if ours else ():
        # each round compared with the same round of a mode: the spread says how far the ratio can be trusted
        ratios = [a["median_s"] / b["median_s"] for a, b in zip(ours, rounds[name])]
        row["ours_over_it"] = {"time": statistics.median(ratios), "time_per_round": ratios,
                               "memory": table[OURS]["peak_memory_bytes"] / row["peak_memory_bytes"]}
    peers = [name for name in table if name != OURS]
    return {"table": table, "fastest_peer": min(peers, key=lambda name: table[name]["median_s"], default=None)}


def print_table(options, summary):
    what = "inference" if options.inference else "training step"
    print(f"{options.model} {what} on {options.device} in {options.precision}, {options.size}x{options.size}, batch "
          f"{options.batch}, {options.threads} threads, {options.rounds} rounds of {options.steps} steps")
    held = options.device != "cpu"
    print(f"{'':22}{'s/step':>9}{'min':>9}{'max':>9}{'images/s':>10}{'peak MB':>9}{'reserved MB' if held else '':>{12 * held}}"
          f"{'ours/it':>9}{'per round':>14}{'memory':>8}")
    for name, row in summary["table"].items():
        line = (f"{name:22}{row['median_s']:9.4f}{row['min_s']:9.4f}{row['max_s']:9.4f}{row['images_per_s']:10.2f}"
                f"{row['peak_memory_bytes'] / 1e6:9.0f}")
        if held:
            line += f"{row['reserved_memory_bytes'] / 1e6:12.0f}"
        if name != OURS and "ours_over_it" in row:
            ratio = row["ours_over_it"]
            spread = f"{min(ratio['time_per_round']):.2f} to {max(ratio['time_per_round']):.2f}"
            line += f"{ratio['time']:8.2f}x{spread:>14}{ratio['memory']:7.2f}x"
        print(line)
    print(f"fastest peer: {summary['fastest_peer'] or 'none'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="the engine's benchmark, e.g. build/release/bench/train_step")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--model", default="densenet121")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("f32", "tf32", "bf16"), default="f32")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3, help="measured steps per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--modes", default=",".join(MODES), help="comma-separated PyTorch modes")
    parser.add_argument("--inference", action="store_true")
    parser.add_argument("--limit", type=float, default=1800, help="seconds that one process may take")
    parser.add_argument("--json", metavar="FILE", help="also write the summary, and every round, as JSON")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("compare_steps.py: terminated"))  # and what it runs is ended
    settings = {k: v for k, v in vars(options).items() if k not in ("json", "program", "python", "limit")}

    def write(rounds, failed):
        if options.json:
            report = {"settings": settings, **summarize(rounds, options.device), "rounds": rounds, "failed": failed}
            beside = options.json + ".part"  # the process may be killed while it writes
            pathlib.Path(beside).write_text(json.dumps(report, indent=2))
            os.replace(beside, options.json)

    rounds, failed = measure(options, [mode for mode in options.modes.split(",") if mode], write)
    if rounds:
        print_table(options, summarize(rounds, options.device))
    if failed:
        sys.exit("compare_steps.py: " + "; ".join(f"{name} {why}" for name, why in failed.items()))


if __name__ == "__main__":
    main()
