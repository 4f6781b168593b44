"""Inventories and access logs: what gateways write into buckets on their own."""
import concurrent.futures
import csv
import gzip
import hashlib
import io
import itertools
import json
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request

import boto3
import pytest
from botocore.exceptions import ClientError

from test_browser import post
from test_lifecycle import gateway_metric
from test_reencode import metric, wait

_serial = itertools.count(1)


@pytest.fixture
def s3(quick):
    return quick.client()


@pytest.fixture
def bucket(s3):
    name = f"reports-{next(_serial)}"
    s3.create_bucket(Bucket=name)
    s3.create_bucket(Bucket=f"{name}-to")
    return name


def error(call, **kw):
    with pytest.raises(ClientError) as e:
        call(**kw)
    return e.value.response["ResponseMetadata"]["HTTPStatusCode"], e.value.response["Error"]["Code"]


def keys(s3, bucket, prefix=""):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [o["Key"] for page in pages for o in page.get("Contents", [])]


def read(s3, bucket, key):
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


# ---- inventories ----

ALL_FIELDS = ["Size", "LastModifiedDate", "ETag", "StorageClass", "IsMultipartUploaded", "ReplicationStatus",
              "EncryptionStatus", "ObjectLockRetainUntilDate", "ObjectLockMode", "ObjectLockLegalHoldStatus",
              "BucketKeyStatus", "ChecksumAlgorithm", "ObjectOwner"]


def inventory(bucket, id="daily", to=None, versions="All", fields=ALL_FIELDS, prefix="reports", **more):
    destination = {"Bucket": f"arn:aws:s3:::{to or bucket + '-to'}", "Format": more.pop("Format", "CSV")}
    if prefix:
        destination["Prefix"] = prefix
    destination |= more.pop("Destination", {})
    return {"Id": id, "IsEnabled": more.pop("IsEnabled", True), "IncludedObjectVersions": versions,
            "Schedule": {"Frequency": "Daily"}, "Destination": {"S3BucketDestination": destination},
            **({"OptionalFields": fields} if fields else {}), **more}


def put_inventory(s3, bucket, **kw):
    c = inventory(bucket, **kw)
    s3.put_bucket_inventory_configuration(Bucket=bucket, Id=c["Id"], InventoryConfiguration=c)
    return c


def report(s3, bucket, id="daily", prefix="reports/"):
    """The manifest, and the rows by its schema, with everything checked that can be."""
    place = f"{prefix}{bucket}/{id}/"
    done = wait("a report", 15, lambda: [k for k in keys(s3, bucket + "-to", place) if k.endswith("manifest.checksum")])
    assert re.fullmatch(re.escape(place) + r"\d{4}-\d\d-\d\dT\d\d-\d\dZ/manifest.checksum", done[-1])
    text = read(s3, bucket + "-to", done[-1].replace(".checksum", ".json"))
    assert read(s3, bucket + "-to", done[-1]).decode() == hashlib.md5(text).hexdigest()
    manifest = json.loads(text)
    assert manifest["sourceBucket"] == bucket and manifest["destinationBucket"] == f"arn:aws:s3:::{bucket}-to"
    assert manifest["fileFormat"] == "CSV" and manifest["version"] == "2016-11-30"
    assert abs(int(manifest["creationTimestamp"]) / 1000 - time.time()) < 300
    columns, rows = manifest["fileSchema"].split(", "), []
    for f in manifest["files"]:
        assert re.fullmatch(re.escape(place) + r"data/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.csv\.gz", f["key"])
        data = read(s3, bucket + "-to", f["key"])
        assert len(data) == f["size"] and hashlib.md5(data).hexdigest() == f["MD5checksum"]
        for row in csv.reader(io.StringIO(gzip.decompress(data).decode())):
            assert len(row) == len(columns)
            rows.append(dict(zip(columns, row)))
    return manifest, rows


