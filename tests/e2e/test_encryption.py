"""Server-side encryption: every mode in every operation, what lies on the disks, keys and their changes."""
import base64
import hashlib
import json
import os
import pathlib
import subprocess

import boto3
import botocore.config
import pytest

from cluster import ROOT
from test_clients import aws, run
from test_s3 import error

CHUNK = 65520
KEY_A, KEY_B = b"A" * 32, b"B" * 32


def customer(key, prefix="SSECustomer"):
    return {f"{prefix}Algorithm": "AES256", f"{prefix}Key": key}


MODES = {
    "none": {},
    "s3": {"ServerSideEncryption": "AES256"},
    "kms": {"ServerSideEncryption": "aws:kms"},
    "customer": customer(KEY_A),
}


def reads(mode):
    return MODES[mode] if mode == "customer" else {}


def source(mode):
    return customer(KEY_A, "CopySourceSSECustomer") if mode == "customer" else {}


def data(size, seed=1):
    return hashlib.shake_128(bytes([seed])).digest(size)


def told(answer, mode):
    """Does the answer say that the object is encrypted so?"""
    if mode == "s3":
        return answer["ServerSideEncryption"] == "AES256"
    if mode == "kms":
        return answer["ServerSideEncryption"] == "aws:kms" and ":key/aws-s3" in answer["SSEKMSKeyId"]
    if mode == "customer":
        digest = base64.b64encode(hashlib.md5(KEY_A).digest()).decode()
        return answer["SSECustomerAlgorithm"] == "AES256" and answer["SSECustomerKeyMD5"] == digest
    return "ServerSideEncryption" not in answer and "SSECustomerAlgorithm" not in answer


def cairnctl(cluster, *args, status=0):
    done = subprocess.run([ROOT / "build/rel/bin/cairnctl", *args, f"--endpoint={cluster.endpoint()}"],
                          env=cluster.shell_env(), text=True, capture_output=True, timeout=60)
    assert done.returncode == status, f"cairnctl {args}: {done.returncode} {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def other(cluster):
    return cluster.client(2)


# ---- objects ----

@pytest.mark.parametrize("mode", MODES)
def test_objects(s3, other, bucket, mode):
    for size in (0, 1, 16384, 16385, CHUNK, CHUNK + 1, 5 * 2**20 + 17):
        body = data(size)
        put = s3.put_object(Bucket=bucket, Key="k", Body=body, Metadata={"a": "b"}, **MODES[mode])
        assert told(put, mode)
        is_md5 = put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
        assert is_md5 == (mode in ("none", "s3"))
        for client in (s3, other):
            got = client.get_object(Bucket=bucket, Key="k", **reads(mode))
            assert got["Body"].read() == body and told(got, mode) and got["ETag"] == put["ETag"]
            assert got["ContentLength"] == size and got["Metadata"] == {"a": "b"}
        head = other.head_object(Bucket=bucket, Key="k", **reads(mode))
        assert head["ContentLength"] == size and told(head, mode)
        for first, last in ((0, 0), (CHUNK - 1, CHUNK), (CHUNK, 2 * CHUNK), (size - 1, size + 9), (100, 4_300_000)):
            if 0 <= first < size:
                part = other.get_object(Bucket=bucket, Key="k", Range=f"bytes={first}-{last}", **reads(mode))
                assert part["Body"].read() == body[first:last + 1], (size, first, last)
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"][0]
    assert listed["Size"] == 5 * 2**20 + 17
    key = reads(mode)
    if key:  # boto3 encodes it for the calls that it thinks of only
        key = dict(key, SSECustomerKey=base64.b64encode(KEY_A).decode(),
                   SSECustomerKeyMD5=base64.b64encode(hashlib.md5(KEY_A).digest()).decode())
    attributes = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["ObjectSize", "Checksum"], **key)
    assert attributes["ObjectSize"] == 5 * 2**20 + 17


