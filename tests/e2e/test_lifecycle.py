"""Lifecycle rules with days of two seconds: every kind of rule does what S3 says, a gateway that dies
in the middle of it is replaced by another, and what is written anew meanwhile stays."""
import datetime
import itertools
import json
import re
import subprocess
import tempfile
import time
import urllib.request

import pytest
from botocore.exceptions import ClientError

from cluster import Cluster, serve
from test_events import ARN, Hook
from test_reencode import metric, wait

DAY = 2
_serial = itertools.count(1)


@pytest.fixture(scope="module")
def hook():
    made = Hook()
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def quick(request, hook):
    yield from serve(request, Cluster(
        tempfile.mkdtemp(prefix="cairn-lifecycle-"), CAIRN_LIFECYCLE_DAY=f"{DAY}s", CAIRN_LIFECYCLE_INTERVAL="700ms",
        CAIRN_LIFECYCLE_RATE="400", CAIRN_JOBS_INTERVAL="300ms", CAIRN_JOBS_LEASE="2s",
        CAIRN_EVENT_INTERVAL="100ms", CAIRN_WEBHOOKS=f"audit=http://127.0.0.1:{hook.server_address[1]}/"))


@pytest.fixture
def s3(quick):
    return quick.client()


@pytest.fixture
def bucket(s3):
    name = f"lifecycle-{next(_serial)}"
    s3.create_bucket(Bucket=name)
    return name


def error(call, **kw):
    with pytest.raises(ClientError) as e:
        call(**kw)
    return e.value.response["ResponseMetadata"]["HTTPStatusCode"], e.value.response["Error"]["Code"]


def rule(prefix="", **what):
    return {"ID": what.pop("ID", f"rule of {prefix}"), "Status": "Enabled",
            "Filter": what.pop("Filter", {"Prefix": prefix}), **what}


def rules(s3, bucket, *all_rules):
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": list(all_rules)})


def keys(s3, bucket, kind="Versions"):
    return [v["Key"] for v in s3.list_object_versions(Bucket=bucket).get(kind, [])]


def put(s3, bucket, *names, body=b"x", **kw):
    for name in names:
        s3.put_object(Bucket=bucket, Key=name, Body=body, **kw)


# ---- the configuration ----

