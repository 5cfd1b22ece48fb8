"""Tests of tools/gpu_run.py and bench/goals.py: a rehearsal on the simulated device with planted faults, and what becomes of the
faults of a made-up program.

  python3 tests/tools/gpu_run_test.py BUILD_FOLDER
"""

import json
import os
import pathlib
import stat
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import gpu_jobs
import gpu_run

BUILD = None

# Stands for `medfusion kernels check`: five cases, and a fault at those that FAULTS names.
PROGRAM = """#!/usr/bin/env python3
import json, os, sys, time
faults = json.loads(os.environ["FAULTS"])
first = int(sys.argv[sys.argv.index("--from") + 1]) if "--from" in sys.argv else 0
for index in range(first, 5):
    line = {"variant": "op/v", "index": index, "precision": "f32", "count": 5, "case": f"case {index}"}
    print(json.dumps({"event": "begin", **line}), flush=True)
    fault = faults.get(str(index))
    if fault == "hang":
        print("a last word", file=sys.stderr, flush=True)
        time.sleep(1000)
    if fault == "crash":
        os.abort()
    if fault == "exit":
        sys.exit("medfusion: something else")
    if fault == "garbage":
        print(*["[1]", "7", "NaN", "{}", '{"event": "end"}', "[" * 100000], sep=chr(10), flush=True)
    if fault == "quit":
        sys.exit(0)
    if fault == "chatter":
        while True:
            print("x" * 10000, end="", flush=True)
    result = {"lost": "lost", "failed": "failed", "unsupported": "unsupported"}.get(fault, "passed")
    failures = [f"op/v [case {index}]: wrong"] if result in ("lost", "failed") else []
    print(json.dumps({"event": "end", **line, "result": result, "seconds": 0.0, "failures": failures}), flush=True)
    if fault == "lost":
        sys.exit("medfusion: kernels check: the device is lost")
if any(fault == "failed" for fault in faults.values()):
    sys.exit(1)
"""


