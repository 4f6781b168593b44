"""Storage classes: which scheme an object is written with, through every way that writes; what the cluster file
may not promise."""
import os
import subprocess
import tempfile

import botocore.exceptions
import pytest

from cluster import ROOT, Cluster, serve
from test_cairnctl import ask_json, verify_settled

CLASSES = "storage_classes: {ECONOMY: 4+2, REDUCED_REDUNDANCY: rep-3}"
STANDARD, ECONOMY, COPIES = (3, 3), (4, 2), (1, 2)


@pytest.fixture(scope="module")
def cluster(request):
    """Two storage nodes a zone: STANDARD is 3+3."""
    yield from serve(request, Cluster(tempfile.mkdtemp(prefix="cairn-classes-"), STORAGE_PER_ZONE="2",
                                      CAIRN_CLUSTER_EXTRA=CLASSES))


def schemes(cluster, bucket):
    """Segments in full by scheme."""
    answer = verify_settled(cluster, bucket)
    return {(s["data_shards"], s["parity_shards"]): s["full"] for s in answer["schemes"]}


def test_the_class_chooses(cluster):
    s3, bucket, body = cluster.client(), "classes", os.urandom(9_000_000)  # three segments
    s3.create_bucket(Bucket=bucket)
    groups = {g["scheme"] for g in ask_json(cluster, "pgs")["pgs"]}
    assert groups == {"3+3", "4+2", "replicated"}
    expected = {}
    for key, storage_class, scheme in (("standard", None, STANDARD), ("ia", "STANDARD_IA", STANDARD),
                                       ("economy", "ECONOMY", ECONOMY), ("copies", "REDUCED_REDUNDANCY", COPIES)):
        s3.put_object(Bucket=bucket, Key=key, Body=body, **({"StorageClass": storage_class} if storage_class else {}))
        expected[scheme] = expected.get(scheme, 0) + 3
        assert schemes(cluster, bucket) == expected
        head = cluster.client(2).head_object(Bucket=bucket, Key=key)
        assert head.get("StorageClass") == storage_class  # S3 says nothing of STANDARD
    listed = {o["Key"]: o["StorageClass"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    assert listed == {"standard": "STANDARD", "ia": "STANDARD_IA", "economy": "ECONOMY",
                      "copies": "REDUCED_REDUNDANCY"}
    # A copy onto itself changes the class, and the way it lies; what it was is collected later.
    s3.copy_object(Bucket=bucket, Key="standard", CopySource=f"{bucket}/standard", StorageClass="ECONOMY")
    expected[STANDARD] -= 3
    expected[ECONOMY] += 3
    assert schemes(cluster, bucket) == expected
    assert cluster.client(3).get_object(Bucket=bucket, Key="standard")["Body"].read() == body
    # Small objects are replicated in every class.
    s3.put_object(Bucket=bucket, Key="small", Body=body[:100_000], StorageClass="ECONOMY")
    expected[COPIES] += 1
    assert schemes(cluster, bucket) == expected


def test_uploads_keep_their_class(cluster):
    s3, bucket, body = cluster.client(), "uploads", os.urandom(9_000_000)
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="source", Body=body)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="key", StorageClass="ECONOMY")["UploadId"]
    assert s3.list_multipart_uploads(Bucket=bucket)["Uploads"][0]["StorageClass"] == "ECONOMY"
    of = {"Bucket": bucket, "Key": "key", "UploadId": upload}
    parts = [{"PartNumber": 1, "ETag": s3.upload_part(PartNumber=1, Body=body, **of)["ETag"]},
             {"PartNumber": 2, "ETag": s3.upload_part_copy(PartNumber=2, CopySource=f"{bucket}/source",
                                                           **of)["CopyPartResult"]["ETag"]}]
    s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **of)
    assert s3.head_object(Bucket=bucket, Key="key")["StorageClass"] == "ECONOMY"
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == 2 * body
    assert schemes(cluster, bucket) == {STANDARD: 3, ECONOMY: 6}


def test_unknown_classes_are_refused(cluster):
    s3, bucket = cluster.client(), "unknown"
    s3.create_bucket(Bucket=bucket)
    for storage_class in ("GLACIER", "economy", "NONSENSE"):
        for write in (lambda c: s3.put_object(Bucket=bucket, Key="k", Body=b"x", StorageClass=c),
                      lambda c: s3.create_multipart_upload(Bucket=bucket, Key="k", StorageClass=c)):
            with pytest.raises(botocore.exceptions.ClientError) as refused:
                write(storage_class)
            assert refused.value.response["Error"]["Code"] == "InvalidStorageClass"


def test_what_the_topology_cannot_keep_is_refused_at_start(cluster):
    text = (cluster.var / "conf" / "cluster.yaml").read_text()
    for program, node in (("gateway", "z1-gateway-1"), ("metanode", "z1-metanode-1")):
        for scheme, says in (("5+4", "ECONOMY: 5+4 needs 9 storage nodes; this file has 6"),
                             ("5+1", "ECONOMY: 5+1 on these 3 zones puts 2 shards into one")):
            wrong = cluster.var / "conf" / "wrong.yaml"
            wrong.write_text(text.replace("4+2", scheme))
            done = subprocess.run([ROOT / "build/rel/bin" / f"cairn-{program}",
                                   f"--config={cluster.var}/conf/{node}.yaml", f"--cluster_file={wrong}"],
                                  text=True, capture_output=True, timeout=20)
            assert done.returncode == 2 and says in done.stdout + done.stderr, done
