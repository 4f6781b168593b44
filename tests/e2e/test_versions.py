"""Versions of objects: enabled, suspended, null versions, delete markers, lists, conditions."""
import concurrent.futures
import hashlib
import os

import pytest

from test_s3 import error, signed

MIB = 1 << 20


@pytest.fixture
def versioned(s3, bucket):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    yield bucket
    empty(s3, bucket)


def empty(s3, bucket):
    """By versions, many of one key in one request."""
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        named = [{"Key": v["Key"], "VersionId": v["VersionId"]}
                 for v in page.get("Versions", []) + page.get("DeleteMarkers", [])]
        if named:
            assert "Errors" not in s3.delete_objects(Bucket=bucket, Delete={"Objects": named, "Quiet": True})


def suspend(s3, bucket):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})


def body(s3, bucket, key, **kw):
    return s3.get_object(Bucket=bucket, Key=key, **kw)["Body"].read()


def versions(s3, bucket, **kw):
    """(key, version id, latest, marker) of every version, in the order of the list."""
    got = []
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, **kw):
        both = [(v, False) for v in page.get("Versions", [])] + [(v, True) for v in page.get("DeleteMarkers", [])]
        got += [(v["Key"], v["VersionId"], v["IsLatest"], marker, v["LastModified"]) for v, marker in both]
    return [g[:4] for g in sorted(got, key=lambda g: (g[0].encode(), not g[2]))]


def headers(e):
    return e.value.response["ResponseMetadata"]["HTTPHeaders"]


def test_setting(s3, cluster, bucket):
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    assert "VersionId" not in s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert "VersionId" not in s3.head_object(Bucket=bucket, Key="k")
    for status in ("Enabled", "Suspended", "Suspended", "Enabled"):
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status, "MFADelete": "Disabled"})
        for zone in (1, 2, 3):  # at once, on every gateway
            assert cluster.client(zone=zone).get_bucket_versioning(Bucket=bucket)["Status"] == status
    put = s3.put_bucket_versioning
    assert error(put, Bucket=bucket, VersioningConfiguration={"Status": "Enabled", "MFADelete": "Enabled"}) \
        == (501, "NotImplemented")
    assert error(put, Bucket=bucket, VersioningConfiguration={}) == (400, "IllegalVersioningConfigurationException")
    assert error(put, Bucket=bucket, VersioningConfiguration={"Status": "Off"}) == (400, "MalformedXML")
    assert error(put, Bucket=bucket + "-none", VersioningConfiguration={"Status": "Enabled"}) == (404, "NoSuchBucket")
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert versions(s3, bucket) == [("k", "null", True, False)]
    s3.delete_object(Bucket=bucket, Key="k", VersionId="null")


def test_every_version_is_kept(s3, versioned):
    bodies = [b"", b"small", os.urandom(70_000), os.urandom(3 * MIB)]
    ids = [s3.put_object(Bucket=versioned, Key="k", Body=b, Metadata={"n": str(i)})["VersionId"]
           for i, b in enumerate(bodies)]
    assert len(set(ids)) == len(ids) and "null" not in ids
    for i, b in enumerate(bodies):
        r = s3.get_object(Bucket=versioned, Key="k", VersionId=ids[i])
        assert (r["Body"].read(), r["VersionId"], r["Metadata"]) == (b, ids[i], {"n": str(i)})
        h = s3.head_object(Bucket=versioned, Key="k", VersionId=ids[i])
        assert (h["ContentLength"], h["VersionId"]) == (len(b), ids[i])
        a = s3.get_object_attributes(Bucket=versioned, Key="k", VersionId=ids[i], ObjectAttributes=["ObjectSize"])
        assert (a["ObjectSize"], a["VersionId"]) == (len(b), ids[i])
    r = s3.get_object(Bucket=versioned, Key="k", Range="bytes=5-9", VersionId=ids[2])
    assert r["Body"].read() == bodies[2][5:10]
    assert s3.get_object(Bucket=versioned, Key="k")["VersionId"] == ids[-1]
    assert versions(s3, versioned) == [("k", i, i == ids[-1], False) for i in reversed(ids)]
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=versioned)["Contents"]] == ["k"]
    assert error(s3.delete_bucket, Bucket=versioned) == (409, "BucketNotEmpty")

    # An older one becomes the current one again by being copied; the current one goes, and the one before it is back.
    c = s3.copy_object(Bucket=versioned, Key="k", CopySource={"Bucket": versioned, "Key": "k", "VersionId": ids[1]})
    assert c["CopySourceVersionId"] == ids[1] and c["VersionId"] not in ids
    assert body(s3, versioned, "k") == b"small"
    d = s3.delete_object(Bucket=versioned, Key="k", VersionId=c["VersionId"])
    assert d["VersionId"] == c["VersionId"] and not d.get("DeleteMarker")
    assert body(s3, versioned, "k") == bodies[-1]
    s3.delete_object(Bucket=versioned, Key="k", VersionId=ids[2])
    assert error(s3.get_object, Bucket=versioned, Key="k", VersionId=ids[2]) == (404, "NoSuchVersion")
    assert error(s3.head_object, Bucket=versioned, Key="k", VersionId=ids[2])[0] == 404
    assert body(s3, versioned, "k", VersionId=ids[0]) == b""


