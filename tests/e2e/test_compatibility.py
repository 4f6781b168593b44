"""docs/s3-compatibility.md against botocore's model of S3, and against what the gateways answer."""
import pathlib
import re

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.httpsession
import botocore.session

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
