"""What no good client sends: broken HTTP, XML, signatures and chunks, too much of everything, and
strangers among the nodes.  Each gets a clear error, and the process is as well as before."""
import base64
import hashlib
import pathlib
import ssl
import subprocess
import time
import urllib.request
import zlib

import pytest

from wire import (EMPTY, HELLO, REQUEST, RESPONSE, SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER, Node, Raw, Signer,
                  exchange, frame, head_text, hello, host_of, put_chunked, request, send)

MIB = 1 << 20
PIECES = [b"a" * 65536, b"b" * 8192, b"the last one"]
WHOLE = b"".join(PIECES)


def crc32(data):
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


@pytest.fixture(scope="module", autouse=True)
def slow_clients(cluster):
    """They begin to talk, slowly, before the other tests of this file; the last test looks at them."""
    began = time.monotonic()
    half, silent = Raw(cluster, 30), Raw(cluster, 30)
    half.send("GET / HTTP/1.1\r\nHost: x\r\nX-")
    return began, half, silent


@pytest.fixture(scope="module", autouse=True)
def unharmed(cluster, slow_clients):
    """No process has died of any of this, and each says that it is well."""
    roles = ("gateway", "metanode", "storagenode", "witness")
    before = {role: cluster.pid(f"z1-{role}-1") for role in roles}
    yield
    for role in roles:
        assert cluster.pid(f"z1-{role}-1") == before[role]
        for page in ("healthz", "readyz"):
            url = f"http://127.0.0.1:{cluster.admin_port(role)}/{page}"
            assert urllib.request.urlopen(url, timeout=5).status == 200
    assert request(cluster, "GET", "/") == (200, "")


# ---- chunks ----

@pytest.mark.parametrize("mode,trailer", [(SIGNED, False), (SIGNED_TRAILER, True), (UNSIGNED_TRAILER, True)])
def test_chunks(cluster, s3, bucket, mode, trailer):
    fields = {"x-amz-checksum-crc32": crc32(WHOLE)} if trailer else None
    assert put_chunked(cluster, f"/{bucket}/k", mode, PIECES, fields) == (200, "")
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert got["Body"].read() == WHOLE and got.get("ContentEncoding", "") == ""
    if trailer:
        assert got["ChecksumCRC32"] == crc32(WHOLE)
    assert put_chunked(cluster, f"/{bucket}/gz", mode, PIECES, fields,
                       extra={"content-encoding": "gzip,aws-chunked"}) == (200, "")
    assert s3.head_object(Bucket=bucket, Key="gz")["ContentEncoding"] == "gzip"
    empty = {"x-amz-checksum-crc32": crc32(b"")} if trailer else None
    assert put_chunked(cluster, f"/{bucket}/empty", mode, [], empty) == (200, "")
    assert s3.head_object(Bucket=bucket, Key="empty")["ContentLength"] == 0


def test_chunks_as_a_part(cluster, s3, bucket):
    up = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    from wire import Signer, chunked, send
    signer = Signer(cluster.credentials)
    query = f"partNumber=1&uploadId={up}"
    headers = signer.headers("PUT", f"/{bucket}/k", query, host_of(cluster), SIGNED,
                             {"x-amz-decoded-content-length": str(len(WHOLE))})
    assert send(cluster, "PUT", f"/{bucket}/k", query, headers, chunked(signer, SIGNED, PIECES)) == (200, "")
    s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=up, MultipartUpload={
        "Parts": [{"PartNumber": 1, "ETag": hashlib.md5(WHOLE).hexdigest()}]})
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == WHOLE


