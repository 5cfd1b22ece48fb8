"""What runs on a GPU, and in which order: the jobs of tools/gpu_run.py.

A job is one process. Within every stage the jobs stand in the order of their importance, those with wgmma last: a fault of theirs
is the likeliest to take the device along.
"""

import dataclasses
import json
import subprocess

# Operations and variants as a training step needs them: first what everything else stands on.
IMPORTANCE = """matmul/cublas convolution/cudnn elementwise/simt reduction/simt activation/simt batch_norm/simt layer_norm/simt pooling/simt
optimizer/simt loss/simt cross_entropy/simt dense_block/mma attention/short attention/few attention/mma upsample_add/simt attention/tf32x3 softmax/simt
embedding/simt dropout/simt concat/simt dense_block/simt convolution/simt attention/simt""".split()
TEST_FOLDERS = ("core", "kernels", "models", "optim")  # those with tests of a device
LIBRARIES = {"convolution": ("cuDNN",), "matmul": ("cuBLAS",), "steps": ("cuBLAS", "cuDNN")}  # what a timing is nothing without


@dataclasses.dataclass
class Job:
    stage: str
    name: str
    command: list
    limit: float  # seconds
    quiet_limit: float = 0  # seconds without a line of output that count as hung; 0: the limit alone
    engine: str = "plain"  # "checking": waits for every launch; "watchdog": the same with the engine that has one
    fields: dict = dataclasses.field(default_factory=dict)  # of its result

    def __post_init__(self):
        self.command = [str(part) for part in self.command]


def by_importance(name):
    if "wgmma" in name:
        return len(IMPORTANCE) + 1
    return IMPORTANCE.index(name) if name in IMPORTANCE else len(IMPORTANCE)


def variants(medfusion, device):
    """"operation/variant" of all that the program has for the device, in the order of checking."""
    rows = json.loads(subprocess.run([medfusion, "kernels", "list", "--json"], stdout=subprocess.PIPE, check=True, timeout=60).stdout)
    return sorted({f"{r['operation']}/{r['variant']}" for r in rows if r["device"] == device}, key=lambda n: (by_importance(n), n))


def check_jobs(options, programs):
    smallest = ["--smallest", options.cases] if options.cases else []
    for name in variants(programs.medfusion, options.device):
        job = Job("check", name, [programs.medfusion, "kernels", "check", name, "--device", options.device, "--lines", *smallest], 120,
                  options.case_seconds, "watchdog")
        if by_importance(name) > len(IMPORTANCE) and programs.watchdog.is_dir():
            # The watchdog's call makes the compiler serialize wgmma: what is shipped has to pass as well.
            yield dataclasses.replace(job, name=name + " watched")
            job.engine = "checking"
        yield job


def probe(options, programs):
    return Job("probe", options.device, [programs.medfusion, "kernels", "check", "reduction/simt", "--device", options.device, "--smallest", "1"], 20)


