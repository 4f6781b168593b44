"""URLs and forms presigned with signature version 2, as boto3 and s3cmd make them unless they are told otherwise."""
import base64
import hashlib
import hmac
import json
import re
import time
import urllib.parse

import boto3
import botocore.config
import pytest

from test_browser import ask, form, open_to_all, post, signed
from test_clients import run
from test_iam import S3_FULL, Who, iam, make_user, root  # noqa: F401
from wire import code_of, host_of, request

KEYS = ["plain", "a/ü b+c~'(&=?#%2F.txt", "./../x", "//", "日本/語", "a\\b\"<>"]


def presigner(cluster, keys=None, host=None, addressing="path"):
    """boto3 without a word on signatures."""
    access, secret, token = keys or (*cluster.credentials, None)
    return boto3.client("s3", endpoint_url=f"http://{host}" if host else cluster.endpoint(), aws_access_key_id=access,
                        aws_secret_access_key=secret, aws_session_token=token, region_name="us-east-1",
                        config=botocore.config.Config(s3={"addressing_style": addressing}))


def call(cluster, url, method="GET", body=None, headers=(), zone=1):
    """Returns: status, error code or body."""
    assert "AWSAccessKeyId=" in url and "X-Amz-" not in url, url
    parts = urllib.parse.urlsplit(url)
    status, _, data = ask(cluster, method, f"{parts.path}?{parts.query}", headers, body, zone, parts.netloc)
    return status, code_of(data) or data


def presign(cluster, method, path, query="", expires=None, headers=(), md5="", kind="", keys=None):
    """A target, by a signer of our own.  query: sent; what of it is signed is the caller's: up to "|"."""
    access, secret = keys or cluster.credentials
    signed, _, more = query.partition("|")
    expires = str(int(time.time()) + 300 if expires is None else expires)
    text = "\n".join([method, md5, kind, expires, *[f"{k}:{v}" for k, v in sorted(dict(headers).items())],
                      urllib.parse.quote(path, safe="/-_.~") + (f"?{urllib.parse.unquote(signed)}" if signed else "")])
    signature = base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()).decode()
    pairs = [signed, more, urllib.parse.urlencode({"AWSAccessKeyId": access, "Signature": signature, "Expires": expires})]
    return f"{urllib.parse.quote(path, safe='/-_.~')}?{'&'.join(p for p in pairs if p)}"


def presigned(cluster, method, path, query="", body=None, sent=(), **more):
    status, _, data = ask(cluster, method, presign(cluster, method, path, query, **more), sent, body)
    return status, code_of(data) or data