def test_keys_of_clients(s3, other, bucket):
    which = dict(Bucket=bucket, Key="c")
    s3.put_object(**which, Body=data(100_000), **customer(KEY_A))
    assert error(other.get_object, **which) == (400, "InvalidRequest")
    assert error(other.head_object, **which)[0] == 400
    assert error(other.get_object, **which, **customer(KEY_B)) == (403, "AccessDenied")
    assert error(other.head_object, **which, **customer(KEY_B))[0] == 403
    assert error(s3.get_object, **which, **customer(b"short")) == (400, "InvalidArgument")
    assert error(s3.get_object, **which, SSECustomerAlgorithm="AES", SSECustomerKey=KEY_A) == \
        (400, "InvalidEncryptionAlgorithmError")
    assert error(s3.put_object, **which, ServerSideEncryption="AES256", **customer(KEY_A)) == \
        (400, "InvalidArgument")
    s3.delete_object(**which)  # no key is needed
    s3.put_object(**which, Body=b"x")
    assert error(s3.get_object, **which, **customer(KEY_A)) == (400, "InvalidRequest")


def test_refused(s3, bucket):
    put = lambda **more: error(s3.put_object, Bucket=bucket, Key="k", Body=b"x", **more)
    assert put(ServerSideEncryption="aws:kms:dsse") == (501, "NotImplemented")
    assert put(ServerSideEncryption="AES512") == (400, "InvalidArgument")
    assert put(SSEKMSKeyId="k") == (400, "InvalidArgument")
    assert put(ServerSideEncryption="aws:kms", SSEKMSKeyId="no-such-key") == (400, "KMS.NotFoundException")
    assert put(ServerSideEncryption="aws:kms", SSEKMSEncryptionContext="!") == (400, "InvalidArgument")


def test_versions(s3, other, bucket):
    """Each version has a key of its own."""
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    ids = {m: s3.put_object(Bucket=bucket, Key="v", Body=data(50_000, 1 + i), **MODES[m])["VersionId"]
           for i, m in enumerate(MODES)}
    for i, (mode, version) in enumerate(ids.items()):
        got = other.get_object(Bucket=bucket, Key="v", VersionId=version, **reads(mode))
        assert got["Body"].read() == data(50_000, 1 + i) and told(got, mode)
    for version in ids.values():
        s3.delete_object(Bucket=bucket, Key="v", VersionId=version)


# ---- copies and uploads ----

def test_copies(s3, other, bucket):
    body = data(300_000)
    for a in MODES:
        s3.put_object(Bucket=bucket, Key="from", Body=body, **MODES[a])
        for b in MODES:
            made = other.copy_object(Bucket=bucket, Key="to", CopySource=f"{bucket}/from", **source(a), **MODES[b])
            assert told(made, b)
            assert s3.get_object(Bucket=bucket, Key="to", **reads(b))["Body"].read() == body, (a, b)
    assert error(s3.copy_object, Bucket=bucket, Key="to", CopySource=f"{bucket}/from") == (400, "InvalidRequest")
    # encrypted in another way in its place
    s3.put_object(Bucket=bucket, Key="self", Body=b"x")
    s3.copy_object(Bucket=bucket, Key="self", CopySource=f"{bucket}/self", **MODES["kms"])
    assert told(s3.head_object(Bucket=bucket, Key="self"), "kms")


@pytest.mark.parametrize("mode", MODES)
def test_uploads(s3, other, bucket, mode):
    body = data(5 * 2**20 + 1000)
    s3.put_object(Bucket=bucket, Key="from", Body=body, **MODES["customer"])
    upload = s3.create_multipart_upload(Bucket=bucket, Key="up", **MODES[mode])
    assert told(upload, mode)
    which = dict(Bucket=bucket, Key="up", UploadId=upload["UploadId"])
    one = other.upload_part(**which, PartNumber=1, Body=body, **reads(mode))
    assert told(one, mode)
    two = s3.upload_part_copy(**which, PartNumber=3, CopySource=f"{bucket}/from",
                              CopySourceRange=f"bytes=1000-{len(body) - 1}", **source("customer"), **reads(mode))
    assert told(two, mode)
    last = other.upload_part(**which, PartNumber=7, Body=b"the end", **reads(mode))
    if mode == "customer":
        assert error(s3.upload_part, **which, PartNumber=8, Body=b"x") == (400, "InvalidRequest")
        assert error(s3.upload_part, **which, PartNumber=8, Body=b"x", **customer(KEY_B)) == (400, "InvalidRequest")
    parts = [{"PartNumber": n, "ETag": p} for n, p in
             ((1, one["ETag"]), (3, two["CopyPartResult"]["ETag"]), (7, last["ETag"]))]
    done = s3.complete_multipart_upload(**which, MultipartUpload={"Parts": parts})
    assert mode == "customer" or told(done, mode)
    whole = body + body[1000:] + b"the end"
    got = other.get_object(Bucket=bucket, Key="up", **reads(mode))
    assert got["Body"].read() == whole and told(got, mode) and got["ETag"].endswith('-3"')
    for number, part in ((1, body), (2, body[1000:]), (3, b"the end")):
        assert other.get_object(Bucket=bucket, Key="up", PartNumber=number, **reads(mode))["Body"].read() == part
    border = len(body)
    across = other.get_object(Bucket=bucket, Key="up", Range=f"bytes={border - 70000}-{border + 70000}", **reads(mode))
    assert across["Body"].read() == whole[border - 70000:border + 70001]


