"""Puts the results of tools/test_gpu.sh and bench/gpu.sh into Markdown: the machine, the measurements beside the project's goals,
and what was checked.

  python3 bench/goals.py DIR...

Each DIR holds a results.jsonl, whole or of a run that was cut off. Of several, of runs that measured a part each, none may have
timings that another has. What is in none of them reads "not measured". A ratio is the peer's median over ours, of the fastest of
our variants; a goal counts as reached only where every case of its row reaches it.
"""

import json
import pathlib
import re
import sys

UNMEASURED = "not measured"
KEY = ("operation", "variant", "direction", "graph", "precision", "case")


class Results:
    """The lines of results.jsonl of all folders."""

    def __init__(self, folders):
        self.rows, self.steps, self.results = {}, {}, []
        for folder in folders:
            rows, steps = {}, {}
            for line in (folder / "results.jsonl").read_text(errors="replace").splitlines():
                try:
                    self.take(json.loads(line), rows, steps)
                except (ValueError, LookupError, TypeError, AttributeError, RecursionError):  # cut off while it was written, or not ours
                    continue
            for own, others in ((rows, self.rows), (steps, self.steps)):
                if own.keys() & others.keys():
                    sys.exit(f"goals.py: {folder} has timings that another folder has: {sorted(own.keys() & others.keys())[0]}")
                others.update(own)
        devices = {row["device"] for row in self.rows.values()} | {step["settings"]["device"] for step in self.steps.values()}
        if len(devices) > 1:
            sys.exit("goals.py: measured on several devices: " + ", ".join(sorted(devices)))
        self.rehearsal = bool(devices - {"cuda"})

    def take(self, entry, rows, steps):
        if entry["stage"] == "bench row":
            float(entry["median_s"]), entry["device"]
            rows[tuple(entry[key] for key in KEY)] = entry  # the later one has the peers
        elif entry["stage"] == "steps row":
            entry["settings"]["device"]
            before = steps.get(entry["goal"], {"table": {}})["table"]  # of other modes, beside ours in that run
            steps[entry["goal"]] = {**entry, "table": {**before, **entry["table"]}}
        elif entry["stage"] == "preflight":
            entry["card"], entry["device"], entry["date"], entry["commit"], entry["libraries"].items(), entry["torch"], entry["watchdog"], entry["command"]
            self.results.append(entry)
        else:
            entry["name"], entry["status"].upper()
            self.results.append(entry)

    def timed(self, direction, graph=False):
        return [row for row in self.rows.values() if row["direction"] == direction and row["graph"] == graph]


def tokens(row):
    """Head width, queries and keys of an attention case."""
    heads = int(re.search(r"heads=(\d+)", row["case"])[1])
    q, k = ([int(n) for n in re.search(rf" {name}=\[([^\]]*)\]", row["case"])[1].split(",")] for name in "qk")
    return q[2] // heads, q[1], k[1]


def cases(data, operation, precision, keep=lambda row: True):
    """[(case, our fastest row)] of what is kept."""
    best = {}
    for row in data:
        if row["operation"] != operation or row["precision"] != precision or not keep(row):
            continue
        if row["case"] not in best or row["median_s"] < best[row["case"]]["median_s"]:
            best[row["case"]] = row
    return list(best.items())


def compare(rows, goal, peer=None):
    """With the fastest of the peers whose name `peer` accepts; without it, of all."""
    parts, reached, compared = [], True, False
    for case, row in rows:
        peers = row["peers_s"]
        if peer:
            peers = {name: s for name, s in peers.items() if peer(name)}
        if not peers:
            parts.append(f"{case}: {row['variant']} {row['median_s'] * 1e3:.4f} ms, no such peer took it")
            reached = False
            continue
        compared = True
        name = min(peers, key=peers.get)
        ratio = peers[name] / row["median_s"]
        reached &= ratio >= goal
        parts.append(f"{case}: **{ratio:.2f}x** ({row['variant']} {row['median_s'] * 1e3:.4f} ms, {name} {peers[name] * 1e3:.4f} ms)")
    return answer(parts if compared else [], reached)