def test_spoiled_chunks(cluster, s3, bucket):
    path = f"/{bucket}/k"
    sum_of = {"x-amz-checksum-crc32": crc32(WHOLE)}

    def put(mode, spoil=None, trailer=None, **kw):
        return put_chunked(cluster, path, mode, PIECES, trailer, spoil, **kw)

    def change(old, new):
        def spoil(body):
            assert old in body
            return body.replace(old, new, 1)
        return spoil

    wrong = (403, "SignatureDoesNotMatch")
    assert put(SIGNED, change(b"aaaa", b"aaab")) == wrong
    assert put(SIGNED, change(b"last", b"lost")) == wrong
    assert put(SIGNED, lambda b: b[:18] + b"0" * 64 + b[82:] if b[18:82] != b"0" * 64 else b)[0] in (400, 403)
    assert put(SIGNED_TRAILER, change(sum_of["x-amz-checksum-crc32"].encode(), b"AAAAAA=="), sum_of) == wrong
    assert put(UNSIGNED_TRAILER, change(b"last", b"lost"), sum_of) == (400, "BadDigest")
    assert put(UNSIGNED_TRAILER, None, {"x-amz-checksum-crc32": crc32(b"other")}) == (400, "BadDigest")
    assert put(UNSIGNED_TRAILER, None, {"x-amz-checksum-crc32": "not base64"})[0] == 400
    assert put(SIGNED, decoded=len(WHOLE) + 1)[0] == 400
    assert put(SIGNED, decoded=len(WHOLE) - 1)[0] == 400
    assert put(SIGNED, decoded="many")[0] in (400, 411)
    assert put(SIGNED, lambda b: b[:-90]) == (400, "IncompleteBody")
    assert put(SIGNED, change(b"10000;", b"zzzz;"))[0] in (400, 403)
    assert put(SIGNED, change(b"10000;", b"ffffffffffffffff;"))[0] in (400, 403)
    assert put(SIGNED, change(b";chunk-signature=", b";something-else="))[0] in (400, 403)
    assert put(SIGNED, lambda b: b + b"more")[0] == 400
    assert put(SIGNED, extra={"content-encoding": "aws-chunked", "x-amz-trailer": "x-amz-checksum-crc32"})[0] in (
        200, 400)
    assert put(UNSIGNED_TRAILER, change(b"x-amz-checksum-crc32:", b"x-amz-checksum-crc32;"), sum_of)[0] == 400
    short = [b"tiny", b"a" * 9000]
    assert put_chunked(cluster, path, SIGNED, short) == (403, "InvalidChunkSizeError")
    assert request(cluster, "HEAD", path)[0] in (200, 404)
    if request(cluster, "HEAD", path)[0] == 200:  # the one case above that may be taken
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == WHOLE


def test_unsigned_payload(cluster, s3, bucket):
    head = head_text(cluster, "PUT", f"/{bucket}/k", {"Content-Length": 5}, "UNSIGNED-PAYLOAD")
    assert exchange(cluster, f"{head}\r\nhello") == (200, "")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"hello"
    head = head_text(cluster, "PUT", f"/{bucket}/k", {"Content-Length": 5}, hashlib.sha256(b"other").hexdigest())
    assert exchange(cluster, f"{head}\r\nhello") == (400, "XAmzContentSHA256Mismatch")
    head = head_text(cluster, "PUT", f"/{bucket}/k", {"Content-Length": 5}, "STREAMING-NONSENSE")
    assert exchange(cluster, f"{head}\r\nhello")[0] in (400, 501)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"hello"


# ---- HTTP ----

def test_a_trailer_that_cannot_come(cluster, s3, bucket):
    """Announced of a body that has nothing behind it, whatever asks for a body, and whoever sends it."""
    announced = {"x-amz-trailer": "x-amz-checksum-crc32"}
    path, text = f"/{bucket}/k", b"<Delete><Object><Key>k</Key></Object></Delete>"
    assert request(cluster, "PUT", path, "", b"x", announced) == (400, "MalformedTrailerError")
    unsigned = Signer(cluster.credentials).headers("PUT", path, "", host_of(cluster), "UNSIGNED-PAYLOAD", announced)
    assert send(cluster, "PUT", path, "", unsigned, b"x") == (400, "MalformedTrailerError")
    assert request(cluster, "POST", f"/{bucket}", "delete=", text, announced) == (400, "MalformedTrailerError")
    for target, kind in ((f"/{bucket}?delete", "text/xml"), ("/", "application/x-www-form-urlencoded"),
                         (f"/{bucket}", "multipart/form-data; boundary=b")):
        head = (f"POST {target} HTTP/1.1\r\nHost: {host_of(cluster)}\r\nContent-Type: {kind}\r\n"
                f"Content-Length: {len(text)}\r\nx-amz-trailer: x-amz-checksum-crc32\r\n\r\n")
        status, code = exchange(cluster, head + text.decode())
        assert 400 <= status < 500 and code, (target, status)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