@pytest.mark.parametrize("addressing", ["path", "virtual"])
def test_boto3(cluster, bucket, s3, addressing):
    signer = presigner(cluster, host=f"localhost:{cluster.s3_port}", addressing=addressing)
    url = lambda operation, **params: signer.generate_presigned_url(operation, {"Bucket": bucket, **params})
    if addressing == "virtual":
        assert urllib.parse.urlsplit(url("head_bucket")).hostname == f"{bucket}.localhost"
    for key in KEYS:
        data = key.encode()
        assert call(cluster, url("put_object", Key=key), "PUT", data) == (200, b""), key
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == data
        assert call(cluster, url("get_object", Key=key)) == (200, data), key
        assert call(cluster, url("get_object", Key=key), headers={"Range": "bytes=1-2"}) == (206, data[1:3])
        assert call(cluster, url("head_object", Key=key), "HEAD") == (200, b"")
    name = 'attachment; filename="a&b ü+%.txt"'
    parts = urllib.parse.urlsplit(url("get_object", Key="plain", ResponseContentDisposition=name,
                                      ResponseContentType="text/x", ResponseCacheControl="no-store"))
    status, fields, _ = ask(cluster, "GET", f"{parts.path}?{parts.query}", host=parts.netloc)
    assert status == 200 and fields["Content-Type"] == "text/x" and fields["Cache-Control"] == "no-store"
    assert fields["Content-Disposition"].encode("latin-1").decode() == name
    # what botocore puts into the query: it counts, sent as well or not
    typed = url("put_object", Key="typed", ContentType="text/x", Metadata={"m": "b c"}, Tagging="t=1", StorageClass="STANDARD_IA")
    for headers in ({}, {"Content-Type": "text/x", "x-amz-meta-m": "b c"}):
        assert call(cluster, typed, "PUT", b"1", headers) == (200, b"")
        head = s3.head_object(Bucket=bucket, Key="typed")
        assert (head["ContentType"], head["Metadata"], head["StorageClass"]) == ("text/x", {"m": "b c"}, "STANDARD_IA")
        assert s3.get_object_tagging(Bucket=bucket, Key="typed")["TagSet"] == [{"Key": "t", "Value": "1"}]
        s3.delete_object(Bucket=bucket, Key="typed")
    assert call(cluster, typed, "PUT", b"1", {"Content-Type": "text/y"}) == (403, "SignatureDoesNotMatch")
    assert call(cluster, typed, "PUT", b"1", {"x-amz-meta-m": "other"}) == (400, "InvalidArgument")
    # lists, multipart, copies, settings
    for operation in ("list_objects", "list_objects_v2", "list_object_versions"):
        status, data = call(cluster, url(operation, Prefix="pl", MaxKeys=5))
        assert status == 200 and b"<Key>plain</Key>" in data and b"\xe6\x97\xa5" not in data
    upload = re.search(rb"<UploadId>(\w+)<", call(cluster, url("create_multipart_upload", Key="mp"), "POST", b"")[1]).group(1).decode()
    assert call(cluster, url("upload_part", Key="mp", UploadId=upload, PartNumber=1), "PUT", b"part") == (200, b"")
    status, data = call(cluster, url("list_parts", Key="mp", UploadId=upload))
    etag = re.search(rb"<ETag>([^<]+)<", data).group(1).decode()
    document = f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    assert call(cluster, url("complete_multipart_upload", Key="mp", UploadId=upload), "POST", document.encode())[0] == 200
    assert call(cluster, url("copy_object", Key="copy", CopySource=f"{bucket}/mp"), "PUT", b"")[0] == 200
    assert call(cluster, url("get_object", Key="copy")) == (200, b"part")
    tags = b"<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>"
    assert call(cluster, url("put_object_tagging", Key="copy", Tagging={"TagSet": []}), "PUT", tags)[0] == 200
    assert b"<Value>v<" in call(cluster, url("get_object_tagging", Key="copy"))[1]
    assert call(cluster, url("get_bucket_location"))[0] == 200
    assert call(cluster, signer.generate_presigned_url("list_buckets"))[0] == 200
    for key in [*KEYS, "mp", "copy"]:
        assert call(cluster, url("delete_object", Key=key), "DELETE") == (204, b"")
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_versions(cluster, s3, bucket):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first, second = (s3.put_object(Bucket=bucket, Key="k", Body=body)["VersionId"] for body in (b"1", b"2"))
    url = lambda operation, **more: presigner(cluster).generate_presigned_url(operation, {"Bucket": bucket, "Key": "k", **more})
    assert call(cluster, url("get_object", VersionId=first)) == (200, b"1")
    assert call(cluster, url("get_object", VersionId=first).replace(f"versionId={first}&", "")) == (403, "SignatureDoesNotMatch")
    assert call(cluster, url("get_object", VersionId=first).replace(first, second)) == (403, "SignatureDoesNotMatch")
    for version in (first, second):
        assert call(cluster, url("delete_object", VersionId=version), "DELETE") == (204, b"")
    s3.delete_bucket(Bucket=bucket)
    s3.create_bucket(Bucket=bucket)