def answer(parts, reached):
    if not parts:
        return UNMEASURED
    return ("reached" if reached else "missed") + "; " + "<br>".join(parts)


def memory(rows, most):
    parts, reached = [], True
    for case, row in rows:
        peers = {n: b for n, b in row.get("peers_peak_bytes", {}).items() if "compiled" not in n}
        if not peers or not row["peak_bytes"]:
            continue
        name = min(peers, key=peers.get)
        ratio = row["peak_bytes"] / peers[name]
        reached &= ratio <= most
        held = row.get("peers_reserved_bytes", {}).get(name, 0)
        parts.append(f"{case}: **{ratio:.2f}x** ({row['peak_bytes'] / 1e6:.0f} MB of {row['reserved_bytes'] / 1e6:.0f} MB held, {name} "
                     f"{peers[name] / 1e6:.0f} MB of {held / 1e6:.0f} MB)")
    return answer(parts, reached)


def copy_share(rows, least):
    parts, reached = [], True
    for case, row in rows:
        reached &= row["share_of_copy"] >= least
        parts.append(f"{case}: **{100 * row['share_of_copy']:.0f} %** ({row['variant']})")
    return answer(parts, reached)


def step(data, modes, goal):
    """With the fastest of the modes, all of which must have been measured."""
    peers = ["torch " + mode for mode in modes]
    if data is None or "medfusion" not in data["table"]:
        return UNMEASURED
    if any(peer not in data["table"] for peer in peers):
        ours = data["table"]["medfusion"]
        others = "".join(f"; {1 / row['ours_over_it']['time']:.2f}x {name}" for name, row in data["table"].items()
                         if name != "medfusion" and "ours_over_it" in row)
        return f"{ours['median_s'] * 1e3:.1f} ms, {ours['images_per_s']:.1f} images/s; {', '.join(peers)}: {UNMEASURED}{others}"
    name = min(peers, key=lambda peer: data["table"][peer]["median_s"])
    ours, peer = data["table"]["medfusion"], data["table"][name]
    ratios = [1 / r for r in peer["ours_over_it"]["time_per_round"]]
    ratio = 1 / peer["ours_over_it"]["time"]
    held = " against ".join(f"{row.get('reserved_memory_bytes', 0) / 1e6:.0f} MB" for row in (ours, peer))
    return answer([f"**{ratio:.2f}x** ({min(ratios):.2f} to {max(ratios):.2f} by round; {ours['median_s'] * 1e3:.1f} ms, "
                   f"{name} {peer['median_s'] * 1e3:.1f} ms; memory {peer['ours_over_it']['memory']:.2f}x, held {held})"], ratio >= goal)


