"""S3 as boto3 sees it: every operation, condition, checksum and error that Cairn claims."""
import base64
import concurrent.futures
import datetime
import hashlib
import http.client
import time
import urllib.parse
import zlib

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.exceptions
import pytest

from wire import code_of

MIB = 1 << 20


def error(call, *args, **kw):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(*args, **kw)
    r = caught.value.response
    return r["ResponseMetadata"]["HTTPStatusCode"], r["Error"].get("Code")


def signed(cluster, method, path, query="", body=b"", headers=None, zone=1, signer=None, secret=None,
           region="us-east-1", key=None):
    access, own = cluster.credentials
    url = f"{cluster.endpoint(zone)}{path}" + (f"?{query}" if query else "")
    request = botocore.awsrequest.AWSRequest(method, url, data=body, headers=headers or {})
    credentials = botocore.credentials.Credentials(key or access, secret or own)
    (signer or botocore.auth.S3SigV4Auth)(credentials, "s3", region).add_auth(request)
    c = http.client.HTTPConnection("127.0.0.1", cluster.s3_port + zone - 1, timeout=20)
    c.request(method, url[len(cluster.endpoint(zone)):], body=body or None,
              headers=dict(request.headers))
    r = c.getresponse()
    return r.status, r.read(), r.headers


def test_buckets(s3):
    name = "a.bucket-with.dots"
    assert s3.create_bucket(Bucket=name)["Location"]
    assert name in [b["Name"] for b in s3.list_buckets()["Buckets"]]
    assert s3.list_buckets()["Owner"]["ID"]
    assert name in [b["Name"] for b in s3.list_buckets(BucketRegion="us-east-1")["Buckets"]]
    elsewhere = s3.list_buckets(BucketRegion="eu-west-1")
    assert elsewhere["Buckets"] == [] and elsewhere["Owner"]["ID"]
    s3.head_bucket(Bucket=name)
    assert s3.get_bucket_location(Bucket=name)["LocationConstraint"] is None
    s3.put_object(Bucket=name, Key="k", Body=b"x")
    assert error(s3.delete_bucket, Bucket=name) == (409, "BucketNotEmpty")
    s3.put_object(Bucket=name, Key="still-writable", Body=b"x")
    s3.delete_object(Bucket=name, Key="k")
    s3.delete_object(Bucket=name, Key="still-writable")
    s3.delete_bucket(Bucket=name)
    assert error(s3.head_bucket, Bucket=name)[0] == 404
    assert error(s3.delete_bucket, Bucket=name) == (404, "NoSuchBucket")
    assert error(s3.get_object, Bucket=name, Key="k") == (404, "NoSuchBucket")
    assert error(s3.put_object, Bucket=name, Key="k", Body=b"") == (404, "NoSuchBucket")
    s3.create_bucket(Bucket=name)  # the name again, another bucket
    assert "Contents" not in s3.list_objects_v2(Bucket=name)
    s3.delete_bucket(Bucket=name)


def test_bucket_names(cluster, s3):
    for bad in ("ab", "UPPER", "under_score", "-dash", "a..b", "192.168.1.1", "x" * 64):
        status, body, _ = signed(cluster, "PUT", f"/{bad}")
        assert (status, b"InvalidBucketName" in body) == (400, True), bad


@pytest.mark.parametrize("size", [0, 1, 100, 16384, 16385, 65536, 65537, 4 * MIB, 4 * MIB + 1,
                                  9 * MIB + 123])
