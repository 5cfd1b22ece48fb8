"""What there is for a run on a GPU: the card, its driver, libraries, tools. Takes a few seconds; nothing is computed."""

import concurrent.futures
import datetime
import json
import shutil
import subprocess
import time

LIMIT = 8  # seconds of one question
CARD = ("name", "driver_version", "compute_cap", "memory.total", "memory.free")


def finished(command, environment=None):
    """The process at its end; what kept it from that otherwise."""
    try:
        return subprocess.run([str(c) for c in command], capture_output=True, text=True, errors="replace", timeout=LIMIT, env=environment)
    except (OSError, subprocess.TimeoutExpired) as error:
        return error


def ask(command, environment=None):
    """What the command prints; None where it is not there, fails, or takes too long."""
    ended = finished(command, environment)
    return ended.stdout.strip() if getattr(ended, "returncode", 1) == 0 else None


def ask_error(command, environment):
    """The last line that the command writes to stderr."""
    ended = finished(command, environment)
    return str(ended) if isinstance(ended, Exception) else (ended.stderr.strip().splitlines() or ["it says nothing"])[-1]


def card():
    lines = ask(["nvidia-smi", f"--query-gpu={','.join(CARD)}", "--format=csv,noheader"])
    parts = [part.strip() for part in lines.splitlines()[0].split(",")] if lines else []
    return dict(zip(CARD, parts)) if len(parts) == len(CARD) else None


def no_card():
    """Where nvidia-smi says so, or there is none; not where it takes too long to answer."""
    ended = finished(["nvidia-smi", "-L"])
    return isinstance(ended, OSError) or getattr(ended, "returncode", 0) != 0


def package_version(python, name):
    return ask([python, "-c", f"import importlib.metadata as m; print(m.version({name!r}))"])


def look(programs, options):
    """`missing`: a line for each thing that is not there; `fatal`: without it nothing can run."""
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor() as pool:  # all at once: each may take its time
        told = {"card": pool.submit(card), "info": pool.submit(ask, [programs.medfusion, "info", "--json"], programs.environment()),
                "torch": pool.submit(package_version, options.python, "torch"),
                "commit": pool.submit(ask, ["git", "describe", "--always", "--dirty", "--abbrev=12"])}
        told = {name: answer.result() for name, answer in told.items()}
    found = {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
             "commit": told["commit"] or "not known: no git here",
             "device": options.device, "card": told["card"] if options.device == "cuda" else None}
    missing = []
    if told["info"] is None:  # without it nothing runs, and a driver that has just woken up answers sooner
        told["info"] = ask([programs.medfusion, "info", "--json"], programs.environment())
    try:
        info = json.loads(told["info"] or "{}")
    except ValueError:
        info = {}
    rehearsed = options.rehearse and options.bench
    if options.device == "cuda" and found["card"] is None and not rehearsed:
        missing.append("no NVIDIA GPU with a driver: nvidia-smi lists none, or does not answer")
    card_only = len(missing)  # the program may know better
    devices = [d for d in info.get("devices", []) if d["name"].split(":")[0] == options.device]
    if not info:
        missing.append(f"{programs.medfusion} info does not run here")
    elif not devices and not rehearsed:
        missing.append(f"the program cannot use the device {options.device}: " + ask_error(
            [programs.medfusion, "kernels", "check", "loss", "--device", options.device], programs.environment()))
    fatal = len(missing) > card_only
    found["program"] = {key: info.get(key) for key in ("version", "build_type", "compiler")}
    found["devices"] = devices
    found["libraries"] = libraries(info)
    missing += [f"{name}: {library['hint']}" for name, library in found["libraries"].items() if not library["usable"]]
    found["mpi"] = info.get("mpi", {}).get("version") if shutil.which("mpirun") else None
    found["torch"] = told["torch"]
    if found["torch"] is None:
        missing.append(f"{options.python} has no PyTorch: the timings have no peer (--python names one that does)")
    found["compute-sanitizer"] = shutil.which("compute-sanitizer")
    if found["compute-sanitizer"] is None:
        missing.append("compute-sanitizer is not in the PATH nor in the toolkit: no memcheck and racecheck")
    found["watchdog"] = programs.watchdog.is_dir()
    if not found["watchdog"]:
        missing.append("no engine with a watchdog: a wait without an end is cut off by the time limit alone")
    found.update(missing=missing, fatal=fatal, seconds=time.monotonic() - start)
    return found


def libraries(info):
    """{"cuBLAS", "cuDNN", "NCCL": {usable, path, version, hint}}"""
    said = info.get("cuda_libraries", {})
    hint = info.get("cuda", {}).get("hint") or "the program does not run"
    return {name: {"usable": bool(said.get(name, {}).get("found")), "path": said.get(name, {}).get("found"),
                   "version": said.get(name, {}).get("version"), "hint": said.get(name, {}).get("hint") or hint}
            for name in ("cuBLAS", "cuDNN", "NCCL")}


def as_text(found):
    card = found["card"]
    if card:
        yield f"{card['name']}, driver {card['driver_version']}, compute capability {card['compute_cap']}, {card['memory.free']} of {card['memory.total']} free"
    for name, library in found["libraries"].items():
        yield f"{name} {library['version']} ({library['path']})" if library["usable"] else f"{name}: not found"
    yield f"devices: {len(found['devices'])}, MPI {found['mpi'] or 'not found'}"
    yield f"PyTorch {found['torch'] or 'not found'}, compute-sanitizer {found['compute-sanitizer'] or 'not found'}"
