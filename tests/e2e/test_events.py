"""Events: to webhooks, at least once and in order per key, whatever is down meanwhile; and replication of
new objects to another endpoint."""
import collections
import hashlib
import http.server
import json
import subprocess
import tempfile
import threading
import time
import urllib.parse
import urllib.request

import pytest

from cluster import ROOT, Cluster, serve
from test_encryption import CHUNK, MODES, data, told
from test_reencode import metric, wait
from test_s3 import error

ARN = "arn:cairn:sqs::{}:webhook"
ROLE = "arn:aws:iam::000000000000:role/any"


class Hook(http.server.ThreadingHTTPServer):
    """Takes events; `answers` says how the next ones are answered instead of 200."""
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock, self.answers, self.got, self.fields = threading.Lock(), collections.deque(), [], []
        self.down = False
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def records(self, bucket):
        with self.lock:
            return [r for m in self.got for r in m.get("Records", []) if r["s3"]["bucket"]["name"] == bucket]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            status = 503 if self.server.down else self.server.answers.popleft() if self.server.answers else 200
            if status == 200:
                self.server.got.append(body)
                self.server.fields.append(dict(self.headers))
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def hook():
    made = Hook()
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def cluster(request, hook):
    var = tempfile.mkdtemp(prefix="cairn-events-")
    made = Cluster(var, CAIRN_EVENT_INTERVAL="100ms", CAIRN_EVENT_RETRY_MAX="300ms", CAIRN_EVENT_TIMEOUT="2s",
                   CAIRN_LIFECYCLE_DAY="1s", CAIRN_LIFECYCLE_INTERVAL="500ms", CAIRN_JOBS_INTERVAL="300ms",
                   CAIRN_EVENT_CLAIM="3s", CAIRN_INLINE_BYTES_MAX="4KiB", CAIRN_EVENT_QUEUE_MAX="1000")
    keys = {"access_key_id": "CAIRNTESTEVENTS00001", "secret_access_key": "not-a-secret-of-anybody-0001"}
    (made.var / "root-credentials").write_text("".join(f"{k}={v}\n" for k, v in keys.items()))
    (made.var / "token").write_text("a-token\n")
    (made.var / "secret").write_text(keys["secret_access_key"] + "\n")
    (made.var / "wrong").write_text("another\n")
    url = f"http://127.0.0.1:{hook.server_address[1]}"
    made.env["CAIRN_WEBHOOKS"] = (f"audit={url}/events token={made.var}/token; other={url}/other;"
                                  "nobody=http://127.0.0.1:9/")
    made.env["CAIRN_REPLICATION_TARGETS"] = (
        f"near={made.endpoint(2)} access_key={keys['access_key_id']} secret={made.var}/secret;"
        f"stranger={made.endpoint(2)} access_key={keys['access_key_id']} secret={made.var}/wrong")
    yield from serve(request, made)


@pytest.fixture
def s3(cluster):
    return cluster.client()


_serial = iter(range(1, 1000))


@pytest.fixture
def bucket(s3):
    name = f"events-{next(_serial)}"
    s3.create_bucket(Bucket=name)
    return name


def rule(hook="audit", events=("s3:ObjectCreated:*",), prefix=None, suffix=None, id=None):
    made = {"QueueArn": ARN.format(hook), "Events": list(events)}
    filters = [{"Name": n, "Value": v} for n, v in (("prefix", prefix), ("suffix", suffix)) if v is not None]
    if filters:
        made["Filter"] = {"Key": {"FilterRules": filters}}
    if id:
        made["Id"] = id
    return made


def notify(s3, bucket, *rules, **more):
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"QueueConfigurations": list(rules)}, **more)


def in_order(records):
    """Each key's events, each for the first time, in the order of their sequencers."""
    seen, last = set(), {}
    for r in records:
        key, seq = r["s3"]["object"]["key"], r["s3"]["object"]["sequencer"]
        if (key, seq) not in seen:
            seen.add((key, seq))
            assert seq > last.get(key, ""), f"{key}: {seq} came after {last[key]}"
            last[key] = seq
    return seen


# ---- configuration ----

