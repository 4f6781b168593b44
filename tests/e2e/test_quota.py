"""Quotas of buckets and accounts: set by the operator, counted in the background, enforced at each write."""
import itertools
import json
import subprocess
import types

import boto3
import botocore.config
import pytest
from botocore.exceptions import ClientError

from cluster import ROOT
from test_browser import post, signed
from test_reencode import metric, wait as wait_for
from test_s3 import signed as ask

CAIRNCTL = ROOT / "build" / "rel" / "bin" / "cairnctl"
KB = 1000
_serial = itertools.count(1)


@pytest.fixture
def s3(quick):
    return quick.client()


@pytest.fixture
def bucket(s3):
    name = f"quota-{next(_serial)}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def ctl(quick):
    def call(*args, status=0):
        done = subprocess.run([CAIRNCTL, "quota", *args], text=True, capture_output=True, timeout=60,
                              env=dict(quick.shell_env(), CAIRN_ENDPOINT=quick.endpoint(2)))
        assert done.returncode == status, f"{args}: {done.returncode} {done.stdout}{done.stderr}"
        return done.stderr if status else json.loads(done.stdout) if "--json" in args else done.stdout
    return call


def refused(call, **kw):
    with pytest.raises(ClientError) as e:
        call(**kw)
    assert e.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403, e.value
    assert e.value.response["Error"]["Code"] == "QuotaExceeded", e.value


def put(s3, bucket, key, bytes):
    return s3.put_object(Bucket=bucket, Key=key, Body=b"x" * bytes)


def usage(ctl, bucket):
    return ctl("show", "--bucket", bucket, "--json")["usage"] or {"bytes": -1, "versions": -1, "objects": -1}


def counted(ctl, bucket, bytes, versions):
    def now():
        u = usage(ctl, bucket)
        return (u["bytes"], u["versions"]) == (bytes, versions)
    wait_for("the count", 20, now)


def settles(call, **kw):
    """Allowed, once what was deleted or raised is known, or what was written during a count counts once."""
    answers = []

    def allowed():
        try:
            answers.append(call(**kw))
        except ClientError as e:
            assert e.response["Error"]["Code"] == "QuotaExceeded"
            return False
        return True
    wait_for("the count", 20, allowed)
    return answers[0]


def test_bytes(quick, s3, bucket, ctl):
    for i in range(3):
        put(s3, bucket, f"old{i}", 100 * KB)
    assert "has no quota" in ctl("show", "--bucket", bucket, status=2)
    assert ctl("set", "--bucket", bucket, "--max-bytes", "1MB", "--json") == {
        "bucket": bucket, "bytes_max": 1000 * KB, "objects_max": None}
    counted(ctl, bucket, 300 * KB, 3)
    refused(s3.put_object, Bucket=bucket, Key="huge", Body=b"x" * 701 * KB)
    put(s3, bucket, "more", 600 * KB)
    before = metric(quick, "gateway", "cairn_quota_refused_total")
    refused(s3.put_object, Bucket=bucket, Key="again", Body=b"x" * 200 * KB)  # accepted here is known at once
    refused(s3.copy_object, Bucket=bucket, Key="again", CopySource=f"{bucket}/more")
    assert metric(quick, "gateway", "cairn_quota_refused_total") >= before + 2
    counted(ctl, bucket, 900 * KB, 4)

    other = quick.client(2)  # a gateway that accepted none of it learns what was counted
    refused(other.put_object, Bucket=bucket, Key="again", Body=b"x" * 200 * KB)
    settles(other.put_object, Bucket=bucket, Key="fits", Body=b"x" * 100 * KB)
    counted(ctl, bucket, 1000 * KB, 5)
    s3.get_object(Bucket=bucket, Key="more")["Body"].read()
    put_empty = dict(Bucket=bucket, Key="empty", Body=b"")
    settles(s3.put_object, **put_empty)
    s3.delete_object(Bucket=bucket, Key="more")
    settles(s3.put_object, Bucket=bucket, Key="again", Body=b"x" * 200 * KB)

    rows = {q["bucket"]: q for q in ctl("list", "--json")["quotas"]}
    assert rows[bucket]["bytes_max"] == 1000 * KB and set(rows[bucket]["usage"]) == {
        "bytes", "versions", "objects", "started_ms", "measured_ms"}
    assert bucket in ctl("list") and "1000.0" not in ctl("show", "--bucket", bucket)
    assert ctl("delete", "--bucket", bucket, "--json") == {"bucket": bucket, "changed": True}
    put(s3, bucket, "beyond", 2000 * KB)
    assert bucket not in {q["bucket"] for q in ctl("list", "--json")["quotas"]}


