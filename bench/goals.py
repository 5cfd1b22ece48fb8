"""Puts the measurements of bench/gpu.sh beside the project's goals, as a Markdown table.

  python3 bench/goals.py DIR...

DIR holds what `medfusion kernels bench --json` and bench/peers/compare_steps.py wrote: forward.json, backward.json, both.json,
graph.json, steps-64.json, steps-8.json. Of several folders, of runs that measured a part each, none may have what another has.
What is in none of them reads "not measured". A ratio is the peer's median over ours, of the fastest of our variants; a goal
counts as reached only where every case of its row reaches it.
"""

import json
import pathlib
import re
import sys

UNMEASURED = "not measured"


def load(folders, name):
    """The rows of a file that bench/gpu.sh put together may come from several folders, but each operation from one."""
    found = [json.loads(file.read_text()) for folder in folders if (file := folder / (name + ".json")).exists()]
    if not found:
        return None
    if len({data.get("settings", data)["device"] for data in found}) > 1:
        sys.exit(f"goals.py: {name}.json was measured on several devices")
    if len(found) > 1 and any("rows" not in data for data in found):
        sys.exit(f"goals.py: {name}.json is in several folders")
    for data in found[1:]:
        twice = {row["operation"] for row in found[0]["rows"]} & {row["operation"] for row in data["rows"]}
        if twice:
            sys.exit(f"goals.py: {name}.json has {', '.join(sorted(twice))} in several folders")
        found[0]["rows"] += data["rows"]
    return found[0]


def tokens(row):
    """Head width, queries and keys of an attention case."""
    heads = int(re.search(r"heads=(\d+)", row["case"])[1])
    q, k = ([int(n) for n in re.search(rf" {name}=\[([^\]]*)\]", row["case"])[1].split(",")] for name in "qk")
    return q[2] // heads, q[1], k[1]


def cases(data, operation, precision, keep=lambda row: True):
    """[(case, our fastest row)] of what is kept."""
    best = {}
    for row in (data or {"rows": []})["rows"]:
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
        parts.append(f"{case}: **{ratio:.2f}x** ({row['peak_bytes'] / 1e6:.0f} MB, {name} {peers[name] / 1e6:.0f} MB)")
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
    if data is None or any(peer not in data["table"] for peer in peers):
        return UNMEASURED
    name = min(peers, key=lambda peer: data["table"][peer]["median_s"])
    ours, peer = data["table"]["medfusion"], data["table"][name]
    ratios = [1 / r for r in peer["ours_over_it"]["time_per_round"]]
    ratio = 1 / peer["ours_over_it"]["time"]
    return answer([f"**{ratio:.2f}x** ({min(ratios):.2f} to {max(ratios):.2f} by round; {ours['median_s'] * 1e3:.1f} ms, "
                   f"{name} {peer['median_s'] * 1e3:.1f} ms; memory {peer['ours_over_it']['memory']:.2f}x)"], ratio >= goal)


def goals(folders):
    """[(what, goal, result)]"""
    forward, backward, both, graph = (load(folders, name) for name in ("forward", "backward", "both", "graph"))

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
         step(load(folders, "steps-64"), ("compiled",), 1.5)),
        ("MedFusionNet training step, bf16, 224x224, batch 8", "2.5x eager, the faster of its layouts",
         step(load(folders, "steps-8"), ("eager", "channels_last"), 2.5)),
    ]


def main():
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    folders = [pathlib.Path(argument) for argument in sys.argv[1:]]
    for folder in folders:
        if not folder.is_dir():
            sys.exit(f"goals.py: {folder}: expected a folder that bench/gpu.sh wrote")
    measured = [load(folders, name) for name in ("forward", "backward", "both", "graph", "steps-64", "steps-8")]
    if any(data and data.get("settings", data)["device"] != "cuda" for data in measured):
        print("**A rehearsal without a GPU: neither sizes nor precision are those of the goals.**\n")
    print("| what | goal | result |\n|---|---|---|")
    for row in goals(folders):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