def test_version_ids(s3, cluster, versioned):
    put = s3.put_object(Bucket=versioned, Key="k", Body=b"x")["VersionId"]
    other = s3.put_object(Bucket=versioned, Key="other", Body=b"y")["VersionId"]
    assert error(s3.get_object, Bucket=versioned, Key="k", VersionId="null") == (404, "NoSuchVersion")
    assert error(s3.get_object, Bucket=versioned, Key="none", VersionId=put) == (404, "NoSuchVersion")
    assert error(s3.get_object, Bucket=versioned, Key="k", VersionId=other) == (404, "NoSuchVersion")
    for bad in ("x", put[:-1], put + "0", put.lower(), "0" * 26, put[:-2] + ("10" if put[-2:] != "10" else "20")):
        assert error(s3.get_object, Bucket=versioned, Key="k", VersionId=bad) == (400, "InvalidArgument"), bad
        assert error(s3.delete_object, Bucket=versioned, Key="k", VersionId=bad) == (400, "InvalidArgument"), bad
        source = {"Bucket": versioned, "Key": "k", "VersionId": bad}
        assert error(s3.copy_object, Bucket=versioned, Key="c", CopySource=source) == (400, "InvalidArgument"), bad
    r = s3.delete_objects(Bucket=versioned, Delete={"Objects": [{"Key": "k", "VersionId": "bad"},
                                                                {"Key": "other", "VersionId": put}]})
    assert [e["Code"] for e in r["Errors"]] == ["NoSuchVersion"] and [d["Key"] for d in r["Deleted"]] == ["other"]
    status, _, _ = signed(cluster, "PUT", f"/{versioned}/k", f"versionId={put}", b"z")[:3]
    assert status == 400
    assert body(s3, versioned, "k") == b"x" and body(s3, versioned, "other") == b"y"


