"""cairnctl repair status, scrub start, scrub status: a wiped disk is seen to be filled again; rounds that are asked
for begin, tell how far they are, and end."""
import os
import shutil
import tempfile
import time

import pytest

from cluster import Cluster, serve
from test_cairnctl import ask, ask_json, verify_settled

NODES = [f"z{z}-storagenode-{k}" for z in (1, 2, 3) for k in (1, 2)]


@pytest.fixture(scope="module")
def six(request):
    yield from serve(request, Cluster(tempfile.mkdtemp(prefix="cairn-scrub-"), STORAGE_PER_ZONE="2",
                                      CAIRN_REPAIR_AGE="1s", CAIRN_REPAIR_INTERVAL="1s"))


@pytest.fixture(scope="module")
def bucket(six):
    s3 = six.client()
    s3.create_bucket(Bucket="bucket")
    for i in range(3):
        s3.put_object(Bucket="bucket", Key=f"key {i}", Body=os.urandom(9_000_000))
    verify_settled(six, "bucket")
    return "bucket"


def wait_for(six, command, good, seconds=30):
    deadline = time.monotonic() + seconds
    while True:
        answer = ask_json(six, *command, status=None)
        if good(answer):
            return answer
        assert time.monotonic() < deadline, answer
        time.sleep(0.2)


def test_repair_status(six, bucket):
    healthy = wait_for(six, ("repair", "status"), lambda a: a["missing"] == 0 and all(n["answers"] for n in a["nodes"]))
    assert [n["node"] for n in healthy["nodes"]] == NODES and healthy["eta_s"] == 0 and healthy["groups"] == []
    ask(six, "repair", "status", status=0)
    node = NODES[3]
    six.control("stop", node)
    assert "does not answer" in ask(six, "repair", "status", status=1).stdout
    for part in ("extents", "index"):
        shutil.rmtree(six.var / "data" / node / part)
    six.control("start", node)
    verify_settled(six, bucket, 40)
    done = wait_for(six, ("repair", "status"), lambda a: a["missing"] == 0 and a["repaired_bytes"] > 0)
    assert done["repaired_shards"] >= 9 and sum(n["passes"] for n in done["nodes"]) > 0
    assert any(n["bytes_per_sec"] > 0 and n["last_pass_ms"] for n in done["nodes"])
    assert node in ask(six, "repair", "status").stdout


def test_scrub(six, bucket):
    started = ask_json(six, "scrub", "start")
    assert started["started"] == 6 and started["failed"] == 0 and not started["deep"]
    ended = wait_for(six, ("scrub", "status"), lambda a: a["disks_under_way"] == 0
                     and all(d["passes"] for n in a["nodes"] for d in n["disks"]))
    for disk in (d for n in ended["nodes"] for d in n["disks"]):
        assert disk["bytes"] >= disk["live_bytes"] > 0 and disk["found"] == 0 and disk["oldest_age_s"] < 60
    one = ask_json(six, "scrub", "start", NODES[2])
    assert [n["node"] for n in one["nodes"]] == [NODES[2]] and one["started"] == 1
    assert "no such storage node" in ask(six, "scrub", "start", "z9-storagenode-1", status=2).stderr
    said = ask(six, "scrub", "status").stdout
    assert NODES[0] in said and "DEEP" in said


def test_deep_scrub(six, bucket):
    """Every blob is looked at by the repairer of its group: nine segments, 3+3."""
    before = {n["node"]: n["deep"]["blobs"] for n in ask_json(six, "scrub", "status")["nodes"]}
    assert ask_json(six, "scrub", "start", "--deep")["started"] == 6
    ended = wait_for(six, ("scrub", "status"), lambda a: a["deep_under_way"] == 0
                     and all(n["deep"]["rounds"] for n in a["nodes"]), 60)
    assert sum(n["deep"]["blobs"] - before[n["node"]] for n in ended["nodes"]) >= 9
    assert all(n["deep"]["found"] == n["deep"]["unproven"] == n["deep"]["unchecked"] == 0 for n in ended["nodes"])
    assert ended["unproven"] == 0
