#!/usr/bin/env python3
"""Runs the test layers in order and counts what ran: `make test` calls it, after building nothing.

  tests/run.py                  every layer
  tests/run.py unit sim         these only
  TEST_BUDGET_FACTOR=3 ...      stretches the time budgets, for a machine that is busy with other things

Each layer has a time budget, for a machine that does nothing else; one over it is named, one at twice
its budget is stopped.  A layer fails when a test of it fails, when it is stopped, and when nothing
ran.  What real processes do is mostly waiting, so two batches of their tests run at a time, each with
clusters of its own.  Beside the time that a layer took stands the processors' time that it used, which
is the same on a busy machine.  The last line is "N passed, M failed".
"""
import collections
import concurrent.futures
import contextlib
import ctypes
import os
import pathlib
import re
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
TOTAL_BUDGET_S = 25 * 60
PATIENCE = 2  # a layer that takes longer than this many budgets is stopped, and has failed
JOBS = min(4, os.cpu_count() or 1)
BATCHES = 2  # of tests with real processes at a time, on any machine: their bounds are those of two
FACTOR = float(os.environ.get("TEST_BUDGET_FACTOR", "1"))
LOGS = ROOT / "build" / "test-logs"


def child_env():
    """The environment without what a surrounding make left in it: its jobserver is not ours."""
    return {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}


def say(text=""):
    print(text, flush=True)


# ---- counting ----

def count_summary(text):
    """Programs that end with "N passed, M failed" for each of their parts: the sum."""
    found = re.findall(r"^.*?(\d+) passed, (\d+) failed\s*$", text, re.M)
    return sum(int(p) for p, _ in found), sum(int(f) for _, f in found)


def count_pytest(text):
    """pytest's last line.  A skipped test did not run, so it does not pass either."""
    counts = {"passed": 0, "failed": 0}
    lines = [line for line in text.splitlines() if re.search(r"\d+ \w+.* in [\d.]+s", line)]
    for number, word in re.findall(r"(\d+) ([a-z]+)", lines[-1] if lines else ""):
        if word == "passed":
            counts["passed"] += int(number)
        elif word in ("failed", "error", "errors", "skipped", "xfailed", "xpassed"):
            counts["failed"] += int(number)
    return counts["passed"], counts["failed"]


def count_cmocka(text):
    """(passed, failed, skipped).  Who skips a test says why, before; without a word it has failed."""
    passed = sum(int(n) for n in re.findall(r"^\[  PASSED  \] (\d+) test", text, re.M))
    failed = sum(int(n) for n in re.findall(r"^\[  FAILED  \] (\d+) test", text, re.M))
    words = re.findall(r"^\[ RUN      \] [^\n]*\n((?:(?!\[ )[^\n]*\n)*)\[  SKIPPED \] ", text, re.M)
    skipped = sum(1 for said in words if said.strip())
    return passed, failed + len(words) - skipped, skipped


def count_nothing(_text):
    return 0, 0


# ---- running ----

def stop(process):
    """SIGINT, which pytest answers by taking its clusters down; then SIGKILL."""
    for sent, patience in ((signal.SIGINT, 30), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, sent)
            process.wait(patience)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


class Command:
    """One that has been started; its output is kept, and shown as it comes if `shown`."""

    def __init__(self, argv, shown):
        self.argv, self.shown, self.lines = argv, shown, []
        self.process = subprocess.Popen(argv, cwd=ROOT, env=child_env(), text=True, errors="replace",
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, start_new_session=True)
        self.reader = threading.Thread(target=self._copy, daemon=True)
        self.reader.start()

    def _copy(self):
        for line in self.process.stdout:
            self.lines.append(line)
            if self.shown:
                sys.stdout.write(line)
                sys.stdout.flush()

    def wait(self, deadline):
        """Returns: (text, exit status; None: out of time, it is stopped)."""
        try:
            status = self.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            status = None
            stop(self.process)
        except BaseException:
            stop(self.process)
            raise
        self.reader.join(5)
        return "".join(self.lines), status


Tally = collections.namedtuple("Tally", "passed failed skipped", defaults=(0,))


def tally(layer, argv, text, status):
    """Of a command that has ended."""
    counted = Tally(*layer.count(text))
    if status == 0 or counted.failed:
        return counted
    say(f"error: {' '.join(argv)} " + ("was stopped" if status is None else f"ended with status {status}"))
    return counted._replace(failed=1)


