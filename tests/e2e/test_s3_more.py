"""Lists of uploads, conditions of copies, deletions with errors, buckets made and deleted in a race."""
import concurrent.futures
import datetime
import hashlib
import os

import botocore.exceptions
import pytest

from test_s3 import error

MIB = 1 << 20


def test_list_uploads(s3, bucket):
    keys = ["a", "a/1", "a/1", "a/2", "b/x/1", "b/x/2", "b/y", "c d+ü", "c d+ü", "c d+ü"]
    made = sorted((k, s3.create_multipart_upload(Bucket=bucket, Key=k)["UploadId"]) for k in keys)

    def walk(page, **kw):
        got, prefixes, markers = [], [], {}
        for _ in range(100):
            r = s3.list_multipart_uploads(Bucket=bucket, MaxUploads=page, **kw, **markers)
            got += [(u["Key"], u["UploadId"]) for u in r.get("Uploads", [])]
            prefixes += [p["Prefix"] for p in r.get("CommonPrefixes", [])]
            if not r["IsTruncated"]:
                return got, prefixes
            assert len(r.get("Uploads", [])) + len(r.get("CommonPrefixes", [])) == page
            markers = {"KeyMarker": r["NextKeyMarker"]}
            if r.get("NextUploadIdMarker"):
                markers["UploadIdMarker"] = r["NextUploadIdMarker"]
        raise AssertionError("a list without an end")

    for page in (1, 2, 3, 1000):
        got, prefixes = walk(page)
        assert sorted(got) == made and [k for k, _ in got] == [k for k, _ in made] and not prefixes
        got, prefixes = walk(page, Delimiter="/")
        assert sorted(got) == [m for m in made if "/" not in m[0]] and prefixes == ["a/", "b/"]
        got, prefixes = walk(page, Prefix="b/", Delimiter="/")
        assert [k for k, _ in got] == ["b/y"] and prefixes == ["b/x/"]
        got, prefixes = walk(page, Prefix="a/")
        assert sorted(got) == [m for m in made if m[0].startswith("a/")]
    after = s3.list_multipart_uploads(Bucket=bucket, KeyMarker="b/x/1")
    assert [u["Key"] for u in after["Uploads"]] == ["b/x/2", "b/y", "c d+ü", "c d+ü", "c d+ü"]
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket, Prefix="none")
    within = s3.list_multipart_uploads(Bucket=bucket, KeyMarker="b/x/1", Delimiter="/")
    assert {u["Key"] for u in within["Uploads"]} == {"c d+ü"} and "CommonPrefixes" not in within


def test_conditions_of_copies(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="from", Body=b"x" * 70000)["ETag"]
    when = s3.head_object(Bucket=bucket, Key="from")["LastModified"]
    later, earlier = (when + datetime.timedelta(seconds=s) for s in (-0 + 5, -5))
    source = {"Bucket": bucket, "Key": "from"}
    copy = dict(Bucket=bucket, Key="to", CopySource=source)
    s3.copy_object(**copy, CopySourceIfMatch=etag, CopySourceIfUnmodifiedSince=earlier)  # If-Match goes first
    s3.copy_object(**copy, CopySourceIfNoneMatch='"other"', CopySourceIfModifiedSince=later)
    for condition in ({"CopySourceIfMatch": '"other"'}, {"CopySourceIfNoneMatch": etag},
                      {"CopySourceIfUnmodifiedSince": earlier}):
        assert error(s3.copy_object, **copy, **condition) == (412, "PreconditionFailed"), condition
    s3.copy_object(**copy, CopySourceIfModifiedSince=earlier)
    # and of what is written
    assert error(s3.copy_object, **copy, IfNoneMatch="*") == (412, "PreconditionFailed")
    assert error(s3.copy_object, **copy, IfMatch='"other"') == (412, "PreconditionFailed")
    s3.copy_object(**copy, IfMatch=s3.head_object(Bucket=bucket, Key="to")["ETag"])
    s3.copy_object(Bucket=bucket, Key="new", CopySource=source, IfNoneMatch="*")
    up = s3.create_multipart_upload(Bucket=bucket, Key="mp")["UploadId"]
    part = dict(Bucket=bucket, Key="mp", UploadId=up, PartNumber=1, CopySource=source)
    assert error(s3.upload_part_copy, **part, CopySourceIfMatch='"other"')[0] == 412
    assert error(s3.upload_part_copy, **part, CopySourceRange="bytes=0-70000")[0] == 400
    assert error(s3.upload_part_copy, **part, CopySourceRange="bytes=x")[0] == 400


