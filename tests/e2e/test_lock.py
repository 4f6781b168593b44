"""Object lock: buckets, retention, legal hold, defaults; what is locked stays, whoever deletes it."""
import base64
import concurrent.futures
import datetime
import hashlib
import json
import os
import time

import botocore.exceptions
import pytest

from test_clients import aws
from test_s3 import error, signed

MIB = 1 << 20
LOCKED = (403, "AccessDenied")
_serial = iter(range(1, 1000))


def after(**kw):
    """A date of whole seconds, as SDKs send them."""
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(**kw)).replace(microsecond=0)


def retention(mode, until):
    return {"Mode": mode, "RetainUntilDate": until}


def rule(mode, **period):
    return {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": mode, **period}}}


def empty(s3, bucket):
    """Governance is bypassed; what is refused are holds, which are lifted."""
    for refused in (True, False):
        left = []
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            left += [{"Key": v["Key"], "VersionId": v["VersionId"]}
                     for v in page.get("Versions", []) + page.get("DeleteMarkers", [])]
        if not left:
            return
        r = s3.delete_objects(Bucket=bucket, Delete={"Objects": left}, BypassGovernanceRetention=True)
        for e in r.get("Errors", []):
            assert refused and e["Code"] == "AccessDenied"
            s3.put_object_legal_hold(Bucket=bucket, Key=e["Key"], VersionId=e["VersionId"],
                                     LegalHold={"Status": "OFF"})


def lock_bucket(s3):
    name = f"lock-{os.getpid()}-{next(_serial)}"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return name


@pytest.fixture
def locked(s3):
    name = lock_bucket(s3)
    yield name
    empty(s3, name)
    s3.delete_bucket(Bucket=name)


@pytest.fixture
def lasting(s3):
    """A bucket that stays, as what is in it cannot be deleted: locked for so long that no test has to be quick."""
    return lock_bucket(s3)


def lock_of(r):
    return r.get("ObjectLockMode"), r.get("ObjectLockRetainUntilDate"), r.get("ObjectLockLegalHoldStatus")


# ---- buckets ----

def test_a_locked_bucket_keeps_versions(s3, cluster, locked):
    for zone in (1, 2, 3):
        client = cluster.client(zone)
        assert client.get_bucket_versioning(Bucket=locked)["Status"] == "Enabled"
        assert client.get_object_lock_configuration(Bucket=locked)["ObjectLockConfiguration"] == \
            {"ObjectLockEnabled": "Enabled"}
        assert error(client.put_bucket_versioning, Bucket=locked,
                     VersioningConfiguration={"Status": "Suspended"}) == (409, "InvalidBucketState")
    s3.put_bucket_versioning(Bucket=locked, VersioningConfiguration={"Status": "Enabled"})
    put = s3.put_object_lock_configuration
    for n, config in enumerate((rule("GOVERNANCE", Days=1), rule("COMPLIANCE", Years=100),
                                {"ObjectLockEnabled": "Enabled"})):
        put(Bucket=locked, ObjectLockConfiguration=config)
        for zone in (1, 2, 3):
            got = cluster.client(zone).get_object_lock_configuration(Bucket=locked)
            assert got["ObjectLockConfiguration"] == config
    wrong = lambda c: error(put, Bucket=locked, ObjectLockConfiguration=c)
    assert wrong(rule("GOVERNANCE", Days=0)) == (400, "InvalidRetentionPeriod")
    assert wrong(rule("GOVERNANCE", Years=-1)) == (400, "InvalidRetentionPeriod")
    assert wrong(rule("GOVERNANCE", Days=36501)) == (400, "InvalidRetentionPeriod")
    assert wrong(rule("GOVERNANCE", Days=1, Years=1)) == (400, "MalformedXML")
    assert wrong(rule("GOVERNANCE")) == (400, "MalformedXML")
    assert wrong(rule("STRICT", Days=1)) == (400, "MalformedXML")
    assert wrong({"ObjectLockEnabled": "Disabled"}) == (400, "MalformedXML")
    assert wrong({}) == (400, "MalformedXML")
    assert signed(cluster, "PUT", "/lock-never-made", headers={"x-amz-bucket-object-lock-enabled": "perhaps"})[0] == 400


def test_an_existing_bucket_gets_the_lock(s3, cluster, bucket):
    config = dict(Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"})
    which = dict(Bucket=bucket, Key="k")
    hold = dict(which, LegalHold={"Status": "ON"})
    put = dict(which, Body=b"x", ChecksumAlgorithm="CRC32")
    assert error(s3.put_object_lock_configuration, **config) == (409, "InvalidBucketState")
    s3.put_object(**put)
    assert error(s3.get_object_lock_configuration, Bucket=bucket) == (404, "ObjectLockConfigurationNotFoundError")
    for call in (s3.get_object_retention, s3.get_object_legal_hold):
        assert error(call, **which) == (400, "InvalidRequest")
    assert error(s3.put_object_legal_hold, **hold) == (400, "InvalidRequest")
    assert error(s3.put_object, **put, ObjectLockLegalHoldStatus="ON") == (400, "InvalidRequest")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object_lock_configuration(**config)
    assert error(s3.put_bucket_versioning, Bucket=bucket, VersioningConfiguration={"Status": "Suspended"}) == \
        (409, "InvalidBucketState")
    # what was there before, a null version, can be locked like any other
    s3.put_object_legal_hold(**hold, VersionId="null")
    assert error(s3.delete_object, **which, VersionId="null") == LOCKED
    cluster.client(2).delete_object(**which)
    assert s3.head_object(**which, VersionId="null")["ObjectLockLegalHoldStatus"] == "ON"
    empty(s3, bucket)


# ---- how an object gets its lock ----

def test_locks_of_writes(s3, cluster, locked):
    until = after(hours=1)
    lock = dict(ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until, ObjectLockLegalHoldStatus="ON")
    want = ("GOVERNANCE", until, "ON")
    s3.put_object(Bucket=locked, Key="put", Body=b"x", **lock)
    s3.put_object(Bucket=locked, Key="large", Body=os.urandom(MIB), **lock)
    source = {"Bucket": locked, "Key": "put"}
    s3.copy_object(Bucket=locked, Key="copy", CopySource=source, **lock)
    upload = dict(Bucket=locked, Key="parts")
    upload["UploadId"] = s3.create_multipart_upload(**upload, **lock)["UploadId"]
    part = s3.upload_part(**upload, PartNumber=1, Body=b"part")
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    for key in ("put", "large", "copy", "parts"):
        for zone in (1, 2, 3):
            client = cluster.client(zone)
            assert lock_of(client.head_object(Bucket=locked, Key=key)) == want
            assert lock_of(client.get_object(Bucket=locked, Key=key)) == want
        got = s3.get_object_retention(Bucket=locked, Key=key)["Retention"]
        assert got == retention("GOVERNANCE", until)
        assert s3.get_object_legal_hold(Bucket=locked, Key=key)["LegalHold"] == {"Status": "ON"}
        version = s3.head_object(Bucket=locked, Key=key)["VersionId"]
        assert error(s3.delete_object, Bucket=locked, Key=key, VersionId=version) == LOCKED
    # a copy does not take its source's lock along
    s3.copy_object(Bucket=locked, Key="copy", CopySource=source)
    assert lock_of(s3.head_object(Bucket=locked, Key="copy")) == (None, None, None)
    for call in (s3.get_object_retention, s3.get_object_legal_hold):
        assert error(call, Bucket=locked, Key="copy") == (404, "NoSuchObjectLockConfiguration")
        assert error(call, Bucket=locked, Key="none") == (404, "NoSuchKey")


def test_wrong_fields(s3, cluster, locked):
    def put(body=b"x", md5=True, **fields):
        headers = {"x-amz-object-lock-" + k.replace("_", "-"): v for k, v in fields.items()}
        if md5:
            headers["Content-MD5"] = base64.b64encode(hashlib.md5(body).digest()).decode()
        status, answer, _ = signed(cluster, "PUT", f"/{locked}/k", body=body, headers=headers)
        return status, answer.split(b"<Code>")[1].split(b"<")[0].decode() if status != 200 else ""
    later = "2090-01-01T00:00:00Z"
    argument = (400, "InvalidArgument")
    assert put(mode="GOVERNANCE") == argument
    assert put(retain_until_date=later) == argument
    assert put(mode="STRICT", retain_until_date=later) == argument
    assert put(mode="governance", retain_until_date=later) == argument
    assert put(mode="GOVERNANCE", retain_until_date="tomorrow") == argument
    assert put(mode="GOVERNANCE", retain_until_date="2020-01-01T00:00:00Z") == argument
    assert put(legal_hold="MAYBE") == argument
    assert put(later="x") == (501, "NotImplemented")
    assert put(md5=False, legal_hold="OFF") == (400, "InvalidRequest")
    assert put(md5=False, mode="GOVERNANCE", retain_until_date=later) == (400, "InvalidRequest")
    assert error(s3.head_object, Bucket=locked, Key="k")[0] == 404
    assert put(mode="GOVERNANCE", retain_until_date=later) == (200, "")
    # the documents
    def document(sub, body, md5=True):
        headers = {"Content-MD5": base64.b64encode(hashlib.md5(body).digest()).decode()} if md5 else {}
        status, answer, _ = signed(cluster, "PUT", f"/{locked}/k", sub, body, headers)
        return status, answer.split(b"<Code>")[1].split(b"<")[0].decode() if status != 200 else ""
    mode, date = b"<Mode>GOVERNANCE</Mode>", b"<RetainUntilDate>2090-01-01T00:00:00Z</RetainUntilDate>"
    malformed = (400, "MalformedXML")
    assert document("retention=", b"<Retention>" + mode + b"</Retention>") == malformed
    assert document("retention=", b"<Retention>" + date + b"</Retention>") == malformed
    assert document("retention=", b"<Retention>" + mode.replace(b"G", b"g") + date + b"</Retention>") == malformed
    assert document("retention=", b"<Retention>" + mode + date.replace(b"-01", b"-31") + b"</Retention>") == malformed
    assert document("retention=", b"<Retention>" + mode + date.replace(b"2090", b"2020") + b"</Retention>") == argument
    assert document("retention=", b"<Retention>" + mode + date + b"</Retention>", False) == (400, "InvalidRequest")
    assert document("retention=", b"<Retention>" + mode + date + b"</Retention>") == (200, "")
    assert document("legal-hold=", b"<LegalHold><Status>yes</Status></LegalHold>") == malformed
    assert document("legal-hold=", b"<LegalHold/>") == malformed
    assert document("legal-hold=", b"<LegalHold><Status>ON</Status></LegalHold>", False) == (400, "InvalidRequest")
    assert document("object-lock=", b"<ObjectLockConfiguration/>") == (501, "NotImplemented")
    assert lock_of(s3.head_object(Bucket=locked, Key="k"))[2] is None


def test_default_retention(s3, cluster, lasting):
    put = lambda **kw: s3.put_object(Bucket=lasting, Key="k", Body=b"x", **kw)["VersionId"]
    put()
    assert lock_of(s3.head_object(Bucket=lasting, Key="k")) == (None, None, None)
    s3.put_object_lock_configuration(Bucket=lasting, ObjectLockConfiguration=rule("GOVERNANCE", Days=2))
    upload = dict(Bucket=lasting, Key="parts")
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    part = s3.upload_part(**upload, PartNumber=1, Body=b"part")
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    for client in (cluster.client(2), cluster.client(3), s3):
        version = client.put_object(Bucket=lasting, Key="k", Body=b"x")["VersionId"]
        client.copy_object(Bucket=lasting, Key="copy", CopySource={"Bucket": lasting, "Key": "k"})
        for key in ("k", "copy", "parts"):
            for reader in (client, cluster.client(1)):  # from the cache of who wrote it, and from the index
                r = reader.head_object(Bucket=lasting, Key=key)
                mode, until, hold = lock_of(r)
                assert (mode, hold) == ("GOVERNANCE", None)
                # Last-Modified is of whole seconds
                assert datetime.timedelta(0) <= until - r["LastModified"] - datetime.timedelta(days=2) \
                    < datetime.timedelta(seconds=1)
        assert error(client.delete_object, Bucket=lasting, Key="k", VersionId=version) == LOCKED
    # what a write says goes before the default; a hold is something else
    put(ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=after(hours=1))
    assert s3.head_object(Bucket=lasting, Key="k")["ObjectLockMode"] == "COMPLIANCE"
    put(ObjectLockLegalHoldStatus="OFF")
    assert lock_of(s3.head_object(Bucket=lasting, Key="k"))[::2] == ("GOVERNANCE", "OFF")
    # as on S3, such data must come with a checksum
    assert signed(cluster, "PUT", f"/{lasting}/k", body=b"x")[0] == 400
    upload["UploadId"] = s3.create_multipart_upload(Bucket=lasting, Key="parts")["UploadId"]
    status, answer, _ = signed(cluster, "PUT", f"/{lasting}/parts", f"partNumber=1&uploadId={upload['UploadId']}", b"x")
    assert status == 400 and b"Put Part requests with Object Lock" in answer
    s3.abort_multipart_upload(**upload)
    s3.put_object_lock_configuration(Bucket=lasting, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"})
    put()
    assert lock_of(s3.head_object(Bucket=lasting, Key="k")) == (None, None, None)


# ---- what is locked stays ----

def test_compliance(s3, cluster, lasting):
    which = dict(Bucket=lasting, Key="k")
    until = after(hours=1)
    version = s3.put_object(**which, Body=b"kept", ObjectLockMode="COMPLIANCE",
                            ObjectLockRetainUntilDate=until)["VersionId"]
    named = dict(which, VersionId=version)
    lock = lambda r, **kw: error(s3.put_object_retention, **named, Retention=r, **kw)
    for bypass in (False, True):
        for zone in (1, 2, 3):
            assert error(cluster.client(zone).delete_object, **named, BypassGovernanceRetention=bypass) == LOCKED
        r = s3.delete_objects(Bucket=lasting, Delete={"Objects": [{"Key": "k", "VersionId": version}]},
                              BypassGovernanceRetention=bypass)
        assert [(e["Key"], e["VersionId"], e["Code"]) for e in r["Errors"]] == [("k", version, "AccessDenied")]
        assert lock({}, BypassGovernanceRetention=bypass) == LOCKED
        assert lock(retention("COMPLIANCE", until - datetime.timedelta(seconds=1)),
                    BypassGovernanceRetention=bypass) == LOCKED
        assert lock(retention("GOVERNANCE", after(days=1)), BypassGovernanceRetention=bypass) == LOCKED
    # a delete marker and newer versions lie on top of it
    marker = s3.delete_object(**which)["VersionId"]
    s3.put_object(**which, Body=b"newer")
    s3.delete_object(**which, VersionId=marker)
    assert error(s3.delete_bucket, Bucket=lasting) == (409, "BucketNotEmpty")
    assert s3.get_object(**named)["Body"].read() == b"kept"
    until += datetime.timedelta(seconds=1)
    s3.put_object_retention(**named, Retention=retention("COMPLIANCE", until))
    assert s3.get_object_retention(**named)["Retention"] == retention("COMPLIANCE", until)
    assert error(s3.delete_object, **named) == LOCKED
    # and when its time is over
    until = after(seconds=5)
    named["VersionId"] = s3.put_object(**which, Body=b"kept", ObjectLockMode="COMPLIANCE",
                                       ObjectLockRetainUntilDate=until)["VersionId"]
    time.sleep(max(0, (until - after()).total_seconds() + 0.2))
    assert lock_of(s3.head_object(**named))[:2] == ("COMPLIANCE", until)  # it says so still
    s3.delete_object(**named)
    assert error(s3.head_object, **named)[0] == 404


def test_governance(s3, locked):
    which = dict(Bucket=locked, Key="k")
    until, day = after(days=2), datetime.timedelta(days=1)
    version = s3.put_object(**which, Body=b"x")["VersionId"]
    named = dict(which, VersionId=version)
    s3.put_object_retention(**which, Retention=retention("GOVERNANCE", until))
    put = lambda mode, date, **kw: s3.put_object_retention(**named, Retention=retention(mode, date), **kw)
    put("GOVERNANCE", until + day)
    assert error(put, "GOVERNANCE", until) == LOCKED
    assert error(put, "COMPLIANCE", until + 2 * day) == LOCKED
    assert error(s3.put_object_retention, **named, Retention={}) == LOCKED
    assert error(s3.delete_object, **named) == LOCKED
    put("GOVERNANCE", until, BypassGovernanceRetention=True)
    assert s3.get_object_retention(**named)["Retention"] == retention("GOVERNANCE", until)
    s3.put_object_retention(**named, Retention={}, BypassGovernanceRetention=True)
    assert error(s3.get_object_retention, **named) == (404, "NoSuchObjectLockConfiguration")
    put("GOVERNANCE", until)
    s3.delete_object(**named, BypassGovernanceRetention=True)
    other = dict(which, Retention=retention("GOVERNANCE", until))
    assert error(s3.put_object_retention, **other) == (404, "NoSuchKey")
    assert error(s3.put_object_retention, **other, VersionId=version) == (404, "NoSuchVersion")
    marker = s3.delete_object(**which)["VersionId"]
    assert error(s3.put_object_retention, **other, VersionId=marker) == (405, "MethodNotAllowed")


def test_legal_hold(s3, locked):
    which = dict(Bucket=locked, Key="k")
    named = dict(which, VersionId=s3.put_object(**which, Body=b"x")["VersionId"])
    before = s3.head_object(**named)
    for status in ("ON", "OFF", "ON"):
        s3.put_object_legal_hold(**which, LegalHold={"Status": status})
        assert s3.get_object_legal_hold(**named)["LegalHold"] == {"Status": status}
    for kw in ({}, {"BypassGovernanceRetention": True}):
        assert error(s3.delete_object, **named, **kw) == LOCKED
    head = s3.head_object(**named)
    assert [head[k] for k in ("ETag", "LastModified", "VersionId")] == \
        [before[k] for k in ("ETag", "LastModified", "VersionId")]
    s3.put_object_tagging(**named, Tagging={"TagSet": [{"Key": "k", "Value": "v"}]})
    assert error(s3.delete_object, **named) == LOCKED
    s3.put_object_legal_hold(**named, LegalHold={"Status": "OFF"})
    s3.delete_object(**named)


def test_what_else_could_take_a_locked_version_away(s3, locked):
    """Appending, renaming and uploads of parts to or from a locked key, encrypted or not: the version stays as it is."""
    hold = dict(ObjectLockLegalHoldStatus="ON", ChecksumAlgorithm="CRC32")
    made = {key: s3.put_object(Bucket=locked, Key=key, Body=body, **hold, **more)["VersionId"]
            for key, body, more in (("a", b"one", {}), ("b", b"two", {"ServerSideEncryption": "aws:kms"}))}
    cannot = (501, "NotImplemented")
    for key in made:
        assert error(s3.put_object, Bucket=locked, Key=key, Body=b"x", WriteOffsetBytes=3) == cannot
        assert error(s3.rename_object, Bucket=locked, Key="new", RenameSource=key) == cannot
        assert error(s3.rename_object, Bucket=locked, Key=key, RenameSource="b" if key == "a" else "a") == cannot
    body = os.urandom(5 * MIB)
    upload = s3.create_multipart_upload(Bucket=locked, Key="a", ChecksumAlgorithm="CRC32", ServerSideEncryption="AES256",
                                        ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=after(days=1))["UploadId"]
    which = dict(Bucket=locked, Key="a", UploadId=upload)
    assert error(s3.upload_part, **which, PartNumber=1, Body=body, ChecksumAlgorithm="CRC32C")[0] == 400
    one = s3.upload_part(**which, PartNumber=1, Body=body, ChecksumAlgorithm="CRC32")
    two = s3.upload_part_copy(**which, PartNumber=2, CopySource={"Bucket": locked, "Key": "b"},
                              CopySourceRange="bytes=1-2")["CopyPartResult"]
    part = lambda n, r: {"PartNumber": n, "ETag": r["ETag"], "ChecksumCRC32": r["ChecksumCRC32"]}
    done = s3.complete_multipart_upload(**which, MultipartUpload={"Parts": [part(1, one), part(2, two)]})
    r = s3.get_object(Bucket=locked, Key="a")
    assert r["Body"].read() == body + b"wo" and r["ObjectLockMode"] == "GOVERNANCE" and "ObjectLockLegalHoldStatus" not in r
    assert error(s3.delete_object, Bucket=locked, Key="a", VersionId=done["VersionId"]) == LOCKED
    for key, want in (("a", b"one"), ("b", b"two")):
        r = s3.get_object(Bucket=locked, Key=key, VersionId=made[key])
        assert r["Body"].read() == want and r["ObjectLockLegalHoldStatus"] == "ON"
        assert error(s3.delete_object, Bucket=locked, Key=key, VersionId=made[key]) == LOCKED


def test_locks_and_deletions_at_once(s3, cluster, lasting):
    """Of a lock and a deletion one is first, whichever gateways they come through."""
    clients = [cluster.client(zone) for zone in (1, 2, 3)]

    def one(i):
        named = dict(Bucket=lasting, Key=f"k{i}")
        named["VersionId"] = s3.put_object(**named, Body=b"x")["VersionId"]
        calls = [lambda: clients[i % 3].put_object_retention(**named, Retention=retention("COMPLIANCE", until)),
                 lambda: clients[(i + 1) % 3].delete_object(**named)]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            outcomes = [f.exception() for f in [pool.submit(c) for c in calls[::1 if i % 2 else -1]]]
        lock, delete = outcomes[::1 if i % 2 else -1]
        codes = [e and e.response["Error"]["Code"] for e in (lock, delete)]
        assert codes in ([None, "AccessDenied"], ["NoSuchVersion", None])
        try:
            s3.head_object(**named)
            there = True
        except botocore.exceptions.ClientError:
            there = False
        assert there == (lock is None)
        return there
    until = after(hours=1)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        kept = list(pool.map(one, range(40)))
    assert any(kept)


def test_aws_cli(s3, cluster):
    name = f"lock-cli-{os.getpid()}"
    api = lambda *args, **kw: aws(cluster, "s3api", *args, **kw)
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    api("put-object-lock-configuration", "--bucket", name, "--object-lock-configuration",
        json.dumps(rule("GOVERNANCE", Days=1)))
    aws(cluster, "s3", "cp", "--quiet", __file__, f"s3://{name}/k")
    version = s3.head_object(Bucket=name, Key="k")["VersionId"]
    named = ("--bucket", name, "--key", "k", "--version-id", version)
    refused = api("delete-object", *named, check=False)
    assert refused.returncode and "AccessDenied" in refused.stderr
    api("delete-object", *named, "--bypass-governance-retention")
    s3.delete_bucket(Bucket=name)
