#!/usr/bin/env python3
"""make bench-compare BEFORE=REVISION: did anything become slower since?

Builds that revision beside this one (in build/before, a worktree) and runs `tests/bench/run.py` of
both in turn, each round with the other one first.  A ratio is formed inside its round; what is shown
is their median: rates as after / before (above 1 is faster), processors' time and what an operation
asks of others as they are.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BEFORE = ROOT / "build/before"
RATES = ("get_4k", "put_4k_64", "put_4k_1", "list", "get_64m", "put_64m")
COSTS = ("cpu_us_all", "witness_questions", "leader_reads", "proposals", "raft_batches", "written_bytes")


def call(*command, **more):
    return subprocess.run([str(c) for c in command], check=True, **more)


def checkout(revision):
    if not BEFORE.exists():
        call("git", "-C", ROOT, "worktree", "add", "--detach", BEFORE, revision, stdout=subprocess.DEVNULL)
    call("git", "-C", BEFORE, "checkout", "--quiet", "--detach", revision)
    call("make", "-C", BEFORE, "-s", f"-j{os.cpu_count()}", "VARIANT=rel", "bins", "build/rel/bin/cairn-bench",
         stdout=subprocess.DEVNULL)


def measured(root, args):
    out = root / "build/compare.json"
    call(sys.executable, root / "tests/bench/run.py", "--rounds", 1, "--only", args.only, "--scale", args.scale,
         "--json", out, cwd=root, stdout=subprocess.DEVNULL)
    return json.loads(out.read_text())


def show(rounds):
    print(f"{'rate, after / before':<26}{'median':>8}   rounds")
    for name in RATES:
        ratios = [after["rates"][name] / before["rates"][name] for before, after in rounds if name in after["rates"]]
        if ratios:
            print(f"  {name:<24}{statistics.median(ratios):>8.2f}   {' '.join(f'{r:.2f}' for r in ratios)}")
    print(f"\n{'an operation costs':<26}" + "".join(f"{c:>20}" for c in COSTS))
    for name in RATES:
        if name not in rounds[0][1]["costs"]:
            continue
        for side, label in ((0, "before"), (1, "after")):
            row = [statistics.median(r[side]["costs"][name].get(c, 0) for r in rounds) for c in COSTS]
            print(f"  {name:<16}{label:<8}" + "".join(f"{value:>20,.2f}" for value in row))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("before", help="the revision to compare with")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--scale", type=float, default=1.0, help="stretches every measurement's time")
    p.add_argument("--only", default="small_gets,small_puts,lists", help="parts of run.py, separated by commas")
    args = p.parse_args()
    checkout(args.before)
    rounds = []
    for number in range(args.rounds):
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr, flush=True)
        sides = [BEFORE, ROOT] if number % 2 == 0 else [ROOT, BEFORE]
        found = {side: measured(side, args) for side in sides}
        rounds.append((found[BEFORE], found[ROOT]))
    show(rounds)


if __name__ == "__main__":
    main()
