"""Appending with x-amz-write-offset-bytes: the object grows by what was sent, once, and nothing of it is lost."""
import concurrent.futures
import os

import pytest

from test_s3 import error

MIB = 1 << 20
CRC = dict(ChecksumMode="ENABLED")


def append(s3, bucket, key, offset, data, **kw):
    return s3.put_object(Bucket=bucket, Key=key, Body=data, WriteOffsetBytes=offset, **kw)


def check(s3, bucket, key, body):
    r = s3.get_object(Bucket=bucket, Key=key, **CRC)
    assert r["Body"].read() == body and r["ContentLength"] == len(body)  # boto3 verifies the checksum
    assert r["ChecksumType"] == "FULL_OBJECT" and ("ChecksumCRC64NVME" in r or "-" not in r["ETag"])
    return r


def test_small_pieces_become_large(s3, bucket):
    """From nothing over the bound of what is kept inline; the metadata of the beginning stay."""
    first = append(s3, bucket, "log", 0, b"begin ", Metadata={"m": "1"}, ContentType="text/x", Tagging="a=b")
    assert first["Size"] == 6
    body, etags = b"begin ", {first["ETag"]}
    for n in (0, 1, 1000, 100_000, 100_000, 100_000, 7, 0, 300_000):
        piece = os.urandom(n)
        r = append(s3, bucket, "log", len(body), piece)
        body += piece
        assert r["Size"] == len(body) and r["ETag"] not in etags and "-" in r["ETag"]
        etags.add(r["ETag"])
        got = check(s3, bucket, "log", body)
        assert got["ETag"] == r["ETag"] and got["ChecksumCRC64NVME"] == r["ChecksumCRC64NVME"]
    assert got["Metadata"] == {"m": "1"} and got["ContentType"] == "text/x" and got["TagCount"] == 1
    whole = s3.put_object(Bucket=bucket, Key="whole", Body=body, ChecksumAlgorithm="CRC64NVME")
    assert whole["ChecksumCRC64NVME"] == got["ChecksumCRC64NVME"]


def test_segments_and_the_seams_between_them(s3, bucket):
    body = os.urandom(5 * MIB + 3)
    s3.put_object(Bucket=bucket, Key="big", Body=body, ChecksumAlgorithm="SHA256")
    seams = []
    for n in (10, 4 * MIB + 9, 333):
        piece = os.urandom(n)
        append(s3, bucket, "big", len(body), piece, ChecksumAlgorithm="CRC32")
        seams.append(len(body))
        body += piece
    r = check(s3, bucket, "big", body)
    assert "ChecksumSHA256" not in r
    for at in (*seams, 4 * MIB):
        for first, last in ((at - 5, at + 5), (at, at), (at - 1, at - 1), (at - 1, len(body) - 1)):
            got = s3.get_object(Bucket=bucket, Key="big", Range=f"bytes={first}-{last}")["Body"].read()
            assert got == body[first:last + 1]
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "big"})
    check(s3, bucket, "copy", body)
    append(s3, bucket, "copy", len(body), b"more")  # and the copy has data of its own
    s3.delete_object(Bucket=bucket, Key="big")
    check(s3, bucket, "copy", body + b"more")


def test_refusals(s3, bucket):
    wrong, cannot = (400, "InvalidWriteOffset"), (501, "NotImplemented")
    assert error(append, s3, bucket, "a", 1, b"x") == wrong
    etag = append(s3, bucket, "a", 0, b"one")["ETag"]
    for offset in (0, 2, 4):
        assert error(append, s3, bucket, "a", offset, b"x") == wrong
    assert error(append, s3, bucket, "a", 3, b"x", IfMatch='"0"') == (412, "PreconditionFailed")
    assert error(append, s3, bucket, "a", 3, b"x", IfNoneMatch="*") == (412, "PreconditionFailed")
    assert error(append, s3, bucket, "a", 3, b"x", ContentMD5="1B2M2Y8AsgTpgAmY7PhCfg==") == (400, "BadDigest")
    assert error(append, s3, bucket, "none", 0, b"x", IfMatch=etag) == (404, "NoSuchKey")
    for field in ({"Metadata": {"m": "1"}}, {"Tagging": "a=b"}, {"StorageClass": "STANDARD_IA"},
                  {"ServerSideEncryption": "AES256"}):
        assert error(append, s3, bucket, "a", 3, b"x", **field) == cannot
    append(s3, bucket, "a", 3, b"two", IfMatch=etag)
    check(s3, bucket, "a", b"onetwo")
    s3.put_object(Bucket=bucket, Key="sealed", Body=b"x", ServerSideEncryption="AES256")
    assert error(append, s3, bucket, "sealed", 1, b"x") == cannot
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="parts", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    s3.complete_multipart_upload(Bucket=bucket, Key="parts", UploadId=upload,
                                 MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]})
    assert error(append, s3, bucket, "parts", 1, b"x") == cannot
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={
        "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]})
    assert error(append, s3, bucket, "a", 6, b"x") == cannot
    s3.delete_bucket_encryption(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    assert error(append, s3, bucket, "a", 6, b"x") == cannot
    assert error(append, s3, bucket, "new", 0, b"x") == cannot
    check(s3, bucket, "a", b"onetwo")
    for key in ("a", "sealed", "parts"):
        s3.delete_object(Bucket=bucket, Key=key, VersionId="null")


@pytest.mark.parametrize("start", [0, 300_000])
def test_races(cluster, bucket, start):
    """Through three gateways: of each offset one append is taken, and what is read are these and no others."""
    clients = [cluster.client(zone=1 + n % 3, retries={"max_attempts": 1}) for n in range(6)]
    body = os.urandom(start)
    if start:
        clients[0].put_object(Bucket=bucket, Key="k", Body=body)

    def attempt(n, offset, piece):
        try:
            append(clients[n], bucket, "k", offset, piece)
            return piece
        except clients[n].exceptions.ClientError as e:
            assert e.response["Error"]["Code"] == "InvalidWriteOffset", e
            return None

    with concurrent.futures.ThreadPoolExecutor(len(clients)) as pool:
        for round_ in range(6):
            pieces = [b"%d %d;" % (round_, n) * (1 + n % 2 * 3000) for n in range(len(clients))]
            taken = [p for p in pool.map(attempt, range(len(clients)), [len(body)] * len(clients), pieces) if p]
            assert len(taken) == 1
            body += taken[0]
            check(clients[round_ % 3], bucket, "k", body)
