"""cairnctl salvage: all metanodes' data is gone, and every object that did not lie in the index comes
back, bit for bit."""
import json
import mmap
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request

import pytest

from cluster import ROOT, Cluster, serve

MIB = 1 << 20
CAIRNCTL = ROOT / "build" / "rel" / "bin" / "cairnctl"


@pytest.fixture
def cluster(request):
    """Deletions reach the storage nodes at once."""
    yield from serve(request, Cluster(tempfile.mkdtemp(prefix="cairn-salvage-"), CAIRN_DELETION_GRACE="100ms"))


def tombstones(cluster, zone):
    with urllib.request.urlopen(cluster.admin_url("storagenode", zone) + "/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("cairn_store_tombstones"))


def salvage(*args):
    done = subprocess.run([CAIRNCTL, "salvage", *map(str, args)], text=True, capture_output=True, timeout=60)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def flip(disks, data):
    """One bit of a frame that holds these bytes.  Returns: the disk."""
    for disk in disks:
        for extent in (disk / "extents").glob("*.extent"):
            with extent.open("r+b") as f, mmap.mmap(f.fileno(), 0) as view:
                at = view.find(data)
                if at >= 0:
                    view[at] ^= 1
                    return disk
    raise AssertionError("no disk holds these bytes")


def put_all(s3):
    """What a client stores; returns what should come back."""
    s3.create_bucket(Bucket="bucket")
    kept = {}
    for key, size in (("several segments", 9 * MIB + 17), ("one/segment", 4 * MIB), ("just above", 16 * 1024 + 1),
                      ("../dots", 100_000)):
        kept[key] = os.urandom(size)
        s3.put_object(Bucket="bucket", Key=key, Body=kept[key])
    s3.put_object(Bucket="bucket", Key="in the index", Body=b"small")
    up = s3.create_multipart_upload(Bucket="bucket", Key="multipart")["UploadId"]
    bodies = [os.urandom(5 * MIB), os.urandom(6 * MIB), os.urandom(300_000)]
    s3.upload_part(Bucket="bucket", Key="multipart", UploadId=up, PartNumber=2, Body=os.urandom(5 * MIB))
    time.sleep(0.01)  # a part that is sent again is newer by the gateway's clock, in milliseconds
    tags = [s3.upload_part(Bucket="bucket", Key="multipart", UploadId=up, PartNumber=i, Body=body)["ETag"]
            for i, body in enumerate(bodies, 1)]
    s3.complete_multipart_upload(Bucket="bucket", Key="multipart", UploadId=up, MultipartUpload={
        "Parts": [{"PartNumber": i, "ETag": tag} for i, tag in enumerate(tags, 1)]})
    kept["multipart"] = b"".join(bodies)
    return kept


def test_the_index_is_lost(cluster, tmp_path):
    s3 = cluster.client()
    kept = put_all(s3)
    for key in ("deleted", "written over"):
        s3.put_object(Bucket="bucket", Key=key, Body=os.urandom(5 * MIB))
    s3.delete_object(Bucket="bucket", Key="deleted")
    deadline = time.monotonic() + 20
    while any(tombstones(cluster, zone) < 2 for zone in (1, 2, 3)):
        assert time.monotonic() < deadline, "the deletion does not reach the storage nodes"
        time.sleep(0.1)
    # This one's old segments stay: a metanode that is gone deletes nothing.
    disks = sorted((cluster.var / "data").glob("*-storagenode-*"))
    assert len(disks) == 3
    status, lines, said = salvage(disks[0])
    assert status == 2 and "in use" in said and not lines
    kept["written over"] = os.urandom(MIB)
    s3.put_object(Bucket="bucket", Key="written over", Body=kept["written over"])
    cluster.down()
    for metanode in (cluster.var / "data").glob("*-metanode-*"):
        shutil.rmtree(metanode)

    status, lines, said = salvage("--extract", tmp_path / "out", "--json", *disks)
    summary = lines.pop()["summary"]
    assert status == 0 and summary["newest_not_whole"] == 0 and summary["extracted"] == len(lines), said
    newest = {line["key"]: line for line in lines if line["newest"]}
    assert set(newest) == set(kept), said  # neither what lay in the index, nor what was deleted
    assert len({line["bucket_id"] for line in lines}) == 1
    for key, body in kept.items():
        whole = None if key == "multipart" else True  # how many parts an upload had is not said
        assert newest[key]["complete"] is whole and newest[key]["bytes"] == len(body), newest[key]
        assert (tmp_path / "out" / newest[key]["file"]).read_bytes() == body
    assert sum(1 for line in lines if line["key"] == "written over") in (1, 2)
    assert [s["segment"] for s in newest["several segments"]["segments"]] == [0, 1, 2]
    assert all(s["shards_found"] >= 2 for line in newest.values() for s in line["segments"])
    assert len(list((tmp_path / "out").iterdir())) == len(lines)

    # Two storage nodes are enough, whichever: each segment has been durable in two zones of three.
    for lost in range(3):
        status, lines, said = salvage("--newest", *(d for i, d in enumerate(disks) if i != lost))
        assert status == 0 and len(lines) == len(kept) and all(line["complete"] is not False for line in lines), said

    # Damage in the only copy at hand is told, and nothing is written.
    holder = flip(disks, kept["multipart"][:4096])
    status, lines, said = salvage("--extract", tmp_path / "one", "--newest", holder)
    bad = {line["key"]: line for line in lines}["multipart"]
    assert status == 1 and bad["complete"] is False and bad["file"] is None, said
    assert sum(s["shards_damaged"] for s in bad["segments"]) == 1
