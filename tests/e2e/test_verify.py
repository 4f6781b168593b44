"""cairnctl verify and safe-to-remove on coded groups: shards that are away, that are gone from real disks, that
are damaged there; and nodes that may not be removed, whoever else is stopped."""
import concurrent.futures
import itertools
import json
import os
import shutil
import tempfile
import time

import pytest

from cluster import Cluster, serve
from test_cairnctl import ask, ask_json, verify_settled

NODES = [f"z{z}-storagenode-{k}" for z in (1, 2, 3) for k in (1, 2)]
CODED = 6  # segments of the two large objects: 3+3 has a shard of each on every node


@pytest.fixture(scope="module")
def own(request):
    """Two storage nodes a zone; it may lose data, and repairs none of it as long as it is young."""
    made = Cluster(tempfile.mkdtemp(prefix="cairn-verify-"), STORAGE_PER_ZONE="2",
                   CAIRN_REPAIR_AGE="1h")
    yield from serve(request, made)


@pytest.fixture(scope="module")
def bodies(own):
    s3, made = own.client(), {}
    s3.create_bucket(Bucket="bucket")
    for i in range(2):
        made[f"large {i}"] = os.urandom(9_000_000)
    made["small"] = os.urandom(100_000)
    for key, body in made.items():
        s3.put_object(Bucket="bucket", Key=key, Body=body)
    return made


def counts(answer, data):
    """Of the scheme with so many data shards: full, degraded, lost, unknown."""
    found = [s for s in answer["schemes"] if s["data_shards"] == data]
    return tuple(found[0][k] for k in ("full", "degraded", "lost", "unknown"))


def answering(cluster, nodes, seconds=20):
    deadline = time.monotonic() + seconds
    while {n["node"] for n in ask_json(cluster, "nodes")["nodes"] if n["answers"]} != set(nodes):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def stop(cluster, *nodes):
    for node in nodes:
        cluster.control("stop", node)


def start(cluster, *nodes):
    for node in nodes:
        cluster.control("start", node)
    answering(cluster, NODES)


def test_nodes_that_are_away(own, bodies):
    clean = verify_settled(own, "bucket")
    assert counts(clean, 3) == (CODED, 0, 0, 0) and counts(clean, 1) == (1, 0, 0, 0)
    said = ask(own, "verify", "bucket").stdout
    assert "coded 3+3: 6 full, 0 degraded, 0 lost, 0 unknown" in said and "replicated 1+2: 1 full" in said
    away = []
    for node, expected in zip(("z1-storagenode-1", "z2-storagenode-1", "z3-storagenode-1", "z1-storagenode-2"),
                              ((0, CODED, 0, 0),) * 3 + ((0, 0, 0, CODED),)):
        stop(own, node)
        away.append(node)
        answer = ask_json(own, "verify", "bucket", status=1)
        assert counts(answer, 3) == expected, away
        absent = {(a["node"], a["state"]) for b in answer["bad"] for a in b["absent"]}
        assert absent == {(n, "not answered") for n in away}
    start(own, *away)
    assert verify_settled(own, "bucket")["lost"] == 0


def told(answer):
    """Of what is not full: which shards of which segment are away, and why."""
    return {(b["key"], b["part"], b["segment"], b["state"]): [(a["node"], a["state"]) for a in b["absent"]]
            for b in answer["bad"]}


def test_nodes_that_are_silent(own, bodies):
    """They take questions and answer none, until the time for an answer is over.  Of their shards nothing is known, of
    all others everything; whichever gateway, and whichever of its event loops, is asked."""
    s3 = own.client()
    s3.create_bucket(Bucket="silent")
    for i in range(20):
        s3.put_object(Bucket="silent", Key=f"copy {i}", Body=os.urandom(100_000))
    s3.put_object(Bucket="silent", Key="large", Body=bodies["large 0"])
    verify_settled(own, "silent")
    zones = [1, 2, 3] * 3  # new connections each time
    with concurrent.futures.ThreadPoolExecutor(len(zones)) as pool:
        def of_all(status):
            began = time.monotonic()
            found = list(pool.map(lambda zone: ask_json(own, "verify", "silent", status=status, zone=zone), zones))
            assert time.monotonic() - began < 45 and all(f["objects"] == 21 for f in found)
            return found

        # One node: what does not answer because it is stopped is told the same way, and at once.
        one = "z2-storagenode-1"
        stop(own, one)
        expected = ask_json(own, "verify", "silent", status=1)
        start(own, one)
        assert counts(expected, 3) == (0, CODED // 2, 0, 0) and counts(expected, 1)[0] > 0 < counts(expected, 1)[1]
        assert all(absent == [(one, "not answered")] for absent in told(expected).values())
        of_all(0)
        with own.suspended(one):
            for found in of_all(1):
                assert told(found) == told(expected) and found["schemes"] == expected["schemes"], found
        # Four of six: too few are left to know whether anything coded can be read.
        four = NODES[:4]
        of_all(0)
        with own.suspended(*four):
            for found in of_all(1):
                assert counts(found, 3) == (0, 0, 0, CODED // 2) and found["lost"] == 0, found
                away = set(itertools.chain.from_iterable(told(found).values()))
                assert away == {(node, "not answered") for node in four}
        answering(own, NODES)
        assert verify_settled(own, "silent")["segments"] == 20 + CODED // 2


def test_pages_go_on_behind_the_longest_keys(own, bodies):
    """Where a page ends is said by the key; everything is counted once, deep or not."""
    s3, many = own.client(), 230
    s3.create_bucket(Bucket="longest")
    keys = [f"{i:04}" + "\N{SNOWMAN}" * 340 for i in range(many)]  # 1024 bytes
    assert len(keys[0].encode()) == 1024
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda key: s3.put_object(Bucket="longest", Key=key, Body=b"x" * 20_000), keys))
    verify_settled(own, "longest")
    for how in (), ("--deep", ):  # 200 rows a page, and 20
        said = ask_json(own, "verify", "longest", *how)
        assert said["objects"] == said["segments"] == said["full"] == many and said["bytes"] == 20_000 * many, said