def test_versions_and_uploads(s3, bucket, ctl):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = put(s3, bucket, "k", 10)["VersionId"]
    for _ in range(2):
        put(s3, bucket, "k", 10)
    s3.delete_object(Bucket=bucket, Key="k")
    ctl("set", "--bucket", bucket, "--max-objects", "4", "--max-bytes", "1000")
    counted(ctl, bucket, 30, 3)  # noncurrent ones count, the delete marker does not
    assert usage(ctl, bucket)["objects"] == 0

    up = s3.create_multipart_upload(Bucket=bucket, Key="big")["UploadId"]
    where = dict(Bucket=bucket, Key="big", UploadId=up)
    refused(s3.upload_part, **where, PartNumber=1, Body=b"x" * 971)
    parts = [{"PartNumber": n, "ETag": s3.upload_part(**where, PartNumber=n, Body=b"x" * 600)["ETag"]} for n in (1, 2)]
    done = dict(where, MultipartUpload={"Parts": parts})
    refused(s3.complete_multipart_upload, **done)
    ctl("set", "--bucket", bucket, "--max-objects", "4", "--max-bytes", "1230")
    s3.complete_multipart_upload(**done)
    s3.complete_multipart_upload(**done)  # a second time it brings nothing
    refused(s3.put_object, Bucket=bucket, Key="k", Body=b"")
    refused(s3.create_multipart_upload, Bucket=bucket, Key="k")
    counted(ctl, bucket, 1230, 4)
    refused(s3.put_object, Bucket=bucket, Key="k", Body=b"")
    s3.delete_object(Bucket=bucket, Key="big")  # always works, and makes a marker only
    s3.delete_object(Bucket=bucket, Key="k", VersionId=first)
    settles(s3.put_object, Bucket=bucket, Key="k", Body=b"")


def test_who_may(quick, s3, bucket, ctl):
    ctl("set", "--bucket", bucket, "--max-bytes", "1000")
    # It holds at once, counted or not.
    signer = quick.client(signature_version="s3v4")
    status, _, answer = post(quick, bucket, signed(signer, bucket, "form"), b"x" * 2000)
    assert status == 403 and b"<Code>QuotaExceeded</Code>" in answer
    status, _, answer = post(quick, bucket, signed(signer, bucket, "form"), b"x" * 700)
    assert status == 204, answer
    refused(s3.put_object, Bucket=bucket, Key="form2", Body=b"x" * 400)

    assert "bucket" in ctl("set", "--max-bytes", "1", status=2)
    assert "--max-bytes" in ctl("set", "--bucket", bucket, status=2)
    assert "whole number" in ctl("set", "--bucket", bucket, "--max-objects", "1.5", status=2)
    assert "does not exist" in ctl("set", "--bucket", "quota-nowhere", "--max-objects", "1", status=2)
    assert "does not exist" in ctl("show", "--bucket", "quota-nowhere", status=2)
    assert "9e+15" in ctl("set", "--bucket", bucket, "--max-bytes", str(1 << 63), status=2)
    for bound, status in ((1 << 63, 400), (1 << 64, 400), ((1 << 63) - 1, 200)):
        got, answer, _ = ask(quick, "POST", f"/_cairn/admin/v1/quota/{bucket}/set", f"max_bytes={bound}")
        assert got == status and (b"up to 9223372036854775807" in answer or got == 200), answer
    assert ctl("show", "--bucket", bucket, "--json")["bytes_max"] == (1 << 63) - 1
    assert ctl("delete", "--bucket", bucket, "--json")["changed"]
    assert not ctl("delete", "--bucket", bucket, "--json")["changed"]
    for word in ("set", "show", "list", "delete"):
        assert f"usage: cairnctl quota {word}" in ctl(word, "--help") and "--json" in ctl(word, "--help")
    assert "usage" in ctl("nonsense", status=2)