def run_command(layer, deadline):
    text, status = Command(layer.command, True).wait(deadline)
    (LOGS / f"{layer.name}.log").write_text(text)
    return tally(layer, layer.command, text, status)


def run_batches(layer, deadline):
    """Commands that meet nobody else's clusters, in this order, some at a time; each shows its output when it
    has ended.  One in which nothing ran has failed, as has one whose turn did not come."""
    commands, texts, lock = [], [], threading.Lock()
    over = threading.Event()

    def run(argv):
        with lock:
            if over.is_set() or time.monotonic() >= deadline:
                return argv, "", None, 0
            commands.append(command := Command(argv, False))
        start = time.monotonic()
        text, status = command.wait(deadline)
        return argv, text, status, time.monotonic() - start

    total = Tally(0, 0)
    with concurrent.futures.ThreadPoolExecutor(BATCHES) as pool:
        try:
            for future in concurrent.futures.as_completed([pool.submit(run, b) for b in layer.batches]):
                argv, text, status, seconds = future.result()
                say(f"{' '.join(a for a in argv if a.startswith('tests/') and a.endswith('.py'))}  {seconds:.1f} s")
                say(text)
                texts.append(text)
                one = tally(layer, argv, text, status)
                if one.passed + one.failed == 0:
                    say("error: nothing ran")
                    one = one._replace(failed=1)
                total = Tally(*map(sum, zip(total, one)))
        except BaseException:
            with lock:
                over.set()
            for command in commands:
                if command.process.poll() is None:
                    stop(command.process)
            raise
        finally:
            (LOGS / f"{layer.name}.log").write_text("".join(texts))
    return total


def run_binary(path, deadline):
    start = time.monotonic()
    try:
        done = subprocess.run([ROOT / path], cwd=ROOT, env=child_env(), text=True, errors="replace",
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=max(1, deadline - start), check=False)
        text, status = done.stdout, done.returncode
    except subprocess.TimeoutExpired as expired:
        text, status = str(expired.stdout or ""), None
    except OSError as error:
        text, status = str(error), 1
    counted = Tally(*count_cmocka(text))
    if status != 0 and counted.failed == 0 or sum(counted) == 0:
        counted = counted._replace(failed=counted.failed + 1)
    return path, counted, time.monotonic() - start, text


def run_binaries(layer, deadline):
    """Every test program of the C layers, a few at a time; the output of those that fail or skip a test."""
    sources = sorted(p for part in layer.folders for p in (ROOT / "tests" / part).rglob("test_*.c"))
    paths = [pathlib.Path("build/test") / p.relative_to(ROOT).with_suffix("") for p in sources]
    total = Tally(0, 0)
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for future in concurrent.futures.as_completed([pool.submit(run_binary, p, deadline) for p in paths]):
            path, one, seconds, text = future.result()
            total = Tally(*map(sum, zip(total, one)))
            if one.failed or one.skipped:
                say(text)
            say(f"{'FAIL' if one.failed else 'ok  '} {str(path)[11:]}  {one.passed} passed, {one.failed} failed"
                f"{f', {one.skipped} skipped' if one.skipped else ''}, {seconds:.1f} s")
    return total


def adopt_orphans():
    """Processes whose parent has ended become this one's children, so that their time is counted."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def processor_seconds():
    """Of all children that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Layer:
    """One of: a command, commands in batches, folders of C tests."""

    def __init__(self, name, budget_s, question, command=None, count=count_summary, folders=(), batches=()):
        self.name, self.question, self.command = name, question, command
        self.budget_s = budget_s * FACTOR
        self.count, self.folders, self.batches = count, folders, batches

    def run(self):
        start, used = time.monotonic(), processor_seconds()
        deadline = start + PATIENCE * self.budget_s
        say()
        say(f"=== {self.name}: {self.question} (budget {self.budget_s:.0f} s)")
        LOGS.mkdir(parents=True, exist_ok=True)
        run = run_command if self.command else run_batches if self.batches else run_binaries
        passed, failed, skipped = run(self, deadline)
        seconds, used = time.monotonic() - start, processor_seconds() - used
        note = ""
        if seconds >= PATIENCE * self.budget_s:
            note, failed = "stopped: far over its budget", failed + 1
        elif seconds >= self.budget_s:
            note = "over its budget"
        if passed + failed == 0 and self.count is not count_nothing:
            note, failed = "nothing ran", failed + 1
        say(f"--- {self.name}: {passed} passed, {failed} failed{f', {skipped} skipped' if skipped else ''} "
            f"in {seconds:.1f} s, {used:.1f} s of processors {note}".rstrip())
        return Result(self, passed, failed, skipped, seconds, used, note)