def test_notification_configuration(s3, cluster, bucket, hook):
    assert "QueueConfigurations" not in s3.get_bucket_notification_configuration(Bucket=bucket)
    put = lambda *rules, **more: error(notify, s3, bucket, *rules, **more)
    assert put(rule("unknown")) == (400, "InvalidArgument")
    assert put(rule("nobody")) == (400, "InvalidArgument")  # it takes no test event
    assert put({"QueueArn": "arn:aws:sqs:us-east-1:1:q", "Events": ["s3:ObjectCreated:*"]}) == (400, "InvalidArgument")
    assert put(rule(events=["s3:ObjectRestore:*"])) == (400, "InvalidArgument")
    assert put(rule(prefix="a"), rule("other", prefix="ab")) == (400, "InvalidArgument")
    assert put(rule(suffix="g"), rule("other", suffix=".jpg")) == (400, "InvalidArgument")
    assert put(rule(id="x"), rule("other", prefix="b", events=["s3:ObjectRemoved:*"], id="x")) == (400, "InvalidArgument")
    with pytest.raises(Exception, match="NotImplemented"):
        s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}})
    assert not [m for m in hook.got if m.get("Bucket") == bucket]
    rules = [rule(prefix="a", id="one"), rule("other", prefix="b", suffix=".jpg", events=["s3:ObjectRemoved:Delete"])]
    notify(s3, bucket, *rules)
    found = cluster.client(3).get_bucket_notification_configuration(Bucket=bucket)["QueueConfigurations"]
    assert found[1].pop("Id") and found == rules
    tests = [m for m in hook.got if m.get("Bucket") == bucket]
    assert len(tests) == 2 and all(t["Event"] == "s3:TestEvent" and t["Service"] == "Amazon S3" for t in tests)
    notify(s3, bucket, rule("nobody"), SkipDestinationValidation=True)
    topics = [{"TopicArn": ARN.format("audit"), "Events": ["s3:ObjectCreated:Put"], "Id": "t"}]
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"TopicConfigurations": topics})
    assert s3.get_bucket_notification_configuration(Bucket=bucket)["TopicConfigurations"] == topics
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    assert "TopicConfigurations" not in s3.get_bucket_notification_configuration(Bucket=bucket)


# ---- notifications ----

def test_times_that_do_not_fit(cluster):
    """A gateway that would never send anything says so, and does not start."""
    done = subprocess.run([ROOT / "build/rel/bin/cairn-gateway", f"--config={cluster.var}/conf/z1-gateway-1.yaml",
                           "--event_claim=2s", "--event_timeout=1400ms", "--event_interval=100ms", "--log_file=-",
                           f"--data_dir={cluster.var}/refused", "--admin_listen=127.0.0.1:0"],
                          text=True, capture_output=True, timeout=20)
    assert done.returncode == 1 and "event_timeout (1400 ms)" in done.stderr, done


def test_every_kind_of_event(s3, bucket, hook):
    notify(s3, bucket, rule(events=["s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:ObjectTagging:*",
                                  "s3:ObjectAcl:Put"], id="all"))
    put = lambda key, body=b"body", **more: s3.put_object(Bucket=bucket, Key=key, Body=body, **more)
    etag = put("a b/ü+")["ETag"].strip('"')
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "a b/ü+"})
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="parts", UploadId=upload, PartNumber=1, Body=b"p" * 70000)
    s3.complete_multipart_upload(Bucket=bucket, Key="parts", UploadId=upload,
                                 MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    s3.put_object_tagging(Bucket=bucket, Key="copy", Tagging={"TagSet": [{"Key": "k", "Value": "v"}]})
    s3.delete_object_tagging(Bucket=bucket, Key="copy")
    s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]})
    s3.put_object_acl(Bucket=bucket, Key="copy", ACL="private")
    s3.delete_object(Bucket=bucket, Key="absent")
    s3.delete_object(Bucket=bucket, Key="copy")
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "parts"}, {"Key": "none"}]})
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    version = put("v")["VersionId"]
    marker = s3.delete_object(Bucket=bucket, Key="v")["VersionId"]
    s3.delete_object(Bucket=bucket, Key="v", VersionId=version)
    want = [("ObjectCreated:Put", "a+b/%C3%BC%2B"), ("ObjectCreated:Copy", "copy"),
            ("ObjectCreated:CompleteMultipartUpload", "parts"), ("ObjectTagging:Put", "copy"),
            ("ObjectTagging:Delete", "copy"), ("ObjectAcl:Put", "copy"), ("ObjectRemoved:Delete", "copy"), ("ObjectRemoved:Delete", "parts"),
            ("ObjectCreated:Put", "v"), ("ObjectRemoved:DeleteMarkerCreated", "v"), ("ObjectRemoved:Delete", "v")]
    of = lambda r: (r["eventName"], r["s3"]["object"]["key"])
    wait("all events", 15, lambda: {of(r) for r in hook.records(bucket)} >= set(want))
    records = hook.records(bucket)
    in_order(records)
    assert sorted(set(map(of, records))) == sorted(set(want))
    first = next(r for r in records if of(r) == want[0])
    assert first["s3"]["object"]["size"] == 4 and first["s3"]["object"]["eTag"] == etag
    assert first["eventSource"] == "aws:s3" and first["s3"]["configurationId"] == "all"
    assert first["s3"]["bucket"]["arn"] == f"arn:aws:s3:::{bucket}" and first["userIdentity"]["principalId"]
    assert first["requestParameters"]["sourceIPAddress"] == "127.0.0.1"
    assert len(first["responseElements"]["x-amz-request-id"]) == 16 and first["eventTime"].endswith("Z")
    by_event = {r["eventName"]: r["s3"]["object"] for r in records if r["s3"]["object"]["key"] == "v"}
    assert by_event["ObjectRemoved:DeleteMarkerCreated"]["versionId"] == marker
    assert by_event["ObjectCreated:Put"]["versionId"] == by_event["ObjectRemoved:Delete"]["versionId"] == version
    assert any(f.get("Authorization") == "Bearer a-token" for f in hook.fields)


