"""What the tests of repair say again and again: what was written and must stay, what the operator is told, what
repair has counted."""
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import time
import urllib.request

from cluster import ROOT, say
from extents import shards

CAIRNCTL = ROOT / "build" / "rel" / "bin" / "cairnctl"
ZONES = (1, 2, 3)
# Times in seconds instead of minutes, rates that a small machine can show; objects that are coded although they
# are small, in extents of which a disk has several.
TIMES = {"CAIRN_REPAIR_AGE": "200ms", "CAIRN_REPAIR_INTERVAL": "4s", "CAIRN_NODE_DOWN_AFTER": "4s",
         "CAIRN_NODE_LOST_AFTER": "6s", "CAIRN_REPAIR_BYTES_PER_SEC": "256MiB", "CAIRN_SCRUB_PERIOD": "30s",
         "CAIRN_REPLICATE_BYTES_MAX": "32KiB", "CAIRN_EXTENT_BYTES": "16MiB"}
SIZES = (20_000, 100_000, 20_000, 1_000_000, 100_000, 6_000_000)
FULL_S = 45.0        # until redundancy is full again, at the rates above
REPLICA_S = 3.0      # a storage node's loss costs a read or write no more
QUIET_S = 2.5        # no change is planned in two passes of the root's planner: none comes
POLL_S = 0.25


# ---- what was written ----

class Objects:
    """Acknowledged objects of a bucket; each is compared, bit for bit, through every gateway in turn."""

    def __init__(self, cluster, bucket):
        self.cluster, self.bucket, self.bodies = cluster, bucket, {}
        self.cluster.client(1).create_bucket(Bucket=bucket)

    def put(self, prefix, sizes=SIZES, zones=ZONES):
        def one(number):
            key, body = f"{prefix}-{number:04d}", os.urandom(sizes[number])
            clients[number % len(clients)].put_object(Bucket=self.bucket, Key=key, Body=body)
            self.bodies[key] = body

        clients = [self.cluster.client(zone, retries={"max_attempts": 4}) for zone in zones]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(one, range(len(sizes))))

    def check(self, zones=ZONES):
        def one(numbered):
            number, (key, body) = numbered
            client = clients[number % len(clients)]
            assert client.get_object(Bucket=self.bucket, Key=key)["Body"].read() == body, key
            first = len(body) // 3
            part = client.get_object(Bucket=self.bucket, Key=key, Range=f"bytes={first}-{first + 999}")
            assert part["Body"].read() == body[first:first + 1000], key

        clients = [self.cluster.client(zone) for zone in zones]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(one, enumerate(self.bodies.items())))


# ---- what the operator is told ----

def ctl(cluster, *args, status=0, zone=1):
    done = subprocess.run([CAIRNCTL, *args, "--json", f"--endpoint={cluster.endpoint(zone)}"], text=True,
                          capture_output=True, timeout=90, env=cluster.shell_env())
    assert status in (None, done.returncode), f"{args}: {done.returncode} {done.stdout[-3000:]}{done.stderr}"
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {}


def brief(cluster, zone):
    """The cluster's state as one gateway tells it, on a line."""
    said = ctl(cluster, "status", status=None, zone=zone)
    return json.dumps({"zone": zone, "reasons": [r["text"] for r in said.get("reasons", [])],
                       "nodes": {n["node"]: n["state"] for n in said.get("nodes", [])},
                       **{name: said.get(name) for name in ("repair", "pgs", "planned")}})


def wait(cluster, what, seconds, told):
    """Until told() is true.  The failure shows the cluster's state."""
    deadline = time.monotonic() + seconds
    while not (answer := told()):
        if time.monotonic() > deadline:
            raise AssertionError("\n".join([f"not within {seconds} s: {what}", *(brief(cluster, z) for z in ZONES)]))
        time.sleep(POLL_S)
    return answer


def states(cluster, zone=1):
    """Storage nodes' states; {} while nobody answers."""
    return {n["node"]: n["state"] for n in ctl(cluster, "nodes", status=None, zone=zone).get("nodes", [])}


def settled(cluster):
    """Who holds which shards, (group, index) -> node, once everybody is up and no group changes or is about to."""
    last, since = None, time.monotonic()

    def told():
        nonlocal last, since
        said = ctl(cluster, "pgs", status=None)
        groups = said.get("pgs", [])
        moves = said.get("planned") or any(g["next_members"] for g in groups)
        quiet = groups and not moves and set(states(cluster).values()) == {"up"}
        epochs = quiet and [(g["pg"], g["epoch"]) for g in groups]
        if not quiet or epochs != last:
            last, since = epochs, time.monotonic()
        return groups if quiet and time.monotonic() - since > QUIET_S else None

    groups = wait(cluster, "no group changes", FULL_S, told)
    return {(g["pg"], i): node for g in groups for i, node in enumerate(g["members"])}


