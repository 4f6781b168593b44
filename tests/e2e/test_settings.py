"""Settings of buckets and tags: tagging, CORS, configurations that are kept, and what is not there."""
import http.client
import threading
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

from test_clients import aws, run
from test_s3 import error


def tags(n, prefix="k"):
    return [{"Key": f"{prefix}{i}", "Value": f"v {i}+ü"} for i in range(n)]


@pytest.fixture
def others(cluster):
    return [cluster.client(2), cluster.client(3)]


# ---- tags ----

def test_bucket_tags(s3, others, bucket):
    assert error(s3.get_bucket_tagging, Bucket=bucket) == (404, "NoSuchTagSet")
    for n in (50, 1, 7):
        s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags(n)})
        for client in others:  # through every gateway, at once
            assert client.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags(n)
    put = lambda t: error(s3.put_bucket_tagging, Bucket=bucket, Tagging={"TagSet": t})
    assert put(tags(51)) == (400, "BadRequest")
    assert put(tags(1) * 2) == (400, "InvalidTag")
    assert put([{"Key": "aws:mine", "Value": ""}]) == (400, "InvalidTag")
    assert put([{"Key": "k" * 129, "Value": ""}]) == (400, "InvalidTag")
    assert put([{"Key": "ü" * 128, "Value": "ü" * 257}]) == (400, "InvalidTag")
    assert put([{"Key": "a<b", "Value": ""}]) == (400, "InvalidTag")
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags(7)
    s3.delete_bucket_tagging(Bucket=bucket)
    s3.delete_bucket_tagging(Bucket=bucket)
    for client in others:
        assert error(client.get_bucket_tagging, Bucket=bucket) == (404, "NoSuchTagSet")
    assert error(s3.put_bucket_tagging, Bucket="no-such-bucket-here", Tagging={"TagSet": []}) == \
        (404, "NoSuchBucket")


def test_object_tags(s3, others, bucket):
    which = dict(Bucket=bucket, Key="a/ü")
    s3.put_object(**which, Body=b"x" * 70000, Metadata={"m": "1"})
    before = s3.head_object(**which)
    assert s3.get_object_tagging(**which)["TagSet"] == [] and "TagCount" not in before
    s3.put_object_tagging(**which, Tagging={"TagSet": tags(10)})
    for client in others:
        assert client.get_object_tagging(**which)["TagSet"] == tags(10)
        after = client.get_object(**which)
        assert after["TagCount"] == 10 and after["Body"].read() == b"x" * 70000
        assert [after[k] for k in ("ETag", "LastModified", "Metadata")] == \
            [before[k] for k in ("ETag", "LastModified", "Metadata")]
    # a condition on the ETag still holds, and so does the object's place in a list
    s3.put_object_tagging(**which, Tagging={"TagSet": tags(1, "other")})
    assert s3.get_object(**which, IfMatch=before["ETag"])["TagCount"] == 1
    put = lambda t: error(s3.put_object_tagging, **which, Tagging={"TagSet": t})
    assert put(tags(11)) == (400, "BadRequest")
    assert put(tags(1) * 2) == (400, "InvalidTag")
    assert put([{"Key": "k", "Value": "v" * 257}]) == (400, "InvalidTag")
    s3.put_object_tagging(**which, Tagging={"TagSet": [{"Key": "k" * 128, "Value": "ü" * 256}]})
    s3.delete_object_tagging(**which)
    assert others[0].get_object_tagging(**which)["TagSet"] == []
    s3.put_object_tagging(**which, VersionId="null", Tagging={"TagSet": tags(2)})
    s3.put_object(**which, Body=b"new")  # tags are of the object that was replaced
    assert s3.get_object_tagging(**which)["TagSet"] == []
    for call in (s3.get_object_tagging, s3.delete_object_tagging):
        assert error(call, Bucket=bucket, Key="none") == (404, "NoSuchKey")
    assert error(s3.put_object_tagging, Bucket=bucket, Key="none", Tagging={"TagSet": []}) == \
        (404, "NoSuchKey")