def goals(results):
    """[(what, goal, result)]"""
    forward, backward, both = (results.timed(direction) for direction in ("forward", "backward", "both"))
    graph = results.timed("both", graph=True)

    def attention(data, precision, keep):
        return cases(data, "attention", precision, lambda row: keep(*tokens(row)))

    def cudnn(name):
        return "cudnn" in name

    def eager(name):
        return "compiled" not in name

    def bilinear(row):
        return not row["case"].startswith("nearest")

    def compiled(name):
        return "compiled" in name

    return [
        ("attention forward, bf16, head 64, S >= 1024", "1.0x cuDNN",
         compare(attention(forward, "bf16", lambda d, q, k: d == 64 and q >= 1024), 1.0, cudnn)),
        ("attention forward, bf16, head 128, S >= 1024", "0.85x cuDNN",
         compare(attention(forward, "bf16", lambda d, q, k: d == 128 and q >= 1024), 0.85, cudnn)),
        ("attention forward + backward, bf16, S = 49 to 256, in a graph", "1.5x the fastest backend",
         compare(attention(graph, "bf16", lambda d, q, k: 49 <= q == k <= 256), 1.5)),
        ("cross-attention of 14 queries, bf16, forward + backward in a graph", "2x the fastest backend",
         compare(attention(graph, "bf16", lambda d, q, k: q == 14), 2.0)),
        ("attention backward, bf16, S >= 1024", "0.85x cuDNN",
         compare(attention(backward, "bf16", lambda d, q, k: q >= 1024), 0.85, cudnn)),
        ("attention forward, f32", "1.2x the memory-efficient backend",
         compare(attention(forward, "f32", lambda d, q, k: q >= 1024), 1.2, lambda name: "efficient" in name)),
        ("dense block, forward + backward, bf16", "2x eager, channels last",
         compare(cases(both, "dense_block", "bf16"), 2.0, eager)),
        ("dense block, forward + backward, bf16", "1.3x torch.compile",
         compare(cases(both, "dense_block", "bf16"), 1.3, compiled)),
        ("dense block, forward + backward, bf16: peak memory", "at most 0.4x eager",
         memory(cases(both, "dense_block", "bf16"), 0.4)),
        ("pyramid upsample + add, f32", "1.7x eager", compare(cases(forward, "upsample_add", "f32"), 1.7, eager)),
        ("pyramid upsample + add, bf16", "1.7x eager", compare(cases(forward, "upsample_add", "bf16"), 1.7, eager)),
        ("pyramid upsample + add, f32", "80 % of the copy bandwidth", copy_share(cases(forward, "upsample_add", "f32"), 0.8)),
        ("pyramid upsample + add, bf16", "80 % of the copy bandwidth", copy_share(cases(forward, "upsample_add", "bf16"), 0.8)),
        ("bilinear backward, f32", "2x eager", compare(cases(backward, "upsample_add", "f32", bilinear), 2.0, eager)),
        ("MedFusionNet training step, bf16, 224x224, batch 64", "1.5x torch.compile (max-autotune)",
         step(results.steps.get(64), ("compiled",), 1.5)),
        ("MedFusionNet training step, bf16, 224x224, batch 8", "2.5x eager, the faster of its layouts",
         step(results.steps.get(8), ("eager", "channels_last"), 2.5)),
    ]


def machine(results):
    """The lines above the tables, of every preflight."""
    for entry in results.results:
        if entry["stage"] != "preflight":
            continue
        card = entry["card"]
        yield (f"{entry['date']}, commit {entry['commit']}, " + (
            f"{card['name']}, driver {card['driver_version']}, compute capability {card['compute_cap']}, {card['memory.free']} of "
            f"{card['memory.total']} free" if card else f"device {entry['device']}, no GPU"))
        yield ", ".join(f"{name} {library['version'] or 'not found'}" for name, library in entry["libraries"].items()) + (
            f", PyTorch {entry['torch'] or 'not found'}, watchdog {'in checks' if entry['watchdog'] else 'none'}")
        yield f"`{entry['command']}`"


def checked(results):
    """[(stage, name, status, detail)] of all but timings."""
    for entry in results.results:
        if entry["stage"] not in ("preflight", "bench", "steps"):
            yield entry["stage"], entry["name"], entry["status"].upper() if entry["status"] not in ("passed", "rehearsed") else entry["status"], (
                entry.get("detail", "").replace("|", "\\|").replace("\n", " "))


def table(head, rows):
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def main():
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    folders = [pathlib.Path(argument) for argument in sys.argv[1:]]
    for folder in folders:
        if not (folder / "results.jsonl").is_file():
            sys.exit(f"goals.py: {folder}: expected a folder with a results.jsonl, as tools/test_gpu.sh and bench/gpu.sh write it")
    results = Results(folders)
    for line in machine(results):
        print(line + "  ")
    if results.rehearsal:
        print("\n**A rehearsal without a GPU: neither sizes nor precision are those of the goals.**")
    print()
    table(("what", "goal", "result"), goals(results))
    rows = list(checked(results))
    if rows:
        print()
        table(("stage", "what", "result", "detail"), rows)


if __name__ == "__main__":
    main()