def sanitizer_jobs(options, programs, tool, all_cases):
    """Kernels of libraries are not ours to check, and are slow under it. Questions that CUDA answers with an error are no faults."""
    try:
        said = subprocess.run(["compute-sanitizer", "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        said = ""
    only = "--kernel-name" if "--kernel-name" in said else "--kernel-regex"
    prefix = ["compute-sanitizer", "--tool", tool, only, "kns=medfusion", "--report-api-errors", "no", "--error-exitcode", "1"]
    smallest = [] if all_cases else ["--smallest", "2"]
    for name in variants(programs.medfusion, options.device):
        yield Job(tool, name, [*prefix, programs.medfusion, "kernels", "check", name, "--device", options.device, *smallest],
                  600 if all_cases else 60)
    if all_cases and tool == "memcheck":
        for folder in TEST_FOLDERS:
            for job in test_jobs(options, programs, folder):
                yield dataclasses.replace(job, stage=tool, command=[*prefix, *job.command], limit=600)


def test_jobs(options, programs, folder):
    """Those of the folder's test program that run on the device; none where it does not list any."""
    program = programs.test(folder)
    try:
        text = subprocess.run([program, f"--gtest_filter=*/{options.device}", "--gtest_list_tests"], stdout=subprocess.PIPE, text=True,
                              errors="replace", timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    jobs, suite = [], ""
    for line in text.splitlines():
        if line.startswith("  "):
            test = suite + line.split("#")[0].strip()
            jobs.append(Job("tests", test, [program, f"--gtest_filter={test}"], 120))
        elif line.endswith("."):
            suite = line
    return jobs


@dataclasses.dataclass
class Timing:
    """One row of the goals: cases of an operation, with the variants that may win it."""
    operation: str
    variants: tuple
    direction: str
    precision: str
    cases: tuple
    graph: bool = False
    limit: float = 90  # a job's; compiled peers take the most of it

    def title(self):
        return f"{self.direction} {self.precision}{' graph' if self.graph else ''}"


SHORT, LONG = ("short ", "labels "), ("long ", "longer ")
TIMINGS = [
    Timing("attention", ("short", "few"), "both", "bf16", SHORT, graph=True),
    Timing("attention", ("mma",), "forward", "bf16", LONG),
    Timing("dense_block", ("mma",), "both", "bf16", (), limit=150),
    Timing("upsample_add", ("simt",), "forward", "each", ()),
    Timing("upsample_add", ("simt",), "backward", "f32", ()),
    Timing("attention", ("tf32x3", "simt"), "forward", "f32", LONG),
    Timing("attention", ("mma",), "backward", "bf16", LONG),
    Timing("attention", ("wgmma",), "forward", "bf16", LONG),
    Timing("attention", ("wgmma",), "backward", "bf16", LONG),
]


def bench_jobs(options, programs):
    """In a rehearsal the cpu's kernels, on the smallest case of the row."""
    seconds = "0.01" if options.rehearse else "0.3"
    done = set()
    for timing in TIMINGS:
        for variant in timing.variants:
            device, precision, graph = options.device, timing.precision, timing.graph
            if options.rehearse:
                variant, device, precision, graph = "cpu", "cpu", "f32", False
            name = f"{timing.operation}/{variant}"
            cases = timing.cases
            if options.rehearse:
                cases = {"attention": ("short ",), "dense_block": ("512]",)}.get(timing.operation, ())
            key = (name, timing.direction, precision, cases, graph)
            if key in done:
                continue
            done.add(key)
            command = [programs.medfusion, "kernels", "bench", name, "--device", device, "--seconds", seconds, "--direction", timing.direction,
                       "--precision", precision, "--lines"]
            for case in cases:
                command += ["--case", case]
            command += ["--graph"] if graph else []
            command += ["--peer", "--python", options.python] if options.has_torch else []
            yield Job("bench", f"{name} {timing.title()}", command, timing.limit, fields={"operation": timing.operation})


def step_jobs(options, programs):
    """Whole training steps. The last, whose peer takes minutes to compile, comes after everything else."""
    if options.rehearse:
        model, size, batches, precision, steps = "medfusionnet-tiny", 32, (8, 16), "f32", 3
    else:
        model, size, batches, precision, steps = "medfusionnet-densenet121", 224, (8, 64), "bf16", 20
    device = "cpu" if options.rehearse else options.device
    rounds = 1 if options.first_pass else 3
    eager = ("eager", "channels_last")
    for goal, batch, modes, limit, each in ((8, batches[0], eager, 150 * rounds, 60), (64, batches[1], eager, 150 * rounds, 60),
                                            (64, batches[1], ("compiled",), 700, 600)):
        file = options.scratch / f"steps-{goal}-{modes[0]}.json"
        command = [options.python, "bench/peers/compare_steps.py", programs.train_step, "--python", options.python, "--model", model,
                   "--device", device, "--precision", precision, "--size", size, "--batch", batch, "--steps", steps, "--rounds", rounds,
                   "--limit", each, "--modes", ",".join(modes if options.has_torch else ()), "--json", file]
        yield Job("steps", f"batch {batch}, {' and '.join(modes)}", command, limit, fields={"file": str(file), "goal": goal})