def test_conditions_of_completions(s3, bucket):
    def upload():
        up = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
        etag = s3.upload_part(Bucket=bucket, Key="k", UploadId=up, PartNumber=1, Body=b"p")["ETag"]
        return dict(Bucket=bucket, Key="k", UploadId=up,
                    MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})

    first, second = upload(), upload()
    done = s3.complete_multipart_upload(**first, IfNoneMatch="*")
    assert error(s3.complete_multipart_upload, **second, IfNoneMatch="*") == (412, "PreconditionFailed")
    assert error(s3.complete_multipart_upload, **second, IfMatch='"other"') == (412, "PreconditionFailed")
    s3.complete_multipart_upload(**second, IfMatch=done["ETag"])


def test_deletions_with_errors(cluster, s3, bucket):
    """Each key has an answer of its own; one that cannot be deleted keeps none of the others."""
    etags = {k: s3.put_object(Bucket=bucket, Key=k, Body=k.encode())["ETag"] for k in ("a", "b", "c <&>")}
    r = s3.delete_objects(Bucket=bucket, Delete={"Objects": [
        {"Key": "a", "ETag": '"00000000000000000000000000000000"'}, {"Key": "b", "ETag": etags["b"]},
        {"Key": "c <&>"}, {"Key": "none"}, {"Key": "k" * 1025}]})
    assert sorted(d["Key"] for d in r["Deleted"]) == ["b", "c <&>", "none"]
    assert {e["Key"][:2]: e["Code"] for e in r["Errors"]} == {"a": "PreconditionFailed", "kk": "KeyTooLongError"}
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["a"]
    quiet = s3.delete_objects(Bucket=bucket, Delete={"Quiet": True, "Objects": [
        {"Key": "a", "ETag": '"00000000000000000000000000000000"'}, {"Key": "none"}]})
    assert "Deleted" not in quiet and len(quiet["Errors"]) == 1


def test_a_thousand_deletions(s3, bucket):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: s3.put_object(Bucket=bucket, Key=f"{i:04}", Body=b"x"), range(1000)))
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1000
    r = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": f"{i:04}"} for i in range(1000)]})
    assert len(r["Deleted"]) == 1000 and "Errors" not in r
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_buckets_in_a_race(cluster, s3):
    """Made, filled and deleted through three gateways at once: always one bucket or none, and never an
    object in none."""
    clients = [cluster.client(z, max_pool_connections=4) for z in (1, 2, 3)]
    name = f"race-{os.getpid()}"

    def attempt(i):
        c, step = clients[i % 3], i // 3 % 4
        try:
            if step in (0, 1):
                c.create_bucket(Bucket=name)
            elif step == 2:
                c.put_object(Bucket=name, Key=f"k{i}", Body=b"x")
                return f"k{i}"
            else:
                c.delete_bucket(Bucket=name)
        except botocore.exceptions.ClientError as e:
            code = e.response["Error"]["Code"]
            assert code in ("BucketAlreadyOwnedByYou", "NoSuchBucket", "BucketNotEmpty", "OperationAborted",
                            "ConditionalRequestConflict"), code
        return None

    for round_ in range(6):
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            put = {k for k in pool.map(attempt, range(12)) if k}
        views = [[b["Name"] for b in c.list_buckets()["Buckets"]].count(name) for c in clients]
        assert views in ([0, 0, 0], [1, 1, 1]), views
        if views[0]:
            lists = [{o["Key"] for o in c.list_objects_v2(Bucket=name).get("Contents", [])} for c in clients]
            assert lists[0] == lists[1] == lists[2] == put, (put, lists)
            for key in put:
                s3.delete_object(Bucket=name, Key=key)
            clients[round_ % 3].delete_bucket(Bucket=name)
        else:
            assert not put, "an acknowledged object went with a bucket that was not empty"
        for c in clients:
            assert error(c.head_bucket, Bucket=name)[0] == 404