def test_own_signer(cluster, s3, bucket):
    """A second opinion on what is signed."""
    path = f"/{bucket}/ü k"
    assert presigned(cluster, "PUT", path, body=b"data") == (200, b"")
    assert presigned(cluster, "GET", path) == (200, b"data")
    assert presigned(cluster, "GET", path, "|x-id=GetObject&utm_source=mail") == (200, b"data")
    md5 = base64.b64encode(hashlib.md5(b"data").digest()).decode()
    assert presigned(cluster, "PUT", path, body=b"data", md5=md5, sent={"Content-MD5": md5}) == (200, b"")
    assert presigned(cluster, "PUT", path, body=b"date", md5=md5, sent={"Content-MD5": md5}) == (400, "BadDigest")
    assert presigned(cluster, "PUT", path, body=b"data", sent={"Content-MD5": md5}) == (403, "SignatureDoesNotMatch")
    for sha, want in ((hashlib.sha256(b"data").hexdigest(), (200, b"")), ("0" * 64, (400, "XAmzContentSHA256Mismatch"))):
        headers = {"x-amz-content-sha256": sha}
        assert presigned(cluster, "PUT", path, body=b"data", headers=headers, sent=headers) == want
    headers = {"x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}
    assert presigned(cluster, "PUT", path, body=b"data", headers=headers, sent=headers) == (400, "InvalidRequest")
    # an operation that S3's list does not have is signed like the others, or not done
    assert presigned(cluster, "GET", f"/{bucket}/", "policyStatus")[1] == "NoSuchBucketPolicy"
    for query in ("|policyStatus", "|tagging", "|ownershipControls", "|publicAccessBlock", "|versioning"):
        assert presigned(cluster, "GET", f"/{bucket}/", query) == (403, "SignatureDoesNotMatch"), query
    for query in ("|retention", "|legal-hold", "|acl", "|tagging", "|renameObject"):
        assert presigned(cluster, "PUT", path, query, body=b"") == (403, "SignatureDoesNotMatch"), query
    assert s3.get_object(Bucket=bucket, Key="ü k")["Body"].read() == b"data"


def test_refused(cluster, s3, bucket):
    path, key = f"/{bucket}/k", {"Bucket": bucket, "Key": "k"}
    s3.put_object(**key, Body=b"data")
    signer, now = presigner(cluster), int(time.time())
    # times: S3 knows no end that is too far away
    assert presigned(cluster, "GET", path, expires=now + 100 * 366 * 86400) == (200, b"data")
    short = signer.generate_presigned_url("get_object", key, ExpiresIn=1)
    time.sleep(2.1)
    assert call(cluster, short) == (403, "AccessDenied")
    status, _, data = ask(cluster, "GET", presign(cluster, "GET", path, expires=now - 10))
    assert status == 403 and b"<Message>Request has expired</Message>" in data and b"<ServerTime>" in data
    for expires in ("", "x", "-1", "1.5", "99999999999999999999"):
        assert presigned(cluster, "GET", path, expires=expires) == (403, "AccessDenied"), expires
    # each thing of the URL, changed and taken away
    url = signer.generate_presigned_url("get_object", {**key, "ResponseContentType": "text/x"})
    parts = urllib.parse.urlsplit(url)
    pairs = parts.query.split("&")
    for i, pair in enumerate(pairs):
        name, value = pair.split("=")
        turned = value[:3] + ("1" if value[3] != "1" else "2") + value[4:]
        want = {"AWSAccessKeyId": "InvalidAccessKeyId"}.get(name, "SignatureDoesNotMatch")
        if name == "Expires":
            turned = str(int(value) + 1)
        changed = parts._replace(query="&".join([*pairs[:i], f"{name}={turned}", *pairs[i + 1:]])).geturl()
        status, _, data = ask(cluster, "GET", changed[len(cluster.endpoint()):])
        assert (status, code_of(data)) == (403, want), changed
        if want == "SignatureDoesNotMatch":
            assert b"<StringToSign>GET" in data and b"<StringToSignBytes>47 45 54 0a" in data, data
        assert f"{cluster.credentials[1]}".encode() not in data
        lacks = parts._replace(query="&".join([*pairs[:i], *pairs[i + 1:]])).geturl()
        want = {"response-content-type": "SignatureDoesNotMatch"}.get(name, "AccessDenied")
        status, _, data = ask(cluster, "GET", lacks[len(cluster.endpoint()):])
        assert (status, code_of(data)) == (403, want), lacks
        status, _, data = ask(cluster, "GET", f"{url}&{pair}"[len(cluster.endpoint()):])
        assert (status, code_of(data)) == (403, "SignatureDoesNotMatch" if name.startswith("resp") else "AccessDenied"), pair
    for other in (url.replace("/k?", "/l?"), url + "&versionId=null", url + "&x-amz-meta-a=1", url + "&response-expires=1"):
        assert call(cluster, other) == (403, "SignatureDoesNotMatch"), other
    assert call(cluster, url, "PUT", b"x") == call(cluster, url, "DELETE") == (403, "SignatureDoesNotMatch")
    assert call(cluster, url, headers={"x-amz-acl": "private"}) == (403, "SignatureDoesNotMatch")
    assert call(cluster, url + "&x-amz-new=1") == (501, "NotImplemented")
    # two signatures, and version 2 where it is not taken
    header = {"Authorization": "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=b"}
    assert call(cluster, url, headers=header) == (400, "InvalidArgument")
    assert ask(cluster, "GET", presign(cluster, "GET", path, "|X-Amz-Algorithm=AWS4-HMAC-SHA256"))[0] == 400
    assert request(cluster, "GET", path, "Signature=x") == (400, "InvalidArgument")
    status, _, data = ask(cluster, "GET", path, {"Authorization": f"AWS {cluster.credentials[0]}:aaaa",
                                                 "Date": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())})
    assert (status, code_of(data)) == (400, "InvalidRequest") and b"Please use AWS4-HMAC-SHA256" in data
    assert presigned(cluster, "GET", "/_cairn/admin/v1/status") == (400, "InvalidRequest")
    assert s3.get_object(**key)["Body"].read() == b"data"