def test_inventory_configuration(s3, bucket):
    get = lambda id: s3.get_bucket_inventory_configuration(Bucket=bucket, Id=id)["InventoryConfiguration"]
    put = lambda **kw: error(put_inventory, s3=s3, bucket=bucket, **kw)
    assert error(get, id="daily") == (404, "NoSuchConfiguration")
    wanted = put_inventory(s3, bucket, IsEnabled=False, Filter={"Prefix": "a/"}, Destination={"Encryption": {"SSES3": {}}})
    assert get("daily") == wanted
    put_inventory(s3, bucket, id="other", IsEnabled=False, fields=None, prefix=None, versions="Current")
    listed = s3.list_bucket_inventory_configurations(Bucket=bucket)
    assert [c["Id"] for c in listed["InventoryConfigurationList"]] == ["daily", "other"] and not listed["IsTruncated"]
    s3.delete_bucket_inventory_configuration(Bucket=bucket, Id="other")
    assert error(s3.delete_bucket_inventory_configuration, Bucket=bucket, Id="other") == (404, "NoSuchConfiguration")
    assert put(Format="ORC") == put(Format="Parquet") == (501, "NotImplemented")
    assert put(fields=["Size", "IntelligentTieringAccessTier"]) == (501, "NotImplemented")
    assert put(fields=["Size", "Size"]) == put(fields=["Colour"]) == (400, "MalformedXML")
    assert put(to="reports-not-there") == (400, "InvalidS3DestinationBucket")
    assert put(Destination={"Bucket": "reports"}) == (400, "InvalidS3DestinationBucket")
    assert put(Destination={"AccountId": "123456789012"}) == (400, "InvalidS3DestinationBucket")
    c = inventory(bucket)
    assert error(s3.put_bucket_inventory_configuration, Bucket=bucket, Id="x", InventoryConfiguration=c)[0] == 400
    assert get("daily") == wanted


