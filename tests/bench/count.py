#!/usr/bin/env python3
"""make bench-count: what a small GET and a small PUT ask of a gateway, counted instead of timed.

Starts a cluster of its own.  First the gateway runs as it is: system calls by strace, questions,
reads, proposals and fsyncs by the processes' own counters.  Then under callgrind: instructions of
user space, calls of the allocator, and how much code a request runs through (lines of 64 bytes and
pages of 4 KiB that at least every second request touches), which is what a gateway pays for that is
woken for one request at a time.  Such numbers are the same on a busy machine; OpenSSL runs without
the processor's SHA there, which makes instructions more than they are.  `--tree` counts another
tree, built with `make VARIANT=rel bins build/rel/bin/cairn-bench`."""
import argparse
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import world

NODE = "z1-gateway-1"
RUNS = (("GET 4 KiB, 1 conn", "get", 1, 2000), ("GET 4 KiB, 16 conns", "get", 16, 4000),
        ("PUT 4 KiB, 1 conn", "put", 1, 1000))
PUBLISHED_EVERY = 0.8  # seconds, and more: what gateways have counted shows so late
ALLOCATORS = ("malloc", "calloc", "realloc")
COUNTED = ("witness_frames", "leader_reads", "proposals", "log_fsyncs", "raft_messages")


class Count:
    def __init__(self, args):
        self.dir = pathlib.Path(args.dir).resolve()
        self.tree = pathlib.Path(args.tree).resolve()
        world.ROOT = self.tree
        self.cluster = world.Cluster(self.dir / "cluster", args.s3_port, args.port_base)
        self.port = args.s3_port
        self.out = self.dir / "callgrind"
        self.rows = {name: {} for name, *_ in RUNS}

    def load(self, mode, conns, count):
        prefix = "w" if mode == "put" else "o"
        return self.bench(mode, port=self.port, conns=conns, objects=200, size=4096, prefix=prefix, count=count)

    # ---- as it is ----

    def strace(self, mode, conns, count):
        """System calls of the gateway per request; its idle ones, some ten a second, are in it."""
        out = self.dir / "strace"
        tracer = subprocess.Popen(["strace", "-c", "-f", "-o", out, "-p", str(self.cluster.pids[NODE])],
                                  stderr=subprocess.DEVNULL)
        time.sleep(1)
        self.load(mode, conns, count)
        tracer.send_signal(signal.SIGINT)
        tracer.wait(20)
        calls = {}
        for line in out.read_text().splitlines():
            words = line.split()
            if len(words) >= 5 and words[3].isdigit() and words[-1] != "total":
                calls[words[-1]] = int(words[3]) / count
        return calls

    def plain(self):
        for name, mode, conns, count in RUNS:
            self.load(mode, conns, count)
            time.sleep(PUBLISHED_EVERY)
            before = world.Counters(self.cluster)
            self.load(mode, conns, count)
            time.sleep(PUBLISHED_EVERY)
            cost = world.Counters(self.cluster).per_op(before, count)
            self.rows[name].update({key: cost[key] for key in COUNTED})
            calls = self.strace(mode, conns, count)
            self.rows[name]["system calls"] = sum(calls.values())
            self.rows[name]["which"] = {k: round(v, 2) for k, v in sorted(calls.items(), key=lambda i: -i[1])
                                        if v >= 0.05}

    # ---- under callgrind ----

    def control(self, *words):
        subprocess.run(["callgrind_control", *words, str(self.cluster.pids[NODE])], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def restart(self):
        cluster = self.cluster
        cluster.command("stop", NODE)
        conf = cluster.dir / "conf" / f"{NODE}.yaml"
        conf.write_text(conf.read_text() + "loops: 1\n")
        cluster.env["NODE_RUNNER"] = f"valgrind --tool=callgrind --dump-instr=yes --callgrind-out-file={self.out}"
        cluster.command("start", NODE)
        del cluster.env["NODE_RUNNER"]
        cluster.read_pids()
        cluster.wait_ready(NODE)

    def counted(self):
        self.restart()
        for name, mode, conns, count in RUNS:
            self.load(mode, conns, count // 5)
            for old in self.dir.glob("callgrind.*"):
                old.unlink()
            self.control("-z")
            self.load(mode, conns, count)
            self.control("--dump=counted")
            time.sleep(1)
            dumps = [p for p in self.dir.glob("callgrind.*") if "desc: Trigger" in p.read_text()]
            self.rows[name].update(read_profile(dumps[0], count))

    def run(self):
        self.dir.mkdir(parents=True, exist_ok=True)
        try:
            self.cluster.up()
            self.bench = world.Bench(self.tree / "build/rel/bin/cairn-bench", self.cluster)
            self.cluster.create_bucket("bench")
            self.load("fill", 8, 200)
            self.plain()
            self.counted()
        finally:
            self.cluster.down(False)


def read_profile(path, count):
    """Instructions, allocations, lines and pages of code per request from a callgrind dump."""
    names, executed = {}, {}
    instructions = allocations = address = 0
    callee, of_call = "", False
    for line in path.read_text().splitlines():
        if line.startswith(("fn=", "cfn=")):
            number, name = re.match(r"c?fn=\((\d+)\)(?: (.*))?", line).groups()
            if name:
                names[number] = name
            if line[0] == "c":
                callee = names[number].split("'")[0]
        elif line.startswith("calls="):
            of_call = True
            if callee in ALLOCATORS:
                allocations += int(line[6:].split()[0])
        elif re.match(r"0x|[+*-]", line):
            words = line.split()
            if words[0] != "*":
                address = int(words[0], 0) + (address if words[0][0] in "+-" else 0)
            if not of_call and len(words) > 2:
                instructions += int(words[2])
                executed[address] = max(executed.get(address, 0), int(words[2]))
            of_call = False
    common = [a for a, times in executed.items() if times * 2 >= count]
    return {"instructions": instructions / count, "allocations": allocations / count,
            "lines of code": len({a >> 6 for a in common}), "pages of code": len({a >> 12 for a in common})}


def show(rows):
    keys = list(dict.fromkeys(key for row in rows.values() for key in row if key != "which"))
    print(f"{'a request costs':<22}" + "".join(f"{name:>22}" for name in rows))
    for key in keys:
        print(f"  {key:<20}" + "".join(f"{row[key]:>22,.2f}" for row in rows.values()))
    for name, row in rows.items():
        print(f"  {name}: " + ", ".join(f"{call} {times}" for call, times in row["which"].items()))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--tree", default=world.ROOT, help="whose programs")
    p.add_argument("--dir", default=world.ROOT / "build/count")
    p.add_argument("--json", help="also write what was counted to this file")
    p.add_argument("--s3-port", type=int, default=int(os.environ.get("CAIRN_BENCH_S3_PORT", 29200)))
    p.add_argument("--port-base", type=int, default=int(os.environ.get("CAIRN_BENCH_PORT_BASE", 27500)))
    args = p.parse_args()
    count = Count(args)
    count.run()
    show(count.rows)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(count.rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