def results_of(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


class Check(unittest.TestCase):
    """run_check on the made-up program."""

    def check(self, faults, seconds=60, quiet=1.0, limit=30, program=None):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = pathlib.Path(folder.name)
        made = path / "medfusion"
        made.write_text(PROGRAM)
        made.chmod(made.stat().st_mode | stat.S_IXUSR)
        os.environ["FAULTS"] = json.dumps(faults)
        _, options = gpu_run.parse(["test", "--first-pass", "--device", "sim", "--rehearse", "--prebuilt", str(path), "--out", str(path / "out"),
                                    "--seconds", str(seconds)])
        options.out.mkdir()
        run = gpu_run.Run(options, gpu_run.Programs(options))
        options.preflight, options.rehearse = {}, False
        gpu_jobs.probe = lambda options, programs: gpu_jobs.Job("probe", "sim", ["true"], 5)
        gpu_run.run_jobs(run, [gpu_jobs.Job("check", "op/v", [program or made], limit, quiet)])
        run.results.close()
        run.log.close()
        (result,) = results_of(options.out)
        return result

    def test_what_passes(self):
        result = self.check({"2": "unsupported"})
        self.assertEqual(result["status"], "passed")
        self.assertEqual(result["cases"], {"passed": 4, "unsupported": 1, "failed": 0})
        self.assertEqual(result["not_checked"], 0)

    def test_a_failed_case_is_named_and_the_others_count(self):
        result = self.check({"1": "failed"})
        self.assertEqual(result["status"], "failed")
        self.assertEqual(result["cases"]["passed"], 4)
        self.assertIn("op/v [case 1]: wrong", result["detail"])

    def test_each_fault_costs_its_case_alone(self):
        for fault, status in (("hang", "hung"), ("crash", "crashed"), ("lost", "lost")):
            with self.subTest(fault):
                result = self.check({"1": fault})
                self.assertEqual(result["status"], status)
                self.assertEqual([(f["fault"], f["case"]) for f in result["faults"]], [(status, "f32 case 1")])
                self.assertEqual(result["cases"]["passed"], 4)
                self.assertEqual(result["not_checked"], 0)

    def test_a_fault_in_the_last_case_leaves_nothing(self):
        result = self.check({"4": "crash"})
        self.assertEqual((result["status"], result["cases"]["passed"], result["not_checked"]), ("crashed", 4, 0))

    def test_several_faults_and_a_failure(self):
        result = self.check({"0": "crash", "2": "failed", "3": "lost"})
        self.assertEqual([f["fault"] for f in result["faults"]], ["crashed", "lost"])
        self.assertEqual(result["cases"], {"passed": 2, "unsupported": 0, "failed": 1})
        self.assertEqual(result["failures"], ["op/v [case 2]: wrong"])

    def test_a_variant_that_faults_everywhere_is_given_up(self):
        result = self.check({str(i): "crash" for i in range(5)})
        self.assertEqual(len(result["faults"]), gpu_run.MOST_FAULTS)
        self.assertEqual(result["not_checked"], 2)

    def test_an_end_that_no_case_explains_is_a_failure(self):
        result = self.check({"2": "exit"})
        self.assertEqual((result["status"], result["not_checked"]), ("failed", 2))
        self.assertIn("something else", result["detail"])

    def test_lines_that_report_nothing_are_passed_over(self):
        result = self.check({"2": "garbage"})
        self.assertEqual((result["status"], result["cases"]["passed"]), ("passed", 5))

    def test_an_end_within_a_case_is_no_pass(self):
        result = self.check({"2": "quit"})
        self.assertEqual((result["status"], result["not_checked"]), ("failed", 2))

    def test_output_without_an_end_is_cut_off(self):
        start = time.monotonic()
        result = self.check({"0": "chatter"}, limit=2)
        self.assertLess(time.monotonic() - start, 60)  # where the program alone would not end
        self.assertEqual(result["faults"][0]["fault"], "hung")

    def test_a_program_that_does_not_start_costs_its_job_alone(self):
        result = self.check({}, program="/bin/none")
        self.assertEqual(result["status"], "failed")

    def test_the_end_of_the_time_is_no_hang(self):
        start = time.monotonic()
        result = self.check({"1": "hang"}, seconds=4, quiet=20)
        self.assertLess(time.monotonic() - start, 60)  # where the program alone would not end
        self.assertEqual((result["status"], result["faults"], result["not_checked"]), ("no time", [], 4))


class Refusal(unittest.TestCase):
    def test_steps_without_their_libraries_are_refused_and_say_how_to_get_them(self):
        with tempfile.TemporaryDirectory() as folder:
            _, options = gpu_run.parse(["bench", "--build", folder, "--out", folder + "/out", "--part", "steps"])
            options.out.mkdir()
            options.scratch, options.has_torch = pathlib.Path(folder), False
            options.preflight = {"libraries": {"cuBLAS": {"usable": True, "hint": ""}, "cuDNN": {"usable": False, "hint": "install cuDNN"}}}
            run = gpu_run.Run(options, gpu_run.Programs(options))
            gpu_run.timings(run, ["steps"])
            run.results.close()
            run.log.close()
            for result in results_of(options.out):
                self.assertEqual((result["stage"], result["status"], result["detail"]), ("steps", "refused", "install cuDNN"))
            self.assertEqual(len(results_of(options.out)), 3)

    def test_a_stage_that_cannot_begin_leaves_the_others_alone(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder)
            _, options = gpu_run.parse(["test", "--prebuilt", folder, "--out", str(path / "out"), "--stage", "check", "--stage", "tests"])
            options.out.mkdir()
            options.scratch, options.preflight, options.has_torch = path, {}, False
            run = gpu_run.Run(options, gpu_run.Programs(options))
            gpu_run.stages(run)  # there are no programs
            run.results.close()
            run.log.close()
            self.assertEqual([(r["stage"], r["name"], r["status"]) for r in results_of(options.out)],
                             [("check", "all", "failed"), *(("tests", folder, "failed") for folder in gpu_jobs.TEST_FOLDERS)])

    def test_ranks_that_cannot_be_had_are_named_aloud(self):
        with tempfile.TemporaryDirectory() as folder:
            _, options = gpu_run.parse(["test", "--prebuilt", folder, "--out", folder + "/out", "--stage", "ranks"])

            def why(count, devices=2, nccl=True, mpi="Open MPI"):
                options.preflight = {"libraries": {"NCCL": {"usable": nccl, "hint": "install NCCL"}}, "devices": [{}] * devices, "mpi": mpi}
                return gpu_run.why_no_ranks(options, count)

            self.assertEqual([why(1, devices=1, mpi=None), why(2)], [None, None])
            self.assertEqual(why(2, devices=1), "2 ranks need a GPU each, and there are 1")
            self.assertEqual([why(1, nccl=False), why(2, nccl=False)], ["install NCCL"] * 2)
            self.assertIn("no mpirun", why(2, mpi=None))

    def test_a_folder_with_results_is_not_written_to(self):
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "results.jsonl").write_text("{}\n")
            outcome = subprocess.run(["bash", ROOT / "tools/test_gpu.sh", "--out", folder], stderr=subprocess.PIPE, text=True)
            self.assertEqual(outcome.returncode, 2)
            self.assertIn("is not an empty folder", outcome.stderr)

    def test_bad_arguments_are_one_line(self):
        for arguments in (["--cases", "-2"], ["--seconds", "nan"], ["--seconds", "-5"], ["--out", "/proc/none"], ["--case-seconds", "0"]):
            outcome = subprocess.run(["bash", ROOT / "tools/test_gpu.sh", "--first-pass", "--device", "sim", "--rehearse", "--build", BUILD, *arguments],
                                     stderr=subprocess.PIPE, text=True)
            self.assertEqual((outcome.returncode, outcome.stderr.count("\n")), (2, 1), outcome.stderr)

    def test_measuring_is_rehearsed_without_a_gpu(self):
        with tempfile.TemporaryDirectory() as folder:
            outcome = subprocess.run(["bash", ROOT / "bench/gpu.sh", "--rehearse", "--build", BUILD, "--out", folder, "--part", "upsample_add"],
                                     stdout=subprocess.PIPE, text=True)
            self.assertEqual(outcome.returncode, 0, outcome.stdout)
            self.assertTrue(any(result["stage"] == "bench row" for result in results_of(pathlib.Path(folder))))

    def test_wgmma_comes_last(self):
        names = ["attention/wgmma", "new/simt", "attention/simt", "matmul/cublas"]
        self.assertEqual(sorted(names, key=gpu_jobs.by_importance), ["matmul/cublas", "attention/simt", "new/simt", "attention/wgmma"])


