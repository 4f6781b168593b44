#!/usr/bin/env python3
"""make bench-encryption: what encryption costs, next to the same without.

Three buckets of one cluster: one whose objects are not encrypted, one with SSE-S3, one with SSE-KMS.  PUT and GET of
4 KiB and of 64 MiB are measured in each, in turns; within a round what is compared is measured back to back, each
bucket first in its turn, and the ratio is formed inside its round.  The small objects are in the gateways' caches, as
they lie in the index: sealed, so each GET opens one.
"""
import argparse
import json
import os
import pathlib
import statistics
import sys
import time

from world import ROOT, Bench, Cluster, Counters

MIB = 1 << 20
OBJECTS = 1000  # of 4 KiB
MODES = {"plain": None, "sse-s3": "AES256", "sse-kms": "aws:kms"}
LOADS = {
    "get_4k": ("get", "ops_per_s", dict(conns=64, objects=OBJECTS), 1.5),
    "put_4k": ("put", "ops_per_s", dict(conns=64, objects=OBJECTS, prefix="w"), 2),
    "get_64m": ("get", "mb_per_s", dict(conns=4, objects=4, size=64 * MIB, prefix="big"), 2),
    "put_64m": ("put", "mb_per_s", dict(conns=4, objects=4, size=64 * MIB, prefix="wbig"), 2.5),
}
PUBLISHED_EVERY = 0.6  # seconds: gateways' loops show what they have counted this often


def say(text):
    print(text, file=sys.stderr, flush=True)


class Run:
    def __init__(self, args):
        self.args = args
        self.dir = pathlib.Path(args.dir).resolve()
        self.dir.mkdir(parents=True, exist_ok=True)
        self.cluster = Cluster(self.dir / "encryption", args.s3_port, args.port_base)
        self.ports = ",".join(str(port) for port in self.cluster.ports)
        self.rates, self.ratios, self.cpu = {}, {}, {}

    def measure(self, load, mode):
        kind, unit, options, seconds = LOADS[load]
        if load == "get_4k":  # caches filled
            self.bench("get", port=self.ports, bucket=mode, conns=64, objects=OBJECTS, count=4 * OBJECTS)
        before = Counters(self.cluster)
        got = self.bench(kind, port=self.ports, bucket=mode, seconds=round(seconds * self.args.scale, 2), **options)
        time.sleep(PUBLISHED_EVERY)
        cost = Counters(self.cluster).per_op(before, got["ops"])
        self.rates.setdefault((load, mode), []).append(got[unit])
        self.cpu.setdefault((load, mode), []).append(cost["cpu_us_gateway"])
        return got[unit]

    def round(self, number):
        names = list(MODES)
        turn = names[number % len(names):] + names[:number % len(names)]
        for load in LOADS:
            found = {mode: self.measure(load, mode) for mode in turn}
            for mode in names[1:]:
                self.ratios.setdefault((load, mode), []).append(found[mode] / found["plain"])

    def run(self):
        try:
            self.cluster.up()
            self.bench = Bench(self.args.program, self.cluster)
            for mode, algorithm in MODES.items():
                self.cluster.create_bucket(mode, algorithm)
                self.bench("fill", port=self.ports, bucket=mode, conns=64, objects=OBJECTS, size=4096)
                self.bench("fill", port=self.ports, bucket=mode, conns=4, objects=4, size=64 * MIB, prefix="big")
            for number in range(self.args.rounds):
                say(f"round {number + 1} of {self.args.rounds}")
                self.round(number)
        finally:
            self.cluster.down(self.args.keep)


def show(run):
    print(f"\n{'':<10}{'mode':<10}{'rate':>12}  {'gateways, CPU us/op':>20}  {'/ plain':>8}   (rounds)")
    for (load, mode), rates in run.rates.items():
        unit = "MB/s" if load.endswith("64m") else "ops/s"
        ratios = run.ratios.get((load, mode))
        after = f"{statistics.median(ratios):>8.2f}   ({' '.join(f'{r:.2f}' for r in ratios)})" if ratios else ""
        print(f"{load:<10}{mode:<10}{statistics.median(rates):>8,.0f} {unit:<5}"
              f"{statistics.median(run.cpu[load, mode]):>19,.0f}   {after}")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--scale", type=float, default=1.0, help="stretches every measurement's time")
    p.add_argument("--json", help="also write everything measured to this file")
    p.add_argument("--dir", default=os.environ.get("CAIRN_BENCH_DIR", ROOT / "build/bench"))
    p.add_argument("--s3-port", type=int, default=int(os.environ.get("CAIRN_BENCH_S3_PORT", 29200)))
    p.add_argument("--port-base", type=int, default=int(os.environ.get("CAIRN_BENCH_PORT_BASE", 27000)))
    p.add_argument("--program", default=ROOT / "build/rel/bin/cairn-bench")
    p.add_argument("--keep", action="store_true", help="leave the cluster's directory")
    args = p.parse_args()
    run = Run(args)
    run.run()
    show(run)
    if args.json:
        named = {name: {" ".join(key): values for key, values in of.items()}
                 for name, of in (("rates", run.rates), ("ratios", run.ratios), ("gateway_cpu_us", run.cpu))}
        pathlib.Path(args.json).write_text(json.dumps(named, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
