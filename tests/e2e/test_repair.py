"""Storage nodes repair: a wiped disk, a node that was away, one that never comes back, one that is drained, and
bits that flipped.  `cairnctl verify` is the judge.  The times are short, so that nobody waits for minutes."""
import concurrent.futures
import json
import os
import random
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request

import pytest

from cluster import ROOT, Cluster, serve

CAIRNCTL = ROOT / "build" / "rel" / "bin" / "cairnctl"
TIMES = {"CAIRN_REPAIR_AGE": "200ms", "CAIRN_REPAIR_INTERVAL": "1s", "CAIRN_NODE_DOWN_AFTER": "4s",
         "CAIRN_NODE_LOST_AFTER": "6s", "CAIRN_REPAIR_BYTES_PER_SEC": "256MiB", "CAIRN_SCRUB_PERIOD": "2s"}
SIZES = (20_000, 300_000, 5_000_000, 1_000_000)


def cluster_of(request, per_zone, **more):
    made = Cluster(tempfile.mkdtemp(prefix="cairn-repair-"), STORAGE_PER_ZONE=str(per_zone), **dict(TIMES, **more))
    yield from serve(request, made)


@pytest.fixture(scope="module")
def three(request):
    """A storage node a zone: replicas."""
    yield from cluster_of(request, 1)


@pytest.fixture(scope="module")
def six(request):
    """Two a zone, and a shard in each: whoever goes has a successor in its zone."""
    yield from cluster_of(request, 2, SCHEMES="2+1, rep-3")


@pytest.fixture(scope="module")
def patient(request):
    """A storage node a zone, so that no write can go where a node that hangs is none.  Groups have their turn when
    something is known to be amiss, and nobody is called down so soon."""
    yield from cluster_of(request, 1, CAIRN_REPAIR_INTERVAL="1h", CAIRN_NODE_DOWN_AFTER="120s",
                          CAIRN_NODE_LOST_AFTER="240s")


def ask(cluster, *args, status=0):
    done = subprocess.run([CAIRNCTL, *args, "--json", f"--endpoint={cluster.endpoint()}"], text=True,
                          capture_output=True, timeout=60, env=cluster.shell_env())
    assert status in (None, done.returncode), f"{args}: {done.returncode} {done.stdout}{done.stderr}"
    return json.loads(done.stdout) if done.stdout else {}


def wait(what, seconds=40):
    """Until what() is true; what it said last, if it never is."""
    deadline = time.monotonic() + seconds
    while not (said := what()):
        assert time.monotonic() < deadline, (what.__name__, said)
        time.sleep(0.2)
    return said


def wait_whole(cluster, bucket, seconds=40):
    deadline = time.monotonic() + seconds
    while (found := ask(cluster, "verify", bucket, status=None)).get("full", -1) != found.get("segments"):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    assert found["segments"] > 0 and found["degraded"] == found["lost"] == 0
    return ask(cluster, "verify", bucket, "--deep")


def fill(cluster, bucket, prefix=""):
    s3, bodies = cluster.client(), {}
    s3.create_bucket(Bucket=bucket) if not prefix else None
    for i, size in enumerate(SIZES * 2):
        bodies[f"{prefix}{i}"] = os.urandom(size)
        s3.put_object(Bucket=bucket, Key=f"{prefix}{i}", Body=bodies[f"{prefix}{i}"])
    return bodies


def check(cluster, bucket, bodies):
    s3 = cluster.client(zone=2)
    for name, body in bodies.items():
        assert s3.get_object(Bucket=bucket, Key=name)["Body"].read() == body, name


def metric(cluster, zone, name, k=1):
    url = f"{cluster.admin_url('storagenode', zone, k)}/metrics"
    text = urllib.request.urlopen(url, timeout=5).read().decode()
    return sum(float(v) for v in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.M))


def live_bytes(cluster, zone, k=1):
    return metric(cluster, zone, "cairn_store_live_bytes", k)


def all_answer(cluster):
    return all(n["answers"] for n in ask(cluster, "nodes", status=None).get("nodes", [{"answers": False}]))


# ---- one storage node a zone ----

def test_a_wiped_disk_is_filled_again(three):
    bodies = fill(three, "wiped")
    wait_whole(three, "wiped")
    node, before = "z2-storagenode-1", live_bytes(three, 2)
    three.control("stop", node)  # for too short a time to be called down
    for part in ("extents", "index"):
        shutil.rmtree(three.var / "data" / node / part)
    three.control("start", node)
    wait_whole(three, "wiped")
    assert live_bytes(three, 2) == before
    check(three, "wiped", bodies)


def test_what_a_node_missed_is_filled_when_it_is_back(three):
    three.control("kill", "z3-storagenode-1")
    wait(lambda: ask(three, "status", status=None).get("health") == "degraded")
    bodies = fill(three, "missed")
    assert ask(three, "verify", "missed", status=1)["degraded"] > 0
    three.control("start", "z3-storagenode-1")
    wait_whole(three, "missed")
    check(three, "missed", bodies)


def test_it_stops_while_repairing(three):
    """SIGTERM, again and again, to a node that is being filled and to the one that fills it."""
    bodies = fill(three, "stopped")
    wait_whole(three, "stopped")
    three.control("stop", "z1-storagenode-1")
    for part in ("extents", "index"):
        shutil.rmtree(three.var / "data" / "z1-storagenode-1" / part)
    three.control("start", "z1-storagenode-1")
    for i in range(6):
        time.sleep(0.1 * i)
        node = f"z{1 + i % 2}-storagenode-1"
        three.control("stop", node)
        three.control("start", node)
    wait_whole(three, "stopped")
    check(three, "stopped", bodies)


# ---- two a zone ----