@pytest.mark.parametrize("to", MODES)
def test_parts_copied_between_modes(s3, other, bucket, to):
    """Ranges of the source that begin and end at, before and behind the borders of its chunks; and the whole."""
    size = 3 * CHUNK + 5
    upload = s3.create_multipart_upload(Bucket=bucket, Key="up", **MODES[to])["UploadId"]
    which = dict(Bucket=bucket, Key="up", UploadId=upload)
    copy = lambda mode, n, **more: other.upload_part_copy(
        **which, PartNumber=n, CopySource=f"{bucket}/{mode}", **source(mode), **reads(to), **more)
    for seed, mode in enumerate(MODES):
        s3.put_object(Bucket=bucket, Key=mode, Body=data(size, seed), **MODES[mode])
        for last in (size, size + CHUNK):
            assert error(copy, mode, 1, CopySourceRange=f"bytes=0-{last}") == (400, "InvalidArgument")
        for n, (first, last) in enumerate(((0, 0), (CHUNK - 1, CHUNK), (CHUNK, 2 * CHUNK - 1), (3 * CHUNK, size - 1), (0, size - 1))):
            whole = first == 0 and last == size - 1
            part = copy(mode, 1, **({} if whole else {"CopySourceRange": f"bytes={first}-{last}"}))["CopyPartResult"]
            done = s3.complete_multipart_upload(**which, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
            got = other.get_object(Bucket=bucket, Key="up", **reads(to))
            assert got["Body"].read() == data(size, seed)[first:last + 1] and got["ETag"] == done["ETag"], (mode, first)
            which["UploadId"] = s3.create_multipart_upload(Bucket=bucket, Key="up", **MODES[to])["UploadId"]
    if to == "customer":  # the right key for the source, another for the copy, and the other way round
        wrong = lambda **more: error(s3.upload_part_copy, **which, PartNumber=1, CopySource=f"{bucket}/customer", **more)
        assert wrong(**source("customer"), **customer(KEY_B)) == (400, "InvalidRequest")
        assert wrong(**customer(KEY_B, "CopySourceSSECustomer"), **customer(KEY_A)) == (403, "AccessDenied")
        assert wrong(**customer(KEY_A)) == (400, "InvalidRequest")


@pytest.mark.parametrize("mode", MODES)
def test_borders_and_conditions(s3, other, bucket, mode):
    """Suffixes, ranges behind the end, objects without data; conditions are of the object, whoever may open it."""
    which = dict(Bucket=bucket, Key="k")
    for size in (0, 1, CHUNK, 2 * CHUNK, 2 * CHUNK + 1):
        body = data(size)
        put = s3.put_object(**which, Body=body, **MODES[mode])
        get = lambda client=other, **more: client.get_object(**which, **reads(mode), **more)
        for last in (1, CHUNK - 1, CHUNK, CHUNK + 1, size, size + 1):
            if size and last:
                part = get(Range=f"bytes=-{last}")
                assert part["Body"].read() == body[-last:] and part["ContentRange"] == \
                    f"bytes {max(size - last, 0)}-{size - 1}/{size}", (size, last)
        for beyond in (f"bytes={size}-", f"bytes={size + CHUNK}-{size + CHUNK}", "bytes=-0"):
            assert error(get, Range=beyond) == (416, "InvalidRange"), (size, beyond)
        for first in range(0, size, CHUNK):
            for one in (first, min(first + CHUNK, size) - 1):
                assert get(Range=f"bytes={one}-{one}")["Body"].read() == body[one:one + 1]
        assert get(IfMatch=put["ETag"])["Body"].read() == body
        assert error(get, IfMatch='"0"') == (412, "PreconditionFailed")
        assert error(get, IfNoneMatch=put["ETag"])[0] == 304
        assert error(get, s3, IfModifiedSince=other.head_object(**which, **reads(mode))["LastModified"])[0] == 304
        assert error(s3.put_object, **which, Body=b"", IfNoneMatch="*", **MODES[mode]) == (412, "PreconditionFailed")
        assert error(s3.put_object, **which, Body=b"", IfMatch='"0"', **MODES[mode]) == (412, "PreconditionFailed")
    if mode == "customer":  # who has not the key does not learn whether a condition holds
        for condition in ({"IfMatch": put["ETag"]}, {"IfMatch": '"0"'}, {"IfNoneMatch": put["ETag"]}):
            for call in (s3.get_object, s3.head_object):
                assert error(call, **which, **customer(KEY_B), **condition)[0] == 403
                assert error(call, **which, **condition)[0] == 400
    s3.put_object(**which, Body=b"new", IfMatch=put["ETag"], **MODES[mode])
    assert get()["Body"].read() == b"new"


# ---- defaults of buckets ----

def rule(algorithm, key=None, bucket_key=None):
    apply = {"SSEAlgorithm": algorithm, **({"KMSMasterKeyID": key} if key else {})}
    made = {"ApplyServerSideEncryptionByDefault": apply}
    if bucket_key is not None:
        made["BucketKeyEnabled"] = bucket_key
    return {"Rules": [made]}


def test_defaults(s3, other, cluster, bucket):
    assert error(s3.get_bucket_encryption, Bucket=bucket) == (404, "ServerSideEncryptionConfigurationNotFoundError")
    cairnctl(cluster, "kms", "create", "of-the-bucket")
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=rule("aws:kms", "of-the-bucket", True))
    kept = other.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
    assert kept == rule("aws:kms", "of-the-bucket", True)
    put = other.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert put["SSEKMSKeyId"].endswith(":key/of-the-bucket") and put["BucketKeyEnabled"]
    assert told(other.put_object(Bucket=bucket, Key="k", Body=b"x", **MODES["s3"]), "s3")
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=rule("AES256"))
    assert told(other.put_object(Bucket=bucket, Key="k", Body=b"x"), "s3")
    assert error(s3.put_bucket_encryption, Bucket=bucket,
                 ServerSideEncryptionConfiguration=rule("aws:kms:dsse")) == (501, "NotImplemented")
    s3.delete_bucket_encryption(Bucket=bucket)
    assert told(other.put_object(Bucket=bucket, Key="k", Body=b"x"), "none")