MAP_S = 4.0  # for so long an event loop may go on with its old map


def replicated_on(cluster, node):
    """How many groups of copies have the node; None while some group changes or is about to."""
    said = ask_json(cluster, "pgs")
    if said["planned"] or any(g["next_members"] for g in said["pgs"]):
        return None
    return sum(node in g["members"] for g in said["pgs"] if g["scheme"] == "replicated")


def test_members_that_change(own, bodies):
    """Groups go from a node to its neighbour, and the node is switched off at once.  Nothing is missing, and no event
    loop of a gateway says so, however old its map."""
    s3, node = own.client(), "z1-storagenode-1"
    s3.create_bucket(Bucket="copies")
    for i in range(40):
        s3.put_object(Bucket="copies", Key=f"copy {i}", Body=os.urandom(100_000))
    segments = verify_settled(own, "copies")["segments"]
    assert segments == 40 and replicated_on(own, node) > 0
    ask(own, "drain", node)
    try:
        deadline = time.monotonic() + 40
        while replicated_on(own, node) != 0:
            assert time.monotonic() < deadline
        own.control("kill", node)
        deadline = time.monotonic() + MAP_S
        for zone in itertools.cycle((1, 2, 3)):  # a new connection each time: another loop's, perhaps
            said = ask_json(own, "verify", "copies", status=None, zone=zone)
            assert said["full"] == said["segments"] == segments, (zone, said)
            if time.monotonic() > deadline:
                break
    finally:
        own.control("start", node)
        ask(own, "undrain", node)
    answering(own, NODES)


def test_never_safe_while_it_is_a_member(own, bodies):
    """Every node is a member of every coded group here, and nobody could take its place: whoever is stopped, the
    answer is no."""
    for node in NODES:
        ask(own, "drain", node)
    try:
        for away in [()] + list(itertools.combinations(("z1-storagenode-1", "z2-storagenode-2", "z3-storagenode-1"), 1)) \
                + [("z2-storagenode-1", "z2-storagenode-2"), ("z1-storagenode-1", "z3-storagenode-2")]:
            for node in away:
                own.control("kill", node)
            for node in NODES:
                answer = ask_json(own, "safe-to-remove", node, status=1)
                assert not answer["safe"] and answer["draining"] and answer["member_of"] > 0
            start(own, *away)
    finally:
        for node in NODES:
            ask(own, "undrain", node)


def test_a_byte_is_flipped(own, bodies):
    """Only --deep reads what is there; it is told as damaged, and by its node."""
    node = "z2-storagenode-2"
    assert verify_settled(own, "bucket")["degraded"] == 0
    at = 1 << 20  # within the first frames of the extent that has any; the others are empty
    for extent in (own.var / "data" / node / "extents").glob("*.extent"):
        with open(extent, "rb") as f:
            f.seek(at)
            if any(f.read(4096)):
                break
    with open(extent, "r+b") as f:
        f.seek(at)
        byte = f.read(1)
        f.seek(at)
        f.write(bytes([byte[0] ^ 1]))
        f.flush()
        os.fsync(f.fileno())
    found = ask_json(own, "verify", "bucket", "--deep", status=1)
    assert found["degraded"] == 1 and found["lost"] == 0, found
    assert [(a["node"], a["state"]) for b in found["bad"] for a in b["absent"]] == [(node, "damaged")], found
    s3 = own.client()
    for key, body in bodies.items():
        assert s3.get_object(Bucket="bucket", Key=key)["Body"].read() == body


def test_disks_that_are_wiped(own, bodies):
    """Three of six disks may go; with the fourth it is a loss, and the exit status says so."""
    s3, gone = own.client(), []
    for node in ("z2-storagenode-2", "z1-storagenode-1", "z3-storagenode-1", "z1-storagenode-2"):
        stop(own, node)
        for part in ("extents", "index"):
            shutil.rmtree(own.var / "data" / node / part)
        start(own, node)
        gone.append(node)
        lost = len(gone) > 3
        done = ask(own, "verify", "bucket", "--json", status=None)
        answer = json.loads(done.stdout)
        # The small object's three replicas may well lie on the first three nodes.
        assert done.returncode == (3 if answer["lost"] else 1) and answer["lost"] >= (CODED if lost else 0)
        assert counts(answer, 3) == ((0, 0, CODED, 0) if lost else (0, CODED, 0, 0)), gone
        if not lost:
            assert s3.get_object(Bucket="bucket", Key="large 0")["Body"].read() == bodies["large 0"]
    assert "coded 3+3: 0 full, 0 degraded, 6 lost" in ask(own, "verify", "bucket", status=3).stdout