def groups_of(cluster, node):
    """The groups that name it, now or next; None: nobody says."""
    groups = ask(cluster, "pgs", status=None).get("pgs")
    return None if not groups else [g["pg"] for g in groups if node in g["members"] + g["next_members"]]


def wait_settled(cluster, node, seconds=90):
    """No group names the node any more, and none is changing."""
    deadline = time.monotonic() + seconds
    while True:
        groups = ask(cluster, "pgs", status=None).get("pgs", [])
        if groups and not any(g["next_members"] for g in groups) and groups_of(cluster, node) == []:
            return
        assert time.monotonic() < deadline, groups
        time.sleep(0.5)


def flip_bits(cluster, node, count):
    """Anywhere in the node's extents where something is written, headers of extents excepted."""
    dice, flipped = random.Random(7), 0
    files = [p for p in sorted((cluster.var / "data" / node / "extents").iterdir()) if p.stat().st_size > 4096]
    while flipped < count:
        with open(dice.choice(files), "r+b", buffering=0) as f:
            end = min(f.seek(0, os.SEEK_END), 32 << 20)
            at = dice.randrange(4096, end)
            f.seek(at)
            byte = f.read(1)
            if byte == b"\0":
                continue
            f.seek(at)
            f.write(bytes([byte[0] ^ 1 << dice.randrange(8)]))
            flipped += 1


def test_flipped_bits_are_found_and_rebuilt(six):
    six.expected_error += r"| ERROR z2-storagenode-2 store\.(scrub_)?damaged "
    bodies, node = fill(six, "flipped"), "z2-storagenode-2"
    wait_whole(six, "flipped")
    flip_bits(six, node, 200)
    passes = metric(six, 2, "cairn_store_scrub_passes_total", k=2)

    def mended():
        disks = ask(six, "disks", status=None).get("disks", [])  # none before the node's first report
        disk = next((d for d in disks if d["node"] == node), None)
        return disk and disk["scrub_found"] > 0 and disk["scrub_found"] == disk["scrub_mended"] and disk
    wait(mended)
    # The pass that was under way may have been past some of them.
    wait(lambda: metric(six, 2, "cairn_store_scrub_passes_total", k=2) >= passes + 2)
    wait(mended)
    wait_whole(six, "flipped")
    check(six, "flipped", bodies)


# ---- what a write left out ----

def repairs(cluster, what):
    name = f"cairn_repair_{what}_total"
    return sum(metric(cluster, zone, name) for zone in (1, 2, 3))


def wait_quiet(cluster):
    """Every disk is known, and the passes that this brings are over: the next are an hour away."""
    wait(lambda: sum(d["state"] == "up" for d in ask(cluster, "disks", status=None).get("disks", [])) == 3)
    wait(lambda: (before := repairs(cluster, "passes"), time.sleep(4)) and before == repairs(cluster, "passes"))


def test_what_writes_left_out_is_mended_at_once(patient):
    """More than sockets keep for a process that hangs: some of it will never come there."""
    s3, node = patient.client(), "z2-storagenode-1"
    wait_quiet(patient)
    s3.create_bucket(Bucket="left-out")
    bodies = {str(i): os.urandom(12 << 20) for i in range(8)}
    with patient.suspended(node), concurrent.futures.ThreadPoolExecutor(len(bodies)) as pool:
        list(pool.map(lambda i: s3.put_object(Bucket="left-out", Key=i, Body=bodies[i]), bodies))
        time.sleep(4)  # the last stragglers have been given up
    wait_whole(patient, "left-out", seconds=20)
    assert repairs(patient, "hints_mended") > 0 and repairs(patient, "hints_dropped") == 0
    check(patient, "left-out", bodies)


def test_a_drained_node_is_emptied(six):
    node = "z2-storagenode-1"
    bodies = fill(six, "drained")
    wait_whole(six, "drained")
    assert not ask(six, "safe-to-remove", node, status=1)["safe"] and live_bytes(six, 2) > 0
    ask(six, "drain", node)
    bodies |= fill(six, "drained", "meanwhile-")
    wait_settled(six, node)
    assert ask(six, "safe-to-remove", node)["safe"]
    wait(lambda: live_bytes(six, 2) == 0)  # what it held of groups that it left is dropped
    six.control("stop", node)
    wait_whole(six, "drained")
    check(six, "drained", bodies)
    six.control("start", node)
    ask(six, "undrain", node)


def test_a_node_that_never_comes_back_is_replaced(six):
    node = "z1-storagenode-2"
    bodies = fill(six, "killed")
    wait_whole(six, "killed")
    its_disks = lambda: {d["disk"]: d["state"] for d in ask(six, "disks", status=None).get("disks", [])
                         if d["node"] == node}
    old = wait(its_disks)
    six.control("kill", node)
    bodies |= fill(six, "killed", "meanwhile-")
    wait_settled(six, node)
    wait_whole(six, "killed")
    check(six, "killed", bodies)
    assert ask(six, "safe-to-remove", node, status=None)["member_of"] == 0
    # Given up; and it is back after all: nothing of it is served, and it begins anew.
    six.expected_error += "| ERROR z1-storagenode-2 storagenode.disk_(given_up|refused) "
    ask(six, "drain", node)
    wait(lambda: ask(six, "safe-to-remove", node, status=None)["safe"])
    said = six.var / "log" / f"{node}.log"
    six.control("start", node)
    wait(lambda: "storagenode.disk_given_up" in said.read_text())
    six.control("stop", node)
    six.control("start", node)
    wait(lambda: "storagenode.emptied" in said.read_text())
    ask(six, "undrain", node)
    wait(lambda: any(state == "up" for disk, state in its_disks().items() if disk not in old))
    wait_whole(six, "killed")
    check(six, "killed", bodies)