# ---- keys ----

def test_keys(s3, other, cluster, bucket):
    named = dict(ServerSideEncryption="aws:kms", SSEKMSKeyId="alias/reports")
    cairnctl(cluster, "kms", "create", "reports")
    cairnctl(cluster, "kms", "create", "reports", status=2)
    context = base64.b64encode(b'{"department":"books"}').decode()
    put = s3.put_object(Bucket=bucket, Key="old", Body=b"old", SSEKMSEncryptionContext=context, **named)
    assert put["SSEKMSKeyId"].endswith(":key/reports") and put["SSEKMSEncryptionContext"] == context
    cairnctl(cluster, "kms", "rotate", "reports")
    s3.put_object(Bucket=bucket, Key="s", Body=b"x", **MODES["s3"])
    cairnctl(cluster, "kms", "rotate", "sse-s3")
    cairnctl(cluster, "kms", "disable", "sse-s3", status=2)
    assert other.get_object(Bucket=bucket, Key="s")["Body"].read() == b"x"
    other.put_object(Bucket=bucket, Key="new", Body=b"new", **named)
    for client in (s3, other):
        assert client.get_object(Bucket=bucket, Key="old")["Body"].read() == b"old"
        assert client.get_object(Bucket=bucket, Key="new")["Body"].read() == b"new"
    cairnctl(cluster, "kms", "disable", "reports")
    for client in (s3, other):  # for the very next request
        assert error(client.get_object, Bucket=bucket, Key="old") == (400, "KMS.DisabledException")
        assert error(client.put_object, Bucket=bucket, Key="x", **named) == (400, "KMS.DisabledException")
        assert client.head_object(Bucket=bucket, Key="old")["ContentLength"] == 3
    cairnctl(cluster, "kms", "enable", "reports")
    assert other.get_object(Bucket=bucket, Key="old")["Body"].read() == b"old"
    shown = cairnctl(cluster, "kms", "list")
    assert "reports" in shown and "local" in shown
    cairnctl(cluster, "kms", "check")


