"""What was written as copies, because a zone and one more storage node were gone, is written again as
shards once they are back: bit for bit the same, for clients the very same objects; the copies' space is
given back."""
import hashlib
import json
import os
import re
import subprocess
import tempfile
import threading
import time
import urllib.request

import pytest

from cluster import ROOT, Cluster, serve

CAIRNCTL = ROOT / "build" / "rel" / "bin" / "cairnctl"
GONE = ("z2-storagenode-1", "z2-storagenode-2", "z3-storagenode-1")
# The long ones are more than what sockets and gateways hold for a client that does not read.
SIZES = {"one segment": 3_000_000, "three": 9_999_999, "just above": 400_000, "long": 30_000_000}
PARTS, OPEN_PART = (6 << 20, 24_000_000), 1_000_000
SEGMENTS = 1 + 3 + 1 + 8 + 2 + 6 + 1  # of all that is left


@pytest.fixture
def healing(request):
    yield from serve(request, Cluster(tempfile.mkdtemp(prefix="cairn-reencode-"), STORAGE_PER_ZONE="2",
                                      CAIRN_REENCODE_INTERVAL="500ms", CAIRN_INTERIM_CLAIM="2s", CAIRN_NODE_DOWN_AFTER="4s",
                                      CAIRN_DELETION_GRACE="2s"))


def metric(cluster, role, name, nodes=1):
    """Summed over labels and nodes; those that are away count nothing."""
    total = 0.0
    for zone in (1, 2, 3):
        for k in range(1, nodes + 1):
            try:
                text = urllib.request.urlopen(cluster.admin_url(role, zone, k) + "/metrics", timeout=5).read().decode()
            except OSError:
                continue
            total += sum(float(v) for v in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.M))
    return total


def verify(cluster, bucket):
    done = subprocess.run([CAIRNCTL, "verify", bucket, "--json", f"--endpoint={cluster.endpoint()}"], text=True,
                          capture_output=True, timeout=60, env=cluster.shell_env())
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return json.loads(done.stdout)


def wait(what, seconds, until):
    deadline = time.monotonic() + seconds
    while not (found := until()):
        assert time.monotonic() < deadline, what
        time.sleep(0.2)
    return found


def looks(client, bucket, key):
    """All that a client sees of an object but its bytes."""
    seen = client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    seen.pop("ResponseMetadata")
    return seen


class SlowReader(threading.Thread):
    """A GET that began before its object was moved, and is not done before the copies are gone."""

    def __init__(self, client, bucket, key, until):
        super().__init__()
        self.stream = client.get_object(Bucket=bucket, Key=key)["Body"]
        self.until, self.digest, self.error = until, hashlib.sha256(self.stream.read(1000)), None

    def run(self):
        try:
            self.until.wait(90)
            for piece in self.stream.iter_chunks(1 << 20):
                self.digest.update(piece)
        except Exception as error:  # told by the test
            self.error = error


def write_all(s3, bucket):
    bodies = {}
    for key, size in SIZES.items():
        bodies[key] = os.urandom(size)
        s3.put_object(Bucket=bucket, Key=key, Body=bodies[key], Metadata={"a": "b"})
    parts, open_part = [os.urandom(size) for size in PARTS], os.urandom(OPEN_PART)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    sent = [{"PartNumber": i + 1,
             "ETag": s3.upload_part(Bucket=bucket, Key="parts", UploadId=upload, PartNumber=i + 1, Body=p)["ETag"]}
            for i, p in enumerate(parts)]
    s3.complete_multipart_upload(Bucket=bucket, Key="parts", UploadId=upload, MultipartUpload={"Parts": sent})
    bodies["parts"] = b"".join(parts)
    open_id = s3.create_multipart_upload(Bucket=bucket, Key="open")["UploadId"]
    etag = s3.upload_part(Bucket=bucket, Key="open", UploadId=open_id, PartNumber=1, Body=open_part)["ETag"]
    for key in ("deleted", "replaced"):
        s3.put_object(Bucket=bucket, Key=key, Body=os.urandom(2_000_000))
    s3.delete_object(Bucket=bucket, Key="deleted")
    bodies["replaced"] = b"small"
    s3.put_object(Bucket=bucket, Key="replaced", Body=b"small")
    return bodies, (open_id, etag, open_part)


def test_copies_become_shards(healing):
    cluster, bucket = healing, "healing"
    clients = [cluster.client(zone) for zone in (1, 2, 3)]
    s3 = clients[0]
    s3.create_bucket(Bucket=bucket)
    for node in GONE:
        cluster.control("kill", node)
    logs = cluster.var / "log"
    wait("nobody is declared down", 30, lambda: all(
        f"placement.node_down node={node}" in "".join(p.read_text() for p in logs.glob("*metanode*.log"))
        for node in GONE))
    bodies, (open_id, etag, open_part) = write_all(s3, bucket)
    before = verify(cluster, bucket)
    assert before["interim"] == before["segments"] == SEGMENTS
    wait("the metric of what waits", 10, lambda: metric(cluster, "gateway", "cairn_reencode_waiting") >= SEGMENTS)
    seen = {key: looks(s3, bucket, key) for key in bodies}
    for client in clients:  # now in every gateway's cache
        for key, body in bodies.items():
            assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == body, key
    moved = threading.Event()
    readers = [SlowReader(clients[1], bucket, key, moved) for key in ("long", "parts")]
    for reader in readers:
        reader.start()

    for node in GONE:
        cluster.control("start", node)
    after = wait("copies are left", 60, lambda: (v := verify(cluster, bucket))["interim"] == 0 and v)
    assert after["segments"] == SEGMENTS and after["lost"] == 0 and after["bytes"] == before["bytes"]
    assert {(s["data_shards"], s["parity_shards"]) for s in after["schemes"]} == {(3, 3)}
    # A gateway counts what it has been told, a follower what it has applied: both a moment later.
    for role, name, count in (("gateway", "cairn_reencode_moved_total", SEGMENTS),
                              ("gateway", "cairn_reencode_bytes_total", before["bytes"]),
                              ("metanode", "cairn_meta_partition_interim", 0)):
        wait(name, 10, lambda: metric(cluster, role, name) == count)
    assert {key: looks(clients[2], bucket, key) for key in bodies} == seen
    for client in clients:
        for key, body in bodies.items():
            assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == body, key
    # A conditional write finds the version that the client knows.
    s3.put_object(Bucket=bucket, Key="just above", Body=b"new", IfMatch=seen["just above"]["ETag"])
    s3.complete_multipart_upload(Bucket=bucket, Key="open", UploadId=open_id,
                                 MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    assert s3.get_object(Bucket=bucket, Key="open")["Body"].read() == open_part

    # Every copy goes, and what was overwritten: of what lives each byte lies there twice (3+3).
    wait("the deletion queues", 40, lambda: metric(cluster, "metanode", "cairn_meta_partition_deletions") == 0)
    user = sum(map(len, bodies.values())) - SIZES["just above"] + len(open_part)
    stored = metric(cluster, "storagenode", "cairn_store_live_bytes", nodes=2)
    assert user * 1.9 < stored < user * 2.4, stored / user
    moved.set()
    for reader, key in zip(readers, ("long", "parts")):
        reader.join(60)
        assert reader.error is None and reader.digest.digest() == hashlib.sha256(bodies[key]).digest(), key
