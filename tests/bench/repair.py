#!/usr/bin/env python3
"""make bench-repair: what coded data costs, and what repair does: 64 MiB PUTs coded against replicated, GETs with a
storage node gone against intact, the rate of repair against the disk's own, latencies of others meanwhile.

Two clusters of their own, one after the other: nine storage nodes (5+4), then six (3+3).  What is compared is
measured in turns of one run, so that what else the machine does hits both sides; first one, then the other, then the
other way around.  Exit code 0 also when a target is missed (--strict: 1).
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import sys
import time
import urllib.request

from world import ROOT, Bench, Cluster, cpu_and_switches

MIB = 1 << 20
BIG = 64 * MIB
SMALL = 256 << 10
CODED, COPIES = 0, 1      # gateways: the first writes coded, the second in three replicas
TARGETS = (
    ("get", ">=", 0.5, "GET 64 MiB, 4 conns: a storage node gone / intact"),
    ("p99_get", "<=", 2.0, "GET 256 KiB, 8 conns, p99: while a disk is filled / without"),
    ("p99_put", "<=", 2.0, "PUT 256 KiB, 8 conns, p99: the same"),
)


def say(text):
    print(text, file=sys.stderr, flush=True)


class World(Cluster):
    """A cluster in which nothing moves but what a measurement wants."""

    def __init__(self, directory, args, per_zone):
        super().__init__(directory, args.s3_port, args.port_base)
        self.env.update(STORAGE_PER_ZONE=str(per_zone), CAIRN_NODE_DOWN_AFTER="4s", CAIRN_NODE_LOST_AFTER="24h",
                        CAIRN_DELETION_GRACE="1h")
        self.storage = [f"z{zone}-storagenode-{k}" for zone in (1, 2, 3) for k in range(1, per_zone + 1)]

    def restart(self, node, line=""):
        """With one more line of configuration.  It keeps it."""
        conf = self.dir / "conf" / f"{node}.yaml"
        conf.write_text(conf.read_text() + (f"{line}\n" if line else ""))
        self.command("stop", node)
        self.start(node)

    def start(self, node):
        self.command("start", node)
        self.read_pids()
        self.wait_ready(node)

    def wipe(self, node):
        self.command("stop", node)
        for part in ("extents", "index"):
            shutil.rmtree(self.dir / "data" / node / part)

    def sum_of(self, name, nodes=None):
        total = 0
        for node in nodes or self.storage:
            text = urllib.request.urlopen(f"http://{self.admin[node]}/metrics", timeout=10).read().decode()
            total += sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                         if line.split("{")[0].split(" ")[0] == name)
        return total


class Run:
    def __init__(self, args):
        self.args = args
        self.dir = pathlib.Path(args.dir).resolve()
        self.dir.mkdir(parents=True, exist_ok=True)
        self.rates, self.ratios = {}, {}

    def note(self, name, value):
        self.rates.setdefault(name, []).append(value)
        return value

    def ratio(self, name, value):
        self.ratios.setdefault(name, []).append(value)

    def seconds(self, wanted):
        return round(wanted * self.args.scale, 2)

    def big(self, mode, gateway, name, **more):
        return self.note(name, self.bench(mode, port=self.cluster.ports[gateway], conns=4, objects=4, size=BIG,
                                          bucket="big", seconds=self.seconds(2), **more)["mb_per_s"])

    # ---- the parts ----

    def puts(self, scheme):
        for turn in range(self.args.rounds):
            got = {}
            for gateway in (CODED, COPIES) if turn % 2 == 0 else (COPIES, CODED):
                name = f"PUT 64 MiB, {scheme if gateway == CODED else 'rep-3'} ({scheme} cluster)"
                got[gateway] = self.big("put", gateway, name, prefix="w")
            self.ratio(f"put {scheme}", got[CODED] / got[COPIES])

    def gets(self, scheme):
        node = self.cluster.storage[-1]
        intact = self.big("get", CODED, f"GET 64 MiB, {scheme}, intact")
        self.cluster.command("kill", node)
        time.sleep(6)  # until it is called down: what is measured is a shard that is missing, not a time-out
        gone = [self.big("get", CODED, f"GET 64 MiB, {scheme}, a node gone") for _ in range(2)]
        self.cluster.start(node)
        self.settle()
        intact = (intact + self.big("get", CODED, f"GET 64 MiB, {scheme}, intact")) / 2
        self.ratio(f"get {scheme}", statistics.mean(gone) / intact)

    def small(self, when):
        found = {}
        for mode in ("get", "put"):
            got = self.bench(mode, port=self.cluster.ports[CODED], conns=8, objects=200, size=SMALL, bucket="small",
                             seconds=self.seconds(2), prefix="o" if mode == "get" else "w")
            found[mode] = self.note(f"p99 of {mode.upper()} 256 KiB, {when}, us", got["p99_us"])
        return found

    def latencies(self):
        """At the rates that repair has without being told otherwise."""
        node, before = self.cluster.storage[-1], self.small("without repair")
        self.cluster.wipe(node)
        self.cluster.start(node)
        self.until(lambda: self.repaired() > 0, "repair begins")
        meanwhile = []
        for _ in range(2):
            done = self.repaired()
            meanwhile.append(self.small("while a disk is filled"))
            if self.repaired() == done:
                raise SystemExit("nothing was repaired meanwhile: this says nothing; more data, or --scale")
        self.settle()
        after = self.small("without repair")
        for mode in ("get", "put"):
            self.ratio(f"p99_{mode}", sum(m[mode] for m in meanwhile) / (before[mode] + after[mode]))

    def repair_rate(self):
        """As fast as it can: how much of the disk's synced sequential rate a node that is filled writes."""
        for node in self.cluster.storage:
            self.cluster.restart(node, "repair_bytes_per_sec: 1TiB\nrepair_bytes_per_sec_endangered: 1TiB\n"
                                 "repair_parallel: 16")
        node, disk = self.cluster.storage[-1], self.disk()
        self.settle()
        live = self.filled
        others = self.cluster.storage[:-1]
        self.cluster.wipe(node)
        done = self.repaired(others)
        self.cluster.start(node)
        seen, cpu = [], self.cpu()

        def filled():
            now = self.cluster.sum_of("cairn_store_live_bytes", [node])
            if now > 0:
                seen.append((time.monotonic(), now))
            return now >= live * 0.97

        self.until(filled, "the disk is full again", 0.05)
        self.note("repair, CPU of storage nodes, ms a MB written", (self.cpu() - cpu) * 1e3 / (live / 1e6))
        inner = [s for s in seen if live * 0.05 < s[1]] or seen
        rate = (inner[-1][1] - inner[0][1]) / (inner[-1][0] - inner[0][0]) / 1e6
        self.note("repair, MB/s written", rate)
        self.note("repair, MB in all", live / 1e6)
        self.settle()
        self.ratio("repair: bytes written / bytes that were missing", (self.repaired() - done) / live)
        self.ratio("repair / disk", rate / statistics.mean([disk, self.disk()]))

    def cpu(self):
        return cpu_and_switches([self.cluster.pids[node] for node in self.cluster.storage])[0]

    def disk(self):
        got = self.bench("disk", dir=self.dir, seconds=self.seconds(0.7))
        return self.note("disk, synced sequential", got["mb_per_s"])

    def repaired(self, nodes=None):
        return self.cluster.sum_of("cairn_repair_bytes_total", nodes)

    def until(self, what, name, pause=0.2, seconds=60):
        deadline = time.monotonic() + seconds
        while not what():
            if time.monotonic() > deadline:
                raise SystemExit(f"{name}: not within {seconds} s")
            time.sleep(pause)

    def settle(self):
        """Nothing is missing, and repair has come to rest."""
        last = [-1]

        def rests():
            was, last[0] = last[0], self.repaired()
            return was == last[0] and self.cluster.sum_of("cairn_repair_missing_shards") == 0

        time.sleep(1)
        self.until(rests, "repair comes to rest", 1)

    # ---- the whole ----

    def one(self, scheme, per_zone, objects, parts):
        say(f"{scheme}: starting a cluster of {9 + 3 * per_zone} processes")
        self.cluster = World(self.dir / f"cluster-{per_zone}", self.args, per_zone)
        try:
            self.cluster.up()
            self.cluster.restart("z2-gateway-1", "replicate_bytes_max: 16MiB")
            self.bench = Bench(self.args.program, self.cluster)
            for bucket in ("big", "small"):
                self.cluster.create_bucket(bucket)
            port = self.cluster.ports[CODED]
            self.bench("fill", port=port, conns=4, objects=objects, size=BIG, bucket="big")
            self.bench("fill", port=port, conns=8, objects=200, size=SMALL, bucket="small")
            self.settle()
            # What was overwritten since lies there too, until it is deleted, and is not repaired.
            self.filled = self.cluster.sum_of("cairn_store_live_bytes", self.cluster.storage[-1:])
            for part in parts:
                if self.args.only and part.__name__ not in self.args.only.split(","):
                    continue
                say(f"{scheme}: {part.__name__}")
                part(*((scheme,) if part in (self.puts, self.gets) else ()))
        finally:
            self.cluster.down(self.args.keep)

    def run(self):
        began = time.monotonic()
        if not self.args.only or {"puts", "gets"} & set(self.args.only.split(",")):
            self.one("5+4", 3, 4, (self.puts, self.gets))
        self.one("3+3", 2, self.args.objects, (self.gets, self.latencies, self.repair_rate, self.puts))
        self.rates["seconds"] = [time.monotonic() - began]


