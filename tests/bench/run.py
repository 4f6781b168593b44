#!/usr/bin/env python3
"""make bench: how fast, next to the disk and to nginx, in one run.

Starts a cluster of its own and nginx on loopback, then measures in rounds.  Within a round everything
that is compared is measured back to back, and a ratio is formed inside its round: what else the
machine does meanwhile hits both sides.  What is reported is the median of the rounds' ratios.
CPU time, context switches, round trips, fsyncs and bytes per operation come from counters of the
kernel and of the processes.  Exit code 0 also when a target is missed (--strict: 1).
"""
import argparse
import json
import os
import pathlib
import statistics
import sys
import time

from world import ROOT, Bench, Cluster, Counters, Nginx

MIB = 1 << 20
BIG = 64 * MIB
OBJECTS = 1000          # of 4 KiB: fit the gateways' caches
LIST_CONNS = 8
PUBLISHED_EVERY = 0.6   # seconds: gateways' loops show what they have counted this often

# name, what is compared, at least (or at most) which ratio
TARGETS = (
    ("get_4k", "GET 4 KiB cached, 64 conns, witness-checked / nginx", ">=", 0.25),
    ("put_4k_64", "PUT 4 KiB, 64 conns: acknowledged per fdatasync time", ">=", 2.0),
    ("put_4k_1", "PUT 4 KiB, 1 conn: fdatasync times each", "<=", 4.0),
    ("list", "LIST, pages of 1000: keys/s / 200,000", ">=", 1.0),
    ("get_64m", "GET 64 MiB, 4 conns / nginx", ">=", 1 / 3),
    ("put_64m", "PUT 64 MiB, 4 conns / (disk's synced rate / 3)", ">=", 0.7),
    ("idle", "idle memory of the largest process / 40 MiB", "<=", 1.0),
)


