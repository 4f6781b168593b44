#!/usr/bin/env python3
"""make bench-list: lists of a bucket with a million keys.

All but a few of them lie below one folder.  Pages of 1,000 keys from the beginning, the middle and the end of the
bucket are asked for in turns; so are the list of the bucket's folders, which passes over the million, and the same
list of a bucket whose folder holds one key.  Within a round what is compared is measured back to back, and the ratio
is formed inside its round.  Then all pages are walked, and the keys counted.

The keys are written by cairn-bench, a part at a time, until --fill-seconds have passed: with fewer keys than were
wanted the run goes on, and says so.  Exit code 0 also when a target is missed (--strict: 1).
"""
import argparse
import json
import os
import pathlib
import statistics
import sys
import time

from world import ROOT, Bench, Cluster

PAGE = 1000
PART = 50_000  # keys written by one run of cairn-bench
CONNS = 128
TARGETS = (
    ("last", "<=", 2.0, "a page: the last / the first, time"),
    ("middle", "<=", 2.0, "a page: in the middle / the first, time"),
    ("folders", "<=", 2.0, "folders: all keys below one / one key below it, time"),
)


def say(text):
    print(text, file=sys.stderr, flush=True)


class Run:
    def __init__(self, args):
        self.args = args
        self.dir = pathlib.Path(args.dir).resolve()
        self.dir.mkdir(parents=True, exist_ok=True)
        self.cluster = Cluster(self.dir / "list", args.s3_port, args.port_base)
        self.ratios, self.facts, self.rates = {}, {}, {}

    def fill(self, bucket, keys):
        """Returns: how many keys are there."""
        ports = ",".join(str(port) for port in self.cluster.ports)
        common = dict(port=ports, bucket=bucket, size=self.args.size)
        self.cluster.create_bucket(bucket)
        for prefix in ("a", "z"):  # beside the folder
            self.bench("fill", prefix=prefix, objects=1, **common)
        began, there = time.monotonic(), 0
        while there < keys and time.monotonic() - began < self.args.fill_seconds:
            part = min(PART, keys - there)
            self.bench("fill", prefix="folder/", first=there, objects=part, conns=min(CONNS, part), timeout=900, **common)
            there += part
            say(f"{bucket}: {there} keys, {there / (time.monotonic() - began):.0f}/s")
        return there + 2

    def page_us(self, bucket, query, times=1):
        """The median time of this page, asked for again and again over one connection."""
        got = self.bench("list", port=self.cluster.ports[0], bucket=bucket, query=query, count=times * self.args.count)
        return got["p50_us"]

    def after(self, number):
        return f"list-type=2&max-keys={PAGE}&start-after=folder%2F{number:08}"

    def round(self, there):
        first = f"list-type=2&max-keys={PAGE}"
        folders = "delimiter=%2F&list-type=2"
        times = {"first": self.page_us("large", first), "last": self.page_us("large", self.after(there - PAGE)),
                 "middle": self.page_us("large", self.after(there // 2)),
                 "few folders": self.page_us("small", folders, 10), "folders": self.page_us("large", folders, 10)}
        for name, us in times.items():
            self.rates.setdefault(f"{name}, ms", []).append(us / 1000)
        for name in ("last", "middle"):
            self.ratios.setdefault(name, []).append(times[name] / times["first"])
        self.ratios.setdefault("folders", []).append(times["folders"] / times["few folders"])

    def walk(self, there):
        """All pages, one after the other, as a client does."""
        got = self.bench("list", port=self.cluster.ports[0], bucket="large", count=-(-there // PAGE), timeout=900)
        self.facts["keys that were listed"] = got["keys"]
        self.facts["of keys"] = there
        self.rates["all pages, keys/s"] = [got["keys_per_s"]]
        if got["keys"] != there:
            raise SystemExit(f"{got['keys']} keys were listed of {there}")

    def run(self):
        self.cluster.up()
        try:
            self.bench = Bench(self.args.program, self.cluster)
            self.fill("small", 1)
            there = self.fill("large", self.args.keys)
            if there < self.args.keys:
                say(f"only {there} keys of {self.args.keys}: --fill-seconds passed")
            for n in range(self.args.rounds):
                say(f"round {n + 1} of {self.args.rounds}")
                self.round(there)
            self.walk(there)
        finally:
            self.cluster.down(self.args.keep)


def show(run):
    missed = False
    print(f"\n{'ratio':<60}{'wanted':>9}{'measured':>10}   (rounds)")
    for name, sense, limit, text in TARGETS:
        value = statistics.median(run.ratios[name])
        missed |= value > limit
        rounds = " ".join(f"{v:.2f}" for v in run.ratios[name])
        print(f"{text:<60}{sense:>4}{limit:>5}{value:>10.2f}   ({rounds}){'  MISS' if value > limit else ''}")
    for name, values in {**run.rates, **{k: [v] for k, v in run.facts.items()}}.items():
        print(f"  {name:<50}{statistics.median(values):>14,.2f}")
    return missed


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--keys", type=int, default=1_000_000)
    p.add_argument("--fill-seconds", type=float, default=1200, help="no further part is written after so long")
    p.add_argument("--size", type=int, default=16, help="of each object")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--count", type=int, default=200, help="times that a page is asked for in a round")
    p.add_argument("--json", help="also write everything measured to this file")
    p.add_argument("--dir", default=os.environ.get("CAIRN_BENCH_DIR", ROOT / "build/bench"))
    p.add_argument("--s3-port", type=int, default=int(os.environ.get("CAIRN_BENCH_S3_PORT", 29100)))
    p.add_argument("--port-base", type=int, default=int(os.environ.get("CAIRN_BENCH_PORT_BASE", 27500)))
    p.add_argument("--program", default=ROOT / "build/rel/bin/cairn-bench")
    p.add_argument("--keep", action="store_true", help="leave the cluster's directory")
    p.add_argument("--strict", action="store_true", help="exit 1 when a target is missed")
    args = p.parse_args()
    if args.keys < 2 * PAGE:
        p.error(f"--keys: at least {2 * PAGE}")
    run = Run(args)
    run.run()
    missed = show(run)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(dict(ratios=run.ratios, rates=run.rates, facts=run.facts),
                                                      indent=1) + "\n")
    return 1 if args.strict and missed else 0


if __name__ == "__main__":
    sys.exit(main())