def test_set_again(s3, bucket, ctl):
    """What was counted for a quota that was taken away does not count for the next one."""
    put(s3, bucket, "old", 900)
    ctl("set", "--bucket", bucket, "--max-bytes", "1000")
    counted(ctl, bucket, 900, 1)
    refused(s3.put_object, Bucket=bucket, Key="k", Body=b"x" * 200)
    ctl("set", "--bucket", bucket, "--max-bytes", "1050")  # the same quota with other bounds
    assert usage(ctl, bucket)["bytes"] == 900
    refused(s3.put_object, Bucket=bucket, Key="k", Body=b"x" * 200)
    ctl("delete", "--bucket", bucket)
    s3.delete_object(Bucket=bucket, Key="old")
    ctl("set", "--bucket", bucket, "--max-bytes", "1000")
    put(s3, bucket, "k", 200)  # at once, counted or not
    counted(ctl, bucket, 200, 1)


def append(s3, bucket, key, offset, bytes):
    return s3.put_object(Bucket=bucket, Key=key, Body=b"x" * bytes, WriteOffsetBytes=offset)


def test_append(quick, s3, bucket, ctl):
    ctl("set", "--bucket", bucket, "--max-bytes", "1000", "--max-objects", "2")
    def allowed(*args):
        settles(append, s3=s3, bucket=bucket, key="log", offset=args[0], bytes=args[1])
    append(s3, bucket, "log", 0, 400)
    allowed(400, 400)
    refused(append, s3=s3, bucket=bucket, key="log", offset=800, bytes=201)
    allowed(800, 100)
    counted(ctl, bucket, 900, 1)
    refused(append, s3=quick.client(2), bucket=bucket, key="log", offset=900, bytes=101)
    settles(put, s3=s3, bucket=bucket, key="other", bytes=0)
    allowed(900, 100)  # no object more
    refused(append, s3=s3, bucket=bucket, key="third", offset=0, bytes=0)
    refused(append, s3=s3, bucket=bucket, key="log", offset=1000, bytes=1)
    counted(ctl, bucket, 1000, 2)
    assert s3.head_object(Bucket=bucket, Key="log")["ContentLength"] == 1000


def client_of(quick, number, keys, **config):
    options = dict({"retries": {"max_attempts": 1}, "s3": {"addressing_style": "path"}}, **config)
    return boto3.client("s3", endpoint_url=quick.endpoint(number), aws_access_key_id=keys[0], aws_secret_access_key=keys[1],
                        aws_session_token=(*keys, None)[2], region_name="us-east-1", config=botocore.config.Config(**options))


@pytest.fixture
def tenant(quick, cairnctl):
    """An account with a user and two buckets; quotas of it go with it."""
    name = f"tenant {next(_serial)}"
    made = cairnctl("user", "create", f"u{next(_serial)}", "--account", name, "--json")
    t = types.SimpleNamespace(name=name, id=made["account_id"], keys=(made["access_key"], made["secret_key"]))
    t.client = lambda number=1, keys=t.keys, **config: client_of(quick, number, keys, **config)
    t.buckets = [f"tenant-{next(_serial)}" for _ in range(2)]
    for b in t.buckets:
        t.client().create_bucket(Bucket=b)
    yield t
    cairnctl("quota", "delete", "--account", t.id)


@pytest.fixture
def cairnctl(quick):
    def call(*args, status=0):
        done = subprocess.run([CAIRNCTL, *args], text=True, capture_output=True, timeout=60,
                              env=dict(quick.shell_env(), CAIRN_ENDPOINT=quick.endpoint(2)))
        assert done.returncode == status, f"{args}: {done.returncode} {done.stdout}{done.stderr}"
        return done.stderr if status else json.loads(done.stdout) if "--json" in args else done.stdout
    return call


def account_counted(ctl, account, bytes, versions, buckets=2):
    def now():
        u = ctl("show", "--account", account, "--json")["usage"]
        return u and (u["bytes"], u["versions"], u["buckets"]) == (bytes, versions, buckets)
    wait_for("the count", 20, now)


