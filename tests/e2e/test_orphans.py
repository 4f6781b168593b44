"""What a gateway leaves behind that dies with writes under way: storage nodes find it, the partition condemns it, and
the space comes back; objects and open uploads stay.  orphan_age is seconds here, so that nobody waits for a day."""
import http.client
import json
import os
import re
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request

import pytest

from cluster import ROOT, Cluster, serve

CAIRNCTL = ROOT / "build" / "rel" / "bin" / "cairnctl"
AGE_S = 15
MIB = 1 << 20
METANODES = [f"z{z}-metanode-1" for z in (1, 2, 3)]


@pytest.fixture(scope="module")
def cluster(request):
    made = Cluster(tempfile.mkdtemp(prefix="cairn-orphans-"), CAIRN_DELETION_GRACE="500ms",
                   CAIRN_CLUSTER_EXTRA=f"orphan_age: {AGE_S}s\nclock_difference_max: 1s")
    yield from serve(request, made)


def metric(cluster, name):
    """The sum over the storage nodes."""
    total = 0
    for zone in (1, 2, 3):
        text = urllib.request.urlopen(f"{cluster.admin_url('storagenode', zone)}/metrics", timeout=5).read().decode()
        total += sum(float(v) for v in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.M))
    return total


def live(cluster):
    return metric(cluster, "cairn_store_live_bytes")


def wait(what, seconds=60):
    deadline = time.monotonic() + seconds
    while not (said := what()):
        assert time.monotonic() < deadline, said
        time.sleep(0.1)
    return said


def send(cluster, bucket, key, body, total):
    """A PUT of `total` bytes of which only `body` comes.  Returns the connection: it is under way."""
    url = urllib.parse.urlsplit(cluster.client(1, signature_version="s3v4").generate_presigned_url(
        "put_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=600))
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
    connection.putrequest("PUT", f"{url.path}?{url.query}", skip_accept_encoding=True)
    connection.putheader("Content-Length", str(total))
    connection.endheaders()
    connection.send(body)
    return connection


def ask(cluster, *args):
    done = subprocess.run([CAIRNCTL, *args, "--json", f"--endpoint={cluster.endpoint(2)}"], text=True,
                          capture_output=True, timeout=60, env=cluster.shell_env())
    assert done.returncode == 0, f"{args}: {done.returncode} {done.stdout}{done.stderr}"
    return json.loads(done.stdout)


def test_space_comes_back(cluster):
    s3 = cluster.client(2)
    s3.create_bucket(Bucket="orphans")
    s3.create_bucket(Bucket="goes")
    bodies = {f"object-{i}": os.urandom(MIB + i) for i in range(4)}
    for key, body in bodies.items():
        s3.put_object(Bucket="orphans", Key=key, Body=body)
    parts = [os.urandom(5 * MIB), os.urandom(5 * MIB + 1), os.urandom(MIB)]
    upload = s3.create_multipart_upload(Bucket="orphans", Key="upload")["UploadId"]

    def send_part(number):
        done = s3.upload_part(Bucket="orphans", Key="upload", UploadId=upload, PartNumber=number, Body=parts[number - 1])
        return {"PartNumber": number, "ETag": done["ETag"]}

    sent = [send_part(1), send_part(2)]
    kept = 3 * (sum(map(len, bodies.values())) + sum(map(len, parts[:2])))
    wait(lambda: live(cluster) >= kept)
    before = live(cluster)

    # In the middle of PUTs; and with all shards written, and no record.
    half, began = os.urandom(9 * MIB), time.monotonic()
    under_way = [send(cluster, "orphans", f"half-{i}", half, 32 * MIB) for i in range(2)]
    under_way.append(send(cluster, "goes", "half", half, 32 * MIB))
    whole = os.urandom(6 * MIB)
    under_way.append(send(cluster, "orphans", "object-0", whole[:-1], len(whole)))
    wait(lambda: live(cluster) >= before + 3 * (3 * 8 * MIB + 4 * MIB), AGE_S / 2)
    for node in METANODES:  # a proposal reaches nobody, not even a socket's buffer
        cluster.control("kill", node)
    under_way[-1].send(whole[-1:])
    wait(lambda: live(cluster) >= before + 3 * (3 * 8 * MIB + len(whole)), AGE_S / 2)
    cluster.control("kill", "z1-gateway-1")
    orphaned = live(cluster) - before  # as long as no metanode condemns any
    assert orphaned > 80 * MIB
    for connection in under_way:
        connection.close()
    for node in [*METANODES, "z1-gateway-1"]:
        cluster.control("start", node)
    s3.delete_bucket(Bucket="goes")  # it is gone by the time that its blobs are asked about

    wait(lambda: live(cluster) <= before)
    assert live(cluster) == before, "exactly what nothing refers to"
    took = time.monotonic() - began
    assert took > AGE_S, "nothing was condemned before its time"
    print(f"{orphaned / MIB:.0f} MiB came back {took:.1f} s after they were begun, orphan_age {AGE_S} s")
    assert metric(cluster, "cairn_orphans_condemned_total") > 0
    wait(lambda: sum(d["live_bytes"] for d in ask(cluster, "disks")["disks"]) == before)  # as the root has heard

    # All that is referred to has been asked about, and stays; the upload goes on as if nothing had been.
    wait(lambda: metric(cluster, "cairn_orphans_left") == 0)
    assert metric(cluster, "cairn_orphans_confirmed_total") >= 3 * (len(bodies) + 4)
    sent.append(send_part(3))
    s3.complete_multipart_upload(Bucket="orphans", Key="upload", UploadId=upload, MultipartUpload={"Parts": sent})
    bodies["upload"] = b"".join(parts)
    for key, body in bodies.items():
        assert s3.get_object(Bucket="orphans", Key=key)["Body"].read() == body, key
    listed = [o["Key"] for o in s3.list_objects_v2(Bucket="orphans")["Contents"]]
    assert listed == sorted(bodies)
    assert ask(cluster, "verify", "orphans")["lost"] == 0