def test_delete_markers(s3, versioned):
    first = s3.put_object(Bucket=versioned, Key="k", Body=b"one")["VersionId"]
    marker = s3.delete_object(Bucket=versioned, Key="k")
    assert marker["DeleteMarker"] and marker["VersionId"] != first
    with pytest.raises(s3.exceptions.NoSuchKey) as e:
        s3.get_object(Bucket=versioned, Key="k")
    assert headers(e)["x-amz-delete-marker"] == "true" and headers(e)["x-amz-version-id"] == marker["VersionId"]
    for call, code in ((s3.get_object, "MethodNotAllowed"), (s3.head_object, "405")):
        with pytest.raises(s3.exceptions.ClientError) as e:
            call(Bucket=versioned, Key="k", VersionId=marker["VersionId"])
        r = e.value.response
        assert (r["ResponseMetadata"]["HTTPStatusCode"], r["Error"]["Code"]) == (405, code)
        assert headers(e)["x-amz-delete-marker"] == "true" and headers(e)["allow"] == "DELETE"
        assert headers(e)["x-amz-version-id"] == marker["VersionId"] and headers(e)["last-modified"]
    with pytest.raises(s3.exceptions.ClientError) as e:
        s3.head_object(Bucket=versioned, Key="k")
    assert headers(e)["x-amz-delete-marker"] == "true"
    assert "Contents" not in s3.list_objects_v2(Bucket=versioned)
    assert versions(s3, versioned) == [("k", marker["VersionId"], True, True), ("k", first, False, False)]
    source = {"Bucket": versioned, "Key": "k"}
    assert error(s3.copy_object, Bucket=versioned, Key="c", CopySource=source) == (404, "NoSuchKey")
    source["VersionId"] = marker["VersionId"]
    assert error(s3.copy_object, Bucket=versioned, Key="c", CopySource=source) == (400, "InvalidRequest")
    # Undone by deleting the marker; and what was never there gets one, too.
    undone = s3.delete_object(Bucket=versioned, Key="k", VersionId=marker["VersionId"])
    assert undone["DeleteMarker"] and undone["VersionId"] == marker["VersionId"]
    assert body(s3, versioned, "k") == b"one"
    never = s3.delete_object(Bucket=versioned, Key="never")
    assert never["DeleteMarker"] and error(s3.get_object, Bucket=versioned, Key="never") == (404, "NoSuchKey")
    # Of many at once, one key several times.
    r = s3.delete_objects(Bucket=versioned, Delete={"Objects": [
        {"Key": "k"}, {"Key": "k", "VersionId": first}, {"Key": "never", "VersionId": never["VersionId"]}]})
    got = {(d["Key"], d.get("VersionId")): d for d in r["Deleted"]}
    assert got["k", None]["DeleteMarker"] and not got["k", first].get("DeleteMarker")
    assert got["never", never["VersionId"]]["DeleteMarkerVersionId"] == never["VersionId"]
    assert versions(s3, versioned) == [("k", got["k", None]["DeleteMarkerVersionId"], True, True)]


def test_null_versions(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"before")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    assert s3.head_object(Bucket=bucket, Key="k")["VersionId"] == "null"
    one = s3.put_object(Bucket=bucket, Key="k", Body=b"one")["VersionId"]
    assert body(s3, bucket, "k", VersionId="null") == b"before"
    suspend(s3, bucket)
    assert body(s3, bucket, "k") == b"one"
    assert s3.put_object(Bucket=bucket, Key="k", Body=b"null again")["VersionId"] == "null"
    assert body(s3, bucket, "k", VersionId="null") == b"null again" and body(s3, bucket, "k", VersionId=one) == b"one"
    assert versions(s3, bucket) == [("k", "null", True, False), ("k", one, False, False)]
    # The marker of a suspended bucket is the null version, and takes the place of the one that was.
    r = s3.delete_object(Bucket=bucket, Key="k")
    assert r["DeleteMarker"] and r["VersionId"] == "null"
    assert versions(s3, bucket) == [("k", "null", True, True), ("k", one, False, False)]
    assert error(s3.get_object, Bucket=bucket, Key="k", VersionId="null") == (405, "MethodNotAllowed")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    two = s3.put_object(Bucket=bucket, Key="k", Body=b"two")["VersionId"]
    assert versions(s3, bucket) == [("k", two, True, False), ("k", "null", False, True), ("k", one, False, False)] or \
        sorted(versions(s3, bucket)) == sorted([("k", two, True, False), ("k", "null", False, True),
                                                ("k", one, False, False)])
    suspend(s3, bucket)
    s3.put_object(Bucket=bucket, Key="k", Body=b"three")  # the older null marker goes
    assert versions(s3, bucket)[0] == ("k", "null", True, False)
    assert sorted(v[1] for v in versions(s3, bucket)) == sorted(["null", two, one])
    s3.delete_object(Bucket=bucket, Key="k", VersionId="null")
    assert body(s3, bucket, "k") == b"two"
    empty(s3, bucket)