def test_keys_of_accounts(s3, cluster, bucket):
    """An account's key is there for its users only; what it sealed nobody else reads, whoever lets him in."""
    mark = f"{os.getpid():x}"
    made = json.loads(cairnctl(cluster, "user", "create", f"kms-{mark}", "--account", f"kms-{mark}", "--json"))
    tenant = boto3.client("s3", endpoint_url=cluster.endpoint(2), region_name="us-east-1",
                          aws_access_key_id=made["access_key"], aws_secret_access_key=made["secret_key"],
                          config=botocore.config.Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}))
    theirs, named = f"{bucket}-theirs", dict(ServerSideEncryption="aws:kms", SSEKMSKeyId=f"key-{mark}")
    cairnctl(cluster, "kms", "create", f"key-{mark}", "--account", "000000000999", status=2)
    cairnctl(cluster, "kms", "create", f"key-{mark}", "--account", made["account_id"])
    assert made["account_id"] in cairnctl(cluster, "kms", "list")
    tenant.create_bucket(Bucket=theirs)
    tenant.put_object(Bucket=theirs, Key="k", Body=b"sealed", **named)
    assert tenant.get_object(Bucket=theirs, Key="k")["Body"].read() == b"sealed"
    assert error(s3.put_object, Bucket=bucket, Key="k", Body=b"x", **named) == (400, "KMS.NotFoundException")
    tenant.put_bucket_policy(Bucket=theirs, Policy=json.dumps({"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Principal": {"AWS": "000000000001"}, "Action": "s3:*", "Resource": f"arn:aws:s3:::{theirs}/*"}}))
    assert s3.head_object(Bucket=theirs, Key="k")["ContentLength"] == 6
    assert error(s3.get_object, Bucket=theirs, Key="k") == (403, "AccessDenied")
    tenant.delete_object(Bucket=theirs, Key="k")
    tenant.delete_bucket(Bucket=theirs)
    cairnctl(cluster, "user", "delete", f"kms-{mark}", "--account", f"kms-{mark}")


def found_on_disks(cluster, words):
    """Which of these lie in any file of a zone (which has all data), or in any log."""
    patterns = [flag for w in words for flag in ("-e", w)]
    done = subprocess.run(["grep", "-raohF", *patterns, *cluster.var.glob("data/z1-*"), cluster.var / "log"],
                          capture_output=True, text=True)
    return set(done.stdout.split())