def test_configuration(s3, bucket):
    get = lambda: s3.get_bucket_lifecycle_configuration(Bucket=bucket)
    assert error(s3.get_bucket_lifecycle_configuration, Bucket=bucket) == (404, "NoSuchLifecycleConfiguration")
    wanted = [
        rule("a/", Expiration={"Days": 300}, NoncurrentVersionExpiration={"NoncurrentDays": 9, "NewerNoncurrentVersions": 3},
             AbortIncompleteMultipartUpload={"DaysAfterInitiation": 7}),
        rule(ID="b", Filter={"And": {"Prefix": "b", "Tags": [{"Key": "k", "Value": "v"}, {"Key": "l", "Value": ""}],
                                     "ObjectSizeGreaterThan": 5_000_000_000, "ObjectSizeLessThan": 6_000_000_000}},
             Expiration={"Date": datetime.datetime(2031, 1, 1, tzinfo=datetime.timezone.utc)}),
        rule(ID="c", Filter={}, Expiration={"ExpiredObjectDeleteMarker": True}),
        {"ID": "old form", "Prefix": "d", "Status": "Disabled", "Expiration": {"Days": 1}},
    ]
    answer = s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": wanted},
                                                   TransitionDefaultMinimumObjectSize="varies_by_storage_class")
    assert answer["TransitionDefaultMinimumObjectSize"] == "varies_by_storage_class"
    assert get()["Rules"] == wanted
    assert get()["TransitionDefaultMinimumObjectSize"] == "varies_by_storage_class"
    rules(s3, bucket, {"Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 300}})
    assert get()["Rules"][0]["ID"] and get()["TransitionDefaultMinimumObjectSize"] == "all_storage_classes_128K"
    refuse = lambda code, *r: error(rules, s3=s3, bucket=bucket) if not r else error(
        lambda: s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": list(r)})) == code
    assert refuse((400, "InvalidArgument"), rule(Expiration={"Days": 0}))
    assert refuse((400, "InvalidArgument"), rule(ID="x", Expiration={"Days": 1}), rule(ID="x", Expiration={"Days": 2}))
    assert refuse((400, "MalformedXML"), rule(Expiration={"Days": 1, "ExpiredObjectDeleteMarker": True}))
    assert refuse((400, "InvalidRequest"), rule())
    assert refuse((501, "NotImplemented"), rule(Transitions=[{"Days": 1, "StorageClass": "GLACIER"}]))
    assert get()["Rules"][0]["Expiration"] == {"Days": 300}
    assert s3.delete_bucket_lifecycle(Bucket=bucket)["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert error(s3.get_bucket_lifecycle_configuration, Bucket=bucket) == (404, "NoSuchLifecycleConfiguration")


def test_aws_cli(quick, bucket):
    def aws(*args):
        done = subprocess.run(["aws", "--endpoint-url", quick.endpoint(), "s3api", *args, "--bucket", bucket], text=True,
                              capture_output=True, timeout=60, env=quick.shell_env())
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout) if done.stdout else {}
    wanted = {"Rules": [rule("x/", Expiration={"Days": 300})]}
    aws("put-bucket-lifecycle-configuration", "--lifecycle-configuration", json.dumps(wanted))
    assert aws("get-bucket-lifecycle-configuration")["Rules"] == wanted["Rules"]
    aws("delete-bucket-lifecycle")


def test_answers_say_when(s3, bucket):
    rules(s3, bucket, rule("log/", ID="a b", Expiration={"Days": 10000}),
          rule("up/", ID="up", AbortIncompleteMultipartUpload={"DaysAfterInitiation": 10000}))
    answers = [s3.put_object(Bucket=bucket, Key="log/1", Body=b"x"), s3.head_object(Bucket=bucket, Key="log/1"),
               s3.get_object(Bucket=bucket, Key="log/1"),
               s3.copy_object(Bucket=bucket, Key="log/2", CopySource=f"{bucket}/log/1")]
    for answer in answers:
        assert answer["Expiration"].startswith('expiry-date="') and answer["Expiration"].endswith('GMT", rule-id="a%20b"')
    # made within the same day, they go on the same day, which is a whole one since 1970
    made = s3.head_object(Bucket=bucket, Key="log/1")["LastModified"].timestamp()
    text = answers[1]["Expiration"].split('"')[1]
    due = datetime.datetime.strptime(text, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=datetime.timezone.utc).timestamp()
    assert due % DAY == 0 and made + 10000 * DAY < due <= made + 1 + 10001 * DAY
    assert "Expiration" not in s3.put_object(Bucket=bucket, Key="other", Body=b"x")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="up/1")
    assert upload["AbortRuleId"] == "up" and upload["AbortDate"].timestamp() % DAY == 0
    parts = s3.list_parts(Bucket=bucket, Key="up/1", UploadId=upload["UploadId"])
    assert (parts["AbortRuleId"], parts["AbortDate"]) == ("up", upload["AbortDate"])
    upload = s3.create_multipart_upload(Bucket=bucket, Key="log/3")
    assert "AbortDate" not in upload
    part = s3.upload_part(Bucket=bucket, Key="log/3", UploadId=upload["UploadId"], PartNumber=1, Body=b"x")
    done = s3.complete_multipart_upload(Bucket=bucket, Key="log/3", UploadId=upload["UploadId"], MultipartUpload={
        "Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    assert 'rule-id="a%20b"' in done["Expiration"]


# ---- rules of all kinds, each in a bucket of its own, all at once ----

def test_rules(s3, hook):
    names = {n: f"rules-{n}-{next(_serial)}" for n in ("plain", "filters", "versions", "markers", "date")}
    for name in names.values():
        s3.create_bucket(Bucket=name)
    plain, filters, versions, markers, date = names.values()
    for name in (versions, markers):
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_notification_configuration(Bucket=plain, NotificationConfiguration={"QueueConfigurations": [
        {"QueueArn": ARN.format("audit"), "Events": ["s3:LifecycleExpiration:*"]}]})
    put(s3, plain, "log/1", "log/2", "keep")
    put(s3, filters, "t1", Tagging="class=old")
    put(s3, filters, "t2", Tagging="class=old&also=1")
    put(s3, filters, "t3", Tagging="class=new")
    put(s3, filters, "small", "s/small", body=b"123")
    put(s3, filters, "s/large", body=b"12345678901")
    for _ in range(5):
        put(s3, versions, "v")
    put(s3, markers, "gone")
    s3.delete_object(Bucket=markers, Key="gone")
    put(s3, date, "old")
    for key in ("u1", "u2"):
        s3.create_multipart_upload(Bucket=plain, Key=f"log/{key}")
    s3.create_multipart_upload(Bucket=plain, Key="keep")
    rules(s3, plain, rule("log/", Expiration={"Days": 1}, AbortIncompleteMultipartUpload={"DaysAfterInitiation": 1}))
    rules(s3, filters, rule(ID="t", Filter={"Tag": {"Key": "class", "Value": "old"}}, Expiration={"Days": 1}),
          rule(ID="s", Filter={"And": {"Prefix": "s/", "ObjectSizeLessThan": 10}}, Expiration={"Days": 1}))
    rules(s3, versions, rule(NoncurrentVersionExpiration={"NoncurrentDays": 1, "NewerNoncurrentVersions": 2}))
    rules(s3, markers, rule(ID="m", NoncurrentVersionExpiration={"NoncurrentDays": 1}),
          rule("g", ID="n", Expiration={"ExpiredObjectDeleteMarker": True}))
    rules(s3, date, rule(Expiration={"Date": datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)}))
    wait("objects expire", 20, lambda: keys(s3, plain) == ["keep"])
    wait("filters", 20, lambda: keys(s3, filters) == ["s/large", "small", "t3"])
    wait("newer versions stay", 20, lambda: keys(s3, versions) == ["v"] * 3)
    wait("markers that are alone", 20, lambda: not keys(s3, markers) and not keys(s3, markers, "DeleteMarkers"))
    wait("a date that has been", 20, lambda: not keys(s3, date))
    wait("uploads", 20, lambda: [u["Key"] for u in s3.list_multipart_uploads(Bucket=plain).get("Uploads", [])] == ["keep"])
    told = lambda: sorted((r["s3"]["object"]["key"], r["eventName"]) for r in hook.records(plain))
    wait("they are told of", 20, lambda: told() == [("log/1", "LifecycleExpiration:Delete"),
                                                    ("log/2", "LifecycleExpiration:Delete")])
    time.sleep(DAY)  # nothing that is not due follows
    assert (keys(s3, plain), keys(s3, versions)) == (["keep"], ["v"] * 3)
    for name in names.values():
        s3.delete_bucket_lifecycle(Bucket=name)


# ---- what others do meanwhile ----

def gateway_metric(quick, zone, name):
    text = urllib.request.urlopen(quick.admin_url("gateway", zone) + "/metrics", timeout=5).read().decode()
    return sum(float(v) for v in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.M))


def test_a_gateway_dies_and_objects_are_written_anew(quick, s3, bucket):
    before = {z: gateway_metric(quick, z, "cairn_lifecycle_objects_expired_total") for z in (1, 2, 3)}
    prefixes = [f"p{i}/" for i in range(8)]
    for prefix in prefixes:
        put(s3, bucket, *(f"{prefix}{i}" for i in range(16)))
    kept = f"{prefixes[-1]}7"
    time.sleep(DAY + 1)
    # A page for each prefix: some seconds at this rate.
    rules(s3, bucket, *(rule(p, Expiration={"Days": 1}) for p in prefixes))
    died = wait("somebody begins", 20, lambda: next((z for z in (1, 2, 3) if gateway_metric(
        quick, z, "cairn_lifecycle_objects_expired_total") > before[z]), None))
    quick.control("kill", f"z{died}-gateway-1")
    other = next(z for z in (1, 2, 3) if z != died)
    client = quick.client(other)
    assert 0 < len(keys(client, bucket)) < 128
    client.put_object(Bucket=bucket, Key=kept, Body=b"anew")  # four times a day: it never has its time
    deadline, last = time.monotonic() + 40, time.monotonic()
    while keys(client, bucket) != [kept]:
        assert time.monotonic() < deadline, keys(client, bucket)
        if time.monotonic() > last + DAY / 4:
            last = time.monotonic()
            client.put_object(Bucket=bucket, Key=kept, Body=b"anew")
        time.sleep(0.2)
    assert client.get_object(Bucket=bucket, Key=kept)["Body"].read() == b"anew"
    client.delete_bucket_lifecycle(Bucket=bucket)
    quick.control("start", f"z{died}-gateway-1")
    assert metric(quick, "gateway", "cairn_jobs_taken_over_total") >= 1


def test_locked_versions_stay(s3):
    name = f"locked-{next(_serial)}"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=8)
    first = s3.put_object(Bucket=name, Key="k", Body=b"1", ObjectLockMode="COMPLIANCE",
                          ObjectLockRetainUntilDate=until)["VersionId"]
    put(s3, name, "k", "k")
    rules(s3, name, rule(NoncurrentVersionExpiration={"NoncurrentDays": 1}))
    wait("the other one", 20, lambda: len(keys(s3, name)) <= 2)
    # That one was younger: the locked one had had its time, too.
    left = [v["VersionId"] for v in s3.list_object_versions(Bucket=name)["Versions"]]
    if datetime.datetime.now(datetime.timezone.utc) < until - datetime.timedelta(seconds=1):
        assert first in left
    wait("its time is over", 30, lambda: len(keys(s3, name)) == 1)
    s3.delete_bucket_lifecycle(Bucket=name)