class Goals(unittest.TestCase):
    """bench/goals.py on made-up measurements."""

    def test_ratios_and_memory_of_made_up_rows(self):
        block = {"stage": "bench row", "device": "cuda", "graph": False, "operation": "dense_block", "variant": "mma", "direction": "both",
                 "precision": "bf16", "case": "x", "median_s": 1e-3, "share_of_copy": 0.5, "peak_bytes": 4e8, "reserved_bytes": 6e8, "peers_s":
                 {"dense block": 2e-3, "dense block, compiled": 1.2e-3}, "peers_peak_bytes": {"dense block": 1.2e9},
                 "peers_reserved_bytes": {"dense block": 1.5e9}}
        ours = {"median_s": 0.1, "images_per_s": 80, "peak_memory_bytes": 1e9, "reserved_memory_bytes": 2e9}

        def step(goal, **peers):
            table = {"torch " + name: {**ours, "median_s": s, "ours_over_it": {"time": 0.1 / s, "time_per_round": [0.1 / s], "memory": 0.5}}
                     for name, s in peers.items()}
            return {"stage": "steps row", "goal": goal, "settings": {"device": "cuda"}, "table": {"medfusion": ours, **table}}

        rows = [block, step(8, eager=0.3, channels_last=0.28), step(64, eager=0.3), step(64, compiled=0.14)]
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "results.jsonl").write_text("\n".join(map(json.dumps, rows)))
            table = subprocess.run([sys.executable, ROOT / "bench/goals.py", folder], stdout=subprocess.PIPE, text=True, check=True).stdout
        for text in ("reached; x: **2.00x** (mma 1.0000 ms, dense block 2.0000 ms)", "missed; x: **1.20x**",
                     "**0.33x** (400 MB of 600 MB held, dense block 1200 MB of 1500 MB)", "missed; **1.40x**",
                     "reached; **2.80x** (2.80 to 2.80 by round; 100.0 ms, torch channels_last 280.0 ms; memory 0.50x, held 2000 MB against 2000 MB)"):
            self.assertIn(text, table)