Result = collections.namedtuple("Result", "layer passed failed skipped seconds used note")


def make(*args):
    return ["make", "--no-print-directory", *args]


PYTEST = [".venv/bin/pytest", "-q", "-p", "no:cacheprovider", "--tb=short"]


def batches(folder, first, prefix=()):
    """Of its files: those named, the longest first, then each other one alone."""
    files = sorted(p.name for p in (ROOT / folder).glob("test_*.py"))
    others = [[f] for f in files if not any(f in names for names in first)]
    return [[*prefix, *PYTEST, *(f"{folder}/{f}" for f in names)] for names in [*first, *others]]


# Those that share the cluster of e2e/conftest.py, in two batches of which each has one.
SHARED = [["test_clients.py", "test_cairnctl.py", "test_iam.py"], ["test_s3.py", "test_s3_more.py", "test_bad_input.py", "test_versions.py",
           "test_rename.py", "test_append.py", "test_browser.py", "test_compatibility.py", "test_flood.py"]]
QUICK = ["test_reports.py", "test_quota.py"]  # likewise its cluster `quick`
LAYERS = [
    Layer("build", 240, "does everything compile, tests included?",
          make(f"-j{JOBS}", "test-programs"), count_nothing),
    Layer("unit", 90, "does each function keep its contract, with failures injected; do the cores agree "
          "with golden traces and models?", folders=("unit", "golden")),
    Layer("model", 45, "does the storage engine agree with a reference, 10,000 sequences with faults; are planted "
          "bugs found?", make("model-run")),
    Layer("fuzz", 30, "can bytes crash a parser: the corpora and mutations of them?", make("fuzz-corpora-run")),
    Layer("spec", 100, "does the model of the witness hold, and is each planted bug found?",
          ["spec/check.sh"]),
    Layer("sim", 195, "does a whole cluster keep its promises in a hostile world, 1,000 seeds?",
          make("sim-run")),
    Layer("mutants", 70, "does the simulator find planted bugs, each within its number of seeds?",
          make("sim-mutants-run")),
    Layer("e2e", 430, "do real clients work against real processes?", count=count_pytest,
          batches=batches("tests/e2e", [SHARED[0], ["test_repair.py"], SHARED[1], QUICK])),
    Layer("chaos", 300, "do real processes survive kills, stops, cut networks, flipped bits and the loss of a zone under load?",
          count=count_pytest, batches=batches("tests/chaos", [["test_chaos.py"], ["test_repair.py"]], ["tests/chaos/run.sh"])),
]


RAN = "[ RUN      ] a\n{}[  {} ] a\n"
NO_AES = RAN.format("no vector AES\n", "SKIPPED")
CMOCKA = [  # what it says, passed, failed, skipped
    ("[  PASSED  ] 4 test(s).\n[  FAILED  ] 2 test(s), listed below:\n", (4, 2, 0)),
    (2 * NO_AES + "[  PASSED  ] 0 test(s).\n[  SKIPPED ] 2 test(s), listed below:\n[  SKIPPED ] a\n", (0, 0, 2)),
    (RAN.format("", "      OK") + NO_AES + "[  PASSED  ] 1 test(s).\n[  SKIPPED ] 1 test(s)\n", (1, 0, 1)),
    (RAN.format("", "SKIPPED") + NO_AES + "[  PASSED  ] 0 test(s).\n[  SKIPPED ] 2 test(s)\n", (0, 1, 1)),
    ("hello\n", (0, 0, 0)),
]


def self_test_binaries():
    """Programs of tests, as far as run_binary() judges them.  Returns: (how many cases, how many went wrong)."""
    cases = [(f"printf %s {shlex.quote(text)}", want if any(want) else (0, 1, 0)) for text, want in CMOCKA]
    cases += [("exit 0", (0, 1, 0)), (f"printf %s {shlex.quote(NO_AES)}; exit 3", (0, 1, 1))]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for i, (script, want) in enumerate(cases):
            program = pathlib.Path(folder) / str(i)
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o700)
            got = tuple(run_binary(program, time.monotonic() + 60)[1])
            if got != want:
                say(f"error: {script}: {got}; expected {want}")
                failed += 1
    if run_binary(pathlib.Path("no/such/program"), time.monotonic() + 5)[1].failed != 1:
        say("error: a program that is missing counts as passed")
        failed += 1
    return len(cases) + 1, failed