CRC, NOTHING, MUCH = "AAAAAA==", "", "9" * 20
ODD_FIELDS = {  # each means something to some operation; none is any good with all of them
    "x-amz-acl": ("public-read", "x", NOTHING), "x-amz-grant-read": ("id=", "x"), "x-amz-tagging": ("a=1&a=2", "%", "="),
    "x-amz-copy-source": ("/", "%", "?versionId=", "a/b?versionId=x"), "x-amz-copy-source-range": ("bytes=1-", "x"),
    "x-amz-copy-source-if-match": ("\"", "*"), "x-amz-metadata-directive": ("x",), "x-amz-tagging-directive": ("x",),
    "x-amz-rename-source": ("/", "k", "%"), "x-amz-client-token": ("x",), "x-amz-storage-class": ("x", NOTHING),
    "x-amz-server-side-encryption": ("AES256", "aws:kms", "x"), "x-amz-server-side-encryption-context": ("e30=", "x"),
    "x-amz-server-side-encryption-aws-kms-key-id": ("x", "arn:aws:kms:::"),
    "x-amz-server-side-encryption-customer-algorithm": ("AES256", "x"),
    "x-amz-server-side-encryption-customer-key": ("A" * 43 + "=", "x"),
    "x-amz-copy-source-server-side-encryption-customer-algorithm": ("AES256",),
    "x-amz-object-lock-mode": ("COMPLIANCE", "x"), "x-amz-object-lock-retain-until-date": ("2099-01-01T00:00:00Z", "x"),
    "x-amz-object-lock-legal-hold": ("ON", "x"), "x-amz-bypass-governance-retention": ("true",),
    "x-amz-checksum-crc32": (CRC, "x"), "x-amz-sdk-checksum-algorithm": ("SHA256", "x"),
    "x-amz-checksum-algorithm": ("CRC32", "x"), "x-amz-checksum-type": ("COMPOSITE", "x"),
    "x-amz-trailer": ("x-amz-checksum-crc32", "x-amz-checksum-crc64nvme", "x", NOTHING),
    "x-amz-decoded-content-length": ("1", "x", MUCH), "x-amz-write-offset-bytes": ("0", "x", MUCH),
    "x-amz-mp-object-size": ("0", "x", MUCH), "x-amz-if-match-size": ("0", MUCH), "x-amz-if-match-initiated-time": ("x",),
    "x-amz-if-match-last-modified-time": ("x",), "x-amz-object-attributes": ("ETag", "x"), "x-amz-max-parts": (MUCH,),
    "x-amz-expected-bucket-owner": ("0" * 12, "x"), "x-amz-request-payer": ("x",), "x-amz-mfa": ("1 2",),
    "x-amz-object-ownership": ("x",), "x-amz-bucket-object-lock-enabled": ("true", "x"), "x-cairn-replica": ("1",),
    "x-amz-website-redirect-location": ("x",), "x-amz-security-token": ("x", NOTHING), "x-amz-meta-": ("x",),
    "if-match": ("*", "\""), "if-none-match": ("*", "W/\"x\""), "if-modified-since": ("x",), "if-unmodified-since": ("x",),
    "range": ("bytes=9-", "x"), "content-md5": (CRC, "x"), "content-encoding": ("aws-chunked", "aws-chunked,x"),
    "content-type": ("multipart/form-data; boundary=b", "application/x-www-form-urlencoded"), "origin": ("x",)}
ODD_REQUESTS = (("GET", "/k", "", b""), ("PUT", "/k", "", b"x"), ("DELETE", "/k", "", b""), ("POST", "/k", "uploads=", b""),
                ("PUT", "/k", f"partNumber=1&uploadId={'0' * 32}", b"x"), ("PUT", "/k", "renameObject=", b""),
                ("POST", "/k", f"uploadId={'0' * 32}", b"<CompleteMultipartUpload/>"), ("PUT", "/k", "tagging=", b"<Tagging/>"),
                ("GET", "", "list-type=2", b""), ("PUT", "", "cors=", b"<CORSConfiguration/>"),
                ("POST", "", "delete=", b"<Delete><Object><Key>k</Key></Object></Delete>"), ("POST", "", "", b"--b--"))