def test_multipart(s3, versioned):
    part = os.urandom(5 * MIB)
    s3.put_object(Bucket=versioned, Key="m", Body=b"small")
    ids = []
    for tail in (b"a", b"b"):
        u = s3.create_multipart_upload(Bucket=versioned, Key="m")["UploadId"]
        named = dict(Bucket=versioned, Key="m", UploadId=u)
        etags = [s3.upload_part(**named, PartNumber=n, Body=b)["ETag"] for n, b in ((1, part), (2, tail))]
        parts = [{"PartNumber": n + 1, "ETag": e} for n, e in enumerate(etags)]
        done = s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
        again = s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
        assert done["VersionId"] == again["VersionId"]
        ids.append(done["VersionId"])
    for i, tail in zip(ids, (b"a", b"b")):
        assert hashlib.md5(body(s3, versioned, "m", VersionId=i)).digest() == hashlib.md5(part + tail).digest()
    # A part copied from an older version.
    u = s3.create_multipart_upload(Bucket=versioned, Key="c")["UploadId"]
    source = {"Bucket": versioned, "Key": "m", "VersionId": ids[0]}
    r = s3.upload_part_copy(Bucket=versioned, Key="c", UploadId=u, PartNumber=1, CopySource=source)
    assert r["CopySourceVersionId"] == ids[0]
    s3.complete_multipart_upload(Bucket=versioned, Key="c", UploadId=u, MultipartUpload={
        "Parts": [{"PartNumber": 1, "ETag": r["CopyPartResult"]["ETag"]}]})
    s3.delete_object(Bucket=versioned, Key="m", VersionId=ids[0])
    assert body(s3, versioned, "c")[-1:] == b"a" and body(s3, versioned, "m")[-1:] == b"b"


def test_list(s3, versioned):
    keys = ["a", "dir/1", "dir/2", "dir/3", "z+ü", "zz"]
    made = {}
    for n in range(3):
        for k in keys:
            made.setdefault(k, []).insert(0, s3.put_object(Bucket=versioned, Key=k, Body=b"%d" % n)["VersionId"])
    for k in ("dir/1", "dir/2", "dir/3", "zz"):
        made[k].insert(0, s3.delete_object(Bucket=versioned, Key=k)["VersionId"])
    want = [(k, v) for k in keys for v in made[k]]

    def walk(page, start=None, **kw):
        got, prefixes, markers = [], [], dict(start or {})
        for _ in range(100):
            r = s3.list_object_versions(Bucket=versioned, MaxKeys=page, **kw, **markers)
            both = r.get("Versions", []) + r.get("DeleteMarkers", [])
            at = {(k, v): i for i, (k, v) in enumerate(want)}
            got += sorted([(v["Key"], v["VersionId"]) for v in both], key=at.get)
            prefixes += [p["Prefix"] for p in r.get("CommonPrefixes", [])]
            if not r["IsTruncated"]:
                return got, prefixes
            markers = {"KeyMarker": r["NextKeyMarker"]}
            if r.get("NextVersionIdMarker"):
                markers["VersionIdMarker"] = r["NextVersionIdMarker"]
        raise AssertionError("a list without an end")

    for page in (1, 2, 5, 1000):
        assert walk(page) == (want, [])
        assert walk(page, Delimiter="/") == ([w for w in want if "/" not in w[0]], ["dir/"])
        assert walk(page, Prefix="dir/") == ([w for w in want if w[0].startswith("dir/")], [])
        assert walk(page, {"KeyMarker": "dir/2"}) == ([w for w in want if w[0] > "dir/2"], [])
        i = want.index(("dir/2", made["dir/2"][1]))
        assert walk(page, {"KeyMarker": "dir/2", "VersionIdMarker": made["dir/2"][1]}) == (want[i + 1:], [])
    # The version of the marker goes: nothing is passed over, also if another one takes its place.
    s3.delete_object(Bucket=versioned, Key="a", VersionId=made["a"][0])
    assert walk(2, {"KeyMarker": "a", "VersionIdMarker": made["a"][0]}) == (want[1:], [])
    assert error(s3.list_object_versions, Bucket=versioned, VersionIdMarker="x") == (400, "InvalidArgument")
    assert error(s3.list_object_versions, Bucket=versioned, KeyMarker="a", VersionIdMarker="x") \
        == (400, "InvalidArgument")
    # Lists of objects see none of it; a prefix whose keys are all deleted is none.
    for page in (1, 2, 1000):
        got, prefixes = [], []
        for r in s3.get_paginator("list_objects_v2").paginate(Bucket=versioned, Delimiter="/", PaginationConfig={
                "PageSize": page}):
            got += [o["Key"] for o in r.get("Contents", [])]
            prefixes += [p["Prefix"] for p in r.get("CommonPrefixes", [])]
        assert (got, prefixes) == (["a", "z+ü"], [])