def test_one_creator(cluster):
    """Concurrent creations through different gateways are one bucket, which all of them see."""
    clients = [cluster.client(z) for z in (1, 2, 3)]
    for i in range(5):
        name = f"creator-{os.getpid()}-{i}"

        def create(c):
            try:
                return c.create_bucket(Bucket=name)["Location"]
            except botocore.exceptions.ClientError as e:
                assert e.response["Error"]["Code"] in ("BucketAlreadyOwnedByYou", "OperationAborted")
                return None

        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            assert any(pool.map(create, clients))
        for c in clients:
            c.head_bucket(Bucket=name)
        clients[i % 3].delete_bucket(Bucket=name)


@pytest.mark.parametrize("key", ["ctl\x01\x02", "new\nline", "cr\rlf", "fffe\ufffe"])
def test_keys_that_xml_cannot_carry(s3, bucket, key):
    """Lists ask for encoding-type=url, and such keys come back whole."""
    s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    for r in (s3.list_objects_v2(Bucket=bucket), s3.list_objects(Bucket=bucket)):
        assert [o["Key"] for o in r["Contents"]] == [key]
    s3.delete_object(Bucket=bucket, Key=key)  # a DeleteObjects document cannot name it


def test_uploads_that_race(cluster, s3, bucket):
    """Complete and abort at once: the object is there and whole, or nothing is."""
    for i in range(6):
        up = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
        etag = s3.upload_part(Bucket=bucket, Key="k", UploadId=up, PartNumber=1, Body=b"p" * 100000)["ETag"]
        ids = dict(Bucket=bucket, Key="k", UploadId=up)

        def complete(zone):
            try:
                cluster.client(zone).complete_multipart_upload(
                    **ids, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
                return True
            except botocore.exceptions.ClientError as e:
                assert e.response["Error"]["Code"] in ("NoSuchUpload", "OperationAborted")
                return False

        def abort(zone):
            try:
                cluster.client(zone).abort_multipart_upload(**ids)
            except botocore.exceptions.ClientError as e:
                assert e.response["Error"]["Code"] in ("NoSuchUpload", "OperationAborted")

        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            calls = [pool.submit(complete, 1), pool.submit(complete, 2), pool.submit(abort, 3)]
            won = [c.result() for c in calls[:2]]
        if any(won):
            assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"p" * 100000
            s3.delete_object(Bucket=bucket, Key="k")
        else:
            assert error(s3.head_object, Bucket=bucket, Key="k")[0] == 404
        assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_more_than_a_page_of_objects(cluster, s3, bucket):
    """A list goes across all partitions, in order, whatever the page."""
    keys = sorted(f"{hashlib.md5(b'%d' % i).hexdigest()[:6]}/{i}" for i in range(1200))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda k: s3.put_object(Bucket=bucket, Key=k, Body=b"x"), keys))
    for zone, page in ((1, 1000), (2, 333), (3, 7)):
        got = []
        for p in cluster.client(zone).get_paginator("list_objects_v2").paginate(
                Bucket=bucket, PaginationConfig={"PageSize": page}):
            got += [o["Key"] for o in p.get("Contents", [])]
            if page == 7 and len(got) > 100:
                break
        assert got == keys[:len(got)] and (page == 7 or len(got) == 1200)
    first = s3.list_objects_v2(Bucket=bucket)
    assert first["IsTruncated"] and first["KeyCount"] == 1000
