"""What browsers ask: uploads by form, presigned requests, websites."""
import base64
import datetime
import hashlib
import http.client
import json
import re
import urllib.parse
import zlib

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import pytest

from test_s3 import error
from wire import Signer, code_of, host_of, mac

TAGGING = "<Tagging><TagSet><Tag><Key>a b</Key><Value>1/2</Value></Tag></TagSet></Tagging>"


def ask(cluster, method, target, headers=(), body=None, zone=1, host=None):
    """Returns: status, fields, body."""
    c = http.client.HTTPConnection(host_of(cluster, zone), timeout=30)
    c.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    c.putheader("Host", host or host_of(cluster, zone))
    for name, value in dict(headers).items():
        c.putheader(name, value)
    if body is not None:
        c.putheader("Content-Length", str(len(body)))
    c.endheaders(body)
    r = c.getresponse()
    data = r.read()
    c.close()
    return r.status, r.headers, data


# ---- forms ----

def form(fields, data=b"data", name="a file.txt", boundary="f0rm"):
    out = b"".join(f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode()
                   for k, v in fields.items())
    if data is not None:
        out += (f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
                "Content-Type: text/plain\r\n\r\n").encode() + data + b"\r\n"
    return out + f"--{boundary}--\r\n".encode()


def post(cluster, bucket, fields, data=b"data", zone=1, host=None, headers=(), **more):
    return ask(cluster, "POST", "/" if host else f"/{bucket}",
               {"Content-Type": "multipart/form-data; boundary=f0rm", **dict(headers)},
               form(fields, data, **more), zone, host)


@pytest.fixture(scope="module")
def s3(cluster):
    """What boto3 signs for others is signed in version 4 only if it is told so."""
    return cluster.client(signature_version="s3v4")


def signed(s3, bucket, key, fields=None, conditions=(), **more):
    """Fields of a form, each allowed as it is."""
    fields = fields or {}
    made = s3.generate_presigned_post(bucket, key, Fields=dict(fields),
                                      Conditions=[*({k: v} for k, v in fields.items()), *conditions],
                                      ExpiresIn=more.pop("expires", 300))
    return made["fields"]


def test_form(cluster, s3, bucket):
    status, fields, body = post(cluster, bucket, signed(s3, bucket, "u/${filename}"), name="C:\\d\\ü 1.txt")
    assert (status, body) == (204, b"")
    assert fields["ETag"] == '"%s"' % hashlib.md5(b"data").hexdigest()
    assert fields["Location"] == f"{cluster.endpoint()}/{bucket}/u/{urllib.parse.quote('ü 1.txt')}"
    for zone in (1, 2, 3):
        got = cluster.client(zone).get_object(Bucket=bucket, Key="u/ü 1.txt")
        assert got["Body"].read() == b"data" and got["ContentType"] == "binary/octet-stream"
    large = bytes(range(256)) * 40000  # ten megabytes, in segments
    said = {"Content-Type": "image/png", "Cache-Control": "no-cache", "Content-Disposition": "inline",
            "Content-Encoding": "x-own", "Expires": "Thu, 01 Dec 2033 16:00:00 GMT", "tagging": TAGGING,
            "x-amz-meta-who": "me", "x-amz-storage-class": "STANDARD_IA", "success_action_status": "201",
            "x-amz-website-redirect-location": "/there",
            "x-amz-checksum-crc32": base64.b64encode(zlib.crc32(large).to_bytes(4, "big")).decode()}
    status, fields, body = post(cluster, bucket, signed(s3, bucket, "large", said), large, zone=2,
                                host=f"{bucket}.localhost")
    assert status == 201 and fields["Content-Type"] == "application/xml", body
    assert f"<Location>http://{bucket}.localhost/large</Location>".encode() in body
    assert f"<Bucket>{bucket}</Bucket><Key>large</Key><ETag>&quot;".encode() in body
    got = s3.get_object(Bucket=bucket, Key="large", ChecksumMode="ENABLED")
    assert got["Body"].read() == large
    assert (got["ContentType"], got["CacheControl"], got["ContentDisposition"], got["ContentEncoding"],
            got["StorageClass"], got["WebsiteRedirectLocation"], got["Metadata"], got["TagCount"]) == \
        ("image/png", "no-cache", "inline", "x-own", "STANDARD_IA", "/there", {"who": "me"}, 1)
    assert got["ChecksumCRC32"] == said["x-amz-checksum-crc32"]
    assert s3.get_object_tagging(Bucket=bucket, Key="large")["TagSet"] == [{"Key": "a b", "Value": "1/2"}]
    for status_wanted, want in (("200", 200), ("204", 204), ("404", 204)):
        said = {"success_action_status": status_wanted}
        assert post(cluster, bucket, signed(s3, bucket, "k", said))[0] == want
    said = {"success_action_redirect": "http://there/?x=1"}
    status, fields, _ = post(cluster, bucket, signed(s3, bucket, "k&", said))
    assert status == 303
    assert fields["Location"] == f"http://there/?x=1&bucket={bucket}&key=k%26&etag=%22{hashlib.md5(b'data').hexdigest()}%22"