def self_test():
    """The driver sees what it must see: `make lint` runs this.  No case depends on how busy the machine is: one
    that is to be stopped never ends by itself, and may be stopped before it says a word."""
    def layer(scripts, budget_s, count):
        commands = [["sh", "-c", script] for script in scripts]
        how = {"command": commands[0]} if len(commands) == 1 else {"batches": commands}
        return Layer("self-test", budget_s / FACTOR, "?", count=count, **how).run()

    for_ever = "while :; do sleep 60; done"
    cases = [
        ("two parts", ["echo 'a: 3 passed, 0 failed'; echo 'b: 2 passed, 1 failed'"], 60, count_summary, 5, 1),
        ("a status alone", ["echo '3 passed, 0 failed'; exit 7"], 60, count_summary, 3, 1),
        ("nothing ran", ["echo hello"], 60, count_summary, 0, 1),
        ("killed", ["echo '3 passed, 0 failed'; kill -9 $$"], 60, count_summary, 3, 1),
        ("too long", [for_ever], 0.2, count_summary, 0, 2),
        ("pytest", ["echo '2 failed, 70 passed, 1 skipped, 3 errors in 12.34s (0:00:12)'; exit 1"], 60, count_pytest, 70, 6),
        ("pytest, a clean run", ["echo '135 passed in 203.35s (0:03:23)'"], 60, count_pytest, 135, 0),
        ("pytest, none", ["echo 'no tests ran in 0.01s'; exit 5"], 60, count_pytest, 0, 1),
        ("batches", ["echo '3 passed in 1.0s'", "echo '2 passed in 1.0s'", "echo '1 failed, 1 passed in 1.0s'; exit 1"],
         60, count_pytest, 6, 1),
        ("a batch that ran nothing", ["echo '3 passed in 1.0s'", "true"], 60, count_pytest, 3, 1),
        ("batches that take too long", [for_ever, for_ever, for_ever], 0.2, count_pytest, 0, 4),
    ]
    number, failed = self_test_binaries()
    for name, scripts, budget_s, count, passed_want, failed_want in cases:
        result = layer(scripts, budget_s, count)
        if (result.passed, result.failed) != (passed_want, failed_want):
            say(f"error: {name}: {result.passed} passed, {result.failed} failed; expected {passed_want}, {failed_want}")
            failed += 1
    number += len(cases)
    say(f"driver: {number - failed} passed, {failed} failed")
    return 1 if failed else 0


def main(names):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs would ignore it, and tests too
    if names == ["--self-test"]:
        return self_test()
    known = {layer.name: layer for layer in LAYERS}
    unknown = [n for n in names if n not in known]
    if unknown:
        say(f"error: unknown layer {' '.join(unknown)}; there are: {' '.join(known)}")
        return 2
    if sum(layer.budget_s for layer in LAYERS) > TOTAL_BUDGET_S * FACTOR:
        say("error: the layers' budgets do not fit in the total")
        return 2
    adopt_orphans()
    results = [layer.run() for layer in LAYERS if not names or layer.name in names]
    say()
    say(f"{'layer':8} {'passed':>8} {'failed':>8} {'skipped':>8} {'seconds':>8} {'budget':>8} {'processors':>10}")

    def row(name, counts, seconds, budget_s, used, note=""):
        say(f"{name:8} {counts[0]:8} {counts[1]:8} {counts[2]:8} {seconds:8.1f} {budget_s:8.0f} {used:10.1f}  {note}".rstrip())

    for r in results:
        row(r.layer.name, r[1:4], r.seconds, r.layer.budget_s, r.used, r.note)
    passed, failed, skipped = (sum(r[i] for r in results) for i in (1, 2, 3))
    row("total", (passed, failed, skipped), sum(r.seconds for r in results), TOTAL_BUDGET_S * FACTOR,
        sum(r.used for r in results))
    say(f"{passed} passed, {failed} failed")
    counts = any(r.layer.count is not count_nothing for r in results)
    return 1 if failed or (counts and not passed) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