def test_put_get_sizes(cluster, s3, bucket, size):
    body = (hashlib.sha256(b"%d" % size).digest() * (size // 32 + 1))[:size]
    put = s3.put_object(Bucket=bucket, Key="k", Body=body, ContentType="text/x-test",
                        Metadata={"one": "1", "two": "zwei"}, CacheControl="no-store",
                        ContentDisposition="inline", ContentEncoding="x-enc",
                        ContentLanguage="de", Expires=datetime.datetime(2030, 1, 1))
    assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    for zone in (1, 2, 3):
        got = cluster.client(zone).get_object(Bucket=bucket, Key="k")
        assert got["Body"].read() == body
        assert got["ContentLength"] == size
        assert got["ContentType"] == "text/x-test"
        assert got["Metadata"] == {"one": "1", "two": "zwei"}
        assert got["CacheControl"] == "no-store"
    head = s3.head_object(Bucket=bucket, Key="k")
    assert head["ContentLength"] == size and head["ETag"] == put["ETag"]
    assert abs((head["LastModified"] - datetime.datetime.now(datetime.timezone.utc)).total_seconds()) < 60


def test_ranges_and_overrides(s3, bucket):
    body = bytes(range(256)) * 800  # spans blocks
    s3.put_object(Bucket=bucket, Key="k", Body=body)
    for spec, want in {"bytes=0-0": body[:1], "bytes=65530-65550": body[65530:65551],
                       "bytes=200000-": body[200000:], "bytes=-7": body[-7:],
                       "bytes=204799-999999": body[204799:]}.items():
        got = s3.get_object(Bucket=bucket, Key="k", Range=spec)
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert got["Body"].read() == want, spec
        assert got["ContentRange"].endswith(f"/{len(body)}")
    assert error(s3.get_object, Bucket=bucket, Key="k", Range="bytes=999999-") == (416, "InvalidRange")
    got = s3.get_object(Bucket=bucket, Key="k", ResponseContentType="a/b",
                        ResponseContentDisposition="attachment", ResponseCacheControl="no-cache")
    assert (got["ContentType"], got["ContentDisposition"]) == ("a/b", "attachment")
    url = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k", "Range": "bytes=1-3"})
    assert url


def test_conditions_on_reads(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    when = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    later = when + datetime.timedelta(seconds=5)
    earlier = when - datetime.timedelta(seconds=5)
    ok = dict(Bucket=bucket, Key="k")
    s3.get_object(**ok, IfMatch=etag)
    s3.get_object(**ok, IfNoneMatch='"other"')
    s3.get_object(**ok, IfModifiedSince=earlier)
    s3.get_object(**ok, IfUnmodifiedSince=later)
    assert error(s3.get_object, **ok, IfMatch='"other"')[0] == 412
    assert error(s3.get_object, **ok, IfNoneMatch=etag)[0] == 304
    assert error(s3.head_object, **ok, IfNoneMatch=etag)[0] == 304
    assert error(s3.get_object, **ok, IfModifiedSince=later)[0] in (304, 200)
    assert error(s3.get_object, **ok, IfUnmodifiedSince=earlier)[0] == 412
    s3.get_object(**ok, IfMatch=etag, IfUnmodifiedSince=earlier)  # If-Match goes first


def test_conditions_on_writes(cluster, s3, bucket):
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    assert error(s3.put_object, Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*") == (
        412, "PreconditionFailed")
    second = s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfMatch=first)["ETag"]
    assert error(s3.put_object, Bucket=bucket, Key="k", Body=b"3", IfMatch=first)[0] == 412
    assert error(s3.put_object, Bucket=bucket, Key="none", Body=b"3", IfMatch=first) == (
        404, "NoSuchKey")
    big = b"b" * 100000
    assert error(s3.put_object, Bucket=bucket, Key="k", Body=big, IfNoneMatch="*")[0] == 412
    assert error(s3.delete_object, Bucket=bucket, Key="k", IfMatch=first)[0] == 412
    for field, value in (("If-Unmodified-Since", "Wed, 21 Oct 2015 07:28:00 GMT"), ("If-None-Match", '"x"'),
                         ("If-Modified-Since", "Wed, 21 Oct 2099 07:28:00 GMT")):  # to ignore one would delete
        status, body, _ = signed(cluster, "DELETE", f"/{bucket}/k", headers={field: value})
        assert (status, code_of(body)) == (501, "NotImplemented"), field
    s3.delete_object(Bucket=bucket, Key="k", IfMatch=second)
    assert error(s3.head_object, Bucket=bucket, Key="k")[0] == 404


@pytest.mark.parametrize("size", [10, 50000])
def test_one_winner(cluster, s3, bucket, size):
    clients = [cluster.client(z, max_pool_connections=4) for z in (1, 2, 3)]
    for round_ in range(8):
        def attempt(i):
            try:
                clients[i % 3].put_object(Bucket=bucket, Key=f"k{round_}", Body=b"%02d" % i * (size // 2),
                                          IfNoneMatch="*")
                return i
            except botocore.exceptions.ClientError as e:
                assert e.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412)
                return None
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            winners = [w for w in pool.map(attempt, range(12)) if w is not None]
        assert len(winners) == 1, winners
        got = s3.get_object(Bucket=bucket, Key=f"k{round_}")["Body"].read()
        assert got == b"%02d" % winners[0] * (size // 2)


ALGORITHMS = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("size", [0, 1000, 300000])
def test_checksums(s3, bucket, algorithm, size):
    body = b"q" * size
    put = s3.put_object(Bucket=bucket, Key="k", Body=body, ChecksumAlgorithm=algorithm)
    field = f"Checksum{algorithm}"
    assert put[field]
    if algorithm == "SHA256":
        assert put[field] == base64.b64encode(hashlib.sha256(body).digest()).decode()
    if algorithm == "CRC32":
        assert put[field] == base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head[field] == put[field] and head["ChecksumType"] == "FULL_OBJECT"
    assert s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")["Body"].read() == body
    parts = s3.get_object_attributes(Bucket=bucket, Key="k",
                                     ObjectAttributes=["Checksum", "ObjectSize", "ETag", "StorageClass"])
    assert parts["Checksum"][field] == put[field] and parts["ObjectSize"] == size
    wrong = base64.b64encode(b"\0" * (len(base64.b64decode(put[field])))).decode()
    assert error(s3.put_object, Bucket=bucket, Key="w", Body=body + b"!", **{field: wrong}) == (
        400, "BadDigest")
    assert error(s3.head_object, Bucket=bucket, Key="w")[0] == 404
    assert error(s3.put_object, Bucket=bucket, Key="w", Body=body + b"!",
                 ContentMD5=base64.b64encode(b"\1" * 16).decode()) == (400, "BadDigest")


def test_checksum_when_the_client_sends_none(cluster, s3, bucket):
    assert signed(cluster, "PUT", f"/{bucket}/k", body=b"123456789")[0] == 200
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head["ChecksumCRC64NVME"] == base64.b64encode(bytes.fromhex("ae8b14860a799888")).decode()


@pytest.mark.parametrize("algorithm,kind", [("CRC32", "COMPOSITE"), ("CRC32", "FULL_OBJECT"),
                                            ("CRC32C", "FULL_OBJECT"), ("CRC64NVME", "FULL_OBJECT"),
                                            ("SHA256", "COMPOSITE"), (None, None)])
def test_multipart(cluster, s3, bucket, algorithm, kind):
    extra = {"ChecksumAlgorithm": algorithm, "ChecksumType": kind} if algorithm else {}
    up = s3.create_multipart_upload(Bucket=bucket, Key="k", Metadata={"m": "1"}, **extra)["UploadId"]
    pieces = {1: b"a" * (5 * MIB), 2: b"b" * (5 * MIB + 17), 5: b"c" * 1000}
    parts = []
    for number, data in pieces.items():
        more = {"ChecksumAlgorithm": algorithm} if algorithm else {}
        r = cluster.client(number % 3 + 1).upload_part(Bucket=bucket, Key="k", UploadId=up, PartNumber=number,
                                                       Body=data, **more)
        part = {"PartNumber": number, "ETag": r["ETag"]}
        if algorithm:
            part[f"Checksum{algorithm}"] = r[f"Checksum{algorithm}"]
        parts.append(part)
    listed = s3.list_parts(Bucket=bucket, Key="k", UploadId=up, MaxParts=2)
    assert [p["PartNumber"] for p in listed["Parts"]] == [1, 2] and listed["IsTruncated"]
    rest = s3.list_parts(Bucket=bucket, Key="k", UploadId=up,
                         PartNumberMarker=listed["NextPartNumberMarker"])
    assert [p["PartNumber"] for p in rest["Parts"]] == [5]
    assert up in [u["UploadId"] for u in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]]
    assert error(s3.head_object, Bucket=bucket, Key="k")[0] == 404

    def complete(chosen):
        return s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=up,
                                            MultipartUpload={"Parts": chosen})

    assert error(complete, [parts[1], parts[0]]) == (400, "InvalidPartOrder")
    assert error(complete, [{**parts[0], "ETag": '"' + "0" * 32 + '"'}]) == (400, "InvalidPart")
    assert error(complete, [parts[2], {"PartNumber": 9, "ETag": parts[0]["ETag"]}]) == (
        400, "InvalidPart")
    done = complete(parts)
    md5s = b"".join(hashlib.md5(d).digest() for d in pieces.values())
    assert done["ETag"] == f'"{hashlib.md5(md5s).hexdigest()}-3"'
    whole = b"".join(pieces.values())
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert got["Body"].read() == whole and got["Metadata"] == {"m": "1"}
    if algorithm:
        value = got[f"Checksum{algorithm}"]
        assert value.endswith("-3") == (kind == "COMPOSITE")
        assert got["ChecksumType"] == kind
    if (algorithm, kind) == ("CRC32", "FULL_OBJECT"):
        assert value == base64.b64encode(zlib.crc32(whole).to_bytes(4, "big")).decode()
    second = s3.get_object(Bucket=bucket, Key="k", PartNumber=2)
    assert second["Body"].read() == pieces[2] and second["PartsCount"] == 3
    assert s3.get_object(Bucket=bucket, Key="k", Range="bytes=5242870-5242890")["Body"].read() == (
        whole[5242870:5242891])
    attributes = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["ObjectParts"])
    assert attributes["ObjectParts"]["TotalPartsCount"] == 3
    assert error(s3.list_parts, Bucket=bucket, Key="k", UploadId=up) == (404, "NoSuchUpload")