def test_form_refused(cluster, s3, bucket):
    def refused(fields, **more):
        status, _, body = post(cluster, bucket, fields, **more)
        return status, code_of(body)
    good = signed(s3, bucket, "k")
    assert refused({**good, "x-amz-meta-a": "1"}) == (403, "AccessDenied")
    assert refused({**good, "key": "other"}) == (403, "AccessDenied")
    assert refused({**good, "x-ignore-a": "1"}) == (204, "")
    assert refused(signed(s3, "another-bucket", "k")) == (403, "AccessDenied")
    assert refused({k: v for k, v in good.items() if k != "key"}) == (400, "InvalidArgument")
    assert refused({k: v for k, v in good.items() if k != "policy"}) == (400, "InvalidArgument")
    assert refused({k: v for k, v in good.items() if k != "x-amz-signature"}) == (400, "InvalidArgument")
    assert refused({**good, "x-amz-signature": "0" * 64}) == (403, "SignatureDoesNotMatch")
    broad = base64.b64encode(json.dumps({"expiration": "2099-01-01T00:00:00Z", "conditions": []}).encode())
    assert refused({**good, "policy": broad.decode()}) == (403, "SignatureDoesNotMatch")
    assert refused({"key": "k"}) == (403, "AccessDenied")  # nobody signed
    assert refused(signed(s3, bucket, "k", expires=-5)) == (403, "AccessDenied")
    assert refused(good, data=None) == (400, "IncorrectNumberOfFilesInPostRequest")
    assert refused(good, boundary="other") == (400, "MalformedPOSTRequest")
    assert refused({**good, "x-amz-meta-a": "x" * 25000}) == (400, "MaxPostPreDataLengthExceeded")
    assert refused(signed(s3, bucket, "k" * 1025)) == (400, "KeyTooLongError")
    assert refused(signed(s3, bucket, "k", {"tagging": "<Tagging>"})) == (400, "MalformedXML")
    assert refused(signed(s3, bucket, "k", {"x-amz-storage-class": "GLACIER"})) == (400, "InvalidStorageClass")
    assert refused(signed(s3, bucket, "k", {"x-amz-checksum-crc32": "AAAAAA=="})) == (400, "BadDigest")
    sized = signed(s3, bucket, "k", conditions=[["content-length-range", 4, 70000]])
    assert refused(sized, data=b"abc") == (400, "EntityTooSmall")
    assert refused(sized, data=b"x" * 70000) == (204, "")
    assert refused(sized, data=b"x" * 70001) == (400, "EntityTooLarge")
    assert refused(good, headers={"Content-Type": "text/plain"}) == (412, "PreconditionFailed")
    assert refused(good, headers={"Authorization": "AWS4-HMAC-SHA256 Credential=a"})[0] == 400
    assert s3.head_object(Bucket=bucket, Key="k")["ContentLength"] == 70000


def test_form_borders(cluster, s3, bucket):
    """Of conditions, of sizes, of where the file stands."""
    def answer(fields, data=b"data", **more):
        status, _, body = post(cluster, bucket, fields, data, **more)
        return status, code_of(body)
    free = lambda name, prefix="": ["starts-with", f"${name}", prefix]
    # a condition that any value meets is one on the field all the same: it must be there
    anything = signed(s3, bucket, "k", conditions=[free("x-amz-meta-a"), free("Content-Type", "image/")])
    typed = {**anything, "Content-Type": "image/png"}
    assert answer({**typed, "x-amz-meta-a": ""}) == answer({**typed, "x-amz-meta-a": "1"}) == (204, "")
    assert answer(typed) == answer({**typed, "x-amz-meta-b": "1"}) == (403, "AccessDenied")
    assert answer({**typed, "x-amz-meta-a": "1", "x-amz-meta-b": "2"}) == (403, "AccessDenied")
    for types, want in (("image/png,image/gif", 204), ("image/png,text/html", 403), ("text/html", 403)):
        assert answer({**anything, "x-amz-meta-a": "1", "Content-Type": types})[0] == want, types
    # sizes: both ends are in
    for low, high in ((0, 0), (4, 4), (0, 4), (4, 70000)):
        sized = signed(s3, bucket, "k", conditions=[["content-length-range", low, high]])
        for size in {low, high, max(low - 1, 0), high + 1}:
            want = (400, "EntityTooSmall") if size < low else (400, "EntityTooLarge") if size > high else (204, "")
            assert answer(sized, b"x" * size) == want, (low, high, size)
    twice = signed(s3, bucket, "k", conditions=[["content-length-range", 0, 9], ["content-length-range", 4, 90]])
    assert answer(twice, b"x" * 9) == (204, "")
    assert answer(twice, b"x" * 10)[0] == answer(twice, b"x" * 3)[0] == 400
    # behind the file nothing counts, and nothing there is asked about
    good = signed(s3, bucket, "k")
    part = lambda name, value: f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n--f0rm'.encode()
    behind = form(good)[:-4] + b"\r\n" + part("x-amz-meta-late", "1") + b"\r\n" + part("key", "other") + b"--\r\n"
    send = lambda body: ask(cluster, "POST", f"/{bucket}", {"Content-Type": "multipart/form-data; boundary=f0rm"}, body)
    assert send(behind)[0] == 204
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == b"data" and got["Metadata"] == {}
    status, _, body = send(form(good)[:-4] + b"\r\n" + part("file", "again") + b"--\r\n")
    assert (status, code_of(body)) == (400, "IncorrectNumberOfFilesInPostRequest")
    # the fields behind the file are not those before it: without a key there is none
    keyless = form({k: v for k, v in good.items() if k != "key"})[:-4] + b"\r\n" + part("key", "k") + b"--\r\n"
    status, _, body = send(keyless)
    assert (status, code_of(body)) == (400, "InvalidArgument")
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["k"]