def show(run):
    missed = False
    print(f"\n{'ratio':<66}{'wanted':>9}{'measured':>10}   (rounds)")
    for name, values in run.ratios.items():
        value = statistics.median(values)
        sense, limit, text = next((t[1:] for t in TARGETS if t[0] == name.split(" ")[0]), ("", 0, name))
        good = not sense or (value >= limit if sense == ">=" else value <= limit)
        missed |= not good
        label = text if text == name else f"{name}: {text}"
        rounds = " ".join(f"{v:.2f}" for v in values)
        print(f"{label:<66}{sense:>4}{limit if sense else '':>5}{value:>10.2f}   ({rounds}){'' if good else '  MISS'}")
    print("\nrates (MB/s if nothing else is said)")
    for name, values in run.rates.items():
        print(f"  {name:<50}{statistics.median(values):>12,.1f}   ({' '.join(f'{v:.0f}' for v in values)})")
    return missed


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--only", help="parts, separated by commas: puts, gets, latencies, repair_rate")
    p.add_argument("--json", help="also write everything measured to this file")
    p.add_argument("--rounds", type=int, default=2)
    p.add_argument("--scale", type=float, default=1.0, help="stretches every measurement's time")
    p.add_argument("--objects", type=int, default=8, help="of 64 MiB, that are repaired; 4 at least")
    p.add_argument("--dir", default=os.environ.get("CAIRN_BENCH_DIR", ROOT / "build/bench"),
                   help="on the disk to be measured")
    p.add_argument("--s3-port", type=int, default=int(os.environ.get("CAIRN_BENCH_S3_PORT", 29100)))
    p.add_argument("--port-base", type=int, default=int(os.environ.get("CAIRN_BENCH_PORT_BASE", 27500)))
    p.add_argument("--program", default=ROOT / "build/rel/bin/cairn-bench")
    p.add_argument("--keep", action="store_true", help="leave the clusters' directories")
    p.add_argument("--strict", action="store_true", help="exit 1 when a target is missed")
    args = p.parse_args()
    run = Run(args)
    run.run()
    missed = show(run)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(dict(ratios=run.ratios, rates=run.rates), indent=1) + "\n")
    return 1 if args.strict and missed else 0


if __name__ == "__main__":
    sys.exit(main())
