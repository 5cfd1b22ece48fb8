"""The processes of a run on a GPU: each with a time limit, their output in a log, their results as JSON lines (tools/gpu_run.py)."""

import dataclasses
import json
import os
import pathlib
import selectors
import signal
import subprocess
import tempfile
import time

import gpu_jobs

ROOT = pathlib.Path(__file__).resolve().parent.parent
FAULTS = ("hung", "crashed", "lost")
GOOD = ("passed", "rehearsed", "measured", "left out")
MOST_LOG = 12 << 20  # bytes of log.txt
MOST_LINE = 1 << 16  # bytes


@dataclasses.dataclass
class Ended:
    how: str  # "exited", "crashed", "hung", or "no time": cut off by the end of the run
    code: int
    seconds: float
    errors: str  # the end of what it wrote to stderr

    def status(self, good="passed"):
        return self.how if self.how != "exited" else good if self.code == 0 else "failed"


class Programs:
    """The programs of a build, or of a folder that tools/gpu_bundle.sh made."""

    def __init__(self, options):
        self.prebuilt, self.python = options.prebuilt is not None, options.python
        self.folder = pathlib.Path(options.prebuilt or options.build).resolve()
        self.medfusion = self.folder / ("medfusion" if self.prebuilt else "bin/medfusion")
        self.train_step = self.folder / ("train_step" if self.prebuilt else "bench/train_step")
        # The same engine with the watchdog in its waits, which checks take.
        self.watchdog = self.folder / "watchdog"

    def test(self, folder):
        return self.folder / (f"{folder}_tests" if self.prebuilt else f"tests/{folder}_tests")

    def missing(self):
        for program in (self.medfusion, self.train_step, *map(self.test, gpu_jobs.TEST_FOLDERS)):
            if not os.access(program, os.X_OK):
                return program
        return None

    def environment(self, engine="plain"):
        environment = dict(os.environ)
        if "/" in self.python:  # its wheels may hold cuBLAS, cuDNN and NCCL, which the program looks for beside the PATH's python3
            environment["PATH"] = f"{os.path.dirname(self.python)}:{environment['PATH']}"
        if engine != "plain":
            environment["MEDFUSION_CUDA_BLOCKING"] = "1"  # an error names the kernel that caused it
        if engine == "watchdog" and self.watchdog.is_dir():
            environment["LD_LIBRARY_PATH"] = ":".join(filter(None, (str(self.watchdog), environment.get("LD_LIBRARY_PATH"))))
        return environment


class Run:
    """The results of a run and the time that is left of it."""

    def __init__(self, options, programs):
        self.options, self.programs = options, programs
        self.start = time.monotonic()
        self.end = self.start + options.seconds if options.seconds else float("inf")
        self.results = open(options.out / "results.jsonl", "w", buffering=1)
        self.log = open(options.out / "log.txt", "w", buffering=1)
        self.counts = {}
        self.failed = []
        self.suspect = False  # a process of this run may have taken the device along

    def left(self):
        return self.end - time.monotonic()

    def add(self, stage, name, status, seconds=0.0, **fields):
        """`status`: passed, measured, failed, hung, crashed, lost, skipped, refused, no time; rehearsed: as it was
        planted; left out: this machine is not made for it, as `detail` says."""
        self.line({"stage": stage, "name": name, "status": status, "seconds": round(seconds, 2), **fields})
        self.counts[status] = self.counts.get(status, 0) + 1
        if status not in GOOD:
            self.failed.append(f"{stage} {name}: {status}")
        self.suspect |= status in (*FAULTS, "rehearsed")
        detail = fields.get("detail", "")
        print(f"{time.monotonic() - self.start:6.1f} s  {stage:<9} {name:<34} {status}{': ' + detail if detail else ''}", flush=True)

    def line(self, row):
        text = json.dumps(row)
        try:
            self.results.write(text + "\n")
            os.fsync(self.results.fileno())
        except OSError as error:  # a full disk; the terminal is what is left
            print(f"results.jsonl: {error}: {text}", flush=True)

    def note(self, text):
        """To the log, as long as that is short enough to be sent."""
        if self.log.tell() < MOST_LOG:
            try:
                self.log.write(text)
            except OSError as error:
                print(f"log.txt: {error}", flush=True)

    def process(self, job, on_line=None, planted=None):
        """Runs a job to its end, or to the end of its time: then it is killed with all that it started."""
        deadline = min(time.monotonic() + job.limit, self.end)
        environment = self.programs.environment(job.engine)
        if planted:
            environment["MEDFUSION_PLANTED_FAULT"] = planted
        self.note(f"== {job.stage} {job.name}: {' '.join(job.command)}\n")
        began = time.monotonic()
        with tempfile.TemporaryFile() as errors:
            child = subprocess.Popen(job.command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
                                     start_new_session=True)
            in_time = False
            try:
                in_time = self.follow(child, deadline, job.quiet_limit, on_line)
            finally:
                if not in_time:
                    kill(child)
                child.stdout.close()
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - MOST_LINE))
            text = errors.read().decode(errors="replace").rstrip()
        if not in_time:
            how = "no time" if self.left() <= 0 else "hung"
        else:
            how = "crashed" if child.returncode < 0 else "exited"
        ended = Ended(how, child.returncode, time.monotonic() - began, text[-2000:].strip())
        self.note(f"{text}\n== {how}, exit code {child.returncode}, {ended.seconds:.1f} s\n")
        return ended

    def follow(self, child, deadline, quiet_limit, on_line):
        """Reads what the child prints until it ends; False where that is not in time."""
        pending, heard = b"", time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            while True:
                until = min(deadline, heard + quiet_limit) if quiet_limit else deadline
                if time.monotonic() >= until or not selector.select(max(0.0, until - time.monotonic())):
                    return False
                piece = os.read(child.stdout.fileno(), 1 << 16)
                if not piece:
                    break
                heard = time.monotonic()
                *lines, pending = (pending + piece).split(b"\n")
                if len(pending) > MOST_LINE:
                    lines, pending = [*lines, pending], b""
                for line in lines:
                    text = line.decode(errors="replace")
                    if on_line is None or not on_line(text):
                        self.note(text + "\n")
        try:  # its output is at an end; it should be, too
            child.wait(max(1.0, min(deadline - time.monotonic(), 10.0)))
        except subprocess.TimeoutExpired:
            return False
        return True


def kill(child):
    """With all that it started; those that have groups of their own get the time to end theirs."""
    for number, patience in ((signal.SIGTERM, 2), (signal.SIGKILL, 10)):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            pass
        try:
            child.wait(patience)
        except subprocess.TimeoutExpired:  # after SIGKILL: in the driver; it stays behind
            pass


def last_line(text):
    lines = text.splitlines()
    return lines[-1] if lines else ""