def test_multipart_too_small_abort_replace(s3, bucket):
    up = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    first = s3.upload_part(Bucket=bucket, Key="k", UploadId=up, PartNumber=1, Body=b"small")["ETag"]
    again = s3.upload_part(Bucket=bucket, Key="k", UploadId=up, PartNumber=1, Body=b"other")["ETag"]
    assert first != again
    second = s3.upload_part(Bucket=bucket, Key="k", UploadId=up, PartNumber=2, Body=b"last")["ETag"]
    assert error(s3.complete_multipart_upload, Bucket=bucket, Key="k", UploadId=up, MultipartUpload={
        "Parts": [{"PartNumber": 1, "ETag": again}, {"PartNumber": 2, "ETag": second}]}) == (
        400, "EntityTooSmall")
    assert error(s3.upload_part, Bucket=bucket, Key="k", UploadId=up, PartNumber=10001,
                 Body=b"x")[0] == 400
    assert error(s3.delete_bucket, Bucket=bucket) == (409, "BucketNotEmpty")
    assert error(s3.abort_multipart_upload, Bucket=bucket, Key="k", UploadId=up, IfMatchInitiatedTime=0) == (
        501, "NotImplemented")
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=up)
    assert error(s3.upload_part, Bucket=bucket, Key="k", UploadId=up, PartNumber=1, Body=b"x") == (
        404, "NoSuchUpload")
    assert error(s3.abort_multipart_upload, Bucket=bucket, Key="k", UploadId=up) == (404, "NoSuchUpload")


