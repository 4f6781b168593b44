"""Clusters with several storage nodes a zone: objects are coded, and survive what the scheme promises,
5+4 and 3+3 alike: any node, any zone, a zone and one more storage node; reading and writing.  What is encrypted is
coded as what it is stored as: it survives the same, wherever a range begins and ends."""
import os
import re
import tempfile
import time
import urllib.request

import pytest

from cluster import Cluster, serve
from test_encryption import CHUNK, MODES, reads

SCHEMES = {3: "data=5 parity=4", 2: "data=3 parity=3"}


@pytest.fixture(scope="module", params=[3, 2], ids=["5+4", "3+3"])
def coded(request):
    made = Cluster(tempfile.mkdtemp(prefix="cairn-coded-"), STORAGE_PER_ZONE=str(request.param))
    made.storage_per_zone = request.param
    yield from serve(request, made)


def live_bytes(cluster):
    """Of each storage node that answers."""
    found = {}
    for zone in (1, 2, 3):
        for k in range(1, cluster.storage_per_zone + 1):
            url = f"http://127.0.0.1:{cluster.admin_port('storagenode', zone, k)}/metrics"
            try:
                text = urllib.request.urlopen(url, timeout=5).read().decode()
            except OSError:
                continue
            found[zone, k] = sum(float(v) for v in re.findall(r"^cairn_store_live_bytes(?:{.*})? (\S+)$", text, re.M))
    return found


class Objects:
    """What was acknowledged, to be compared through every gateway."""

    def __init__(self, cluster, bucket):
        self.clients = [cluster.client(zone) for zone in (1, 2, 3)]
        self.bucket = bucket
        self.clients[0].create_bucket(Bucket=bucket)
        self.bodies = {}

    def client(self, number):
        return self.clients[number % 3]

    def put(self, name, size, mode="none"):
        body = os.urandom(size)
        self.client(len(self.bodies)).put_object(Bucket=self.bucket, Key=name, Body=body, **MODES[mode])
        self.bodies[name] = body, mode

    def put_parts(self, name, sizes, mode):
        client, bodies = self.client(len(self.bodies)), [os.urandom(size) for size in sizes]
        which = dict(Bucket=self.bucket, Key=name,
                     UploadId=client.create_multipart_upload(Bucket=self.bucket, Key=name, **MODES[mode])["UploadId"])
        parts = [{"PartNumber": n, "ETag": client.upload_part(**which, PartNumber=n, Body=b, **reads(mode))["ETag"]}
                 for n, b in enumerate(bodies, 1)]
        client.complete_multipart_upload(**which, MultipartUpload={"Parts": parts})
        self.bodies[name] = b"".join(bodies), mode

    def check(self):
        for number, (name, (body, mode)) in enumerate(self.bodies.items()):
            get = lambda **more: self.client(number).get_object(
                Bucket=self.bucket, Key=name, **reads(mode), **more)["Body"].read()
            assert get() == body, name
            size, third = len(body), len(body) // 3
            # within, over a border of chunks, over one of segments, the end
            border = third // CHUNK * CHUNK or CHUNK
            for first, last in ((third, third + 999), (border - 1, border), (4 * 2**20 - 100, 4 * 2**20 + 99)):
                if last < size:
                    assert get(Range=f"bytes={first}-{last}") == body[first:last + 1], (name, first, last)
            assert get(Range="bytes=-70000") == body[-70000:], name


SIZES = (20_000, 300_000, 4_000_000, 9_999_999)


def test_coded_objects_survive(coded):
    nodes, per_zone = 3 * coded.storage_per_zone, coded.storage_per_zone
    logs = "".join(p.read_text() for p in (coded.var / "log").glob("*metanode*.log"))
    assert SCHEMES[per_zone] in logs
    objects = Objects(coded, f"coded-{nodes}")
    for i, size in enumerate(SIZES):
        objects.put(f"whole-{i}", size)
    for mode in list(MODES)[1:]:
        objects.put(f"sealed-{mode}", SIZES[3], mode)
    objects.put_parts("sealed-parts", (5 * 2**20 + 1, 300_000), "kms")
    stored, user = sum(live_bytes(coded).values()), sum(len(body) for body, _ in objects.bodies.values())
    assert len(live_bytes(coded)) == nodes and all(live_bytes(coded).values())
    # 9/5 or 2 times the bytes, and what small blocks and heads take; three copies would be 3.
    assert user * 1.7 < stored < user * 2.6, stored / user

    for step, lost in enumerate((["z2-storagenode-1"], [f"z2-storagenode-{k}" for k in range(2, per_zone + 1)],
                                 ["z3-storagenode-1"])):
        for node in lost:
            coded.control("kill", node)
        if step == 2:  # a zone and one more: what is written needs to know that the zone is down
            deadline = time.monotonic() + 20
            while 'placement.node_down node=z2' not in "".join(
                    p.read_text() for p in (coded.var / "log").glob("*metanode*.log")):
                assert time.monotonic() < deadline
                time.sleep(0.2)
        objects.check()
        for i, size in enumerate(SIZES):
            objects.put(f"without-{step}-{i}", size, list(MODES)[(step + i) % len(MODES)])
        objects.check()
    for node in ["z3-storagenode-1"] + [f"z2-storagenode-{k}" for k in range(1, per_zone + 1)]:
        coded.control("start", node)
    objects.check()