def test_expirations(s3, bucket, hook):
    s3.put_object(Bucket=bucket, Key="old", Body=b"")
    notify(s3, bucket, rule(events=["s3:LifecycleExpiration:*"]))
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [
        {"ID": "r", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]})
    wait("it expires", 20, lambda: [r["eventName"] for r in hook.records(bucket)] == ["LifecycleExpiration:Delete"])


def test_filters(s3, bucket, hook):
    notify(s3, bucket, rule(prefix="in/", suffix=".jpg"), rule("other", prefix="out/"))
    for key in ("in/a.jpg", "in/a.png", "x.jpg", "out/b", "in/", "end"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    wait("both", 10, lambda: {r["s3"]["object"]["key"] for r in hook.records(bucket)} == {"in/a.jpg", "out/b"})
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    s3.put_object(Bucket=bucket, Key="in/c.jpg", Body=b"")
    time.sleep(0.5)
    assert {r["s3"]["object"]["key"] for r in hook.records(bucket)} == {"in/a.jpg", "out/b"}


def test_nothing_is_lost(s3, cluster, bucket, hook):
    """The webhook fails at first, is away for a while, and gateways are killed."""
    others = [cluster.client(2), cluster.client(3)]
    notify(s3, bucket, rule(events=["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]))
    hook.answers.extend([500, 302, 404, 503, 500])
    done = collections.Counter()

    def write(client, rounds):
        for _ in range(rounds):
            for k in range(6):
                client.put_object(Bucket=bucket, Key=f"key{k}", Body=b"x")
                done[f"key{k}"] += 1
        client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": f"key{k}"} for k in range(6)]})
        done.update({f"key{k}": 1 for k in range(6)})

    write(s3, 3)
    hook.down = True
    write(others[0], 3)
    assert metric(cluster, "gateway", "cairn_events_waiting") >= 0
    cluster.kill("z1-gateway-1")
    write(others[1], 3)
    wait("failures are counted", 10, lambda: metric(cluster, "gateway", "cairn_events_failed_total") > 3)
    hook.down = False
    write(others[0], 3)
    cluster.kill("z2-gateway-1")
    cluster.control("start", "z1-gateway-1")
    write(others[1], 2)
    cluster.control("start", "z2-gateway-1")
    keys = lambda: collections.Counter(k for k, _ in in_order(hook.records(bucket)))
    wait("every event", 30, lambda: keys() == done)
    wait("the queues are empty", 15, lambda: metric(cluster, "gateway", "cairn_events_waiting") == 0)
    for client in (s3, *others):
        wait("ready", 10, lambda: client.list_buckets())


def test_a_queue_is_bounded(s3, cluster, bucket, hook):
    notify(s3, bucket, rule("nobody"), SkipDestinationValidation=True)
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    wait("it waits", 10, lambda: metric(cluster, "gateway", "cairn_events_waiting") >= 1)
    s3.delete_object(Bucket=bucket, Key="k")  # what waits keeps no bucket
    s3.delete_bucket(Bucket=bucket)


# ---- replication ----

def replicate(s3, bucket, to, target="near", markers="Enabled", **more):
    rules = [{"ID": "r", "Priority": 1, "Filter": {}, "Status": "Enabled",
              "DeleteMarkerReplication": {"Status": markers},
              "Destination": {"Bucket": f"arn:aws:s3:::{target}/{to}"}, **more}]
    s3.put_bucket_replication(Bucket=bucket, ReplicationConfiguration={"Role": ROLE, "Rules": rules})
    return rules


@pytest.fixture
def pair(s3, bucket):
    to = bucket + "-copy"
    s3.create_bucket(Bucket=to)
    for name in (bucket, to):
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return bucket, to


def status(s3, bucket, key, **more):
    return s3.head_object(Bucket=bucket, Key=key, **more).get("ReplicationStatus")


def test_replication_configuration(s3, cluster, bucket):
    assert error(s3.get_bucket_replication, Bucket=bucket) == (404, "ReplicationConfigurationNotFoundError")
    assert error(replicate, s3, bucket, "to-there") == (400, "InvalidRequest")  # no versions
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    assert error(replicate, s3, bucket, "to-there", target="unknown") == (400, "InvalidRequest")
    assert error(replicate, s3, bucket, "to-there", Filter={"Tag": {"Key": "k", "Value": "v"}}) == (400, "InvalidRequest")
    rules = replicate(s3, bucket, "to-there")
    found = cluster.client(2).get_bucket_replication(Bucket=bucket)["ReplicationConfiguration"]
    assert found == {"Role": ROLE, "Rules": rules}
    suspend = lambda: s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    assert error(suspend) == (409, "InvalidBucketState")
    s3.delete_bucket_replication(Bucket=bucket)
    suspend()
    assert error(s3.get_bucket_replication, Bucket=bucket) == (404, "ReplicationConfigurationNotFoundError")


def test_objects_are_replicated(s3, cluster, pair):
    bucket, to = pair
    replicate(s3, bucket, to)
    replicate(s3, to, bucket)  # and back: replicas are not replicated again
    bodies = {"small": b"s" * 100, "empty": b"", "segments/ü +": bytes(range(256)) * 4000, "large": b"L" * 9_000_000}
    for key, body in bodies.items():
        s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="text/x-test", CacheControl="no-cache",
                      Metadata={"one": "1", "two": "a  b", "none": ""}, Tagging="k=v%20w&l=", ContentDisposition="inline")
    assert status(s3, bucket, "large") in ("PENDING", "COMPLETED")
    for key, body in bodies.items():
        wait(f"{key} is there", 15, lambda: status(s3, bucket, key) == "COMPLETED")
        found = s3.get_object(Bucket=to, Key=key)
        assert found["Body"].read() == body and found["ReplicationStatus"] == "REPLICA"
        assert found["ETag"].strip('"') == hashlib.md5(body).hexdigest()
        assert (found["ContentType"], found["CacheControl"], found["ContentDisposition"]) == \
            ("text/x-test", "no-cache", "inline")
        assert found["Metadata"] == {"one": "1", "two": "a  b", "none": ""}
        tags = s3.get_object_tagging(Bucket=to, Key=key)["TagSet"]
        assert sorted((t["Key"], t["Value"]) for t in tags) == [("k", "v w"), ("l", "")]
    # Parts as they were: the same ETag.
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts", Metadata={"m": "1", "none": ""})["UploadId"]
    parts, whole = [], b""
    for n, body in ((1, b"a" * (5 << 20)), (3, b"b" * (6 << 20)), (7, b"c" * 1000)):
        tag = s3.upload_part(Bucket=bucket, Key="parts", UploadId=upload, PartNumber=n, Body=body)["ETag"]
        parts.append({"PartNumber": n, "ETag": tag})
        whole += body
    s3.complete_multipart_upload(Bucket=bucket, Key="parts", UploadId=upload, MultipartUpload={"Parts": parts})
    wait("parts", 20, lambda: status(s3, bucket, "parts") == "COMPLETED")
    found = s3.get_object(Bucket=to, Key="parts")
    assert found["Body"].read() == whole and found["Metadata"] == {"m": "1", "none": ""} and found["ReplicationStatus"] == "REPLICA"
    assert found["ETag"] == s3.head_object(Bucket=bucket, Key="parts")["ETag"] and found["ETag"].endswith('-3"')
    assert found["ContentType"] == "binary/octet-stream"  # nobody said, and nobody makes one up
    copied = {"Bucket": bucket, "Key": "copied", "CopySource": {"Bucket": bucket, "Key": "parts"}}
    s3.copy_object(**copied)
    assert s3.head_object(Bucket=bucket, Key="copied")["Metadata"] == {"m": "1", "none": ""}
    s3.copy_object(**copied, Metadata={"other": ""}, MetadataDirective="REPLACE")
    assert s3.head_object(Bucket=bucket, Key="copied")["Metadata"] == {"other": ""}
    # Versions in order, and delete markers.
    for n in range(5):
        s3.put_object(Bucket=bucket, Key="small", Body=b"%d" % n)
    s3.delete_object(Bucket=bucket, Key="small")
    s3.put_object(Bucket=bucket, Key="last", Body=b"last")

    def versions(name, key):
        listed = s3.list_object_versions(Bucket=name, Prefix=key)
        assert not listed["IsTruncated"]
        return listed.get("Versions", []), listed.get("DeleteMarkers", [])

    wait("the marker", 15, lambda: versions(to, "small")[1])
    there = versions(to, "small")[0]
    assert [s3.get_object(Bucket=to, Key="small", VersionId=v["VersionId"])["Body"].read() for v in there] == \
        [b"4", b"3", b"2", b"1", b"0", bodies["small"]]
    time.sleep(0.5)  # nothing came back
    assert len(versions(bucket, "small")[0]) == 6 and len(versions(bucket, "small")[1]) == 1
    assert len(versions(to, "parts")[0]) == len(versions(bucket, "parts")[0]) == 1


@pytest.mark.parametrize("there", ["none", "kms"])
def test_encrypted_objects_are_replicated(s3, cluster, pair, there):
    """What they are is sent, and kept as the other bucket has it; what only a client can open is told not to be."""
    bucket, to = pair
    waited = metric(cluster, "gateway", "cairn_events_waiting")
    if there == "kms":
        s3.put_bucket_encryption(Bucket=to, ServerSideEncryptionConfiguration={"Rules": [
            {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}]})
    replicate(s3, bucket, to)
    bodies = {f"{mode}-{size}": data(size) for mode in ("s3", "kms") for size in (0, 100, CHUNK + 1, 5_000_000)}
    for key, body in bodies.items():
        s3.put_object(Bucket=bucket, Key=key, Body=body, Metadata={"m": "1"}, **MODES[key.split("-")[0]])
    for mode in ("s3", "kms"):
        upload = s3.create_multipart_upload(Bucket=bucket, Key=f"{mode}-parts", **MODES[mode])["UploadId"]
        pieces = data(5 << 20), data(1000)
        parts = [{"PartNumber": n, "ETag": s3.upload_part(Bucket=bucket, Key=f"{mode}-parts", UploadId=upload,
                                                          PartNumber=n, Body=b)["ETag"]} for n, b in enumerate(pieces, 1)]
        s3.complete_multipart_upload(Bucket=bucket, Key=f"{mode}-parts", UploadId=upload, MultipartUpload={"Parts": parts})
        bodies[f"{mode}-parts"] = b"".join(pieces)
    s3.put_object(Bucket=bucket, Key="customer", Body=b"mine", **MODES["customer"])
    s3.put_object(Bucket=bucket, Key="plain", Body=b"behind")
    for key, body in {**bodies, "plain": b"behind"}.items():
        wait(f"{key} is there", 30, lambda: status(s3, bucket, key) == "COMPLETED")
        found = s3.get_object(Bucket=to, Key=key)
        assert found["Body"].read() == body and found["ReplicationStatus"] == "REPLICA"
        assert told(found, there)
        if there == "none" and not key.endswith("parts"):
            assert found["ETag"].strip('"') == hashlib.md5(body).hexdigest()
    wait("FAILED", 10, lambda: status(s3, bucket, "customer", **MODES["customer"]) == "FAILED")
    assert error(s3.head_object, Bucket=to, Key="customer")[0] == 404
    wait("nothing of it waits", 10, lambda: metric(cluster, "gateway", "cairn_events_waiting") <= waited)


def test_what_a_target_refuses(s3, cluster, pair):
    bucket, to = pair
    replicate(s3, bucket, to, target="stranger", markers="Disabled", Filter={"Prefix": "x"})
    s3.put_object(Bucket=bucket, Key="y", Body=b"not meant")
    s3.put_object(Bucket=bucket, Key="x", Body=b"refused")
    wait("FAILED", 10, lambda: status(s3, bucket, "x") == "FAILED")
    assert status(s3, bucket, "y") is None
    failed = metric(cluster, "gateway", "cairn_events_failed_total")
    wait("it is tried again", 10, lambda: metric(cluster, "gateway", "cairn_events_failed_total") > failed)
    (cluster.var / "wrong").write_text((cluster.var / "secret").read_text())
    for zone in (1, 2, 3):
        cluster.control("stop", f"z{zone}-gateway-1")
        cluster.control("start", f"z{zone}-gateway-1")
    wait("COMPLETED in the end", 20, lambda: error_free(s3) and status(s3, bucket, "x") == "COMPLETED")
    assert s3.get_object(Bucket=to, Key="x")["Body"].read() == b"refused"


def error_free(s3):
    try:
        s3.list_buckets()
        return True
    except Exception:
        return False