def nothing_lost(cluster, *args, zone=1):
    """verify of what there is now: whatever is missing, all of it can be read."""
    found = ctl(cluster, "verify", *args, status=None, zone=zone)
    assert found.get("segments", 0) > 0 and found["lost"] == found["unknown"] == 0, json.dumps(found)[:3000]
    return found


def whole(cluster, *args, seconds=FULL_S):
    """Waits until `cairnctl verify` ends with 0, meanwhile nothing is lost.  Returns what it said."""
    last = {}

    def told():
        nonlocal last
        last = ctl(cluster, "verify", *args, status=None)
        assert last.get("lost", 0) == 0, json.dumps(last)[:3000]
        return last.get("segments", 0) > 0 and last["full"] == last["segments"]

    try:
        wait(cluster, f"verify {args}", seconds, told)
    except AssertionError as late:
        late.add_note(json.dumps(last)[:3000])
        raise
    return ctl(cluster, "verify", *args, status=0)  # of any loop of the gateway: none may say otherwise


# ---- what is counted ----

def storage_nodes(cluster):
    return [n for n in cluster.nodes() if "storagenode" in n]


def place(node):
    """(zone, number) of a storage node's name."""
    return tuple(int(x) for x in re.match(r"z(\d+)-\w+-(\d+)$", node).groups())


def counted(cluster, name):
    """One metric of each storage node that runs: node -> the sum over its disks."""
    found = {}
    for node in storage_nodes(cluster):
        try:
            url = cluster.admin_url("storagenode", *place(node)) + "/metrics"
            text = urllib.request.urlopen(url, timeout=5).read().decode()
        except OSError:
            continue
        found[node] = sum(float(v) for v in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.M))
    return found


class Repaired:
    """What repair does from now on, until tell(): a restarted node counts from 0."""

    def __init__(self, cluster):
        self.cluster, self.began = cluster, time.monotonic()
        self.before = {f"cairn_repair_{what}_total": None for what in ("shards", "bytes")}
        for name in self.before:
            self.before[name] = counted(cluster, name)

    def tell(self, what):
        took = time.monotonic() - self.began
        shards, size = (sum(max(now - before.get(node, 0), 0) for node, now in counted(self.cluster, name).items())
                        for name, before in self.before.items())
        say(f"{what}: full again after {took:.1f} s, {shards:.0f} shards and {size / 1e6:.1f} MB rebuilt")
        return shards


# ---- what is broken ----

def start(cluster, *nodes):
    for node in nodes:
        cluster.control("start", node)


def wipe(cluster, node):
    """An empty disk in the place of what it had."""
    for part in ("extents", "index"):
        shutil.rmtree(cluster.var / "data" / node / part)


def configure(cluster, node, line):
    """One more line for its next start."""
    conf = cluster.var / "conf" / f"{node}.yaml"
    conf.write_text(f"{conf.read_text()}{line}\n")


def of_zone(cluster, zone):
    return [n for n in cluster.nodes() if n.startswith(f"z{zone}-")]


def held(cluster, prefix, holders):
    """The shards of owners whose key begins so, where their group's members have them.  What a group has left behind
    at a node that it went away from lies in the extents there, too, until the space is needed."""
    return [one for node in storage_nodes(cluster) for one in shards(cluster.var / "data" / node, prefix)
            if holders.get((one.pg, one.index)) == node]


def chosen(pool_of, count, dice):
    """Of these shards so many, of no blob more than its code can rebuild; the blobs are those of which everything is
    there, and which nothing else claims the place of (a write that went elsewhere leaves a blob that nobody refers
    to)."""
    by_blob, by_place = {}, {}
    for one in pool_of:
        by_blob.setdefault(one.blob, []).append(one)
        by_place.setdefault((one.key, one.segment), set()).add(one.blob)
    left, pool = {}, []
    for blob, its in by_blob.items():
        if len(its) == its[0].data + its[0].parity and len(by_place[its[0].key, its[0].segment]) == 1:
            left[blob] = its[0].parity
            pool += its
    dice.shuffle(pool)
    taken = []
    for one in pool:
        if len(taken) < count and left[one.blob] > 0:
            left[one.blob] -= 1
            taken.append(one)
    return taken