def test_policies(cluster, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    url = presigner(cluster).generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k"})
    assert call(cluster, url) == (200, b"data")
    for condition, want in (({"StringEquals": {"s3:signatureversion": "AWS"}}, 403),
                            ({"StringNotEquals": {"s3:signatureversion": "AWS4-HMAC-SHA256"}}, 403),
                            ({"StringEquals": {"s3:signatureversion": "AWS4-HMAC-SHA256"}}, 200),
                            ({"StringEquals": {"s3:authType": "REST-QUERY-STRING"}}, 403),
                            ({"StringNotEquals": {"s3:x-amz-content-sha256": "UNSIGNED-PAYLOAD"}}, 200),
                            ({"NumericGreaterThan": {"s3:signatureAge": "0"}}, 200),
                            ({"Null": {"s3:signatureAge": "true"}}, 403)):
        s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*",
             "Condition": condition}]}))
        assert call(cluster, url)[0] == want, condition
    s3.delete_bucket_policy(Bucket=bucket)
    assert call(cluster, url, zone=2) == (200, b"data")


def test_keys_and_sessions(cluster, s3, bucket, iam, make_user):  # noqa: F811
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    me = make_user(S3_FULL)
    get = lambda keys: presigner(cluster, keys).generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k"})
    url = get(me.keys)
    assert call(cluster, url) == (200, b"data")
    session = Who.session(cluster, me.client("sts").get_session_token()["Credentials"])
    temporary = get(session.keys)
    assert "x-amz-security-token=" in temporary
    assert call(cluster, temporary) == call(cluster, temporary, zone=3) == (200, b"data")
    put = presigner(cluster, session.keys).generate_presigned_url("put_object", {"Bucket": bucket, "Key": "new"})
    assert call(cluster, put, "PUT", b"1") == (200, b"")
    token = re.search("x-amz-security-token=([^&]+)", temporary).group(1)
    for other in (token[:-6] + "AAAA" + token[-2:], "A", ""):
        assert call(cluster, temporary.replace(token, other))[0] in (400, 403), other
    assert call(cluster, temporary.replace(f"&x-amz-security-token={token}", "")) == (403, "InvalidAccessKeyId")
    assert call(cluster, f"{url}&x-amz-security-token={token}")[0] in (400, 403)
    # revoked: for the next request, through any gateway
    for status, want in (("Inactive", (403, "InvalidAccessKeyId")), ("Active", (200, b"data"))):
        iam.update_access_key(UserName=me.name, AccessKeyId=me.keys[0], Status=status)
        assert [call(cluster, url, zone=zone) for zone in (1, 2, 3)] == [want] * 3
    iam.detach_user_policy(UserName=me.name, PolicyArn=S3_FULL)
    assert call(cluster, url) == call(cluster, temporary) == (403, "AccessDenied")
    iam.delete_access_key(UserName=me.name, AccessKeyId=me.keys[0])
    assert call(cluster, url, zone=2) == (403, "InvalidAccessKeyId")