def test_account(quick, s3, bucket, ctl, cairnctl, tenant):
    one, two = tenant.buckets
    mine, there = tenant.client(), tenant.client(2)
    for i, b in enumerate(tenant.buckets * 2):
        put(mine, b, f"old{i}", 100 * KB)
    assert "has no quota" in ctl("show", "--account", tenant.name, status=2)
    assert "none" in cairnctl("account", "show", tenant.name)
    assert ctl("set", "--account", tenant.name, "--max-bytes", "1MB", "--json") == {
        "account": tenant.id, "account_name": tenant.name, "bytes_max": 1000 * KB, "objects_max": None}
    for bound, said in ((1 << 63, b"beyond 9223372036854775807"), (-1, b"up to 9223372036854775807")):
        status, answer, _ = ask(quick, "POST", f"/_cairn/admin/v1/accounts/{tenant.id}/set-quota",
                                body=b'{"max_bytes": %d}' % bound)
        assert status == 400 and said in answer, answer
    account_counted(ctl, tenant.id, 400 * KB, 4)
    refused(mine.put_object, Bucket=one, Key="huge", Body=b"x" * 601 * KB)
    settles(put, s3=mine, bucket=one, key="more", bytes=500 * KB)
    refused(mine.put_object, Bucket=two, Key="again", Body=b"x" * 200 * KB)  # accepted here is known at once
    refused(mine.copy_object, Bucket=two, Key="again", CopySource=f"{one}/more")
    account_counted(ctl, tenant.id, 900 * KB, 5)
    for b in tenant.buckets:  # a gateway that accepted none of it
        refused(there.put_object, Bucket=b, Key="again", Body=b"x" * 101 * KB)
    settles(there.put_object, Bucket=two, Key="fits", Body=b"x" * 100 * KB)
    account_counted(ctl, tenant.id, 1000 * KB, 6)  # so that each gateway knows it

    # Others are not touched: nor is what they hold when this user writes to it.
    put(s3, bucket, "k", 2000 * KB)
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"AWS": tenant.id}, "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{bucket}/*"}]}))
    put(mine, bucket, "theirs", 2000 * KB)
    # What others write into its buckets is its own.
    root = cairnctl("user", "create", f"u{next(_serial)}", "--json")
    guest = client_of(quick, 2, (root["access_key"], root["secret_key"]))
    mine.put_bucket_policy(Bucket=one, Policy=json.dumps({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"AWS": root["account_id"]}, "Action": "s3:*", "Resource": f"arn:aws:s3:::{one}/*"}]}))
    refused(guest.put_object, Bucket=one, Key="guest", Body=b"x" * 100 * KB)

    # Another user of the account is bound like the first, also with a session's keys.
    second = cairnctl("user", "create", f"u{next(_serial)}", "--account", tenant.id, "--json")
    other = tenant.client(2, (second["access_key"], second["secret_key"]))
    refused(other.put_object, Bucket=two, Key="again", Body=b"x" * 100 * KB)
    sts = boto3.client("sts", endpoint_url=quick.endpoint(1), region_name="us-east-1", aws_access_key_id=second["access_key"],
                       aws_secret_access_key=second["secret_key"])
    t = sts.get_session_token()["Credentials"]
    session = client_of(quick, 2, (t["AccessKeyId"], t["SecretAccessKey"], t["SessionToken"]))
    refused(session.put_object, Bucket=two, Key="again", Body=b"x" * 100 * KB)

    rows = {q["account"]: q for q in ctl("list", "--json")["accounts"]}
    assert rows[tenant.id]["bytes_max"] == 1000 * KB and set(rows[tenant.id]["usage"]) == {
        "bytes", "versions", "objects", "buckets", "started_ms", "measured_ms"}
    assert tenant.id in ctl("list") and f"{tenant.id} {tenant.name}" in ctl("show", "--account", tenant.id)
    account_counted(ctl, tenant.id, 1000 * KB, 6)
    shown = cairnctl("account", "show", tenant.name)
    assert "bytes         976.6 KiB of 976.6 KiB" in shown and "buckets       2" in shown, shown
    assert cairnctl("account", "show", tenant.id, "--json")["quota"]["usage"]["versions"] == 6

    # What is deleted makes room; a bucket that goes, too.
    mine.delete_object(Bucket=one, Key="more")
    settles(there.put_object, Bucket=two, Key="again", Body=b"x" * 200 * KB)
    for key in ("old0", "old2"):
        mine.delete_object(Bucket=one, Key=key)
    mine.delete_bucket(Bucket=one)
    account_counted(ctl, tenant.id, 500 * KB, 4, buckets=1)
    mine.create_bucket(Bucket=one)

    # Lifted, it is so for the next request at every gateway; set again, nothing is counted for it at first.
    assert ctl("delete", "--account", tenant.id, "--json") == {
        "account": tenant.id, "account_name": tenant.name, "changed": True}
    for c in (mine, there):
        put(c, one, "beyond", 2000 * KB)
    assert tenant.id not in {q["account"] for q in ctl("list", "--json")["accounts"]}
    ctl("set", "--account", tenant.id, "--max-bytes", "5MB")
    account_counted(ctl, tenant.id, 2500 * KB, 5)