def open_to_all(s3, bucket, *statements):
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={
        "BlockPublicAcls": False, "IgnorePublicAcls": False, "BlockPublicPolicy": False,
        "RestrictPublicBuckets": False})
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": action, "Resource": f"arn:aws:s3:::{bucket}{path}"}
        for action, path in statements]}))


def test_form_by_anybody(cluster, s3, bucket):
    """Without a signature policies of the bucket say what is allowed, those that look at fields too."""
    open_to_all(s3, bucket, ("s3:PutObject", "/in/*"))
    assert post(cluster, bucket, {"key": "in/${filename}"}, b"1", name="f")[0] == 204
    assert s3.get_object(Bucket=bucket, Key="in/f")["Body"].read() == b"1"
    for fields in ({"key": "out/f"}, {"key": "in/f", "tagging": TAGGING}):
        status, _, body = post(cluster, bucket, fields)
        assert (status, code_of(body)) == (403, "AccessDenied")


def test_form_locks(cluster, s3):
    name = f"form-lock-{id(cluster)}"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    said = {"x-amz-object-lock-legal-hold": "ON", "x-amz-checksum-crc32":
            base64.b64encode(zlib.crc32(b"data").to_bytes(4, "big")).decode()}
    status, fields, body = post(cluster, name, signed(s3, name, "k", said))
    assert status == 204, body
    version = fields["x-amz-version-id"]
    assert s3.get_object_legal_hold(Bucket=name, Key="k")["LegalHold"] == {"Status": "ON"}
    s3.put_object_legal_hold(Bucket=name, Key="k", LegalHold={"Status": "OFF"})
    s3.delete_object(Bucket=name, Key="k", VersionId=version)
    s3.delete_bucket(Bucket=name)


# ---- presigned requests ----

def presign(cluster, method, path, query=(), headers=(), expires=300, offset=0, token=None, credentials=None,
            payload="UNSIGNED-PAYLOAD", **more):
    """A target, by a signer of our own.  offset: of the client's clock, in seconds."""
    signer = Signer(credentials or cluster.credentials)
    if offset:
        when = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=offset)
        signer.time = when.strftime("%Y%m%dT%H%M%SZ")
        signer.scope = f"{signer.time[:8]}/us-east-1/s3/aws4_request"
        signer.key = f"AWS4{signer.secret}".encode()
        for part in signer.scope.split("/"):
            signer.key = mac(signer.key, part)
    headers = {"host": host_of(cluster), **{k.lower(): v for k, v in dict(headers).items()}}
    names = ";".join(sorted(headers))
    pairs = [*dict(query).items(), ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
             ("X-Amz-Credential", f"{signer.access}/{signer.scope}"), ("X-Amz-Date", signer.time),
             ("X-Amz-Expires", str(expires)), ("X-Amz-SignedHeaders", names), *dict(more).items()]
    if token:
        pairs.append(("X-Amz-Security-Token", token))
    quote = lambda s: urllib.parse.quote(s, safe="-_.~")
    text = "&".join(sorted(f"{quote(k)}={quote(v)}" for k, v in pairs))
    canonical = "\n".join([method, urllib.parse.quote(path, safe="/-_.~"), text,
                           *[f"{k}:{headers[k].strip()}" for k in sorted(headers)], "", names, payload])
    signature = mac(signer.key, "\n".join(["AWS4-HMAC-SHA256", signer.time, signer.scope,
                                           hashlib.sha256(canonical.encode()).hexdigest()])).hex()
    return f"{urllib.parse.quote(path, safe='/-_.~')}?{text}&X-Amz-Signature={signature}"


def presigned(cluster, method, path, query=(), body=None, headers=(), **more):
    status, fields, data = ask(cluster, method, presign(cluster, method, path, query, headers, **more), headers, body)
    return status, code_of(data) or data