def test_s3cmd(cluster, s3, bucket, tmp_path):
    """It presigns with version 2 only; what it makes is fetched by curl."""
    access, secret = cluster.credentials
    for key in ("plain", "a b/ü+c&d.txt"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
        for style, host_bucket in (("path", "localhost:{}"), ("virtual", "%(bucket)s.localhost:{}")):
            config = tmp_path / style
            config.write_text(f"[default]\naccess_key = {access}\nsecret_key = {secret}\n"
                              f"host_base = localhost:{cluster.s3_port}\nuse_https = False\nsignurl_use_https = False\n"
                              f"host_bucket = {host_bucket.format(cluster.s3_port)}\n")
            s3cmd = lambda *args: run(cluster, "s3cmd", "-c", config, *args).stdout.strip()
            url = s3cmd("signurl", f"s3://{bucket}/{key}", "+300")
            assert ("AWSAccessKeyId=" in url) and (f"//{bucket}." in url) == (style == "virtual"), url
            assert run(cluster, "curl", "-sf", "--noproxy", "*", url).stdout == key
            named = s3cmd("--content-disposition", "attachment; filename=x y.txt", "--content-type", "text/x",
                          "signurl", f"s3://{bucket}/{key}", "+300")
            head = run(cluster, "curl", "-sf", "--noproxy", "*", "-D", "-", "-o", "/dev/null", named).stdout.lower()
            assert "content-disposition: attachment; filename=x y.txt" in head and "content-type: text/x" in head
            assert run(cluster, "curl", "-s", "--noproxy", "*", url.replace("Expires=1", "Expires=2")).stdout.count("SignatureDoesNotMatch")


# ---- forms ----

def posted(cluster, bucket, fields, data=b"data", **more):
    status, _, body = post(cluster, bucket, fields, data, **more)
    return status, code_of(body)


def policy_signed(cluster, document, secret=None, **fields):
    """A form by a signer of our own: fields, and whatever is to be the policy."""
    text = document if isinstance(document, str) else base64.b64encode(json.dumps(document).encode()).decode()
    mac = hmac.new((secret or cluster.credentials[1]).encode(), text.encode(), hashlib.sha1).digest()
    return {"key": "k", "AWSAccessKeyId": cluster.credentials[0], "policy": text,
            "signature": base64.b64encode(mac).decode(), **fields}


def test_form(cluster, s3, bucket):
    """What boto3 makes without being told anything."""
    signer = presigner(cluster)
    made = signer.generate_presigned_post(bucket, "u/${filename}")
    assert made["url"] == f"{cluster.endpoint()}/{bucket}"
    assert set(made["fields"]) == {"key", "AWSAccessKeyId", "policy", "signature"}
    assert posted(cluster, bucket, made["fields"], name="C:\\d\\ü 1.txt") == (204, "")
    assert s3.get_object(Bucket=bucket, Key="u/ü 1.txt")["Body"].read() == b"data"
    large = bytes(range(256)) * 40000
    said = {"Content-Type": "image/png", "x-amz-meta-who": "me", "acl": "private", "success_action_status": "201"}
    for zone, host in ((2, None), (3, f"{bucket}.localhost")):
        status, fields, body = post(cluster, bucket, signed(signer, bucket, "large", said), large, zone=zone, host=host)
        assert status == 201 and b"<Key>large</Key>" in body, body
        got = s3.get_object(Bucket=bucket, Key="large")
        assert got["Body"].read() == large and (got["ContentType"], got["Metadata"]) == ("image/png", {"who": "me"})
        s3.delete_object(Bucket=bucket, Key="large")
    free = lambda name, prefix="": ["starts-with", f"${name}", prefix]
    below = signed(signer, bucket, "in/${filename}", conditions=[free("Content-Type", "image/"), free("x-amz-meta-a")])
    good = {**below, "Content-Type": "image/gif", "x-amz-meta-a": "anything"}
    assert posted(cluster, bucket, good, name="f") == (204, "")
    assert posted(cluster, bucket, {**good, "key": "in/other"}) == (204, "")  # boto3 signs this prefix
    for change in ({"key": "out/f"}, {"Content-Type": "text/html"}, {"x-amz-meta-b": "1"}, {"acl": "public-read"},
                   {"success_action_redirect": "http://there/"}, {"x-amz-date": "20260101T000000Z"},
                   {"x-amz-security-token": "x"}):
        assert posted(cluster, bucket, {**good, **change}) in ((403, "AccessDenied"), (400, "InvalidToken")), change
    assert posted(cluster, bucket, below) == (403, "AccessDenied")  # a condition without its field
    assert posted(cluster, bucket, {**good, "x-ignore-a": "1"}, name="g") == (204, "")
    for low, high in ((0, 0), (4, 4), (4, 70000)):
        sized = signed(signer, bucket, "k", conditions=[["content-length-range", low, high]])
        for size in {low, high, max(low - 1, 0), high + 1}:
            want = (400, "EntityTooSmall") if size < low else (400, "EntityTooLarge") if size > high else (204, "")
            assert posted(cluster, bucket, sized, b"x" * size) == want, (low, high, size)
    # names in any case, as in the documentation
    assert posted(cluster, bucket, {k.title() if k != "key" else k: v for k, v in signed(signer, bucket, "t").items()}) == (204, "")
    assert {o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]} == {"u/ü 1.txt", "in/f", "in/other", "in/g", "k", "t"}