def test_replaced_under_a_download(cluster, s3, bucket):
    """Whoever has begun to read an object reads on what it was, its last small part included."""
    up = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    pieces = [bytes([n]) * (8 * MIB) for n in range(1, 6)] + [b"the end"]
    parts = [{"PartNumber": n, "ETag": s3.upload_part(Bucket=bucket, Key="k", UploadId=up, PartNumber=n,
                                                      Body=data)["ETag"]}
             for n, data in enumerate(pieces, 1)]
    s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=up, MultipartUpload={"Parts": parts})
    body = s3.get_object(Bucket=bucket, Key="k")["Body"]
    first = body.read(1000)
    cluster.client(2).put_object(Bucket=bucket, Key="k", Body=b"another")
    assert first + body.read() == b"".join(pieces)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"another"


def test_copy(s3, bucket):
    body = b"copy me " * 40000
    etag = s3.put_object(Bucket=bucket, Key="a b+c/ü", Body=body, Metadata={"x": "1"},
                         ContentType="t/t")["ETag"]
    source = {"Bucket": bucket, "Key": "a b+c/ü"}
    assert s3.copy_object(Bucket=bucket, Key="copy", CopySource=source)["CopyObjectResult"]["ETag"] == etag
    got = s3.get_object(Bucket=bucket, Key="copy")
    assert got["Body"].read() == body and got["Metadata"] == {"x": "1"} and got["ContentType"] == "t/t"
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=source, MetadataDirective="REPLACE",
                   Metadata={"y": "2"}, ContentType="u/u")
    got = s3.head_object(Bucket=bucket, Key="copy")
    assert got["Metadata"] == {"y": "2"} and got["ContentType"] == "u/u"
    assert error(s3.copy_object, Bucket=bucket, Key="a b+c/ü", CopySource=source) == (400, "InvalidRequest")
    s3.copy_object(Bucket=bucket, Key="a b+c/ü", CopySource=source, MetadataDirective="REPLACE",
                   Metadata={"self": "1"})
    assert error(s3.copy_object, Bucket=bucket, Key="z", CopySource=source, CopySourceIfMatch='"n"')[0] == 412
    assert error(s3.copy_object, Bucket=bucket, Key="z", CopySource=source, CopySourceIfNoneMatch=etag)[0] == 412
    assert error(s3.copy_object, Bucket=bucket, Key="z",
                 CopySource={"Bucket": bucket, "Key": "none"}) == (404, "NoSuchKey")
    up = s3.create_multipart_upload(Bucket=bucket, Key="mp")["UploadId"]
    part = s3.upload_part_copy(Bucket=bucket, Key="mp", UploadId=up, PartNumber=1, CopySource=source,
                               CopySourceRange="bytes=8-15")["CopyPartResult"]["ETag"]
    s3.complete_multipart_upload(Bucket=bucket, Key="mp", UploadId=up,
                                 MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]})
    assert s3.get_object(Bucket=bucket, Key="mp")["Body"].read() == body[8:16]