def test_tags_with_the_object(s3, bucket):
    text = urllib.parse.urlencode({"a b": "c&d=e", "ü": "1/2"}).replace("%26", "").replace("%3D", "")
    want = [{"Key": "a b", "Value": "cde"}, {"Key": "ü", "Value": "1/2"}]
    s3.put_object(Bucket=bucket, Key="put", Body=b"1", Tagging=text)
    assert s3.get_object_tagging(Bucket=bucket, Key="put")["TagSet"] == want
    assert s3.head_object(Bucket=bucket, Key="put")["TagCount"] == 2
    source = {"Bucket": bucket, "Key": "put"}
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=source)
    s3.copy_object(Bucket=bucket, Key="replace", CopySource=source, TaggingDirective="REPLACE", Tagging="n=1")
    s3.copy_object(Bucket=bucket, Key="none", CopySource=source, TaggingDirective="REPLACE")
    s3.copy_object(Bucket=bucket, Key="meta", CopySource=source, MetadataDirective="REPLACE", Metadata={"m": "1"})
    got = {k: s3.get_object_tagging(Bucket=bucket, Key=k)["TagSet"] for k in ("copy", "replace", "none", "meta")}
    assert got == {"copy": want, "replace": [{"Key": "n", "Value": "1"}], "none": [], "meta": want}
    upload = s3.create_multipart_upload(Bucket=bucket, Key="mp", Tagging=text)["UploadId"]
    part = dict(Bucket=bucket, Key="mp", UploadId=upload)
    etag = s3.upload_part(**part, PartNumber=1, Body=b"x" * 100)["ETag"]
    named = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    assert error(s3.complete_multipart_upload, **part, MultipartUpload=named, MpuObjectSize=99) == \
        (400, "InvalidRequest")
    s3.complete_multipart_upload(**part, MultipartUpload=named, MpuObjectSize=100)
    assert s3.get_object_tagging(Bucket=bucket, Key="mp")["TagSet"] == want
    s3.put_object_tagging(Bucket=bucket, Key="mp", Tagging={"TagSet": tags(3)})
    assert s3.get_object(Bucket=bucket, Key="mp")["Body"].read() == b"x" * 100
    bad = lambda t: error(s3.put_object, Bucket=bucket, Key="bad", Body=b"", Tagging=t)
    assert bad("a=1&a=2") == (400, "InvalidArgument")
    assert bad("a=%zz") == (400, "InvalidArgument")
    assert bad("&".join(f"k{i}=1" for i in range(11))) == (400, "BadRequest")
    assert bad("k=" + "v" * 257) == (400, "InvalidTag")
    assert error(s3.head_object, Bucket=bucket, Key="bad")[0] == 404


