"""Runs what needs a GPU, each part in its own process with a time limit. So a hang, a crash or a missing library costs one
variant, not the run. tools/test_gpu.sh and bench/gpu.sh call it; their --help explains it.

Writes DIR/results.jsonl (a JSON line for each result, as it comes), DIR/log.txt (the output of the processes) and DIR/results.md
(tables; bench/goals.py makes them from any part of results.jsonl).
"""

import argparse
import dataclasses
import hashlib
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import gpu_jobs
import gpu_preflight
from gpu_process import ROOT, Programs, Run, last_line

STAGES = ("build", "preflight", "tests", "check", "memcheck", "racecheck", "train", "ranks")
PARTS = ("attention", "upsample_add", "dense_block", "steps")
MOST_FAULTS = 3  # of one variant; its other cases are left then
CHECKS_SHARE = 0.5  # of a first pass, at most


def object_of(text, *keys):
    """The JSON object of a line that has these keys; None where it is something else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and all(key in value for key in keys) else None


def run_check(run, job, planted=None):
    """All cases of a variant. After a fault the next process goes on behind the case that caused it."""
    begun, tally, faults, failures, seconds = None, {"passed": 0, "unsupported": 0, "failed": 0}, [], [], 0.0
    count, at = None, 0

    def on_line(text):
        nonlocal begun, count, at
        event = object_of(text, "event", "index", "count", "precision", "case")
        if event is None:
            return False
        count, at = event["count"], event["index"] + 1
        begun = event if event["event"] == "begin" else None
        if event["event"] == "end" and event["result"] != "lost":
            tally[event["result"]] += 1
            failures.extend(event["failures"])
        elif event["event"] == "end":
            faults.append({"fault": "lost", "case": f"{event['precision']} {event['case']}", "detail": event["failures"][0]})
        return True

    while True:
        known = len(faults)
        attempt = dataclasses.replace(job, command=[*job.command, *(["--from", str(at)] if at else [])])
        ended = run.process(attempt, on_line, planted if not faults else None)
        seconds += ended.seconds
        if ended.how in ("hung", "crashed"):
            case = f"{begun['precision']} {begun['case']}" if begun else "before the first case" if count is None else "after a case"
            faults.append({"fault": ended.how, "case": case, "detail": last_line(ended.errors)})
        if len(faults) == known or count is None or at >= count or len(faults) >= MOST_FAULTS or run.left() < 2:
            break
    complete = ended.how == "exited" and len(faults) == known
    strange = complete and (count is None or begun is not None or (ended.code != 0 and not failures))
    left = 0 if complete and not strange else (count or 0) - at + (ended.how == "no time" and begun is not None)
    status = faults[0]["fault"] if faults else "failed" if failures or strange else "passed" if complete else "no time"
    wanted = {"hang": "hung", "crash": "crashed", "sticky": "lost"}.get((planted or "").split("@")[0])
    if wanted and [f["fault"] for f in faults] == [wanted] and not failures and left == 0:
        status = "rehearsed"
    detail = f"{tally['passed']} cases passed, {tally['unsupported']} not supported"
    if failures or strange:
        detail += f", {tally['failed']} failed: {failures[0] if failures else last_line(ended.errors)}"
    for fault in faults:
        detail += f"; {fault['fault']} at {fault['case']}" + (f": {fault['detail']}" if fault["detail"] else "")
    if left:
        detail += f"; {left} not checked"
    run.add("check", job.name, status, seconds, detail=detail, cases=tally, faults=faults, failures=failures, not_checked=left)


def run_test(run, job):
    """A test, or a check under compute-sanitizer: what counts is its exit code."""
    said = []
    ended = run.process(job, lambda text: said.append(text))  # append gives None: it is logged as well
    status = ended.status()
    skipped = [text for text in said if "[  SKIPPED ]" in text]
    if status == "passed" and job.stage == "tests" and skipped:
        status = "skipped"
    detail = "" if status == "passed" else last_line(ended.errors) or (said[-1] if said else "")
    run.add(job.stage, job.name, status, ended.seconds, detail=detail)


def run_bench(run, job):
    def on_line(text):
        row = object_of(text)
        if row is None or not head and "device" not in row:
            return False
        if "median_s" not in row:
            head.update(row)
            return True
        run.line({"stage": "bench row", "device": head["device"], "graph": head["graph"], **row})
        timed.add(tuple(row[key] for key in ("variant", "direction", "precision", "case")))
        return True

    head, timed = {}, set()
    ended = run.process(job, on_line)
    status = ended.status("measured") if timed else ended.status("failed")
    detail = f"{len(timed)} rows" + ("" if status == "measured" else f"; {last_line(ended.errors)}")
    run.add("bench", job.name, status, ended.seconds, detail=detail, ceilings=head.get("ceilings"))


def run_steps(run, job):
    ended = run.process(job)
    file = pathlib.Path(job.fields["file"])
    status = ended.status("measured")
    row = object_of(file.read_text(), "settings", "table") if file.exists() else None
    if row:
        run.line({"stage": "steps row", "goal": job.fields["goal"], **row})
    run.add("steps", job.name, status, ended.seconds, detail="" if status == "measured" else last_line(ended.errors))


def make_phantom(run, stage):
    """What the stage trains on. False where it cannot be made."""
    folder = run.options.scratch / "phantom"
    if folder.exists():
        return True
    if run.left() < 2:
        run.add(stage, "all", "no time")
        return False
    images = "40" if run.options.rehearse else "200"
    ended = run.process(gpu_jobs.Job(stage, "phantom", [run.programs.medfusion, "synth", "--out", folder, "--images", images, "--seed", "3"], 60))
    if ended.status() != "passed":
        run.add(stage, "phantom", ended.status(), ended.seconds, detail=last_line(ended.errors))
    return ended.status() == "passed"


def train_command(run, out, *settings):
    small = ("train.epochs=1", "data.image_size=16") if run.options.rehearse else ("train.epochs=2",)
    assignments = [word for setting in (f"data.root={run.options.scratch / 'phantom'}", *small, *settings) for word in ("--set", setting)]
    return [run.programs.medfusion, "train", "tools/configs/tiny.toml", "--device", run.options.device, "--quiet", "--out", out, *assignments]


def run_train(run):
    """Two captured runs of one seed and one that is not captured: the same bytes."""
    if not make_phantom(run, "train"):
        return None
    work, rehearse = run.options.scratch, run.options.rehearse
    for precision in ("bf16",) if rehearse else ("f32", "bf16"):
        first = None
        for name, graph in (("captured", "true"), ("again", "true"), ("not captured", "false")):
            out = work / f"{precision} {name}"
            job = gpu_jobs.Job("train", f"{precision} {name}", train_command(run, out, f"train.precision={precision}", f"train.graph={graph}"), 120)
            ended = run.process(job)
            if ended.status() != "passed":
                run.add("train", job.name, ended.status(), ended.seconds, detail=last_line(ended.errors))
                return ask_after_faults(run, ())
            weights = (out / "last.safetensors").read_bytes()
            first = first or weights
            same = weights == first
            run.add("train", job.name, "passed" if same else "failed", ended.seconds,
                    detail="" if same else "another run of the same seed gave other weights")


def why_no_ranks(options, count):
    """Why `count` ranks, each with a device, cannot exchange tensors by NCCL here; None where they can."""
    if options.device == "sim":
        return "NCCL needs the device cuda" if count == 1 else None if options.preflight["mpi"] else "there is no mpirun, or the program has no MPI"
    if not usable(options, "NCCL"):
        return options.preflight["libraries"]["NCCL"]["hint"]
    if count > len(options.preflight["devices"]):
        return f"{count} ranks need a GPU each, and there are {len(options.preflight['devices'])}"
    return "there is no mpirun, or the program has no MPI" if count > 1 and not options.preflight["mpi"] else None


def run_ranks(run):
    """One rank by NCCL, and two, write the weights of one rank without it. A rehearsal has two that go through the host."""
    options = run.options
    if not make_phantom(run, "ranks"):
        return None
    nccl = [] if options.device == "sim" else ["MEDFUSION_EXCHANGE=nccl"]
    as_root = ["OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"]
    expected = None
    for name, count, launcher in (("one rank", 0, []), ("one rank by NCCL", 1, ["env", *nccl]),
                                  ("two ranks", 2, ["env", *nccl, *as_root, "mpirun", "--oversubscribe", "-n", "2"])):
        lack = why_no_ranks(options, count) if count else None
        if lack:
            run.add("ranks", name, "left out", detail=f"SKIPPED: {lack}")
            continue
        if run.left() < 2:
            return run.add("ranks", name, "no time")
        out = options.scratch / f"ranks {name}"
        ended = run.process(gpu_jobs.Job("ranks", name, [*launcher, *train_command(run, out, "train.shards=2")], 120))
        if ended.status() != "passed":
            run.add("ranks", name, ended.status(), ended.seconds, detail=last_line(ended.errors))
            return ask_after_faults(run, ())
        digest = hashlib.sha256((out / "last.safetensors").read_bytes()).hexdigest()
        expected = expected or digest
        run.add("ranks", name, "passed" if digest == expected else "failed", ended.seconds, sha256=digest,
                detail=f"SHA-256 {digest[:16]}" + ("" if digest == expected else f", that of one rank is {expected[:16]}"))


RUNNERS = {"check": run_check, "tests": run_test, "memcheck": run_test, "racecheck": run_test, "bench": run_bench, "steps": run_steps}
# A rehearsal's faults: in which variants they are planted, and at which launch.
PLANTED = {"layer_norm/simt": "hang@2", "dropout/simt": "crash@2", "softmax/simt": "sticky@2"}


class DeviceGone(Exception):
    """No process can use the device any more."""


def device_answers(run):
    """Asked after a fault: without it everything else would run into its time limit."""
    for _ in range(2):
        ended = run.process(gpu_jobs.probe(run.options, run.programs))
        if ended.how == "exited" and ended.code == 0:
            return True
    return False


def ask_after_faults(run, others):
    """`others`: what is not tried where the device is gone."""
    if run.suspect and run.left() >= 2 and not device_answers(run):
        for job in others:
            run.add(job.stage, job.name, "refused", detail="no process can use the device any more")
        raise DeviceGone
    run.suspect = False


def run_jobs(run, jobs):
    jobs = list(jobs)
    for number, job in enumerate(jobs):
        lacks = [run.options.preflight["libraries"][name]["hint"] for name in libraries_of(job) if not usable(run.options, name)]
        if run.left() < 2:
            run.add(job.stage, job.name, "no time")
        elif lacks:
            run.add(job.stage, job.name, "refused", detail="; ".join(lacks))
        else:
            try:
                if job.stage == "check":
                    run_check(run, job, PLANTED.get(job.name) if run.options.rehearse else None)
                else:
                    RUNNERS[job.stage](run, job)
            except TROUBLE as error:  # of this job; the others go on
                run.add(job.stage, job.name, "failed", detail=f"{type(error).__name__}: {error}")
        ask_after_faults(run, jobs[number + 1:])


def libraries_of(job):
    """What a timing is nothing without: in its place it would time kernels that nobody trains with."""
    return gpu_jobs.LIBRARIES.get(job.fields.get("operation", job.stage), ())


def usable(options, library):
    return options.rehearse or options.preflight["libraries"][library]["usable"]


def timings(run, parts):
    *first, last = gpu_jobs.step_jobs(run.options, run.programs)
    jobs = (*first, *gpu_jobs.bench_jobs(run.options, run.programs), last)
    run_jobs(run, (job for job in jobs if job.fields.get("operation", job.stage) in parts))


def preflight(run):
    """False where nothing can run."""
    options = run.options
    found = gpu_preflight.look(run.programs, options)
    options.preflight, options.has_torch = found, found["torch"] is not None
    run.add("preflight", "machine", "failed" if found["fatal"] else "passed", found.pop("seconds"), command=options.command, **found)
    for text in [*gpu_preflight.as_text(found), *(f"missing: {text}" for text in found["missing"])]:
        print(f"{'':10}{text}", flush=True)
    return not found["fatal"]


# What may go wrong around the processes of a stage: their programs, their files, what they print.
TROUBLE = (OSError, LookupError, TypeError, ValueError, subprocess.SubprocessError)


def stage(run, name, action, *arguments):
    """Trouble in one stage leaves the others alone."""
    try:
        action(run, *arguments)
    except TROUBLE as error:
        run.add(name, "all", "failed", detail=f"{type(error).__name__}: {error}")


def stages(run):
    options = run.options
    if options.bench:
        return stage(run, "bench", timings, options.part or PARTS)
    wanted = ("tests", "check", "train", "ranks") if options.first_pass else options.stage
    for name, action in (("check", check_all), ("tests", test_all), ("train", run_train), ("ranks", run_ranks)):
        if name in wanted:
            stage(run, name, action)
    if options.first_pass:
        stage(run, "bench", timings, PARTS)
    if not options.rehearse:
        for tool in ("memcheck", "racecheck"):
            if options.first_pass or tool in wanted:
                stage(run, tool, sanitize, tool, not options.first_pass)


def check_all(run):
    end = run.end
    if run.options.first_pass:  # the timings get their part, whatever faults the checks meet
        run.end = time.monotonic() + CHECKS_SHARE * run.left()
    try:
        run_jobs(run, gpu_jobs.check_jobs(run.options, run.programs))
    finally:
        run.end = end


def test_all(run):
    for folder in gpu_jobs.TEST_FOLDERS:
        jobs = gpu_jobs.test_jobs(run.options, run.programs, folder)
        if not jobs:
            run.add("tests", folder, "failed", detail=f"{run.programs.test(folder)} lists no test on {run.options.device}")
        run_jobs(run, jobs)


def sanitize(run, tool, all_cases):
    if shutil.which("compute-sanitizer") is None:
        run.add(tool, "all", "refused", detail="compute-sanitizer is not in the PATH nor in the toolkit")
    else:
        run_jobs(run, gpu_jobs.sanitizer_jobs(run.options, run.programs, tool, all_cases))


def build(run):
    """Both engines; all but the kernels with wgmma is compiled once."""
    options, folder = run.options, run.programs.folder
    for engine in ("watchdog", "plain"):
        command = ["bash", "tools/gpu_build.sh", "--build", folder, *(["--dependencies", options.dependencies] if options.dependencies else []),
                   *(["--watchdog"] if engine == "watchdog" else [])]
        ended = run.process(gpu_jobs.Job("build", engine, command, 3600))
        good = ended.status() == "passed"
        if good and engine == "watchdog":
            run.programs.watchdog.mkdir(exist_ok=True)
            shutil.copy(folder / "libmedfusion_engine.so", run.programs.watchdog)
        run.add("build", engine, ended.status(), ended.seconds,
                detail="" if good else last_line(ended.errors))
        if not good:
            return False
    return True


def positive(kind):
    def number(text):
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
        return value
    return number


class Arguments(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"{self.prog}: {message}; try --help\n")


def parse(arguments):
    bench = arguments[:1] == ["bench"]
    parser = Arguments(
        prog="bench/gpu.sh" if bench else "tools/test_gpu.sh", formatter_class=argparse.RawDescriptionHelpFormatter,
        description=("Measures what the goals on a GPU need, with PyTorch beside each figure in the same run. Nothing else should run on the machine."
                     if bench else "Tests the `cuda` device on a GPU, in stages, each part in its own process with a time limit."),
        epilog="Results go to DIR as they come: results.jsonl, log.txt, and results.md with the tables. The exit code is 1 if anything did not pass.")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("gpu-results"), metavar="DIR", help="a new folder (default: gpu-results)")
    parser.add_argument("--seconds", type=positive(float), metavar="N", help="end after N seconds and name what had no time" + (
        "" if bench else " (--first-pass: 540)"))
    programs = parser.add_mutually_exclusive_group()
    programs.add_argument("--prebuilt", metavar="DIR", help="use the programs that tools/gpu_bundle.sh made, instead of a build")
    programs.add_argument("--build", metavar="DIR", default="build/gpu", help="the folder of the build (default: build/gpu)")
    parser.add_argument("--python", default="python3", metavar="PROGRAM", help="the Python that has PyTorch (default: python3)")
    parser.add_argument("--rehearse", action="store_true", help="run without a GPU: small timings on the cpu" + (
        "" if bench else "; with --first-pass, faults planted in three variants"))
    if bench:
        parser.add_argument("--part", action="append", choices=PARTS, help="measure only this part; may be repeated")
    else:
        parser.add_argument("--stage", action="append", choices=STAGES, metavar="STAGE", help="run only this stage, after the preflight; may "
                            "be repeated. build: builds the programs. preflight: shows card, driver, libraries, tools. tests: runs the tests that use "
                            "a GPU. check: compares every kernel with the float64 reference. memcheck, racecheck: the same under compute-sanitizer. train: "
                            "runs of one seed, captured or not, must give the same weights. ranks: one rank by NCCL, and two on two GPUs, must "
                            "give the weights of one")
        parser.add_argument("--first-pass", action="store_true", help="run checks, tests, determinism, timings and compute-sanitizer on the "
                            "smallest cases, the most important first, until the time is over; builds only with --stage build")
        parser.add_argument("--device", choices=("cuda", "sim"), default="cuda", help="sim: use the simulator instead of the GPU; only with --first-pass --rehearse")
        parser.add_argument("--dependencies", metavar="DIR", help="folder of tools/gpu_bundle.sh --source, for the build")
        parser.add_argument("--cases", type=positive(int), metavar="N", help="check only the N smallest cases of a variant")
        parser.add_argument("--case-seconds", type=positive(float), default=20, metavar="S", help="a case that takes longer counts as hung (default: 20)")
    options = parser.parse_args(arguments[1:])
    options.bench = bench
    if bench:
        options.first_pass, options.device, options.stage = False, "cuda", []
        options.cases, options.case_seconds, options.dependencies = None, 20, None
    else:
        options.part = None
        if options.device == "sim" and not (options.first_pass and options.rehearse):
            parser.error("--device sim: expected --first-pass --rehearse; tools/test.sh runs the rest there")
        options.stage = options.stage or ([] if options.first_pass else [s for s in STAGES if s != "build" or not options.prebuilt])
    if options.first_pass and options.seconds is None:
        options.seconds = 540.0
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        parser.error(f"--out: {options.out} is not an empty folder")  # what an earlier run left must not count as this one's
    for name in ("prebuilt", "build", "dependencies"):
        folder = getattr(options, name)
        if folder is None:
            continue
        setattr(options, name, os.path.abspath(folder) if folder != parser.get_default(name) else str(ROOT / folder))
        if name != "build" and not os.path.isdir(folder):
            parser.error(f"--{name}: there is no folder {folder}")
    if "/" in options.python:  # as it stands: a link out of a virtual environment would lose it
        options.python = os.path.abspath(options.python)
    options.out = options.out.absolute()
    options.command = f"bash {parser.prog} {shlex.join(arguments[1:])}"
    return parser, options


def finish(run):
    table = subprocess.run([sys.executable, ROOT / "bench/goals.py", run.options.out], stdout=subprocess.PIPE, text=True)
    if table.returncode != 0:
        run.failed.append("bench/goals.py made no tables")
    (run.options.out / "results.md").write_text(table.stdout)
    print(f"\n{run.options.out}/results.md, of results.jsonl: " + ", ".join(f"{count} {status}" for status, count in sorted(run.counts.items())))
    if run.options.rehearse and run.options.first_pass and run.counts.get("rehearsed", 0) != len(PLANTED):
        run.failed.append(f"rehearsal: expected faults in {', '.join(PLANTED)}")
    for text in run.failed:
        print(f"  {text}")
    return 1 if run.failed else 0


def main():
    parser, options = parse(sys.argv[1:])
    os.chdir(ROOT)
    os.environ["PATH"] += ":" + os.path.join(os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or "/usr/local/cuda", "bin")
    os.environ["PYTHONUNBUFFERED"] = "1"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    programs = Programs(options)
    builds = "build" in options.stage
    if not builds and programs.missing():
        parser.error(f"{programs.missing()} is not there; --stage build builds it, and tools/gpu_bundle.sh makes a folder for --prebuilt")
    # Before a build of many minutes, or a folder; without nvidia-smi the preflight asks the program.
    if options.device == "cuda" and not options.rehearse and options.stage != ["preflight"] and gpu_preflight.no_card():
        sys.exit(f"{parser.prog}: this machine has no NVIDIA GPU with a driver (nvidia-smi lists none)")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out: {error}")
    with tempfile.TemporaryDirectory() as scratch:
        options.scratch = pathlib.Path(scratch)
        run = Run(options, programs)
        try:
            if (not builds or build(run)) and preflight(run):
                stages(run)
        except KeyboardInterrupt:
            run.failed.append("interrupted")
        except DeviceGone:
            run.failed.append(f"{options.device}: no process can use it any more")
        sys.exit(finish(run))


if __name__ == "__main__":
    main()
