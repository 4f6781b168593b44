"""RenameObject: both names change at once, whatever races with it; nothing of the object is lost."""
import base64
import concurrent.futures
import io
import os
import threading

import boto3.s3.transfer
import botocore.exceptions
import pytest

from test_access import anonymous, policy, shared  # noqa: F401
from test_encryption import cairnctl
from test_s3 import error

MIB = 1 << 20
KEEPS = ("ETag", "LastModified", "ContentType", "Metadata", "ContentLength", "CacheControl")


def described(r):
    return {k: r.get(k) for k in KEEPS}


def rename(s3, bucket, source, key, **kw):
    return s3.rename_object(Bucket=bucket, Key=key, RenameSource=source, **kw)


def outcome(s3, *args):
    try:
        rename(s3, *args)
    except botocore.exceptions.ClientError as e:
        return e.response["Error"]["Code"]
    return "done"


def names(s3, bucket):
    return [o["Key"] for o in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


@pytest.mark.parametrize("size", [0, 1000, 3 * MIB + 7])
def test_what_it_is_stays(s3, bucket, size):
    body = os.urandom(size)
    s3.put_object(Bucket=bucket, Key="old name+", Body=body, ContentType="text/x", Metadata={"m": "1"},
                  CacheControl="no-store", Tagging="a=b", ChecksumAlgorithm="SHA256")
    s3.put_object(Bucket=bucket, Key="dir/new", Body=b"replaced")
    before = s3.head_object(Bucket=bucket, Key="old name+", ChecksumMode="ENABLED")
    assert error(rename, s3, bucket, "old%20name%2B", "dir/new", DestinationIfNoneMatch="*") == \
        (412, "PreconditionFailed")
    rename(s3, bucket, f"/{bucket}/old%20name%2B", "dir/new")
    assert names(s3, bucket) == ["dir/new"]
    r = s3.get_object(Bucket=bucket, Key="dir/new", ChecksumMode="ENABLED")
    assert r["Body"].read() == body and described(r) == described(before)
    assert r["ChecksumSHA256"] == before["ChecksumSHA256"]
    assert s3.get_object_tagging(Bucket=bucket, Key="dir/new")["TagSet"] == [{"Key": "a", "Value": "b"}]
    assert error(rename, s3, bucket, "old%20name%2B", "other") == (404, "NoSuchKey")


def test_an_object_of_parts(s3, bucket):
    body = os.urandom(11 * MIB)
    config = boto3.s3.transfer.TransferConfig(multipart_threshold=MIB, multipart_chunksize=5 * MIB)
    s3.upload_fileobj(io.BytesIO(body), bucket, "parts", Config=config)
    etag = s3.head_object(Bucket=bucket, Key="parts")["ETag"]
    assert etag.endswith('-3"')
    rename(s3, bucket, f"{bucket}/parts", "whole")
    r = s3.get_object(Bucket=bucket, Key="whole", ChecksumMode="ENABLED")
    assert r["ETag"] == etag and r["Body"].read() == body
    assert s3.get_object(Bucket=bucket, Key="whole", Range=f"bytes={10 * MIB}-")["Body"].read() == body[10 * MIB:]
    assert names(s3, bucket) == ["whole"]


def test_conditions(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="a", Body=b"a")["ETag"]
    there = s3.put_object(Bucket=bucket, Key="b", Body=b"b")["ETag"]
    failed = (412, "PreconditionFailed")
    assert error(rename, s3, bucket, "a", "c", SourceIfMatch=there) == failed
    assert error(rename, s3, bucket, "a", "c", SourceIfNoneMatch=etag) == failed
    assert error(rename, s3, bucket, "a", "b", DestinationIfMatch=etag) == failed
    assert error(rename, s3, bucket, "a", "c", DestinationIfMatch=there) == (404, "NoSuchKey")
    assert error(rename, s3, bucket, "a", "a") == (400, "InvalidRequest")
    assert error(rename, s3, bucket, "/elsewhere/a", "c") == (400, "InvalidRequest")
    assert error(rename, s3, bucket, "none", "c") == (404, "NoSuchKey")
    rename(s3, bucket, "a", "b", SourceIfMatch=etag, DestinationIfMatch=there)
    assert names(s3, bucket) == ["b"]


def test_sent_again(s3, bucket):
    """With its token the request may be repeated; the answer is the same, and nothing is done."""
    s3.put_object(Bucket=bucket, Key="a", Body=b"first")
    again = dict(ClientToken="t-1", DestinationIfNoneMatch="*")
    rename(s3, bucket, "a", "b", **again)
    rename(s3, bucket, "a", "b", **again)
    s3.put_object(Bucket=bucket, Key="a", Body=b"second")
    rename(s3, bucket, "a", "b", **again)
    assert names(s3, bucket) == ["a", "b"]
    assert s3.get_object(Bucket=bucket, Key="b")["Body"].read() == b"first"
    assert error(rename, s3, bucket, "c", "b", ClientToken="t-1") == (400, "IdempotencyParameterMismatch")
    rename(s3, bucket, "a", "b", ClientToken="t-2")
    assert s3.get_object(Bucket=bucket, Key="b")["Body"].read() == b"second"


def test_buckets_with_versions(s3, bucket):
    s3.put_object(Bucket=bucket, Key="a", Body=b"a")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    assert error(rename, s3, bucket, "a", "b") == (501, "NotImplemented")
    assert names(s3, bucket) == ["a"]
    s3.delete_object(Bucket=bucket, Key="a", VersionId="null")


def test_races(s3, bucket):
    """Several new names for one object: one wins, and a reader never sees both names or neither."""
    body = os.urandom(MIB)
    stop, seen = threading.Event(), []

    def watch(prefix):
        while not stop.is_set():
            seen.append(sum(o["Key"].startswith(prefix) for o in
                            s3.list_objects_v2(Bucket=bucket).get("Contents", [])))

    for round_ in range(4):
        prefix = f"r{round_}"
        s3.put_object(Bucket=bucket, Key=f"{prefix}-0", Body=body)
        stop.clear()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            watcher = pool.submit(watch, prefix)
            answers = list(pool.map(lambda i: outcome(s3, bucket, f"{prefix}-0", f"{prefix}-{i}"), (1, 2, 3)))
            stop.set()
            watcher.result()
        assert sorted(answers) == ["NoSuchKey", "NoSuchKey", "done"]
        winner = answers.index("done") + 1
        assert s3.get_object(Bucket=bucket, Key=f"{prefix}-{winner}")["Body"].read() == body
    assert seen and set(seen) == {1}
    assert len(names(s3, bucket)) == 4


def test_who_may(cluster, s3, shared):
    """The source needs the rights to read and to delete it, the new name that to write it."""
    rights = [{"Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{shared}/new/*"},
              {"Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{shared}/dir/*"},
              {"Action": "s3:DeleteObject", "Resource": f"arn:aws:s3:::{shared}/dir/*"}]
    for i in range(len(rights)):
        s3.put_bucket_policy(Bucket=shared, Policy=policy(shared, *(rights[:i] + rights[i + 1:])))
        assert anonymous(cluster, f"{shared}/new/key?renameObject", method="PUT", data=b"",
                         x_amz_rename_source="dir/key")[0] == 403
    assert names(s3, shared) == ["dir/key"]
    s3.put_bucket_policy(Bucket=shared, Policy=policy(shared, *rights))
    assert anonymous(cluster, f"{shared}/new/key?renameObject", method="PUT", data=b"",
                     x_amz_rename_source="dir/key")[0] == 200
    assert names(s3, shared) == ["new/key"]


@pytest.mark.parametrize("size", [1000, 3 * MIB])
def test_what_is_not_encrypted_stays_so(s3, bucket, size):
    """Whatever the bucket has come to do with new objects: of the object nothing changes but its name."""
    body = os.urandom(size)
    s3.put_object(Bucket=bucket, Key="a", Body=body, ChecksumAlgorithm="SHA256")
    before = s3.head_object(Bucket=bucket, Key="a", ChecksumMode="ENABLED")
    for algorithm, key in (("AES256", None), ("aws:kms", None), ("aws:kms", "no-such-key")):
        s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [
            {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": algorithm, **({"KMSMasterKeyID": key} if key else {})}}]})
        rename(s3, bucket, "a", "b")
        r = s3.get_object(Bucket=bucket, Key="b", ChecksumMode="ENABLED")
        assert r["Body"].read() == body and described(r) == described(before)
        assert r["ChecksumSHA256"] == before["ChecksumSHA256"] and "ServerSideEncryption" not in r
        rename(s3, bucket, "b", "a")


@pytest.mark.parametrize("size", [5, 3 * MIB])
@pytest.mark.parametrize("mode", ["s3", "kms"])
def test_what_is_encrypted_stays_so(s3, cluster, bucket, mode, size):
    """As it is, whatever key is the newest and whatever the bucket does with new objects."""
    body, key = os.urandom(size), f"rename-{os.getpid()}-{size}"
    fields = {"ServerSideEncryption": "AES256"}
    if mode == "kms":
        cairnctl(cluster, "kms", "create", key)
        context = base64.b64encode(b'{"a":"b"}').decode()
        fields = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": f"alias/{key}", "BucketKeyEnabled": True,
                  "SSEKMSEncryptionContext": context}
    s3.put_object(Bucket=bucket, Key="a", Body=body, ChecksumAlgorithm="SHA256", **fields)
    before = s3.head_object(Bucket=bucket, Key="a", ChecksumMode="ENABLED")
    cairnctl(cluster, "kms", "rotate", key if mode == "kms" else "sse-s3")
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [
        {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}]})
    told = ("ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled", "ChecksumSHA256")
    for source, target in (("a", "b"), ("b", "a"), ("a", "c")):
        rename(s3, bucket, source, target, ClientToken=f"to-{target}")
        rename(s3, bucket, source, target, ClientToken=f"to-{target}")
        r = cluster.client(2).get_object(Bucket=bucket, Key=target, ChecksumMode="ENABLED")
        assert r["Body"].read() == body and described(r) == described(before)
        assert [r.get(k) for k in told] == [before.get(k) for k in told]
    assert s3.get_object(Bucket=bucket, Key="c", Range=f"bytes={size - 3}-")["Body"].read() == body[-3:]
    assert names(s3, bucket) == ["c"]
    if mode == "kms":
        cairnctl(cluster, "kms", "disable", key)
        assert error(rename, s3, bucket, "c", "d") == (400, "KMS.DisabledException")
        assert names(s3, bucket) == ["c"]
        cairnctl(cluster, "kms", "enable", key)
        rename(s3, bucket, "c", "d")
        assert s3.get_object(Bucket=bucket, Key="d")["Body"].read() == body