def test_inventory_of_all_versions(s3, quick, bucket):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket=bucket, Key='a "b", ü+1', Body=b"one")
    s3.put_object(Bucket=bucket, Key='a "b", ü+1', Body=b"three", StorageClass="STANDARD_IA", ChecksumAlgorithm="SHA256",
                  ServerSideEncryption="AES256")
    s3.put_object(Bucket=bucket, Key="kms", Body=b"k", ServerSideEncryption="aws:kms", BucketKeyEnabled=True)
    s3.put_object(Bucket=bucket, Key="gone", Body=b"x")
    marker = s3.delete_object(Bucket=bucket, Key="gone")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="parts", UploadId=upload, PartNumber=1, Body=b"part")
    s3.complete_multipart_upload(Bucket=bucket, Key="parts", UploadId=upload,
                                 MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    put_inventory(s3, bucket)
    manifest, rows = report(s3, bucket)
    assert manifest["fileSchema"] == "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, " + ", ".join(ALL_FIELDS)
    listed = s3.list_object_versions(Bucket=bucket)
    ids = {v["VersionId"] for v in listed["Versions"] + listed["DeleteMarkers"]}
    assert {r["VersionId"] for r in rows} == ids and len(rows) == len(ids)
    assert all(r["Bucket"] == bucket for r in rows)
    by_key = lambda key: [r for r in rows if urllib.parse.unquote(r["Key"]) == key]
    new, old = by_key('a "b", ü+1')
    assert old["VersionId"] == first["VersionId"] and (old["IsLatest"], new["IsLatest"]) == ("false", "true")
    assert old["ETag"] == hashlib.md5(b"one").hexdigest() and (old["Size"], new["Size"]) == ("3", "5")
    assert (new["StorageClass"], new["ChecksumAlgorithm"], new["EncryptionStatus"]) == ("STANDARD_IA", "SHA256", "SSE-S3")
    assert (old["StorageClass"], old["EncryptionStatus"], old["IsMultipartUploaded"]) == ("STANDARD", "NOT-SSE", "false")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", old["LastModifiedDate"])
    [kms], [parts] = by_key("kms"), by_key("parts")
    assert (kms["EncryptionStatus"], kms["BucketKeyStatus"]) == ("SSE-KMS", "ENABLED")
    assert parts["IsMultipartUploaded"] == "true" and parts["ETag"].endswith("-1")
    gone = by_key("gone")[0]
    assert (gone["VersionId"], gone["IsDeleteMarker"], gone["Size"]) == (marker["VersionId"], "true", "")
    assert old["ObjectOwner"] == s3.list_buckets()["Owner"]["ID"]


def test_inventory_in_several_files(s3, quick, bucket):
    """More than one page and file; only what the filter names; encrypted at its destination."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: s3.put_object(Bucket=bucket, Key=f"in/{os.urandom(16).hex()}"), range(520)))
    s3.put_object(Bucket=bucket, Key="out", Body=b"")
    put_inventory(s3, bucket, versions="Current", fields=["Size", "ETag"], prefix=None, Filter={"Prefix": "in/"},
                  Destination={"Encryption": {"SSES3": {}}})
    manifest, rows = report(s3, bucket, prefix="")
    assert manifest["fileSchema"] == "Bucket, Key, Size, ETag" and len(manifest["files"]) == 2
    assert [r["Key"] for r in rows] == keys(s3, bucket, "in/")
    head = s3.head_object(Bucket=bucket + "-to", Key=manifest["files"][0]["key"])
    assert head["ServerSideEncryption"] == "AES256"


def test_a_gateway_dies_in_the_middle_of_an_inventory(s3, quick, bucket):
    """Another goes on behind the last file that was saved: all is in it, once, and there is one manifest."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: s3.put_object(Bucket=bucket, Key=f"{i:04}-{os.urandom(16).hex()}"), range(2100)))
    files = lambda zone: gateway_metric(quick, zone, "cairn_inventory_files_total")
    before = {zone: files(zone) for zone in (1, 2, 3)}
    put_inventory(s3, bucket, versions="Current", fields=["Size"])
    died = wait("files", 20, lambda: next((z for z in (1, 2, 3) if files(z) >= before[z] + 3), None))
    quick.kill(f"z{died}-gateway-1")
    try:
        client = quick.client(next(z for z in (1, 2, 3) if z != died))
        place = f"reports/{bucket}/daily/"
        assert not [k for k in keys(client, bucket + "-to", place) if "manifest" in k]
        manifest, rows = report(client, bucket)
        assert [r["Key"] for r in rows] == keys(client, bucket) and len(rows) == 2100
        assert len(manifest["files"]) >= 4
        written = keys(client, bucket + "-to", place)
        assert len([k for k in written if k.endswith("manifest.json")]) == 1
        # It was gone on with, not begun anew: what had been put and not saved is all that is left behind.
        left = {k for k in written if k.endswith(".csv.gz")} - {f["key"] for f in manifest["files"]}
        assert len(left) < 3
        assert sum(gateway_metric(quick, z, "cairn_jobs_taken_over_total") for z in (1, 2, 3) if z != died) >= 1
    finally:
        quick.control("start", f"z{died}-gateway-1")


def test_inventory_of_lock_states(s3, quick):
    name = f"reports-{next(_serial)}"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    s3.create_bucket(Bucket=name + "-to")
    s3.put_object(Bucket=name, Key="held", Body=b"x", ObjectLockLegalHoldStatus="ON")
    s3.put_object(Bucket=name, Key="kept", Body=b"x", ObjectLockMode="GOVERNANCE",
                  ObjectLockRetainUntilDate="2031-01-01T00:00:00Z")
    put_inventory(s3, name, fields=["ObjectLockRetainUntilDate", "ObjectLockMode", "ObjectLockLegalHoldStatus"])
    held, kept = report(s3, name)[1]
    assert (held["ObjectLockMode"], held["ObjectLockLegalHoldStatus"]) == ("", "ON")
    assert kept["ObjectLockMode"] == "GOVERNANCE" and kept["ObjectLockRetainUntilDate"] == "2031-01-01T00:00:00.000Z"


# ---- access logs ----

FIELD = r'("[^"]*"|\[[^\]]*\]|[^ "\[]\S*)'
NAMES = ("owner bucket time ip requester id operation key uri status error bytes size total turnaround referer agent "
         "version host_id signature cipher auth host tls access_point acl").split()


def records(s3, bucket, prefix="logs/"):
    """Those of all log objects, by the names of their fields."""
    found = []
    for key in keys(s3, bucket, prefix):
        for line in read(s3, bucket, key).decode("ascii").splitlines():
            fields = re.findall(FIELD, line)
            assert len(fields) == len(NAMES), line
            found.append(dict(zip(NAMES, fields)))
    return found


def set_logging(s3, bucket, to=None, prefix="logs/", **more):
    s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={
        "LoggingEnabled": {"TargetBucket": to or bucket + "-to", "TargetPrefix": prefix, **more}})