def test_form_refused(cluster, s3, bucket):
    signer = presigner(cluster)
    good = signed(signer, bucket, "k")
    lacks = lambda *names: {k: v for k, v in good.items() if k not in names}
    short = signed(signer, bucket, "k", expires=1)
    # each of the three, changed, empty and taken away
    open_to_all(s3, bucket, ("s3:PutObject", "/*"))  # also where anybody may: who says that they signed must have
    for name, want in (("policy", "SignatureDoesNotMatch"), ("signature", "SignatureDoesNotMatch"),
                       ("AWSAccessKeyId", "InvalidAccessKeyId")):
        value = good[name]
        for changed in (value[:3] + ("B" if value[3] != "B" else "C") + value[4:], value + "A", value[:-4], value.swapcase(),
                        value + "\n", "x", "=" * 28, "\u00fc" * 40):
            status, _, body = post(cluster, bucket, {**good, name: changed})
            assert (status, code_of(body)) == (403, want), (name, changed)
            assert cluster.credentials[1].encode() not in body
            if name == "signature":
                assert f"<StringToSign>{good['policy']}<".encode() in body, body
        for fields in ({**good, name: ""}, lacks(name)):
            status, _, body = post(cluster, bucket, fields)
            assert (status, code_of(body)) == (400, "InvalidArgument"), name
            assert f"<ArgumentName>{name}<".encode() in body and b"Bucket POST must contain a field" in body, body
    assert posted(cluster, bucket, {**good, "AWSAccessKeyId": "A" * 129}) == (403, "InvalidAccessKeyId")
    for names in (("policy", "signature"), ("policy", "AWSAccessKeyId"), ("signature", "AWSAccessKeyId")):
        assert posted(cluster, bucket, lacks(*names)) == (400, "InvalidArgument"), names
    # both kinds, whole or not
    other = signed(cluster.client(signature_version="s3v4"), bucket, "k")
    for fields in ({**good, **other}, {**other, **good}, {**good, "x-amz-signature": ""}, {**other, "signature": ""},
                   {**good, "X-Amz-Credential": other["x-amz-credential"]}, {**other, "awsaccesskeyid": "x"},
                   {**good, "x-amz-algorithm": "AWS4-HMAC-SHA256"}):
        status, _, body = post(cluster, bucket, fields)
        assert (status, code_of(body)) == (400, "InvalidArgument") and b"Only one auth mechanism allowed" in body, body
    assert posted(cluster, bucket, good, headers={"Authorization": "AWS4-HMAC-SHA256 Credential=a"})[0] == 400
    target = presign(cluster, "POST", f"/{bucket}")
    status, _, body = ask(cluster, "POST", target, {"Content-Type": "multipart/form-data; boundary=f0rm"}, form(good))
    assert (status, code_of(body)) == (400, "InvalidArgument")
    # policies: another bucket's, of somebody else, none, of yesterday, a text that else signs a URL
    s3.delete_bucket_policy(Bucket=bucket)
    assert posted(cluster, bucket, signed(signer, "another-bucket", "k")) == (403, "AccessDenied")
    end, conditions = "2099-01-01T00:00:00Z", [{"bucket": bucket}, {"key": "k"}]
    own = lambda document, **more: posted(cluster, bucket, policy_signed(cluster, document, **more))
    assert own({"expiration": end, "conditions": conditions}) == (204, "")
    assert own({"expiration": end, "conditions": conditions}, secret="x" * 40) == (403, "SignatureDoesNotMatch")
    assert own({"expiration": "2020-01-01T00:00:00Z", "conditions": conditions}) == (403, "AccessDenied")
    assert own({"expiration": end, "conditions": conditions[:1]}) == (403, "AccessDenied")
    assert own({"expiration": end, "conditions": conditions}, acl="private") == (403, "AccessDenied")
    for document in ({"conditions": conditions}, {"expiration": end}, [], {}, "=", "e30", "GET\n\n\n4070908800\n/b/k",
                     {"expiration": end, "conditions": [["eq", "$key"]]}, {"expiration": "soon", "conditions": conditions},
                     "A" * 4 * 1000, base64.b64encode(b"[" * 3000).decode()):
        assert own(document) == (400, "InvalidPolicyDocument"), document
    assert own("A" * 25000) == (400, "MaxPostPreDataLengthExceeded")
    time.sleep(1.1)
    status, _, body = post(cluster, bucket, short)
    assert status == 403 and b"Policy expired." in body
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"data"