@pytest.mark.parametrize("which", range(len(ODD_REQUESTS)))
def test_odd_fields(cluster, s3, bucket, which):
    """Every field that some operation looks at, on others: an answer, and none that the gateway itself is to blame for."""
    method, path, query, body = ODD_REQUESTS[which]
    for field, values in ODD_FIELDS.items():
        for value in values:
            status, code = request(cluster, method, f"/{bucket}{path}", query, body, {field: value})
            assert 200 <= status < 500 or (status, code) == (501, "NotImplemented"), (field, value, status, code)
    cluster.check_nobody_ended()


def test_expect_continue(cluster, s3, bucket):
    body = b"w" * 100000
    head = head_text(cluster, "PUT", f"/{bucket}/k", {"Content-Length": len(body), "Expect": "100-continue"},
                     "UNSIGNED-PAYLOAD")
    raw = Raw(cluster).send(head + "\r\n")
    assert raw.response()[0] == 100
    assert raw.send(body).response()[0] == 200
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == body
    # Refused before the body was sent: no 100, and the body is not waited for.
    refused = head.replace("Signature=", "Signature=0")
    raw = Raw(cluster).send(refused + "\r\n")
    status, text = raw.response()
    assert status in (400, 403) and b"<Code>" in text
    missing = head_text(cluster, "PUT", "/no-such-bucket-here/k",
                        {"Content-Length": 10, "Expect": "100-continue"}, "UNSIGNED-PAYLOAD")
    assert Raw(cluster).send(missing + "\r\n").response()[0] == 404
    assert exchange(cluster, head.replace("100-continue", "magic") + "\r\n")[0] == 417


def test_pipelining(cluster, s3, bucket):
    s3.put_object(Bucket=bucket, Key="one", Body=b"1" * 100)
    s3.put_object(Bucket=bucket, Key="two", Body=b"2" * 200000)
    put = head_text(cluster, "PUT", f"/{bucket}/three", {"Content-Length": 3}, "UNSIGNED-PAYLOAD") + "\r\n333"
    gets = [head_text(cluster, "GET", f"/{bucket}/{k}") + "\r\n" for k in ("one", "two", "none", "three")]
    raw = Raw(cluster).send(gets[0] + gets[1] + put + gets[2] + gets[3] + gets[0])
    answers = [raw.response() for _ in range(6)]
    assert [status for status, _ in answers] == [200, 200, 200, 404, 200, 200]
    assert answers[1][1] == b"2" * 200000 and answers[4][1] == b"333" and answers[5][1] == b"1" * 100