def test_logging_configuration(s3, bucket):
    get = lambda: s3.get_bucket_logging(Bucket=bucket).get("LoggingEnabled")
    put = lambda **kw: error(set_logging, s3=s3, bucket=bucket, **kw)
    assert get() is None
    by_event = {"PartitionedPrefix": {"PartitionDateSource": "EventTime"}}
    set_logging(s3, bucket, TargetObjectKeyFormat=by_event)
    assert get() == {"TargetBucket": bucket + "-to", "TargetPrefix": "logs/", "TargetObjectKeyFormat": by_event}
    assert put(to="reports-not-there") == (400, "InvalidTargetBucketForLogging")
    assert put(to="Not a bucket") == (400, "InvalidTargetBucketForLogging")
    grants = [{"Grantee": {"Type": "Group", "URI": "http://acs.amazonaws.com/groups/global/AllUsers"},
               "Permission": "READ"}]
    assert put(TargetGrants=grants) == (501, "NotImplemented")
    s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={})
    assert get() is None


def test_records(s3, quick, bucket):
    set_logging(s3, bucket)
    key = 'a "b" ü'
    s3.put_object(Bucket=bucket, Key=key, Body=b"12345")
    s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    assert error(s3.get_object, Bucket=bucket, Key="not-there") == (404, "NoSuchKey")
    s3.list_objects_v2(Bucket=bucket)
    url = quick.client(signature_version="s3v4").generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})
    request = urllib.request.Request(url, headers={"User-Agent": 'x" 200 "', "Referer": "http://r/"})
    assert urllib.request.urlopen(request).read() == b"12345"
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{quick.endpoint()}/{bucket}/secret")
    form = quick.client(signature_version="s3").generate_presigned_post(bucket, "posted")["fields"]
    assert post(quick, bucket, form)[0] == 204
    wait("records", 10, lambda: len(records(s3, bucket + "-to")) >= 7)
    found = records(s3, bucket + "-to")
    one = lambda **want: next(r for r in found if all(r[k] == v for k, v in want.items()))
    owner = s3.list_buckets()["Owner"]["ID"]
    put = one(operation="REST.PUT.OBJECT")
    assert put["owner"] == put["requester"] == owner and put["bucket"] == bucket and put["ip"] == "127.0.0.1"
    assert re.fullmatch(r"\[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\]", put["time"])
    assert urllib.parse.unquote(urllib.parse.unquote(put["key"])) == key
    assert (put["status"], put["error"], put["size"], put["auth"]) == ("200", "-", "5", "AuthHeader")
    got = one(operation="REST.GET.OBJECT", status="200", auth="AuthHeader")
    assert got["bytes"] == got["size"] == "5" and got["turnaround"] != "-" and got["signature"] == "SigV4"
    assert one(status="404")["error"] == "NoSuchKey" and one(operation="REST.GET.BUCKET")["key"] == "-"
    signed = one(auth="QueryString")
    assert signed["agent"] == '"x%22 200 %22"' and signed["referer"] == '"http://r/"'
    secret = urllib.parse.parse_qs(urllib.parse.urlparse(url).query)["X-Amz-Signature"][0]
    assert secret not in str(found) and "X-Amz-Signature=XXXX" in signed["uri"]
    posted = one(operation="REST.POST.OBJECT")
    assert (posted["auth"], posted["signature"], posted["key"], posted["requester"]) == ("POST", "SigV2", "posted", owner)
    assert form["signature"] not in str(found)
    denied = one(status="403")
    assert (denied["requester"], denied["error"], denied["key"]) == ("-", "AccessDenied", "secret")
    name = keys(s3, bucket + "-to", "logs/")[0]
    assert re.fullmatch(r"logs/\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d-[0-9A-F]{16}", name)