def test_account_and_bucket(s3, ctl, tenant):
    """Both hold; what an upload brings counts in both when it is completed."""
    one, two = tenant.buckets
    mine = tenant.client()
    ctl("set", "--account", tenant.id, "--max-objects", "3", "--max-bytes", "2000")
    ctl("set", "--bucket", one, "--max-bytes", "1000")
    refused(put, s3=mine, bucket=one, key="k", bytes=1001)
    put(mine, one, "k", 600)
    settles(put, s3=mine, bucket=two, key="k", bytes=900)
    refused(put, s3=mine, bucket=one, key="m", bytes=401)   # the bucket's
    refused(put, s3=mine, bucket=two, key="m", bytes=501)   # the account's
    settles(append, s3=mine, bucket=two, key="k", offset=900, bytes=100)
    refused(append, s3=mine, bucket=two, key="k", offset=1000, bytes=401)
    up = settles(mine.create_multipart_upload, Bucket=one, Key="big")["UploadId"]
    where = dict(Bucket=one, Key="big", UploadId=up)
    parts = [{"PartNumber": n, "ETag": settles(mine.upload_part, **where, PartNumber=n, Body=b"x" * 200)["ETag"]}
             for n in (1, 2, 3)]
    refused(mine.complete_multipart_upload, **where, MultipartUpload={"Parts": parts})
    ctl("set", "--bucket", one, "--max-bytes", "2000")
    refused(mine.complete_multipart_upload, **where, MultipartUpload={"Parts": parts})
    settles(mine.complete_multipart_upload, **where, MultipartUpload={"Parts": parts[:2]})
    refused(put, s3=mine, bucket=two, key="m", bytes=0)  # the account's objects
    account_counted(ctl, tenant.id, 2000, 3)
    counted(ctl, one, 1000, 2)


def test_account_of_a_form(quick, ctl, tenant):
    signer = tenant.client(signature_version="s3v4")
    ctl("set", "--account", tenant.id, "--max-bytes", "1000")
    status, _, answer = post(quick, tenant.buckets[0], signed(signer, tenant.buckets[0], "form"), b"x" * 2000)
    assert status == 403 and b"<Code>QuotaExceeded</Code>" in answer
    status, _, answer = post(quick, tenant.buckets[0], signed(signer, tenant.buckets[0], "form"), b"x" * 700)
    assert status == 204, answer
    refused(signer.put_object, Bucket=tenant.buckets[1], Key="form2", Body=b"x" * 400)


def test_account_who_may(quick, ctl, cairnctl, tenant):
    assert "--account" in ctl("set", "--max-bytes", "1", status=2)
    assert "--account" in ctl("set", "--bucket", "b", "--account", tenant.id, "--max-bytes", "1", status=2)
    assert "--max-bytes" in ctl("set", "--account", tenant.id, status=2)
    assert "no account" in ctl("set", "--account", "nobody", "--max-bytes", "1", status=2)
    assert "no account" in ctl("show", "--account", "999999999999", status=2)
    assert "--account" in ctl("show", "--account", "", status=2)
    assert not ctl("delete", "--account", tenant.id, "--json")["changed"]
    assert "ACCOUNT" in cairnctl("account", "show", status=2)
    for word in ("set", "show", "delete"):
        assert "--account" in ctl(word, "--help")
    # A tenant neither sees nor changes them.
    own = dict(quick.shell_env(), CAIRN_ENDPOINT=quick.endpoint(2), AWS_ACCESS_KEY_ID=tenant.keys[0],
               AWS_SECRET_ACCESS_KEY=tenant.keys[1])
    for words in (("quota", "list"), ("quota", "set", "--account", tenant.id, "--max-bytes", "1"), ("account", "show", tenant.id)):
        done = subprocess.run([CAIRNCTL, *words], text=True, capture_output=True, timeout=60, env=own)
        assert done.returncode == 2 and "root user" in done.stderr, done