class Run:
    def __init__(self, args):
        self.args = args
        self.dir = pathlib.Path(args.dir).resolve()
        self.dir.mkdir(parents=True, exist_ok=True)
        self.cluster = Cluster(self.dir / "cluster", args.s3_port, args.port_base)
        self.nginx = Nginx(self.dir / "nginx", args.s3_port + 50)
        self.ports = ",".join(str(port) for port in self.cluster.ports)
        self.rates, self.ratios, self.costs, self.facts = {}, {}, {}, {}

    # ---- one measurement ----

    def measure(self, name, mode, unit="ops_per_s", cost=True, **options):
        """Runs the load once; notes its rate, and what an operation cost, under `name`."""
        before = Counters(self.cluster) if cost else None
        got = self.bench(mode, **options)
        if cost:
            time.sleep(PUBLISHED_EVERY)
            per_op = Counters(self.cluster).per_op(before, got["ops"])
            per_op["p50_us"], per_op["p99_us"] = got.get("p50_us", 0), got.get("p99_us", 0)
            self.costs.setdefault(name, []).append(per_op)
        self.rates.setdefault(name, []).append(got[unit])
        return got[unit]

    def ratio(self, name, value):
        self.ratios.setdefault(name, []).append(value)

    def seconds(self, wanted):
        return round(wanted * self.args.scale, 2)

    # ---- the parts of a round ----

    def small_gets(self):
        common = dict(conns=64, objects=OBJECTS, seconds=self.seconds(1.5))
        nginx = self.measure("nginx_get_4k", "get", cost=False, port=self.nginx.port, **common)
        self.bench("get", port=self.ports, conns=64, objects=OBJECTS, count=4 * OBJECTS)  # caches filled
        cairn = self.measure("get_4k", "get", port=self.ports, **common)
        self.ratio("get_4k", cairn / nginx)

    def sync_us(self):
        return self.measure("fdatasync", "fsync", unit="us_per_op", cost=False, dir=self.dir,
                            seconds=self.seconds(0.7))

    def small_puts(self):
        first = self.sync_us()
        many = self.measure("put_4k_64", "put", port=self.ports, conns=64, objects=4 * OBJECTS,
                            prefix="w", seconds=self.seconds(2))
        second = self.sync_us()
        one = self.measure("put_4k_1", "put", port=self.cluster.ports[0], conns=1, objects=OBJECTS,
                           prefix="w", seconds=self.seconds(1))
        third = self.sync_us()
        self.ratio("put_4k_64", many * (first + second) / 2 / 1e6)
        self.ratio("put_4k_1", 1e6 / one / ((second + third) / 2))

    def lists(self):
        rate = self.measure("list", "list", unit="keys_per_s", port=self.ports, conns=LIST_CONNS,
                            bucket="list", seconds=self.seconds(1.5))
        self.ratio("list", rate / 200_000)

    def big_gets(self):
        common = dict(conns=4, objects=4, size=BIG, bucket="big", seconds=self.seconds(2))
        nginx = self.measure("nginx_get_64m", "get", unit="mb_per_s", cost=False, port=self.nginx.port,
                             **common)
        cairn = self.measure("get_64m", "get", unit="mb_per_s", port=self.ports, **common)
        self.ratio("get_64m", cairn / nginx)

    def disk_rate(self):
        return self.measure("disk", "disk", unit="mb_per_s", cost=False, dir=self.dir,
                            seconds=self.seconds(0.7))

    def big_puts(self):
        first = self.disk_rate()
        rate = self.measure("put_64m", "put", unit="mb_per_s", port=self.ports, conns=4, objects=4,
                            size=BIG, bucket="big", prefix="w", seconds=self.seconds(2.5))
        second = self.disk_rate()
        self.ratio("put_64m", rate / ((first + second) / 2 / 3))

    def witness_cost(self):
        """The same cached GETs with every record read at its leader instead, and checked again."""
        common = dict(port=self.ports, conns=64, objects=OBJECTS, seconds=self.seconds(1.5))
        warm = dict(common, seconds=None, count=4 * OBJECTS)
        warm.pop("seconds")
        for _ in range(2):
            self.cluster.reconfigure_gateways("witness_check: off")
            self.bench("get", **warm)
            unchecked = self.measure("get_4k_no_witness", "get", **common)
            self.cluster.reconfigure_gateways("")
            self.bench("get", **warm)
            checked = self.measure("get_4k_again", "get", **common)
            self.ratio("witness_gain", checked / unchecked)

    # ---- the whole ----

    def prepare(self):
        say("starting a cluster of 12 processes, and nginx")
        self.nginx.start()
        self.cluster.up()
        time.sleep(2)
        self.facts["idle_kib"] = self.cluster.resident_kib()
        self.ratio("idle", max(self.facts["idle_kib"].values()) / (40 << 10))
        self.bench = Bench(self.args.program, self.cluster)
        for bucket in ("bench", "list", "big"):
            self.cluster.create_bucket(bucket)
            (self.nginx.dir / "files" / bucket).mkdir()
        keys = int(self.args.list_keys * min(1, self.args.scale))
        say(f"storing {keys} keys to be listed, {OBJECTS} objects of 4 KiB, 4 of 64 MiB")
        self.bench("fill", port=self.ports, conns=256, objects=keys, size=0, bucket="list",
                   prefix="photos/2024/some-key-of-usual-length-")
        for bucket, objects, size, conns in (("bench", OBJECTS, 4096, 64), ("big", 4, BIG, 4)):
            self.bench("fill", port=self.ports, conns=conns, objects=objects, size=size, bucket=bucket)
            self.bench("files", dir=self.nginx.dir / "files" / bucket, objects=objects, size=size)

    def run(self):
        began = time.monotonic()
        try:
            self.prepare()
            for number in range(1, self.args.rounds + 1):
                say(f"round {number} of {self.args.rounds}")
                for part in (self.small_gets, self.small_puts, self.lists, self.big_gets, self.big_puts):
                    if not self.args.only or part.__name__ in self.args.only:
                        part()
            if not self.args.only or "witness_cost" in self.args.only:
                say("the witness check: gateways restarted without it, and with it")
                self.witness_cost()
            self.facts["busy_kib"] = self.cluster.resident_kib()
        finally:
            self.cluster.down(self.args.keep)
            self.nginx.stop()
        self.facts["seconds"] = round(time.monotonic() - began, 1)