def test_nothing_readable_on_the_disks(s3, cluster, bucket):
    """Nor any key; what is not encrypted is found, so that the search is known to see."""
    markers = {(m, size): f"marker-{m}-{size}-xyzzy" for m in MODES for size in (1000, 200_000)}
    for (mode, size), marker in markers.items():
        s3.put_object(Bucket=bucket, Key=marker[:5] + mode + str(size), Body=(marker * (size // 20)).encode(),
                      **MODES[mode])
    master = (cluster.var / "master-key").read_text().split()[0].split(":")[1]
    secrets = [master, KEY_A.decode(), base64.b64encode(KEY_A).decode()]
    found = found_on_disks(cluster, [*markers.values(), *secrets])
    assert found == {marker for (mode, _), marker in markers.items() if mode == "none"}


def refuses(cluster, node, text, **config):
    """A gateway with this configuration ends at once, and says why."""
    flags = [f"--{k}={v}" for k, v in config.items()]
    done = subprocess.run([ROOT / "build/rel/bin/cairn-gateway", f"--config={cluster.var}/conf/{node}.yaml",
                           f"--log_file={cluster.var}/refused", *flags],
                          text=True, capture_output=True, timeout=30)
    assert done.returncode not in (0, None), done.stderr
    said = done.stderr + pathlib.Path(f"{cluster.var}/refused").read_text()
    assert text in said, said
    assert not any(len(w) > 60 and set(w) <= set("0123456789abcdef") for w in said.split())


def test_master_keys(s3, cluster, bucket):
    body = data(100_000)
    s3.put_object(Bucket=bucket, Key="k", Body=body, **MODES["s3"])
    s3.put_object(Bucket=bucket, Key="l", Body=body, **MODES["kms"])
    file = cluster.var / "master-key"
    old = file.read_text()
    every = [n for n in cluster.nodes() if "-gateway-" in n]
    node = every[-1]
    # without the key, with another under its id, with one that others may read
    cluster.control("stop", node)
    refuses(cluster, node, "not configured here", master_key_file="")
    wrong = pathlib.Path(f"{file}-wrong")
    wrong.write_text("local:" + "5a" * 32 + "\n")
    wrong.chmod(0o644)
    refuses(cluster, node, "chmod 600", master_key_file=wrong)
    wrong.chmod(0o600)
    refuses(cluster, node, "another key here", master_key_file=wrong)
    wrong.write_text("local:nonsense\n")
    refuses(cluster, node, "not 32 bytes", master_key_file=wrong)
    # a new key in front; all gateways have both, then one wraps everything anew, then the old one goes
    file.write_text("newer:" + os.urandom(32).hex() + "\n" + old)
    cluster.control("start", node)
    for n in every:
        if n != node:
            cluster.control("stop", n)
            cluster.control("start", n)
    assert "newer" in cairnctl(cluster, "kms", "list")
    cairnctl(cluster, "kms", "rewrap")
    assert "no other is needed" in cairnctl(cluster, "kms", "rewrap")
    cairnctl(cluster, "kms", "check")
    file.write_text(file.read_text().splitlines()[0] + "\n")
    for n in every:
        cluster.control("stop", n)
        cluster.control("start", n)
    cairnctl(cluster, "kms", "check")
    for zone in (1, 2, 3):
        client = cluster.client(zone)
        assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == body
        assert client.get_object(Bucket=bucket, Key="l")["Body"].read() == body
    file_old = pathlib.Path(f"{file}-old")
    file_old.write_text(old)
    file_old.chmod(0o600)
    cluster.control("stop", node)
    refuses(cluster, node, "not configured here", master_key_file=file_old)
    cluster.control("start", node)


# ---- other clients ----

def test_aws_cli_and_rclone(cluster, bucket, tmp_path):
    source_file, back, key = tmp_path / "from", tmp_path / "back", tmp_path / "key"
    source_file.write_bytes(data(9 * 2**20))
    key.write_bytes(KEY_A)
    for extra_up, extra_down in ((["--sse", "aws:kms"], []),
                                 (["--sse-c", "AES256", "--sse-c-key", f"fileb://{key}"],) * 2):
        aws(cluster, "s3", "cp", str(source_file), f"s3://{bucket}/cli", *extra_up)
        aws(cluster, "s3", "cp", f"s3://{bucket}/cli", str(back), *extra_down)
        assert back.read_bytes() == source_file.read_bytes()
    access, secret = cluster.credentials  # rclone sends no key of a client's without TLS
    remote = f":s3,provider=Other,endpoint='{cluster.endpoint()}',access_key_id={access}," \
             f"secret_access_key={secret},region=us-east-1,server_side_encryption=AES256," \
             f"acl=bucket-owner-full-control,no_check_bucket=true:{bucket}"
    run(cluster, "rclone", "copyto", str(source_file), f"{remote}/rclone")
    back.unlink()
    run(cluster, "rclone", "copyto", f"{remote}/rclone", str(back))
    assert back.read_bytes() == source_file.read_bytes()