def test_form_policies(cluster, s3, bucket):
    fields = signed(presigner(cluster), bucket, "k")
    for condition, want in (({"StringEquals": {"s3:signatureversion": "AWS"}}, 403),
                            ({"StringEquals": {"s3:signatureversion": "AWS4-HMAC-SHA256"}}, 204),
                            ({"StringEquals": {"s3:authType": "POST"}}, 403),
                            ({"StringEquals": {"s3:authType": "REST-QUERY-STRING"}}, 204),
                            ({"Null": {"s3:signatureAge": "true"}}, 403)):
        s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{bucket}/*",
             "Condition": condition}]}))
        assert posted(cluster, bucket, fields)[0] == want, condition
    s3.delete_bucket_policy(Bucket=bucket)


def test_form_keys_and_sessions(cluster, s3, bucket, iam, make_user):  # noqa: F811
    me = make_user(S3_FULL)
    fields = signed(presigner(cluster, me.keys), bucket, "k")
    assert posted(cluster, bucket, fields) == (204, "")
    session = Who.session(cluster, me.client("sts").get_session_token()["Credentials"])
    temporary = signed(presigner(cluster, session.keys), bucket, "k")
    token = temporary["x-amz-security-token"]
    assert [posted(cluster, bucket, temporary, zone=zone) for zone in (1, 2, 3)] == [(204, "")] * 3
    for other in (token[:-6] + "AAAA" + token[-2:], "A", ""):
        assert posted(cluster, bucket, {**temporary, "x-amz-security-token": other})[0] in (400, 403), other
    without = {k: v for k, v in temporary.items() if k != "x-amz-security-token"}
    assert posted(cluster, bucket, without) == (403, "InvalidAccessKeyId")
    assert posted(cluster, bucket, {**fields, "x-amz-security-token": token})[0] in (400, 403)
    # the token is under the policy as any field is
    access, secret, _ = session.keys
    conditions = [{"bucket": bucket}, {"key": "k"}]
    for more, want in (([], (403, "AccessDenied")), ([{"x-amz-security-token": token}], (204, ""))):
        made = policy_signed(cluster, {"expiration": "2099-01-01T00:00:00Z", "conditions": conditions + more}, secret,
                             AWSAccessKeyId=access, **{"x-amz-security-token": token})
        assert posted(cluster, bucket, made) == want
    for status, want in (("Inactive", (403, "InvalidAccessKeyId")), ("Active", (204, ""))):
        iam.update_access_key(UserName=me.name, AccessKeyId=me.keys[0], Status=status)
        assert [posted(cluster, bucket, fields, zone=zone) for zone in (1, 2, 3)] == [want] * 3
    iam.detach_user_policy(UserName=me.name, PolicyArn=S3_FULL)
    assert posted(cluster, bucket, fields) == posted(cluster, bucket, temporary) == (403, "AccessDenied")
    iam.delete_access_key(UserName=me.name, AccessKeyId=me.keys[0])
    assert posted(cluster, bucket, fields, zone=2) == (403, "InvalidAccessKeyId")