@pytest.mark.parametrize("algorithm", ["AES256", "aws:kms"])
def test_encrypted_parts(s3, bucket, algorithm):
    body = os.urandom(11 * MIB)
    config = boto3.s3.transfer.TransferConfig(multipart_threshold=MIB, multipart_chunksize=5 * MIB)
    s3.upload_fileobj(io.BytesIO(body), bucket, "parts", Config=config, ExtraArgs={"ServerSideEncryption": algorithm})
    before = s3.head_object(Bucket=bucket, Key="parts")
    rename(s3, bucket, "parts", "whole")
    r = s3.get_object(Bucket=bucket, Key="whole", ChecksumMode="ENABLED")
    assert r["Body"].read() == body and described(r) == described(before) and r["ServerSideEncryption"] == algorithm
    assert s3.get_object(Bucket=bucket, Key="whole", Range=f"bytes={10 * MIB}-")["Body"].read() == body[10 * MIB:]
    assert names(s3, bucket) == ["whole"]


def test_with_appends_and_parts(s3, bucket):
    """What was appended to is renamed whole, and goes on; of parts it is made one, which can be appended to; an upload
    under way to either name is its own."""
    append = lambda key, at, piece: s3.put_object(Bucket=bucket, Key=key, Body=piece, WriteOffsetBytes=at)
    first, second, third = os.urandom(300_000), os.urandom(100_000), os.urandom(7)
    append("log", 0, first)
    append("log", len(first), second)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="log")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="log", UploadId=upload, PartNumber=1, Body=b"part")["ETag"]
    etag = s3.head_object(Bucket=bucket, Key="log")["ETag"]
    rename(s3, bucket, "log", "old")
    assert s3.head_object(Bucket=bucket, Key="old")["ETag"] == etag
    assert error(append, "log", len(first + second), b"x") == (400, "InvalidWriteOffset")
    append("old", len(first + second), third)
    r = s3.get_object(Bucket=bucket, Key="old", ChecksumMode="ENABLED")
    assert r["Body"].read() == first + second + third and r["ChecksumType"] == "FULL_OBJECT"
    s3.complete_multipart_upload(Bucket=bucket, Key="log", UploadId=upload,
                                 MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]})
    assert error(append, "log", 4, b"x") == (501, "NotImplemented")
    rename(s3, bucket, "log", "whole")
    append("whole", 4, b" and more")
    assert s3.get_object(Bucket=bucket, Key="whole")["Body"].read() == b"part and more"
    assert names(s3, bucket) == ["old", "whole"]


def test_with_a_key_of_the_client(s3, bucket):
    key = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}
    s3.put_object(Bucket=bucket, Key="a", Body=b"a", **key)
    assert error(rename, s3, bucket, "a", "b") == (501, "NotImplemented")
    assert names(s3, bucket) == ["a"]
    assert s3.get_object(Bucket=bucket, Key="a", **key)["Body"].read() == b"a"