ODD_KEYS = sorted(["a", "a/", "a/b", "a/b/c", "a//d", "b c", "b+c", "b%20c", "ü/ñ", "日本", "x&<>\"'",
                   "z~!*()", "q?x=1#y", "\x7f", "emoji-😀", "a\tb", "tail "], key=lambda k: k.encode())


def test_odd_keys_and_lists(s3, bucket):
    for key in ODD_KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    for key in ODD_KEYS:
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    for v1 in (False, True):
        for page in (1, 3, 1000):
            paginator = s3.get_paginator("list_objects" if v1 else "list_objects_v2")
            keys = [o["Key"] for p in paginator.paginate(Bucket=bucket, PaginationConfig={"PageSize": page})
                    for o in p.get("Contents", [])]
            assert keys == ODD_KEYS, (v1, page)

    def grouped(prefix, delimiter, page=1000):
        keys, prefixes = [], []
        for p in s3.get_paginator("list_objects_v2").paginate(
                Bucket=bucket, Prefix=prefix, Delimiter=delimiter, PaginationConfig={"PageSize": page}):
            keys += [o["Key"] for o in p.get("Contents", [])]
            prefixes += [o["Prefix"] for o in p.get("CommonPrefixes", [])]
        return keys, prefixes

    for page in (1, 2, 1000):
        assert grouped("", "/", page) == ([k for k in ODD_KEYS if "/" not in k], ["a/", "ü/"])
        assert grouped("a/", "/", page) == (["a/", "a/b"], ["a//", "a/b/"])
        assert grouped("none", "/", page) == ([], [])
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket, StartAfter="a/b/c")["Contents"]][0] == "b c"
    # Of common prefixes only those that are greater than where the list begins.
    for call, marker in ((s3.list_objects_v2, "StartAfter"), (s3.list_objects, "Marker"),
                         (s3.list_object_versions, "KeyMarker")):
        for after in ("a/", "a/b"):
            r = call(Bucket=bucket, Delimiter="/", **{marker: after})
            assert [p["Prefix"] for p in r["CommonPrefixes"]] == ["ü/"], (marker, after)
        assert len(call(Bucket=bucket, Delimiter="/", **{marker: "a"})["CommonPrefixes"]) == 2
    one = s3.list_objects_v2(Bucket=bucket, MaxKeys=1, FetchOwner=True)
    assert one["KeyCount"] == 1 and one["Contents"][0]["Owner"]["ID"] and one["IsTruncated"]
    assert s3.list_objects_v2(Bucket=bucket, MaxKeys=0)["KeyCount"] == 0
    v1 = s3.list_objects(Bucket=bucket, Delimiter="/", MaxKeys=2)
    assert v1["IsTruncated"] and v1["NextMarker"]


def test_delete_objects(s3, bucket):
    for i in range(25):
        s3.put_object(Bucket=bucket, Key=f"k{i:02}", Body=b"x")
    r = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": f"k{i:02}"} for i in range(20)]
                                                 + [{"Key": "absent"}]})
    assert len(r["Deleted"]) == 21 and "Errors" not in r
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 5
    quiet = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k20"}], "Quiet": True})
    assert "Deleted" not in quiet
    s3.delete_object(Bucket=bucket, Key="absent")  # 204


