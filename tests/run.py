#!/usr/bin/env python3
"""Runs the test layers in order and counts what ran: `make test` calls it, after building nothing.

  tests/run.py                  every layer
  tests/run.py unit sim         these only
  TEST_BUDGET_FACTOR=3 ...      stretches the time budgets, for a machine that is busy with other things

Each layer has a time budget, for a machine that does nothing else; one over it is named, one at twice
its budget is stopped.  A layer fails when a test of it fails, when it is stopped, and when nothing
ran.  The last line is "N passed, M failed".
"""
import concurrent.futures
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
TOTAL_BUDGET_S = 25 * 60
PATIENCE = 2  # a layer that takes longer than this many budgets is stopped, and has failed
JOBS = min(4, os.cpu_count() or 1)
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
    passed = sum(int(n) for n in re.findall(r"^\[  PASSED  \] (\d+) test", text, re.M))
    failed = sum(int(n) for n in re.findall(r"^\[  FAILED  \] (\d+) test", text, re.M))
    return passed, failed


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


def run_command(layer, deadline):
    """Runs it with its output shown as it comes.  Returns (text, exit status; None: out of time)."""
    process = subprocess.Popen(layer.command, cwd=ROOT, env=child_env(), text=True, errors="replace",
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, start_new_session=True)
    lines = []

    def copy():
        for line in process.stdout:
            lines.append(line)
            sys.stdout.write(line)
            sys.stdout.flush()

    reader = threading.Thread(target=copy, daemon=True)
    reader.start()
    try:
        status = process.wait(max(1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        status = None
        stop(process)
    except BaseException:
        stop(process)
        raise
    reader.join(5)
    return "".join(lines), status


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
    passed, failed = count_cmocka(text)
    if status != 0 and failed == 0 or passed + failed == 0:
        failed += 1
    return path, passed, failed, time.monotonic() - start, text


def run_binaries(layer, deadline):
    """Every test program of the C layers, a few at a time; the output of those that fail."""
    sources = sorted(p for part in layer.folders for p in (ROOT / "tests" / part).rglob("test_*.c"))
    paths = [pathlib.Path("build/test") / p.relative_to(ROOT).with_suffix("") for p in sources]
    total_passed = total_failed = 0
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for future in concurrent.futures.as_completed([pool.submit(run_binary, p, deadline) for p in paths]):
            path, passed, failed, seconds, text = future.result()
            total_passed += passed
            total_failed += failed
            if failed:
                say(text)
            say(f"{'FAIL' if failed else 'ok  '} {str(path)[11:]}  {passed} passed, {failed} failed, {seconds:.1f} s")
    return total_passed, total_failed


class Layer:
    def __init__(self, name, budget_s, question, command=None, count=count_summary, folders=()):
        self.name, self.question, self.command = name, question, command
        self.budget_s = budget_s * FACTOR
        self.count, self.folders = count, folders

    def run(self):
        start = time.monotonic()
        deadline = start + PATIENCE * self.budget_s
        say()
        say(f"=== {self.name}: {self.question} (budget {self.budget_s:.0f} s)")
        if self.command:
            text, status = run_command(self, deadline)
            LOGS.mkdir(parents=True, exist_ok=True)
            (LOGS / f"{self.name}.log").write_text(text)
            passed, failed = self.count(text)
            if status != 0 and failed == 0:
                failed = 1
                say(f"error: {' '.join(self.command)} ended with status {status}")
        else:
            passed, failed = run_binaries(self, deadline)
        seconds = time.monotonic() - start
        note = ""
        if seconds >= PATIENCE * self.budget_s:
            note, failed = "stopped: far over its budget", failed + 1
        elif seconds >= self.budget_s:
            note = "over its budget"
        if passed + failed == 0 and self.count is not count_nothing:
            note, failed = "nothing ran", failed + 1
        say(f"--- {self.name}: {passed} passed, {failed} failed in {seconds:.1f} s {note}".rstrip())
        return Result(self, passed, failed, seconds, note)


class Result:
    def __init__(self, layer, passed, failed, seconds, note):
        self.layer, self.passed, self.failed = layer, passed, failed
        self.seconds, self.note = seconds, note


def make(*args):
    return ["make", "--no-print-directory", *args]


PYTEST = [".venv/bin/pytest", "-q", "-p", "no:cacheprovider", "--tb=short"]
LAYERS = [
    Layer("build", 260, "does everything compile, tests included?",
          make(f"-j{JOBS}", "test-programs"), count_nothing),
    Layer("unit", 90, "does each function keep its contract, with failures injected; do the cores agree "
          "with golden traces and models?", folders=("unit", "golden")),
    Layer("fuzz", 60, "can bytes crash a parser: the corpora and mutations of them?", make("fuzz-corpora-run")),
    Layer("spec", 120, "does the model of the witness hold, and is each planted bug found?",
          ["spec/check.sh"]),
    Layer("sim", 240, "does a whole cluster keep its promises in a hostile world, 1,000 seeds?",
          make("sim-run")),
    Layer("mutants", 100, "does the simulator find planted bugs, each within its number of seeds?",
          make("sim-mutants-run")),
    Layer("e2e", 340, "do real clients work against real processes?", [*PYTEST, "tests/e2e"], count_pytest),
    Layer("chaos", 290, "do real processes survive kills, stops, cut networks and the loss of a zone under load?",
          ["tests/chaos/run.sh", *PYTEST, "tests/chaos"], count_pytest),
]


def self_test():
    """The driver sees what it must see: `make lint` runs this."""
    def layer(script, budget_s=5, count=count_summary):
        made = Layer("self-test", budget_s / FACTOR, "?", ["sh", "-c", script], count)
        return made.run()

    cases = [
        ("two parts", "echo 'a: 3 passed, 0 failed'; echo 'b: 2 passed, 1 failed'", 5, count_summary, 5, 1),
        ("a status alone", "echo '3 passed, 0 failed'; exit 7", 5, count_summary, 3, 1),
        ("nothing ran", "echo hello", 5, count_summary, 0, 1),
        ("killed", "echo '3 passed, 0 failed'; kill -9 $$", 5, count_summary, 3, 1),
        ("too long", "trap '' INT; echo '3 passed, 0 failed'; sleep 1; exit 0", 0.2, count_summary, 3, 2),
        ("pytest", "echo '2 failed, 70 passed, 1 skipped, 3 errors in 12.34s (0:00:12)'; exit 1", 5, count_pytest, 70, 6),
        ("pytest, a clean run", "echo '135 passed in 203.35s (0:03:23)'", 5, count_pytest, 135, 0),
        ("pytest, none", "echo 'no tests ran in 0.01s'; exit 5", 5, count_pytest, 0, 1),
        ("cmocka", "echo '[  PASSED  ] 4 test(s).'; echo '[  FAILED  ] 2 test(s), listed below:'; exit 2", 5, count_cmocka, 4, 2),
    ]
    failed = 0
    for name, script, budget_s, count, passed_want, failed_want in cases:
        result = layer(script, budget_s, count)
        if (result.passed, result.failed) != (passed_want, failed_want):
            say(f"error: {name}: {result.passed} passed, {result.failed} failed; expected {passed_want}, {failed_want}")
            failed += 1
    if run_binary(pathlib.Path("no/such/program"), time.monotonic() + 5)[2] != 1:
        say("error: a program that is missing counts as passed")
        failed += 1
    say(f"driver: {len(cases) + 1 - failed} passed, {failed} failed")
    return 1 if failed else 0


def main(names):
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
    results = [layer.run() for layer in LAYERS if not names or layer.name in names]
    say()
    say(f"{'layer':8} {'passed':>8} {'failed':>8} {'seconds':>8} {'budget':>8}")
    for r in results:
        say(f"{r.layer.name:8} {r.passed:8} {r.failed:8} {r.seconds:8.1f} {r.layer.budget_s:8.0f}  {r.note}".rstrip())
    passed, failed = sum(r.passed for r in results), sum(r.failed for r in results)
    say(f"{'total':8} {passed:8} {failed:8} {sum(r.seconds for r in results):8.1f} {TOTAL_BUDGET_S * FACTOR:8.0f}")
    say(f"{passed} passed, {failed} failed")
    counts = any(r.layer.count is not count_nothing for r in results)
    return 1 if failed or (counts and not passed) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