def test_tags_and_writes_at_once(cluster, s3, bucket):
    """Tags go onto what is there, never beside it: no write is lost, none comes back."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"0")
    clients = [cluster.client(z) for z in (1, 2, 3)]
    wrong = []

    def tag(client, n):
        for i in range(10):
            try:
                client.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": tags(1 + (n + i) % 10)})
            except Exception as e:
                if "OperationAborted" not in str(e):
                    wrong.append(e)

    threads = [threading.Thread(target=tag, args=(c, i)) for i, c in enumerate(clients)]
    for t in threads:
        t.start()
    for i in range(10):
        body = b"%d" % i * 20000
        clients[i % 3].put_object(Bucket=bucket, Key="k", Body=body)
        assert clients[(i + 1) % 3].get_object(Bucket=bucket, Key="k")["Body"].read() == body
    for t in threads:
        t.join()
    assert not wrong


# ---- CORS ----

RULES = {"CORSRules": [
    {"ID": "first", "AllowedOrigins": ["https://*.example.com"], "AllowedMethods": ["GET", "PUT"],
     "AllowedHeaders": ["x-amz-*", "Content-Type"], "ExposeHeaders": ["ETag", "x-amz-request-id"],
     "MaxAgeSeconds": 3000},
    {"AllowedOrigins": ["*"], "AllowedMethods": ["HEAD"]},
]}


def http_call(cluster, method, path, headers, zone=1):
    url = urllib.parse.urlsplit(cluster.endpoint(zone))
    c = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
    c.request(method, path, headers=headers)
    r = c.getresponse()
    body = r.read().decode()
    c.close()
    return r.status, {k.lower(): v for k, v in r.getheaders()}, body


def signed(cluster, method, path, headers, zone=1, secret=None):
    """A signed request as a browser would send it."""
    access, right = cluster.credentials
    r = botocore.awsrequest.AWSRequest(method, cluster.endpoint(zone) + path, headers=headers, data=b"")
    keys = botocore.credentials.Credentials(access, secret or right)
    botocore.auth.S3SigV4Auth(keys, "s3", "us-east-1").add_auth(r)
    return http_call(cluster, method, path, dict(r.headers), zone)


def test_cors_configuration(s3, others, bucket):
    assert error(s3.get_bucket_cors, Bucket=bucket) == (404, "NoSuchCORSConfiguration")
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration=RULES)
    for client in others:
        assert client.get_bucket_cors(Bucket=bucket)["CORSRules"] == RULES["CORSRules"]

    def put(**change):
        rule = dict({"AllowedOrigins": ["*"], "AllowedMethods": ["GET"]}, **change)
        return error(s3.put_bucket_cors, Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
    assert put(AllowedMethods=["OPTIONS"]) == (400, "InvalidRequest")
    assert put(AllowedOrigins=["http://*.*"]) == (400, "InvalidRequest")
    assert put(AllowedHeaders=["*a*"]) == (400, "InvalidRequest")
    assert put(ExposeHeaders=["x-*"]) == (400, "InvalidRequest")
    assert put(AllowedMethods=[]) == (400, "MalformedXML")
    many = {"CORSRules": [RULES["CORSRules"][1]] * 101}
    assert error(s3.put_bucket_cors, Bucket=bucket, CORSConfiguration=many) == (400, "InvalidRequest")
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == RULES["CORSRules"]
    s3.delete_bucket_cors(Bucket=bucket)
    assert error(others[1].get_bucket_cors, Bucket=bucket) == (404, "NoSuchCORSConfiguration")


def test_preflight(cluster, s3, bucket):
    path, origin = f"/{bucket}/k", "https://www.example.com"

    def ask(zone=2, path=path, **headers):
        return http_call(cluster, "OPTIONS", path, {k.replace("_", "-"): v for k, v in headers.items()}, zone)

    def refused(answer, status, code, text=""):
        assert (answer[0], f"<Code>{code}</Code>" in answer[2], text in answer[2]) == (status, True, True), answer
    allow = dict(Origin=origin, Access_Control_Request_Method="PUT")
    refused(ask(**allow), 403, "AccessForbidden", "CORS is not enabled")
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration=RULES)
    status, head, body = ask(**allow, Access_Control_Request_Headers="content-type, X-Amz-Date")
    assert status == 200 and body == ""
    assert head["access-control-allow-origin"] == origin
    assert head["access-control-allow-methods"] == "GET, PUT"
    assert head["access-control-allow-headers"] == "content-type, X-Amz-Date"
    assert head["access-control-expose-headers"] == "ETag, x-amz-request-id"
    assert head["access-control-max-age"] == "3000"
    assert head["access-control-allow-credentials"] == "true"
    assert "Origin" in head["vary"]
    status, head, _ = ask(Origin="http://other", Access_Control_Request_Method="HEAD", path=f"/{bucket}")
    assert status == 200 and head["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in head
    refused(ask(**allow, Access_Control_Request_Headers="x-other"), 403, "AccessForbidden", "not allowed")
    refused(ask(Origin=origin, Access_Control_Request_Method="DELETE"), 403, "AccessForbidden")
    refused(ask(Origin="https://example.com", Access_Control_Request_Method="PUT"), 403, "AccessForbidden")
    refused(ask(Access_Control_Request_Method="PUT"), 400, "BadRequest", "Origin request header needed")
    refused(ask(Origin=origin), 400, "BadRequest", "Invalid Access-Control-Request-Method: null")
    refused(ask(Origin=origin, Access_Control_Request_Method="<x>"), 400, "BadRequest", "Request-Method: &lt;x&gt;")
    refused(ask(**allow, path="/no-such-bucket-here/k"), 403, "AccessForbidden", "Bucket not found")
    refused(ask(**allow, path="/"), 403, "AccessForbidden")
    s3.delete_bucket_cors(Bucket=bucket)
    refused(ask(zone=3, **allow), 403, "AccessForbidden", "CORS is not enabled")


def test_cors_on_answers(cluster, s3, bucket):
    path, origin = f"/{bucket}/k", {"Origin": "https://www.example.com"}
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    assert "vary" not in signed(cluster, "GET", path, origin)[1]
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration=RULES)
    status, head, body = signed(cluster, "GET", path, origin, zone=2)
    assert (status, body, head["access-control-allow-origin"]) == (200, "data", origin["Origin"])
    assert head["access-control-expose-headers"] == "ETag, x-amz-request-id" and "Origin" in head["vary"]
    # errors too, those before the bucket was read among them
    for status, answer in ((404, signed(cluster, "GET", path + "x", origin)),
                           (403, signed(cluster, "GET", path, origin, secret="wrong")),
                           (403, http_call(cluster, "GET", path, origin)),
                           (501, signed(cluster, "PUT", path + "?torrent", origin))):
        assert answer[0] == status and answer[1]["access-control-allow-origin"] == origin["Origin"], answer
    for answer in (signed(cluster, "GET", path, {"Origin": "https://example.org"}), signed(cluster, "GET", path, {})):
        assert answer[0] == 200 and "access-control-allow-origin" not in answer[1] and "vary" in answer[1]
    assert "access-control-allow-origin" not in http_call(cluster, "GET", "/no-such-bucket-here/k", origin)[1]


# ---- configurations that are kept ----

def test_kept_configurations(s3, others, bucket):
    assert s3.get_bucket_request_payment(Bucket=bucket)["Payer"] == "BucketOwner"
    s3.put_bucket_request_payment(Bucket=bucket, RequestPaymentConfiguration={"Payer": "Requester"})
    assert others[0].get_bucket_request_payment(Bucket=bucket)["Payer"] == "Requester"
    assert error(s3.put_bucket_request_payment, Bucket=bucket, RequestPaymentConfiguration={"Payer": "Me"}) == \
        (400, "MalformedXML")
    assert "Status" not in s3.get_bucket_accelerate_configuration(Bucket=bucket)
    s3.put_bucket_accelerate_configuration(Bucket=bucket, AccelerateConfiguration={"Status": "Enabled"})
    assert others[0].get_bucket_accelerate_configuration(Bucket=bucket)["Status"] == "Enabled"
    s3.create_bucket(Bucket=bucket + ".dotted")
    assert error(s3.put_bucket_accelerate_configuration, Bucket=bucket + ".dotted",
                 AccelerateConfiguration={"Status": "Enabled"}) == (400, "InvalidRequest")
    s3.delete_bucket(Bucket=bucket + ".dotted")


NUMBERED = {
    "metrics": ("MetricsConfiguration", {"Filter": {"And": {"Prefix": "a/", "Tags": tags(2)}}}),
    "analytics": ("AnalyticsConfiguration", {"Filter": {"Prefix": "a/"}, "StorageClassAnalysis": {}}),
    "intelligent_tiering": ("IntelligentTieringConfiguration",
                            {"Filter": {"Tag": tags(1)[0]}, "Status": "Enabled",
                             "Tierings": [{"Days": 90, "AccessTier": "ARCHIVE_ACCESS"}]}),
}


@pytest.mark.parametrize("kind", NUMBERED)
def test_numbered_configurations(s3, others, bucket, kind):
    name, config = NUMBERED[kind]
    call = lambda verb, client=s3: getattr(client, f"{verb}_bucket_{kind}_configuration")

    def put(i, client=s3, **more):
        call("put", client)(Bucket=bucket, Id=i, **{name: dict(config, Id=i, **more)})
    all_of = lambda **kw: getattr(s3, f"list_bucket_{kind}_configurations")(Bucket=bucket, **kw)
    assert error(call("get"), Bucket=bucket, Id="one") == (404, "NoSuchConfiguration")
    assert not all_of()["IsTruncated"] and f"{name}List" not in all_of()
    for i in range(101):
        put(f"id-{i:03}", others[i % 2])
    assert call("get")(Bucket=bucket, Id="id-007")[name] == dict(config, Id="id-007")
    first = all_of()
    rest = all_of(ContinuationToken=first["NextContinuationToken"])
    assert first["IsTruncated"] and not rest["IsTruncated"]
    assert [c["Id"] for c in first[f"{name}List"] + rest[f"{name}List"]] == [f"id-{i:03}" for i in range(101)]
    assert error(call("put"), Bucket=bucket, Id="other", **{name: dict(config, Id="one")}) == (400, "InvalidArgument")
    assert error(call("put"), Bucket=bucket, Id="a/b", **{name: dict(config, Id="a/b")}) == (400, "InvalidArgument")
    call("delete")(Bucket=bucket, Id="id-007")
    assert error(call("get", others[0]), Bucket=bucket, Id="id-007") == (404, "NoSuchConfiguration")
    assert error(call("delete"), Bucket=bucket, Id="id-007") == (404, "NoSuchConfiguration")


def test_what_would_not_be_a_no_op(s3, bucket):
    export = {"DataExport": {"OutputSchemaVersion": "V_1", "Destination": {"S3BucketDestination": {
        "Format": "CSV", "Bucket": "arn:aws:s3:::b"}}}}
    assert error(s3.put_bucket_analytics_configuration, Bucket=bucket, Id="a", AnalyticsConfiguration={
        "Id": "a", "StorageClassAnalysis": export}) == (501, "NotImplemented")


# ---- what is not there ----

ABSENT = {
    "lifecycle_configuration": "NoSuchLifecycleConfiguration",
    "encryption": "ServerSideEncryptionConfigurationNotFoundError",
    "replication": "ReplicationConfigurationNotFoundError", "website": "NoSuchWebsiteConfiguration",
}


def test_absent_features(s3, bucket):
    for name, code in ABSENT.items():
        assert error(getattr(s3, f"get_bucket_{name}"), Bucket=bucket) == (404, code)
        assert error(getattr(s3, f"get_bucket_{name}"), Bucket="no-such-bucket-here") == (404, "NoSuchBucket")
    assert error(s3.get_object_lock_configuration, Bucket=bucket) == (404, "ObjectLockConfigurationNotFoundError")
    assert error(s3.get_bucket_inventory_configuration, Bucket=bucket, Id="a") == (404, "NoSuchConfiguration")
    assert not s3.list_bucket_inventory_configurations(Bucket=bucket)["IsTruncated"]
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)
    assert "TopicConfigurations" not in s3.get_bucket_notification_configuration(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    assert error(s3.get_object_retention, Bucket=bucket, Key="k") == (400, "InvalidRequest")
    assert error(s3.get_object_legal_hold, Bucket=bucket, Key="k") == (400, "InvalidRequest")


# ---- other clients ----

def test_settings_by_aws_cli(cluster, s3, bucket):
    api = lambda *a: aws(cluster, "s3api", *a, "--bucket", bucket).stdout
    api("put-bucket-tagging", "--tagging", "TagSet=[{Key=a,Value=b}]")
    assert '"Value": "b"' in api("get-bucket-tagging")
    api("put-bucket-cors", "--cors-configuration",
        '{"CORSRules":[{"AllowedOrigins":["*"],"AllowedMethods":["GET"]}]}')
    assert '"GET"' in api("get-bucket-cors")
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    api("put-object-tagging", "--key", "k", "--tagging", "TagSet=[{Key=c,Value=d}]")
    assert '"Key": "c"' in api("get-object-tagging", "--key", "k")
    api("delete-bucket-tagging")
    api("delete-bucket-cors")


def test_settings_by_s3cmd(cluster, s3, bucket, tmp_path):
    access, secret = cluster.credentials
    config, cors = tmp_path / "s3cfg", tmp_path / "cors.xml"
    host = cluster.endpoint().removeprefix("http://")
    config.write_text(f"[default]\naccess_key = {access}\nsecret_key = {secret}\nhost_base = {host}\n"
                      f"host_bucket = {host}\nuse_https = False\n")
    cors.write_text("<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin>"
                    "<AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>")
    cmd = lambda *a: run(cluster, "s3cmd", "-c", config, *a).stdout
    cmd("setcors", cors, f"s3://{bucket}")
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"][0]["AllowedMethods"] == ["GET"]
    assert "AllowedMethod" in cmd("info", f"s3://{bucket}")
    cmd("delcors", f"s3://{bucket}")