def test_presigned_operations(cluster, s3, bucket):
    """By boto3's signer, each kind of request once, without any field that was not signed."""
    def call(operation, body=None, method=None, headers=(), **params):
        url = s3.generate_presigned_url(operation, Params={"Bucket": bucket, **params}, ExpiresIn=60)
        method = method or s3.meta.service_model.operation_model(operation_name[operation]).http["method"]
        status, fields, data = ask(cluster, method, url[len(cluster.endpoint()):], headers, body)
        assert status < 300, (operation, status, data)
        return fields, data
    operation_name = s3.meta.method_to_api_mapping
    call("put_object", b"data", Key="a/ü b+c", headers={"x-amz-meta-m": "1", "x-amz-tagging": "t=1"},
         Metadata={"m": "1"}, Tagging="t=1")
    fields, data = call("get_object", Key="a/ü b+c", ResponseContentType="text/x", ResponseCacheControl="no-store",
                        ResponseContentDisposition='attachment; filename="ü"', ResponseContentLanguage="de",
                        ResponseContentEncoding="own", ResponseExpires="Thu, 01 Dec 2033 16:00:00 GMT")
    assert data == b"data" and fields["x-amz-meta-m"] == "1" and fields["x-amz-tagging-count"] == "1"
    assert [fields[f] for f in ("Content-Type", "Cache-Control", "Content-Language", "Content-Encoding")] == \
        ["text/x", "no-store", "de", "own"]
    assert fields["Expires"] == "Thu, 01 Dec 2033 16:00:00 GMT"
    assert call("get_object", Key="a/ü b+c", headers={"Range": "bytes=1-2"})[1] == b"at"
    assert call("head_object", Key="a/ü b+c")[0]["Content-Length"] == "4"
    call("head_bucket")
    assert b"<Key>a/" in call("list_objects_v2", Prefix="a/", MaxKeys=1)[1]
    assert b"<Key>a/" in call("list_objects", Prefix="a/ü b+")[1]
    assert b"<Version>" in call("list_object_versions")[1]
    call("get_object_attributes", Key="a/ü b+c", ObjectAttributes=["ETag"], headers={"x-amz-object-attributes": "ETag"})
    call("put_object", b"plain", Key="plain")
    call("copy_object", Key="copy", CopySource=f"{bucket}/plain", headers={"x-amz-copy-source": f"{bucket}/plain"})
    document = lambda method, path, query, body, **more: presigned(cluster, method, path, query, body, **more)
    assert document("PUT", f"/{bucket}", {"tagging": ""}, TAGGING.encode())[0] == 204
    assert b"1/2" in call("get_bucket_tagging")[1]
    call("delete_bucket_tagging")
    assert document("PUT", f"/{bucket}/copy", {"tagging": ""}, TAGGING.encode())[0] == 200
    assert b"1/2" in call("get_object_tagging", Key="copy")[1]
    data = call("create_multipart_upload", Key="mp")[1]
    upload = re.search(rb"<UploadId>(\w+)<", data).group(1).decode()
    etag = call("upload_part", b"part", Key="mp", UploadId=upload, PartNumber=1)[0]["ETag"]
    assert b"<PartNumber>1<" in call("list_parts", Key="mp", UploadId=upload)[1]
    assert upload.encode() in call("list_multipart_uploads")[1]
    call("complete_multipart_upload", f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag>"
         "</Part></CompleteMultipartUpload>".encode(), Key="mp", UploadId=upload)
    assert call("get_object", Key="mp")[1] == b"part"
    upload = re.search(rb"<UploadId>(\w+)<", call("create_multipart_upload", Key="mp")[1]).group(1).decode()
    call("abort_multipart_upload", Key="mp", UploadId=upload)
    body = b"<Delete><Object><Key>mp</Key></Object></Delete>"
    md5 = {"Content-MD5": base64.b64encode(hashlib.md5(body).digest()).decode()}
    assert b"<Deleted>" in document("POST", f"/{bucket}", {"delete": ""}, body, headers=md5)[1]
    for key in ("copy", "plain", "a/ü b+c"):
        call("delete_object", Key=key)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_presigned_bounds(cluster, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    get = lambda **more: presigned(cluster, "GET", f"/{bucket}/k", **more)
    assert get() == (200, b"data")
    for expires, want in ((1, 200), (604800, 200), (0, 400), (604801, 400), (-1, 400), ("x", 400)):
        assert get(expires=expires)[0] == want, expires
    assert get(expires=604800, offset=-604000) == (200, b"data")
    assert get(expires=60, offset=-62) == (403, "AccessDenied")
    assert get(offset=600)[0] == 200 and get(offset=1000) == (403, "AccessDenied")  # of a clock ahead
    # which fields must be there, and signed
    signed_only = {"x-amz-meta-a": "1"}
    target = presign(cluster, "PUT", f"/{bucket}/k2", headers=signed_only)
    assert ask(cluster, "PUT", target, signed_only, b"1")[0] == 200
    status, _, data = ask(cluster, "PUT", target, {}, b"1")
    assert (status, code_of(data)) == (403, "SignatureDoesNotMatch")
    status, _, data = ask(cluster, "PUT", target, {**signed_only, "x-amz-acl": "public-read"}, b"1")
    assert (status, code_of(data)) == (403, "AccessDenied")
    status, _, data = ask(cluster, "PUT", target.replace("k2", "k3"), signed_only, b"1")
    assert (status, code_of(data)) == (403, "SignatureDoesNotMatch")
    status, _, data = ask(cluster, "GET", target, signed_only)
    assert (status, code_of(data)) == (403, "SignatureDoesNotMatch")
    # the payload: not signed, as a field, in the query
    put = lambda **more: presigned(cluster, "PUT", f"/{bucket}/k4", body=b"body", **more)
    right, wrong = (hashlib.sha256(b).hexdigest() for b in (b"body", b"other"))
    field = lambda value: {"headers": {"x-amz-content-sha256": value}, "payload": value}
    assert put() == put(**field("UNSIGNED-PAYLOAD")) == put(**field(right)) == (200, b"")
    assert put(**field(wrong)) == (400, "XAmzContentSHA256Mismatch")
    in_query = lambda value: {"query": {"X-Amz-Content-Sha256": value}, "payload": value}
    assert put(**in_query(right)) == put(**in_query("UNSIGNED-PAYLOAD")) == (200, b"")
    assert put(**in_query(wrong)) == (400, "XAmzContentSHA256Mismatch")
    # what only a signature lets say
    status, _, data = ask(cluster, "GET", f"/{bucket}/k?response-content-type=a")
    assert (status, code_of(data)) == (403, "AccessDenied")
    both = {"Authorization": "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=b"}
    status, _, data = ask(cluster, "GET", presign(cluster, "GET", f"/{bucket}/k"), both)
    assert (status, code_of(data)) == (400, "InvalidArgument")


def by_boto(cluster, method, path, query):
    """Like presign(), by botocore's signer: fields in the query, as other SDKs put them there."""
    request = botocore.awsrequest.AWSRequest(method=method, url=cluster.endpoint() + path, params=query)
    botocore.auth.S3SigV4QueryAuth(botocore.credentials.Credentials(*cluster.credentials), "s3", "us-east-1",
                                   expires=60).add_auth(request)
    return request.url[len(cluster.endpoint()):]


def test_presigned_fields_in_the_query(cluster, s3, bucket):
    s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]})
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={
        "BlockPublicAcls": False, "IgnorePublicAcls": False, "BlockPublicPolicy": True, "RestrictPublicBuckets": True})
    said = {"x-amz-acl": "public-read", "x-amz-meta-one": "1  b", "x-amz-tagging": "a=b%20c",
            "X-Amz-Storage-Class": "STANDARD_IA", "x-amz-server-side-encryption": "AES256",
            "X-Amz-Expected-Bucket-Owner": "000000000001", "x-amz-website-redirect-location": "/there",
            "x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(b"data").digest()).decode(),
            "x-amz-user-agent": "sdk"}
    for sign in (presign, by_boto):
        key = f"/{bucket}/{sign.__name__}"
        status, fields, body = ask(cluster, "PUT", sign(cluster, "PUT", key, said), body=b"data")
        assert status == 200 and fields["x-amz-server-side-encryption"] == "AES256", body
        assert ask(cluster, "PUT", sign(cluster, "PUT", key, said), body=b"other")[0] == 400  # the checksum
        assert ask(cluster, "GET", key)[::2] == (200, b"data")  # anybody
        head = s3.head_object(Bucket=bucket, Key=sign.__name__, ChecksumMode="ENABLED")
        assert head["Metadata"] == {"one": "1  b"} and head["StorageClass"] == "STANDARD_IA"
        assert head["WebsiteRedirectLocation"] == "/there" and "ChecksumSHA256" in head
        assert s3.get_object_tagging(Bucket=bucket, Key=sign.__name__)["TagSet"] == [{"Key": "a", "Value": "b c"}]
        status, fields, _ = ask(cluster, "GET", sign(cluster, "GET", key, {"x-amz-checksum-mode": "ENABLED"}))
        assert fields["x-amz-checksum-sha256"] == said["x-amz-checksum-sha256"]
        status, _, body = ask(cluster, "PUT", sign(cluster, "PUT", key + "2", {"x-amz-copy-source": key}), body=b"")
        assert status == 200 and b"CopyObjectResult" in body
    put = lambda query, **more: presigned(cluster, "PUT", f"/{bucket}/k", query, b"data", **more)
    assert put({"X-Amz-Expected-Bucket-Owner": "111111111111"}) == (403, "AccessDenied")
    assert put({"x-amz-new": "1"}) == put({"x-amz-security-token": "t"}) == (501, "NotImplemented")
    assert put({"x-amz-acl": "private"}, headers={"x-amz-acl": "private"}) == (200, b"")
    assert put({"x-amz-acl": "private"}, headers={"x-amz-acl": "public-read"}) == (400, "InvalidArgument")
    assert put({"x-amz-acl": "private", "X-Amz-ACL": "private"}) == (400, "InvalidArgument")
    assert put({"x-amz-meta-a": "1\r\nx-amz-acl: public-read"}) == (400, "InvalidArgument")
    customer = {"x-amz-server-side-encryption-customer-algorithm": "AES256",
                "x-amz-server-side-encryption-customer-key": base64.b64encode(b"K" * 32).decode()}
    assert put(customer) == (400, "InvalidRequest")
    # what the JavaScript SDK adds when it presigns: of no data
    idle = {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-sdk-checksum-algorithm": "CRC32"}
    assert put(idle) == (200, b"")
    assert s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")["ChecksumCRC32"] == \
        base64.b64encode(zlib.crc32(b"data").to_bytes(4, "big")).decode()
    # nobody who changes the URL is let in
    target = presign(cluster, "PUT", f"/{bucket}/k", {"x-amz-acl": "private"})
    for other in (target.replace("acl=private", "acl=public-read"), target + "&x-amz-meta-a=1"):
        status, _, body = ask(cluster, "PUT", other, body=b"data")
        assert (status, code_of(body)) == (403, "SignatureDoesNotMatch")
    # of other requests they are no fields
    assert ask(cluster, "GET", f"/{bucket}/k?x-amz-acl=public-read")[0] == 403


def test_policies_see_fields_in_the_query(cluster, s3, bucket):
    def denied(*conditions):
        s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{bucket}/*",
             "Condition": {o: {k: v}}} for o, k, v in conditions]}))
    put = lambda query=(), **more: presigned(cluster, "PUT", f"/{bucket}/k", query, b"data", **more)[0]
    denied(("StringNotEquals", "s3:x-amz-server-side-encryption", "AES256"), ("StringEquals", "s3:x-amz-acl", "public-read"))
    sealed = {"x-amz-server-side-encryption": "AES256"}
    assert put() == put({"x-amz-server-side-encryption": "aws:kms"}) == 403
    assert put(sealed) == put({**sealed, "x-amz-acl": "private"}) == 200
    assert put({**sealed, "x-amz-acl": "public-read"}) == put({**sealed, "X-Amz-Acl": "public-read"}) == 403
    # what is not signed of the body, though no field says so
    denied(("StringEquals", "s3:x-amz-content-sha256", "UNSIGNED-PAYLOAD"))
    right = hashlib.sha256(b"data").hexdigest()
    assert put() == put({"X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD"}) == 403
    assert put({"X-Amz-Content-Sha256": right}, payload=right) == 200
    assert post(cluster, bucket, signed(s3, bucket, "k"))[0] == 403
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    s3.delete_bucket_policy(Bucket=bucket)
    assert put() == 200


def test_temporary_credentials(cluster, s3, bucket):
    """Presigned, and as a form."""
    access, secret = cluster.credentials
    sts = boto3.client("sts", endpoint_url=cluster.endpoint(), aws_access_key_id=access,
                       aws_secret_access_key=secret, region_name="us-east-1")
    c = sts.get_session_token()["Credentials"]
    mine = {"credentials": (c["AccessKeyId"], c["SecretAccessKey"]), "token": c["SessionToken"]}
    assert presigned(cluster, "PUT", f"/{bucket}/k", body=b"1", **mine) == (200, b"")
    assert presigned(cluster, "GET", f"/{bucket}/k", **mine) == (200, b"1")
    assert presigned(cluster, "GET", f"/{bucket}/k", **{**mine, "token": None})[0] == 403
    assert presigned(cluster, "GET", f"/{bucket}/k", **{**mine, "token": c["SessionToken"][:-4] + "AAAA"})[0] in (400, 403)
    client = boto3.client("s3", endpoint_url=cluster.endpoint(), aws_access_key_id=c["AccessKeyId"],
                          aws_secret_access_key=c["SecretAccessKey"], aws_session_token=c["SessionToken"],
                          region_name="us-east-1", config=botocore.config.Config(signature_version="s3v4"))
    fields = signed(client, bucket, "form")
    assert fields["x-amz-security-token"] == c["SessionToken"]
    assert post(cluster, bucket, fields)[0] == 204
    status, _, body = post(cluster, bucket, {k: v for k, v in fields.items() if k != "x-amz-security-token"})
    assert status == 403, body
    assert s3.get_object(Bucket=bucket, Key="form")["Body"].read() == b"data"


# ---- websites ----

def website(s3, bucket, **configuration):
    s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration=configuration)


def rule(redirect, prefix=None, code=None):
    condition = {**({"KeyPrefixEquals": prefix} if prefix is not None else {}),
                 **({"HttpErrorCodeReturnedEquals": code} if code else {})}
    return {"Redirect": redirect, **({"Condition": condition} if condition else {})}


def test_website_configuration(cluster, s3, bucket):
    assert error(s3.get_bucket_website, Bucket=bucket) == (404, "NoSuchWebsiteConfiguration")
    full = {"IndexDocument": {"Suffix": "index.html"}, "ErrorDocument": {"Key": "errors/404.html"},
            "RoutingRules": [
                rule({"ReplaceKeyPrefixWith": "new/", "HttpRedirectCode": "302", "Protocol": "https"}, "old/"),
                rule({"HostName": "other.example", "ReplaceKeyWith": "lost"}, code="404")]}
    for configuration in (full, {"RedirectAllRequestsTo": {"HostName": "example.com", "Protocol": "https"}},
                          {"IndexDocument": {"Suffix": "i"}}):
        website(s3, bucket, **configuration)
        for zone in (1, 2, 3):
            got = cluster.client(zone).get_bucket_website(Bucket=bucket)
            assert {k: got[k] for k in configuration} == configuration and len(got) == len(configuration) + 1
    refused = lambda **configuration: error(website, s3, bucket, **configuration)
    index = {"IndexDocument": {"Suffix": "i"}}
    assert refused() == (400, "InvalidArgument")
    for suffix in ("", "a/b", "/"):
        assert refused(IndexDocument={"Suffix": suffix}) == (400, "InvalidArgument")
    assert refused(**index, RedirectAllRequestsTo={"HostName": "a"}) == (400, "InvalidArgument")
    assert refused(RedirectAllRequestsTo={"HostName": "a\nb"}) == (400, "InvalidArgument")
    assert refused(RedirectAllRequestsTo={"HostName": "a", "Protocol": "ftp"}) == (400, "MalformedXML")
    for bad in (rule({}), rule({"ReplaceKeyWith": "a", "ReplaceKeyPrefixWith": "b"}, "c"),
                rule({"HttpRedirectCode": "300"}), rule({"HttpRedirectCode": "404"}),
                rule({"HostName": "h"}, code="399"), rule({"HostName": "h x"})):
        assert refused(**index, RoutingRules=[bad]) == (400, "InvalidRequest"), bad
    website(s3, bucket, **index, RoutingRules=[rule({"HostName": "h"}, str(n)) for n in range(50)])
    assert refused(**index, RoutingRules=[rule({"HostName": "h"}, str(n)) for n in range(51)]) == \
        (400, "InvalidRequest")
    s3.delete_bucket_website(Bucket=bucket)
    s3.delete_bucket_website(Bucket=bucket)
    assert error(s3.get_bucket_website, Bucket=bucket) == (404, "NoSuchWebsiteConfiguration")


def test_website(cluster, s3, bucket):
    def get(path, method="GET", zone=1, **headers):
        status, fields, body = ask(cluster, method, path, headers, zone=zone, host=f"{bucket}.web.localhost:8080")
        return status, fields.get("Location") or body, fields
    def short(path, **more):
        return get(path, **more)[:2]
    assert get("/")[0] == 404 and b"<li>Code: NoSuchWebsiteConfiguration</li>" in get("/")[1]
    pages = {"index.html": b"home", "docs/index.html": b"docs", "docs/a b.html": b"page", "error.html": b"sorry",
             "large": bytes(range(256)) * 4000, "old/kept": b"old"}
    for key, page in pages.items():
        s3.put_object(Bucket=bucket, Key=key, Body=page, ContentType="text/html")
    s3.put_object(Bucket=bucket, Key="moved", Body=b"", WebsiteRedirectLocation="/docs/")
    s3.put_object(Bucket=bucket, Key="away", Body=b"x", WebsiteRedirectLocation="https://example.com/")
    assert s3.head_object(Bucket=bucket, Key="away")["WebsiteRedirectLocation"] == "https://example.com/"
    assert error(s3.put_object, Bucket=bucket, Key="k", WebsiteRedirectLocation="there") == (400, "InvalidArgument")
    website(s3, bucket, IndexDocument={"Suffix": "index.html"})
    # nothing that was not allowed to everybody
    status, body, fields = get("/")
    assert status == 403 and fields["Content-Type"].startswith("text/html") and b"Code: AccessDenied" in body
    assert fields["x-amz-error-code"] == "AccessDenied"
    open_to_all(s3, bucket, ("s3:GetObject", "/*"), ("s3:ListBucket", ""))
    for zone in (1, 2, 3):
        assert short("/", zone=zone) == (200, b"home")
    assert short("/docs/") == (200, b"docs") and short("/docs/a%20b.html?versionId=x") == (200, b"page")
    assert short("/large") == (200, pages["large"])
    assert short("/large", Range="bytes=1-3") == (206, pages["large"][1:4])
    assert short("/docs") == (302, "/docs/") and get("/nothing/")[0] == 404
    assert short("/moved") == (301, "/docs/") and short("/away") == (301, "https://example.com/")
    status, body, fields = get("/", "HEAD")
    assert (status, body, fields["Content-Length"]) == (200, b"", "4")
    etag = get("/")[2]["ETag"]
    assert get("/", **{"If-None-Match": etag})[0] == 304
    status, body, _ = get("/none<b>")
    assert status == 404 and b"<h1>404 Not Found</h1>" in body and b"<li>Key: none&lt;b&gt;</li>" in body
    # two slashes in front would be another host
    s3.put_object(Bucket=bucket, Key="/evil.example/index.html", Body=b"not so")
    for path in ("//evil.example", "/%2Fevil.example", "/%2fevil%2eexample"):
        assert short(path) == (302, "/%2Fevil.example/")
    assert short("/%2Fevil.example/") == (200, b"not so")
    s3.put_object(Bucket=bucket, Key="a\r\nSet-Cookie: b/index.html", Body=b"c")
    status, location, fields = get("/a%0D%0ASet-Cookie:%20b")
    assert (status, location, fields["Set-Cookie"]) == (302, "/a%0D%0ASet-Cookie%3A%20b/", None)
    status, _, body = ask(cluster, "GET", "/moved", host=f"{bucket}.web.localhost:@evil.example")
    assert status == 400 and b"InvalidRequest" in body
    for method in ("PUT", "POST", "DELETE"):
        status, body, fields = get("/index.html", method)
        assert status == 405 and b"MethodNotAllowed" in body
    assert s3.get_object(Bucket=bucket, Key="index.html")["Body"].read() == b"home"
    # the error document has the error's status, and is whole
    website(s3, bucket, IndexDocument={"Suffix": "index.html"}, ErrorDocument={"Key": "error.html"}, RoutingRules=[
        rule({"ReplaceKeyPrefixWith": "new dir/", "HttpRedirectCode": "302"}, "old/"),
        rule({"HostName": "archive.example", "Protocol": "https"}, "archive/", "404"),
        rule({"ReplaceKeyWith": "index.html", "HttpRedirectCode": "307"}, "lost", "404")])
    status, body, fields = get("/none", Range="bytes=1-2")
    assert (status, body, fields["Content-Type"]) == (404, b"sorry", "text/html")
    assert short("/none", **{"If-None-Match": "*"}) == (404, b"sorry")
    assert short("/old/kept") == (302, f"http://{bucket}.web.localhost:8080/new%20dir/kept")
    assert short("/archive/x%20y") == (301, "https://archive.example/archive/x%20y")
    assert short("/lost/a") == (307, f"http://{bucket}.web.localhost:8080/index.html")
    s3.delete_object(Bucket=bucket, Key="error.html")
    status, body, _ = get("/none")
    assert status == 404 and b"Code: NoSuchKey" in body and b"Custom Error" in body
    website(s3, bucket, RedirectAllRequestsTo={"HostName": "www.example.com"})
    assert short("/a%20b?c=d") == (301, "http://www.example.com/a%20b?c=d")
    # whoever blocks public access has no website
    website(s3, bucket, IndexDocument={"Suffix": "index.html"})
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={
        "BlockPublicAcls": False, "IgnorePublicAcls": False, "BlockPublicPolicy": False, "RestrictPublicBuckets": True})
    assert get("/")[0] == 403
    status, _, body = ask(cluster, "GET", "/", host="no-such-bucket.web.localhost")
    assert status == 404 and b"NoSuchBucket" in body


def test_website_of_the_bucket_that_has_the_hosts_name(cluster, s3):
    s3.create_bucket(Bucket="web.localhost")
    website(s3, "web.localhost", IndexDocument={"Suffix": "i"})
    open_to_all(s3, "web.localhost", ("s3:GetObject", "/*"))
    s3.put_object(Bucket="web.localhost", Key="i", Body=b"here")
    assert ask(cluster, "GET", "/", host="WEB.localhost")[::2] == (200, b"here")
    s3.delete_object(Bucket="web.localhost", Key="i")
    s3.delete_bucket(Bucket="web.localhost")


def test_form_encrypted(cluster, s3, bucket):
    """Of what is sealed the size is known before the first byte: the file ends the form."""
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [
        {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]})
    for data in (b"", b"data", bytes(range(256)) * 4000):
        status, fields, body = post(cluster, bucket, signed(s3, bucket, "k"), data)
        assert status == 204 and fields["x-amz-server-side-encryption"] == "AES256", body
        got = s3.get_object(Bucket=bucket, Key="k")
        assert got["ServerSideEncryption"] == "AES256" and got["Body"].read() == data
    body = form(signed(s3, bucket, "k2"))
    late = body[:-4] + b"\r\n" + b'Content-Disposition: form-data; name="late"\r\n\r\n\r\n--f0rm--\r\n'
    for other in (body[:-2], late):
        status, _, answer = ask(cluster, "POST", f"/{bucket}", {"Content-Type": "multipart/form-data; boundary=f0rm"}, other)
        assert (status, code_of(answer)) == (501, "NotImplemented")
    assert error(s3.head_object, Bucket=bucket, Key="k2") == (404, "404")