class Rehearsal(unittest.TestCase):
    """The whole first pass on the simulated device, three faults planted."""

    SECONDS = 300

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.out = pathlib.Path(cls.folder.name) / "out"
        start = time.monotonic()
        cls.outcome = subprocess.run(
            ["bash", ROOT / "tools/test_gpu.sh", "--first-pass", "--device", "sim", "--rehearse", "--build", BUILD, "--out", cls.out,
             "--seconds", str(cls.SECONDS), "--cases", "2", "--case-seconds", "10"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        cls.seconds = time.monotonic() - start
        cls.results = results_of(cls.out)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def stage(self, name):
        return [result for result in self.results if result["stage"] == name]

    def test_it_passes_in_the_stated_time(self):
        self.assertEqual(self.outcome.returncode, 0, self.outcome.stdout)
        self.assertLess(self.seconds, self.SECONDS + 20)
        self.assertFalse([r for r in self.results if r.get("status") == "no time"])

    def test_every_variant_was_checked_and_the_planted_faults_were_found(self):
        text = subprocess.run([pathlib.Path(BUILD) / "bin/medfusion", "kernels", "list", "--json"], stdout=subprocess.PIPE, check=True).stdout
        variants = {f"{r['operation']}/{r['variant']}" for r in json.loads(text) if r["device"] == "sim"}
        checks = {result["name"]: result for result in self.stage("check")}
        self.assertEqual(set(checks), variants)
        self.assertEqual(list(checks)[-1], "attention/wgmma")
        for name, result in checks.items():
            planted = gpu_run.PLANTED.get(name, "").split("@")[0]
            faults = [fault["fault"] for fault in result["faults"]]
            self.assertEqual(faults, {"": [], "hang": ["hung"], "crash": ["crashed"], "sticky": ["lost"]}[planted], name)
            self.assertEqual(result["status"], "rehearsed" if planted else "passed", name)
            self.assertEqual(result["not_checked"], 0, name)
            self.assertGreater(result["cases"]["passed"], 0, name)

    def test_the_other_stages_ran(self):
        self.assertTrue(any("ATrainingStepIsThatOnTheCpu" in result["name"] for result in self.stage("tests")))
        self.assertEqual(len(self.stage("train")), 3)
        self.assertEqual([result["name"] for result in self.stage("ranks")], ["one rank", "one rank by NCCL", "two ranks"])
        self.assertEqual(self.stage("ranks")[1]["detail"], "SKIPPED: NCCL needs the device cuda")
        for result in self.stage("ranks"):
            self.assertIn(result["status"], ("passed", "left out"), result)
        for stage in ("tests", "train", "bench", "steps"):
            self.assertTrue(self.stage(stage), stage)
            for result in self.stage(stage):
                self.assertIn(result["status"], ("passed", "measured"), result)
        self.assertTrue(self.stage("bench row"))
        self.assertTrue(all(row["reserved_bytes"] > 0 for row in self.stage("bench row")))

    def table(self, lines):
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "results.jsonl").write_text("\n".join(lines))
            outcome = subprocess.run([sys.executable, ROOT / "bench/goals.py", folder], stdout=subprocess.PIPE, text=True, check=True)
            return outcome.stdout

    def test_any_part_of_the_results_makes_a_table(self):
        lines = (self.out / "results.jsonl").read_text().splitlines()
        whole = self.table(lines)
        self.assertIn("A rehearsal without a GPU", whole)
        self.assertIn("images/s", whole)
        self.assertIn("| check | layer_norm/simt | rehearsed |", whole)
        checks = [line for line in lines if '"bench' not in line and '"steps' not in line]
        self.assertNotIn("images/s", self.table(checks))
        self.assertEqual(self.table(checks).count("| not measured |"), 16)
        odd = ["7", "null", "[1]", '"x"', "{}", '{"stage": "preflight"}', '{"stage": "bench row"}', '{"stage": "steps row"}', "[" * 100000]
        self.assertEqual(self.table(odd + lines), whole)
        cut = self.table(lines[:5] + [lines[5][:20]])  # the run was killed while it wrote
        self.assertEqual(cut.count("| check |"), 4)


if __name__ == "__main__":
    BUILD = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2)