def test_errors_of_signatures(cluster, bucket):
    def code(**kw):
        status, body, _ = signed(cluster, "GET", f"/{bucket}", **kw)
        return status, body.split(b"<Code>")[1].split(b"<")[0].decode()

    assert code(secret="wrong") == (403, "SignatureDoesNotMatch")
    assert code(key="AKIANOSUCHKEY") == (403, "InvalidAccessKeyId")
    assert code(region="eu-west-1") == (400, "AuthorizationHeaderMalformed")

    class Skewed(botocore.auth.S3SigV4Auth):
        def add_auth(self, request):
            real = botocore.auth.get_current_datetime if hasattr(botocore.auth, "get_current_datetime") else None
            past = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
            request.context["timestamp"] = past.strftime("%Y%m%dT%H%M%SZ")
            del real
            self._modify_request_before_signing(request)
            request.headers["X-Amz-Date"] = request.context["timestamp"]
            string = self.string_to_sign(request, self.canonical_request(request))
            self._inject_signature_to_request(request, self.signature(string, request))

    assert code(signer=Skewed) == (403, "RequestTimeTooSkewed")
    c = http.client.HTTPConnection("127.0.0.1", cluster.s3_port)
    c.request("GET", f"/{bucket}")
    r = c.getresponse()
    body = r.read()
    assert r.status == 403 and b"AccessDenied" in body and b"<RequestId>" in body
    assert r.headers["x-amz-request-id"]


def test_presigned(cluster, bucket):
    s3 = cluster.client(signature_version="s3v4")
    s3.put_object(Bucket=bucket, Key="k", Body=b"signed")

    def fetch(url, method="GET", body=None):
        parts = urllib.parse.urlsplit(url)
        c = http.client.HTTPConnection(parts.netloc)
        c.request(method, f"{parts.path}?{parts.query}", body=body)
        r = c.getresponse()
        return r.status, r.read()

    assert fetch(s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k"})) == (200, b"signed")
    put = s3.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "p"})
    assert fetch(put, "PUT", b"by url")[0] == 200
    assert s3.get_object(Bucket=bucket, Key="p")["Body"].read() == b"by url"
    short = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k"}, ExpiresIn=1)
    time.sleep(2.1)
    status, body = fetch(short)
    assert status == 403 and b"Request has expired" in body


def test_limits(cluster, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k" * 1024, Body=b"x")
    assert error(s3.put_object, Bucket=bucket, Key="k" * 1025, Body=b"x") == (400, "KeyTooLongError")
    s3.put_object(Bucket=bucket, Key="m", Body=b"x", Metadata={"a": "v" * 2047})
    assert error(s3.put_object, Bucket=bucket, Key="m", Body=b"x", Metadata={"a": "v" * 2049}) == (
        400, "MetadataTooLarge")
    status, body, _ = signed(cluster, "GET", f"/{bucket}", "list-type=2&max-keys=-1")
    assert status == 400 and b"InvalidArgument" in body
    status, body, _ = signed(cluster, "GET", f"/{bucket}", "versioning=")
    assert status in (200, 501)
    status, body, _ = signed(cluster, "PUT", f"/{bucket}", "metadataTable=", body=b"<x/>")
    assert status == 501 and b"NotImplemented" in body


def test_read_your_writes_through_every_gateway(cluster, bucket):
    """Strong consistency as a user sees it: written here, read there, at once."""
    clients = [cluster.client(z) for z in (1, 2, 3)]
    for i in range(60):
        writer, reader = clients[i % 3], clients[(i + 1) % 3]
        body = b"%d" % i
        writer.put_object(Bucket=bucket, Key="k", Body=body)
        assert reader.get_object(Bucket=bucket, Key="k")["Body"].read() == body
        if i % 5 == 4:
            reader.delete_object(Bucket=bucket, Key="k")
            assert error(writer.head_object, Bucket=bucket, Key="k")[0] == 404
            assert "Contents" not in clients[(i + 2) % 3].list_objects_v2(Bucket=bucket)


def test_restart_keeps_everything(cluster, s3, bucket):
    bodies = {f"k{i}": hashlib.sha256(b"%d" % i).digest() * (1 << (i * 2)) for i in range(9)}
    for key, body in bodies.items():
        s3.put_object(Bucket=bucket, Key=key, Body=body)
    cluster.down()
    began = time.monotonic()
    cluster.up()
    assert time.monotonic() - began < 8
    for key, body in bodies.items():
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == body