def test_partitions_and_the_own_bucket(s3, quick, bucket):
    """A bucket that logs into itself is not written to for ever."""
    set_logging(s3, bucket, to=bucket, TargetObjectKeyFormat={"PartitionedPrefix": {"PartitionDateSource": "EventTime"}})
    s3.put_object(Bucket=bucket, Key="x", Body=b"1")
    wait("a log", 10, lambda: keys(s3, bucket, "logs/"))
    name = keys(s3, bucket, "logs/")[0]
    assert re.fullmatch(r"logs/\d{12}/[\w-]+/" + bucket + r"/(\d{4})/(\d\d)/(\d\d)/\1-\2-\3-00-00-00-[0-9A-F]{16}", name)
    s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={})

    def still():
        before = keys(s3, bucket, "logs/")
        time.sleep(1.3)
        return keys(s3, bucket, "logs/") == before

    wait("an end", 20, still)  # what was gathered until then is still written


def test_a_target_that_goes(s3, quick, bucket):
    set_logging(s3, bucket)
    s3.delete_bucket(Bucket=bucket + "-to")
    dropped = lambda: metric(quick, "gateway", "cairn_access_log_dropped_total")
    before = dropped()
    s3.put_object(Bucket=bucket, Key="x", Body=b"1")
    wait("a drop", 10, lambda: dropped() > before)
    assert read(s3, bucket, "x") == b"1"


def test_a_gateway_that_stops(s3, quick, bucket):
    """What it has gathered is written before it ends."""
    set_logging(s3, bucket)
    quick.client(2).put_object(Bucket=bucket, Key="last", Body=b"1")
    quick.control("stop", "z2-gateway-1")
    assert "last" in [r["key"] for r in records(s3, bucket + "-to")]
    quick.control("start", "z2-gateway-1")


def test_who_may_have_a_bucket_written_to(s3, quick, bucket):
    """A user cannot have the gateway write where it may not write itself."""
    access, secret = quick.credentials
    iam = boto3.client("iam", endpoint_url=quick.endpoint(), region_name="us-east-1", aws_access_key_id=access,
                       aws_secret_access_key=secret)
    iam.create_user(UserName="reporter")
    key = iam.create_access_key(UserName="reporter")["AccessKey"]
    user = boto3.client("s3", endpoint_url=quick.endpoint(), region_name="us-east-1",
                        aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"])
    allow = lambda *statements: iam.put_user_policy(UserName="reporter", PolicyName="p", PolicyDocument=json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": a, "Resource": r} for a, r in statements]}))
    settings = (["s3:PutBucketLogging", "s3:PutInventoryConfiguration"], "*")
    allow(settings)
    assert error(set_logging, s3=user, bucket=bucket) == (403, "AccessDenied")
    assert error(put_inventory, s3=user, bucket=bucket) == (403, "AccessDenied")
    allow(settings, ("s3:PutObject", f"arn:aws:s3:::{bucket}-to/logs/*"))
    set_logging(user, bucket)
    assert error(put_inventory, s3=user, bucket=bucket) == (403, "AccessDenied")
    allow(settings, ("s3:PutObject", f"arn:aws:s3:::{bucket}-to/reports/{bucket}/daily/*"))
    put_inventory(user, bucket)
    assert error(set_logging, s3=user, bucket=bucket) == (403, "AccessDenied")