def test_conditions(s3, cluster, versioned):
    """Against the current version; a delete marker counts as nothing.  One winner across gateways."""
    clients = [cluster.client(zone=1 + n % 3, retries={"max_attempts": 1}) for n in range(6)]

    def race(**kw):
        def one(n):
            try:
                return clients[n].put_object(Bucket=versioned, Key="k", Body=b"%d" % n, **kw)["VersionId"]
            except clients[n].exceptions.ClientError as e:
                assert e.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412), e
                return None
        with concurrent.futures.ThreadPoolExecutor(len(clients)) as pool:
            return [v for v in pool.map(one, range(len(clients))) if v]

    for _ in range(5):
        (winner,) = race(IfNoneMatch="*")
        assert s3.head_object(Bucket=versioned, Key="k")["VersionId"] == winner
        s3.delete_object(Bucket=versioned, Key="k")
    etag = s3.put_object(Bucket=versioned, Key="k", Body=b"start")["ETag"]
    (winner,) = race(IfMatch=etag)
    assert s3.head_object(Bucket=versioned, Key="k")["VersionId"] == winner
    assert error(s3.delete_object, Bucket=versioned, Key="k", IfMatch=etag) == (412, "PreconditionFailed")
    s3.delete_object(Bucket=versioned, Key="k", IfMatch=s3.head_object(Bucket=versioned, Key="k")["ETag"])
    assert error(s3.put_object, Bucket=versioned, Key="k", Body=b"", IfMatch=etag) == (404, "NoSuchKey")
    assert len(versions(s3, versioned)) == 5 * 2 + 3


def test_settings_under_load(s3, cluster, bucket):
    """Enabled in the middle of overwrites through all gateways: no version that was told is lost."""
    clients = [cluster.client(zone=1 + n % 3) for n in range(6)]

    def write(n):
        told = []
        for i in range(30):
            data = b"%d %d" % (n, i)
            v = clients[n].put_object(Bucket=bucket, Key=f"k{i % 3}", Body=data).get("VersionId")
            if v:
                told.append((f"k{i % 3}", v, data))
        return told

    with concurrent.futures.ThreadPoolExecutor(len(clients)) as pool:
        writers = [pool.submit(write, n) for n in range(len(clients))]
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        told = [t for w in writers for t in w.result()]
    assert told
    for key, version, data in told:
        assert body(s3, bucket, key, VersionId=version) == data
    empty(s3, bucket)


def test_tags_of_versions(s3, cluster, versioned):
    def tags(value):
        return {"TagSet": [{"Key": "k", "Value": value}]}

    ids = [s3.put_object(Bucket=versioned, Key="k", Body=b"x", Tagging=f"k={n}")["VersionId"] for n in range(3)]
    got = s3.put_object_tagging(Bucket=versioned, Key="k", VersionId=ids[0], Tagging=tags("changed"))
    assert got["VersionId"] == ids[0]
    for zone in (1, 2, 3):
        s3z = cluster.client(zone=zone)
        for version, value in zip([*ids, None], ["changed", "1", "2", "2"]):
            named = {"VersionId": version} if version else {}
            got = s3z.get_object_tagging(Bucket=versioned, Key="k", **named)
            assert got["TagSet"] == tags(value)["TagSet"] and got["VersionId"] == (version or ids[2])
    s3.delete_object_tagging(Bucket=versioned, Key="k", VersionId=ids[1])
    assert s3.get_object_tagging(Bucket=versioned, Key="k", VersionId=ids[1])["TagSet"] == []
    marker = s3.delete_object(Bucket=versioned, Key="k")["VersionId"]
    assert error(s3.get_object_tagging, Bucket=versioned, Key="k") == (404, "NoSuchKey")
    assert error(s3.put_object_tagging, Bucket=versioned, Key="k", Tagging=tags("x")) == (404, "NoSuchKey")
    assert error(s3.put_object_tagging, Bucket=versioned, Key="k", VersionId=marker, Tagging=tags("x")) \
        == (405, "MethodNotAllowed")
    assert s3.get_object_tagging(Bucket=versioned, Key="k", VersionId=ids[2])["TagSet"] == tags("2")["TagSet"]
