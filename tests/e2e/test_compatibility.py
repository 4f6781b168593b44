"""docs/s3-compatibility.md against botocore's model of S3, and against what the gateways answer."""
import contextlib
import http.client
import pathlib
import re

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.httpsession
import botocore.session

from wire import EMPTY, Signer, host_of, request

DOC = pathlib.Path(__file__).resolve().parents[2] / "docs" / "s3-compatibility.md"
BUCKET = "compatibility-not-there"
# Answered otherwise than by 501 though they are not offered: the table's remarks say how.
ELSEWHERE = {"ListDirectoryBuckets": 200, "WriteGetObjectResponse": 400}

MODEL = botocore.session.get_session().get_service_model("s3")


def documented():
    """operation → yes, partly or no."""
    found = {}
    text = DOC.read_text().split("## Operations")[1].split("\n## ")[0]
    for names, verdict, remarks in re.findall(r"^\| (\w[\w, ]*) \| (\w+) \|(.*)\|$", text, re.M):
        for name in names.split(", "):
            assert name not in found, f"{name} is there twice"
            assert verdict in ("yes", "partly", "no"), name
            assert verdict != "partly" or remarks.strip(), f"{name}: partly what?"
            found[name] = verdict
    return found


def test_every_operation_has_its_row():
    table = documented()
    assert sorted(table) == sorted(MODEL.operation_names)
    assert set(table.values()) == {"yes", "partly", "no"}


def request_of(name):
    """Method, path and fields of an operation with what it requires, of a bucket that is not there."""
    operation = MODEL.operation_model(name)
    path = operation.http["requestUri"].replace("{Bucket}", BUCKET).replace("{Key+}", "key")
    fields = {}
    shape = operation.input_shape
    for member in shape.required_members if shape else []:
        where = shape.members[member].serialization
        if where.get("location") == "querystring":
            path += ("&" if "?" in path else "?") + where["name"] + "=1"
        elif where.get("location") == "header":
            fields[where["name"]] = "x"
    return operation.http["method"], path, fields


def test_no_means_not_implemented(cluster):
    access, secret = cluster.credentials
    keys = botocore.credentials.Credentials(access, secret)
    session = botocore.httpsession.URLLib3Session()
    wrong = []
    for name, verdict in documented().items():
        method, path, fields = request_of(name)
        request = botocore.awsrequest.AWSRequest(method, cluster.endpoint() + path, headers=fields, data=b"")
        botocore.auth.S3SigV4Auth(keys, "s3", "us-east-1").add_auth(request)
        status = session.send(request.prepare()).status_code
        want = ELSEWHERE.get(name, 501) if verdict == "no" else None
        if status != want if want else status in (501, 500, 405):
            wrong.append((name, verdict, status))
    assert not wrong
    # made by CreateBucket, deleted again by DeleteBucket below it
    assert BUCKET not in [b["Name"] for b in cluster.client().list_buckets()["Buckets"]]


def kind_of(path):
    return "object" if "{Key+}" in path else "bucket" if "{Bucket}" in path else "service"


def selections():
    """(kind, method, parameter) that selects an operation of the model."""
    found = {(kind, method, "partNumber") for kind, method in (("object", "GET"), ("object", "HEAD"))}
    for name in MODEL.operation_names:
        operation = MODEL.operation_model(name)
        path, _, query = operation.http["requestUri"].partition("?")
        names = [flag.partition("=")[0] for flag in query.split("&") if flag and flag != "select-type=2"]
        shape = operation.input_shape
        names += [shape.members[m].serialization["name"] for m in (shape.required_members if shape else [])
                  if shape.members[m].serialization.get("name") in ("uploadId", "partNumber")]
        found |= {(kind_of(path), operation.http["method"], name) for name in names}
    return found


def test_misplaced_subresources(cluster, s3, bucket):
    """What the model does not have is refused, and above all does not read, write or delete what the path names."""
    known = selections()
    names = sorted({name for _, _, name in known})
    assert {"acl", "attributes", "delete", "location", "partNumber", "uploadId", "uploads", "versions"} <= set(names)
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    there = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    buckets = [b["Name"] for b in s3.list_buckets()["Buckets"]]
    s3.create_bucket(Bucket=BUCKET)  # empty: it could be deleted
    paths = (("service", "/"), ("bucket", f"/{BUCKET}"), ("object", f"/{bucket}/k"), ("object", f"/{bucket}/new"))
    wrong, asked = [], 0
    for kind, path in paths:
        for name in names:
            for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
                if (kind, method, name) in known or (kind, method, name) == ("bucket", "HEAD", "list-type"):
                    continue
                for query in (name, f"{name}=1"):
                    answer = request(cluster, method, path, query, b"x" if method in ("PUT", "POST") else b"")
                    asked += 1
                    if answer not in ((405, "MethodNotAllowed"), (501, "NotImplemented"), (405, ""), (501, "")):
                        wrong.append((method, f"{path}?{query}", answer))
    assert not wrong and asked > 1000
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"data"
    assert s3.head_object(Bucket=bucket, Key="k")["LastModified"] == there
    assert [v["Key"] for v in s3.list_object_versions(Bucket=bucket)["Versions"]] == ["k"]
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    assert s3.head_bucket(Bucket=BUCKET)
    for method, path, query, answer in (
            ("DELETE", f"/{bucket}/k", "attributes", (405, "MethodNotAllowed")),
            ("DELETE", f"/{bucket}/k", "partNumber=1", (405, "MethodNotAllowed")),
            ("PUT", f"/{bucket}/k", "delete", (501, "NotImplemented")),
            ("PUT", f"/{bucket}/k", "partNumber=1", (400, "InvalidArgument")),
            ("DELETE", f"/{bucket}/k", "uploadId=1&partNumber=1", (405, "MethodNotAllowed")),
            ("DELETE", f"/{bucket}/k", "uploadId=1&tagging", (400, "InvalidArgument")),
            ("DELETE", f"/{bucket}/k", "tagging&acl=", (400, "InvalidArgument")),
            ("HEAD", f"/{bucket}/k", "attributes", (405, "")),
            ("POST", f"/{BUCKET}", "uploads", (405, "MethodNotAllowed")),
            ("DELETE", f"/{BUCKET}", "versionId=null", (400, "InvalidArgument")),
            ("DELETE", f"/{BUCKET}", "list-type=2&prefix=a", (405, "MethodNotAllowed")),
            ("GET", "/", "acl", (501, "NotImplemented"))):
        assert request(cluster, method, path, query) == answer, (method, path, query)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", cluster.s3_port)) as connection:
        headers = Signer(cluster.credentials).headers("DELETE", f"/{bucket}", "location", host_of(cluster, 1), EMPTY)
        connection.request("DELETE", f"/{bucket}?location", headers=dict(headers))
        assert connection.getresponse().getheader("Allow") == "GET"
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"data"
    s3.delete_bucket(Bucket=BUCKET)
    assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == buckets