def say(text):
    print(text, file=sys.stderr, flush=True)


def medians(costs):
    return {name: statistics.median(cost[name] for cost in costs) for name in costs[0]}


def result_of(run):
    targets = []
    for name, text, sense, limit in TARGETS:
        if name in run.ratios:
            value = statistics.median(run.ratios[name])
            passed = value >= limit if sense == ">=" else value <= limit
            targets.append(dict(name=name, what=text, sense=sense, limit=limit, measured=value, passed=passed,
                                rounds=run.ratios[name]))
    return dict(targets=targets, rates={n: statistics.median(v) for n, v in run.rates.items()},
                all_rates=run.rates, ratios=run.ratios, costs={n: medians(c) for n, c in run.costs.items()},
                facts=run.facts)


RATE_UNITS = {"fdatasync": "us", "disk": "MB/s", "list": "keys/s", "nginx_get_64m": "MB/s",
              "get_64m": "MB/s", "put_64m": "MB/s"}


def show(result):
    print(f"\n{'target':<56}{'wanted':>9}{'measured':>10}  result   (rounds)")
    for t in result["targets"]:
        rounds = " ".join(f"{value:.2f}" for value in t["rounds"])
        print(f"{t['what']:<56}{t['sense']:>3}{t['limit']:>6.2f}{t['measured']:>10.2f}  "
              f"{'pass' if t['passed'] else 'MISS':<8} ({rounds})")
    if "witness_gain" in result["ratios"]:
        gain = statistics.median(result["ratios"]["witness_gain"])
        print(f"{'GET 4 KiB witness-checked / every record read at its leader':<65}{gain:>10.2f}")
    print("\nrates (medians)")
    for name, value in result["rates"].items():
        print(f"  {name:<20}{value:>12,.1f} {RATE_UNITS.get(name, 'ops/s')}")
    names = list(result["costs"])
    print(f"\n{'an operation costs (medians)':<28}" + "".join(f"{name:>18}" for name in names))
    for row in result["costs"][names[0]] if names else ():
        print(f"  {row:<26}" + "".join(f"{result['costs'][name][row]:>18,.2f}" for name in names))
    print("\nidle memory, KiB: " + ", ".join(f"{n} {v}" for n, v in sorted(result["facts"]["idle_kib"].items())))
    print(f"the run took {result['facts']['seconds']} s")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--json", help="also write everything measured to this file")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--scale", type=float, default=1.0, help="stretches every measurement's time")
    p.add_argument("--only", help="parts, separated by commas: small_gets, small_puts, ...")
    p.add_argument("--list-keys", type=int, default=100_000)
    p.add_argument("--dir", default=os.environ.get("CAIRN_BENCH_DIR", ROOT / "build/bench"),
                   help="on the disk to be measured")
    p.add_argument("--s3-port", type=int, default=int(os.environ.get("CAIRN_BENCH_S3_PORT", 29000)))
    p.add_argument("--port-base", type=int, default=int(os.environ.get("CAIRN_BENCH_PORT_BASE", 27000)))
    p.add_argument("--program", default=ROOT / "build/rel/bin/cairn-bench")
    p.add_argument("--keep", action="store_true", help="leave the cluster's directory")
    p.add_argument("--strict", action="store_true", help="exit 1 when a target is missed")
    args = p.parse_args()
    args.only = args.only.split(",") if args.only else None
    run = Run(args)
    run.run()
    result = result_of(run)
    show(result)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(result, indent=1) + "\n")
    return 1 if args.strict and not all(t["passed"] for t in result["targets"]) else 0


if __name__ == "__main__":
    sys.exit(main())