HOST = "Host: x\r\n"
MALFORMED = {
    "both lengths": (f"PUT /b/k HTTP/1.1\r\n{HOST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
                     "0\r\n\r\n", 400),
    "both lengths, reversed": (f"PUT /b/k HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"
                               "\r\n0\r\n\r\n", 400),
    "two lengths": (f"PUT /b/k HTTP/1.1\r\n{HOST}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
    "negative length": (f"PUT /b/k HTTP/1.1\r\n{HOST}Content-Length: -5\r\n\r\n", 400),
    "length in words": (f"PUT /b/k HTTP/1.1\r\n{HOST}Content-Length: five\r\n\r\n", 400),
    "length beyond numbers": (f"PUT /b/k HTTP/1.1\r\n{HOST}Content-Length: {10 ** 30}\r\n\r\n", 400),
    "unknown encoding": (f"PUT /b/k HTTP/1.1\r\n{HOST}Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "no host": ("GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (f"GET / HTTP/1.1\r\n{HOST}Host: y\r\n\r\n", 400),
    "folded line": (f"GET / HTTP/1.1\r\n{HOST}X-A: 1\r\n 2\r\n\r\n", 400),
    "space before colon": (f"GET / HTTP/1.1\r\n{HOST}X-A : 1\r\n\r\n", 400),
    "zero byte": (f"GET / HTTP/1.1\r\n{HOST}X-A: 1\0002\r\n\r\n", 400),
    "no version": ("GET /\r\n\r\n", (400, 505)),
    "version 2": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 405, 505)),
    "unknown method": (f"BREW /b/k HTTP/1.1\r\n{HOST}\r\n", (400, 405)),
    "connect": (f"CONNECT x:1 HTTP/1.1\r\n{HOST}\r\n", (400, 405)),
    "TLS": ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", (400, 405)),
    "noise": ("\xff\xfe\x00\x01" * 50, (400, 405)),
    "long target": (f"GET /{'x' * 70000} HTTP/1.1\r\n{HOST}\r\n", 400),
    "long field": (f"GET / HTTP/1.1\r\n{HOST}X-A: {'x' * 70000}\r\n\r\n", 400),
    "many fields": (f"GET / HTTP/1.1\r\n{HOST}" + "X-A: 1\r\n" * 500 + "\r\n", 400),
    "bad escape": (f"GET /b/%zz HTTP/1.1\r\n{HOST}\r\n", (400, 403)),
    "half an escape": (f"GET /b/%4 HTTP/1.1\r\n{HOST}\r\n", (400, 403)),
    "escaped zero": (f"GET /b/%00 HTTP/1.1\r\n{HOST}\r\n", (400, 403)),
    "not UTF-8": (f"GET /b/%ff%fe HTTP/1.1\r\n{HOST}\r\n", (400, 403)),
    "absolute target": (f"GET http://other/ HTTP/1.1\r\n{HOST}\r\n", (400, 403)),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_http(cluster, name):
    text, expected = MALFORMED[name]
    status, code = exchange(cluster, text.encode("latin-1"))
    assert status in (expected if isinstance(expected, tuple) else (expected,)), (status, code)
    assert code


def test_chunked_framing(cluster, s3, bucket):
    """Transfer-Encoding: chunked with aws-chunked inside is fine; broken framing is not."""
    from wire import Signer, chunked
    signer = Signer(cluster.credentials)

    def put(frame_of, key="k"):
        headers = signer.headers("PUT", f"/{bucket}/{key}", "", host_of(cluster), SIGNED,
                                 {"x-amz-decoded-content-length": str(len(WHOLE))})
        text = f"PUT /{bucket}/{key} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
        return exchange(cluster, (text + "Transfer-Encoding: chunked\r\n\r\n").encode()
                        + frame_of(chunked(signer, SIGNED, PIECES)))

    def good(body):
        return b"".join(b"%x\r\n%s\r\n" % (len(body[i:i + 7000]), body[i:i + 7000])
                        for i in range(0, len(body), 7000)) + b"0\r\n\r\n"

    assert put(good) == (200, "")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == WHOLE
    for spoiled in (lambda b: b"xyz\r\n" + b, lambda b: b"f" * 17 + b"\r\n" + b,
                    lambda b: b"5\r\nhello!\r\n" + b, lambda b: b"5;" + b"e" * 100000 + b"\r\nhello\r\n"):
        assert put(spoiled, "spoiled")[0] == 400
    head = head_text(cluster, "PUT", f"/{bucket}/plain", {"Transfer-Encoding": "chunked"}, "UNSIGNED-PAYLOAD")
    assert exchange(cluster, f"{head}\r\n5\r\nhello\r\n0\r\n\r\n") == (411, "MissingContentLength")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1


def test_errors_of_head_have_no_body(cluster, bucket):
    for path, status in ((f"/{bucket}/none", 404), ("/no-such-bucket-here", 404)):
        raw = Raw(cluster).send(head_text(cluster, "HEAD", path) + "\r\n"
                                + head_text(cluster, "GET", "/") + "\r\n")
        while b"HTTP/1.1 200" not in raw.got:
            assert raw.more()
        first, second = raw.got.split(b"HTTP/1.1 200")
        assert first.startswith(b"HTTP/1.1 %d" % status) and first.endswith(b"\r\n\r\n")
    raw = Raw(cluster).send(f"HEAD /{bucket} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    while raw.more():
        pass
    assert raw.got.startswith(b"HTTP/1.1 403") and raw.got.endswith(b"\r\n\r\n")


def test_body_that_breaks_off(cluster, s3, bucket):
    for size in (10000, 200000, 9 * MIB):
        raw = Raw(cluster)
        raw.send(head_text(cluster, "PUT", f"/{bucket}/torn", {"Content-Length": size}, "UNSIGNED-PAYLOAD")
                 + "\r\n")
        raw.send(b"x" * (size - 1))
        raw.s.close()
    assert request(cluster, "GET", f"/{bucket}/torn") == (404, "NoSuchKey")


# ---- documents ----

DELETE = '<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{}</Delete>'


@pytest.mark.parametrize("text", [
    "", "not XML", "<Delete>", "<Delete></Delete>", "<Other/>", "<Delete><Object></Object></Delete>",
    "<Delete><Object><Key>a</Key></Object>", "<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>",
    '<!DOCTYPE d [<!ENTITY a "b"><!ENTITY c "&a;&a;&a;">]><Delete><Object><Key>&c;</Key></Object></Delete>',
    '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><Delete><Object><Key>&x;</Key></Object></Delete>',
    "<Delete>" + "<a>" * 5000 + "</a>" * 5000 + "</Delete>",
    DELETE.format("<Object><Key>k</Key></Object>" * 1001),
    "<Delete><Object><Key>\x01</Key></Object></Delete>"])
def test_malformed_delete(cluster, s3, bucket, text):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    body = text.encode()
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    status, code = request(cluster, "POST", f"/{bucket}", "delete=", body, {"content-md5": md5})
    assert status == 400 and code in ("MalformedXML", "MissingRequestBodyError"), (status, code)
    s3.head_object(Bucket=bucket, Key="k")


def test_other_malformed_documents(cluster, s3, bucket):
    up = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    for text in ("", "<x", "<CompleteMultipartUpload></CompleteMultipartUpload>",
                 "<CompleteMultipartUpload><Part><PartNumber>x</PartNumber><ETag>e</ETag></Part>"
                 "</CompleteMultipartUpload>",
                 "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>"):
        status, code = request(cluster, "POST", f"/{bucket}/k", f"uploadId={up}", text.encode())
        assert status == 400 and code in ("MalformedXML", "MissingRequestBodyError", "InvalidRequest"), text
    for text in ("<x", "<CreateBucketConfiguration><LocationConstraint>mars</LocationConstraint>"
                       "</CreateBucketConfiguration>"):
        assert request(cluster, "PUT", "/another-bucket-name", "", text.encode())[0] == 400
    assert request(cluster, "POST", f"/{bucket}/k", "uploadId=" + "0" * 32,
                   b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>e</ETag></Part>"
                   b"</CompleteMultipartUpload>") == (404, "NoSuchUpload")
    assert request(cluster, "GET", f"/{bucket}/k", "uploadId=../../etc")[0] in (400, 404)
    assert request(cluster, "HEAD", "/another-bucket-name")[0] == 404


def test_too_much(cluster, bucket):
    big = b"<Delete>" + b" " * (3 * MIB) + b"</Delete>"
    md5 = base64.b64encode(hashlib.md5(big).digest()).decode()
    assert request(cluster, "POST", f"/{bucket}", "delete=", big, {"content-md5": md5})[0] == 400

    def claim(size, path=f"/{bucket}/k", query=""):
        head = head_text(cluster, "PUT", path, {"Content-Length": size}, "UNSIGNED-PAYLOAD", query)
        return exchange(cluster, head + "\r\n")

    assert claim((5 << 30) + 1) == (400, "EntityTooLarge")
    assert claim(1 << 50) == (400, "EntityTooLarge")
    assert request(cluster, "PUT", f"/{bucket}/{'k' * 1025}", "", b"x") == (400, "KeyTooLongError")
    assert request(cluster, "GET", f"/{bucket}/{'k' * 1025}") == (400, "KeyTooLongError")
    many = {f"x-amz-meta-{i}": "v" * 100 for i in range(30)}
    assert request(cluster, "PUT", f"/{bucket}/k", "", b"x", many) == (400, "MetadataTooLarge")
    for number in ("0", "10001", "-1", "x", "99999999999999999999"):
        assert request(cluster, "PUT", f"/{bucket}/k", f"partNumber={number}&uploadId={'0' * 32}",
                       b"x") == (400, "InvalidArgument"), number
    for query in ("max-keys=x", "max-keys=-1", "max-keys=99999999999999999999", "list-type=3",
                  "list-type=2&continuation-token=nonsense%00", "encoding-type=nonsense"):
        assert request(cluster, "GET", f"/{bucket}", query) == (400, "InvalidArgument"), query


def test_bad_values(cluster, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x" * 1000)
    path = f"/{bucket}/k"
    for spec in ("bytes=5-2", "bytes=x-y", "lines=1-2", "bytes=0-1,5-6", "bytes=-"):
        assert request(cluster, "GET", path, extra={"range": spec})[0] in (200, 206, 416), spec
    assert request(cluster, "GET", path, extra={"range": "bytes=-0"}) == (416, "InvalidRange")
    assert request(cluster, "GET", path, "partNumber=2")[0] == 416
    assert request(cluster, "GET", path, "partNumber=1", extra={"range": "bytes=0-1"})[0] == 400
    for field, value in (("content-md5", "nonsense"), ("content-md5", "AAAA"),
                         ("x-amz-checksum-crc32", "nonsense"), ("x-amz-checksum-sha256", "AAAA"),
                         ("x-amz-copy-source", "nowhere"), ("x-amz-copy-source", "/%zz/k")):
        status, code = request(cluster, "PUT", path, "", b"" if "copy" in field else b"x", {field: value})
        assert status == 400 and code, (field, value, status)
    both = {"x-amz-checksum-crc32": crc32(b"x"), "x-amz-checksum-sha256": "A" * 43 + "="}
    assert request(cluster, "PUT", path, "", b"x", both) == (400, "InvalidRequest")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x" * 1000


# ---- signatures ----

def test_bad_signatures(cluster, bucket):
    good = head_text(cluster, "GET", f"/{bucket}")

    def said(text):
        return exchange(cluster, text + "\r\n")

    assert said(good) == (200, "")
    for target in ("/%zz", "/%4", "/%00", "/%ff", "/a?x=%zz"):  # where a signature does not matter any more
        assert said(good.replace(f"GET /{bucket} ", f"GET /{bucket}{target} "))[0] in (400, 403), target
    line = next(x for x in good.split("\r\n") if x.startswith("authorization"))
    for bad, expected in ((line[:-1] + ("0" if line[-1] != "0" else "1"), (403, "SignatureDoesNotMatch")),
                          (line[:-3], (400, 403)), (line.replace("Signature=", "Sig="), (400,)),
                          (line.replace("SignedHeaders=host;", "SignedHeaders="), (400, 403)),
                          ("authorization: AWS4-HMAC-SHA256", (400,)),
                          ("authorization: AWS4-HMAC-SHA256 Credential=/////, SignedHeaders=, Signature=", (400, 403)),
                          ("authorization: AWS AKIA:c2ln", (400,)), ("authorization: Basic eDp5", (400,)),
                          ("authorization: " + "x" * 5000, (400,)),
                          (line.replace("/s3/", "/ec2/"), (400,)), (line.replace("us-east-1", "mars"), (400,))):
        got = said(good.replace(line, bad))
        assert got == expected or got[0] in expected, (bad, got)
        assert got[1]
    assert said(good.replace(f"x-amz-content-sha256: {EMPTY}", f"x-amz-content-sha256: {EMPTY[:-1]}0")) == (
        403, "SignatureDoesNotMatch")
    assert said(good.replace("x-amz-date: ", "x-amz-date: 9"))[0] in (400, 403)
    query = ("X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=x&X-Amz-Date=20200101T000000Z"
             "&X-Amz-Expires={}&X-Amz-SignedHeaders=host&X-Amz-Signature=00")
    for expires in ("604801", "-1", "x"):
        assert said(f"GET /{bucket}?{query.format(expires)} HTTP/1.1\r\nHost: x\r\n") == (
            400, "AuthorizationQueryParametersError")


# ---- strangers among the nodes ----

@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A certificate that says all the right things, by a CA of its own."""
    top = tmp_path_factory.mktemp("foreign")

    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=top, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
            "ca.key", "-out", "ca.crt", "-days", "2", "-subj", "/O=Cairn/CN=Cairn development CA")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "n.key",
            "-out", "n.csr", "-subj", "/O=Cairn/OU=metanode/CN=z2-metanode-1")
    openssl("x509", "-req", "-in", "n.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days",
            "2", "-out", "n.crt")
    return str(top / "n.crt"), str(top / "n.key")


def certificate(cluster, node):
    return tuple(str(pathlib.Path(cluster.var) / "pki" / f"{node}.{kind}") for kind in ("crt", "key"))


ROLES = ("metanode", "storagenode", "witness")


def port_of(cluster, role):
    return cluster.admin_port(role) - 1000


@pytest.mark.parametrize("role", ROLES)
def test_strangers(cluster, foreign, role):
    port = port_of(cluster, role)
    for own in (None, foreign):
        with pytest.raises(OSError):  # the refusal may come with the handshake or with the first read
            node = Node(port, certificate=own)
            node.s.sendall(hello())
            node.read(1)
    with pytest.raises(OSError):
        Node(port, certificate=certificate(cluster, "z2-metanode-1"), minimum=ssl.TLSVersion.TLSv1_2).read(1)
    import socket
    plain = socket.create_connection(("127.0.0.1", port), timeout=5)
    plain.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
    plain.settimeout(5)
    try:
        while plain.recv(4096):
            pass
    except ConnectionResetError:
        pass
    url = f"http://127.0.0.1:{cluster.admin_port(role)}/healthz"
    assert urllib.request.urlopen(url, timeout=5).status == 200


def test_wrong_role(cluster):
    """A node of the cluster may only make the calls of its role."""
    ca = str(pathlib.Path(cluster.var) / "pki" / "ca.crt")
    refused, unknown = -16, -17
    for role, caller, method, status in (("metanode", "z1-storagenode-1", 1, refused),
                                         ("metanode", "z1-gateway-1", 20, refused),
                                         ("witness", "z1-gateway-1", 31, refused),
                                         ("witness", "z1-metanode-1", 32, refused),
                                         ("storagenode", "z1-witness-1", 41, refused),
                                         ("storagenode", "z1-witness-1", 42, refused),
                                         ("metanode", "z1-gateway-1", 999, unknown)):
        node = Node(port_of(cluster, role), ca, certificate(cluster, caller))
        node.s.sendall(hello() + frame(REQUEST, method, 1, 5000))
        assert node.frame()[0] == HELLO
        flags, _, request_id, got, _ = node.frame()
        assert (flags & 31, request_id, got) == (RESPONSE, 1, status), (role, caller, method)
        node.s.close()


def test_malformed_frames(cluster):
    """From a node with the right certificate, even: the connection ends, the process does not."""
    ca = str(pathlib.Path(cluster.var) / "pki" / "ca.crt")
    good = frame(REQUEST, 8, 1, 5000)
    for role in ROLES:
        for bad in (b"\0" * 40, b"CRN1" + b"\xff" * 36, good[:20] + b"\xff" * 4 + good[24:], good,
                    hello() + good[:-1] + bytes([good[-1] ^ 1]), hello() + b"x" * 1000,
                    hello() + frame(RESPONSE, 8, 7, 0), hello() + frame(64, 8, 1, 1)):
            node = Node(port_of(cluster, role), ca, certificate(cluster, "z2-metanode-1"))
            node.s.sendall(bad)
            assert node.frame()[0] == HELLO
            with pytest.raises(OSError):
                node.read(1)
        node = Node(port_of(cluster, role), ca, certificate(cluster, "z2-metanode-1"))
        node.s.sendall(hello() + frame(REQUEST, 8, 1, 5000, b"\xff" * 500))  # no message of any type
        node.frame()
        assert node.frame()[3] < 0
        assert urllib.request.urlopen(f"http://127.0.0.1:{cluster.admin_port(role)}/healthz").status == 200


def test_slow_clients_are_sent_away(cluster, slow_clients):
    began, half, silent = slow_clients
    while time.monotonic() - began < 12:
        time.sleep(0.2)
        if half.s.fileno() >= 0:
            try:
                half.send("x")
            except OSError:
                break
    assert half.response()[0] in (0, 400, 408)
    assert half.closed() and silent.closed()
