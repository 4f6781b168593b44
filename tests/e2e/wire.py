"""Requests made by hand: SigV4 of our own, aws-chunked bodies, raw bytes, and frames between nodes.

An independent second opinion: nothing here comes from botocore or from Cairn's code.
"""
import datetime
import hashlib
import hmac
import http.client
import re
import socket
import ssl
import struct
import urllib.parse

SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
EMPTY = hashlib.sha256(b"").hexdigest()


def mac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Signer:
    """SigV4 in the Authorization header, and the chain of signatures behind it."""

    def __init__(self, credentials, region="us-east-1"):
        self.access, self.secret = credentials
        self.time = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        self.scope = f"{self.time[:8]}/{region}/s3/aws4_request"
        key = f"AWS4{self.secret}".encode()
        for part in self.scope.split("/"):
            key = mac(key, part)
        self.key = key

    def headers(self, method, path, query, host, payload, extra=()):
        headers = {"host": host, "x-amz-date": self.time, "x-amz-content-sha256": payload}
        headers.update({k.lower(): v for k, v in dict(extra).items()})
        names = ";".join(sorted(headers))
        pairs = sorted(urllib.parse.parse_qsl(query, keep_blank_values=True))
        canonical = "\n".join([
            method, urllib.parse.quote(path, safe="/-_.~"),
            "&".join(f"{urllib.parse.quote(k, safe='-_.~')}={urllib.parse.quote(v, safe='-_.~')}"
                     for k, v in pairs),
            *[f"{name}:{headers[name].strip()}" for name in sorted(headers)], "", names, payload])
        text = "\n".join(["AWS4-HMAC-SHA256", self.time, self.scope,
                          hashlib.sha256(canonical.encode()).hexdigest()])
        self.seed = mac(self.key, text).hex()
        headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={self.access}/{self.scope}, "
                                    f"SignedHeaders={names}, Signature={self.seed}")
        return headers

    def chunk(self, previous, data):
        return mac(self.key, "\n".join(["AWS4-HMAC-SHA256-PAYLOAD", self.time, self.scope, previous,
                                        EMPTY, hashlib.sha256(data).hexdigest()])).hex()

    def trailer(self, previous, lines):
        return mac(self.key, "\n".join(["AWS4-HMAC-SHA256-TRAILER", self.time, self.scope, previous,
                                        hashlib.sha256(lines.encode()).hexdigest()])).hex()


def chunked(signer, mode, pieces, trailer=None):
    """The aws-chunked body: every piece, the empty last one, the trailing fields."""
    signs, previous, out = mode != UNSIGNED_TRAILER, signer.seed, b""
    for piece in [*pieces, b""]:
        line = f"{len(piece):x}"
        if signs:
            previous = signer.chunk(previous, piece)
            line += f";chunk-signature={previous}"
        out += line.encode() + b"\r\n" + piece + (b"\r\n" if piece else b"")
    if trailer:
        out += "".join(f"{k}:{v}\r\n" for k, v in trailer.items()).encode()
        if signs:
            lines = "".join(f"{k}:{v}\n" for k, v in trailer.items())
            out += f"x-amz-trailer-signature:{signer.trailer(previous, lines)}\r\n".encode()
    return out + b"\r\n"


def put_chunked(cluster, path, mode, pieces, trailer=None, spoil=None, extra=(), decoded=None, zone=1):
    """A PUT in chunks; spoil(body) may damage what is sent.  Returns: status, error code."""
    signer = Signer(cluster.credentials)
    more = {"content-encoding": "aws-chunked",
            "x-amz-decoded-content-length": str(sum(map(len, pieces)) if decoded is None else decoded)}
    if trailer:
        more["x-amz-trailer"] = ",".join(trailer)
    more.update(dict(extra))
    headers = signer.headers("PUT", path, "", host_of(cluster, zone), mode, more)
    body = chunked(signer, mode, pieces, trailer)
    if spoil:
        body = spoil(body)
    return send(cluster, "PUT", path, "", headers, body, zone)


def host_of(cluster, zone=1):
    return f"127.0.0.1:{cluster.s3_port + zone - 1}"


def send(cluster, method, path, query, headers, body=b"", zone=1):
    c = http.client.HTTPConnection(host_of(cluster, zone), timeout=30)
    c.putrequest(method, urllib.parse.quote(path, safe="/-_.~") + (f"?{query}" if query else ""),
                 skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        c.putheader(name, value)
    if "content-length" not in headers and (body or method in ("PUT", "POST")):
        c.putheader("Content-Length", str(len(body)))
    c.endheaders(body or None)
    r = c.getresponse()
    data = r.read()
    c.close()
    return r.status, code_of(data)


def request(cluster, method, path, query="", body=b"", extra=(), zone=1):
    """A signed request.  Returns: status, error code ("" if there is none)."""
    headers = Signer(cluster.credentials).headers(method, path, query, host_of(cluster, zone),
                                                  hashlib.sha256(body).hexdigest(), extra)
    return send(cluster, method, path, query, headers, body, zone)


def head_text(cluster, method, path, extra=(), payload=EMPTY, query="", zone=1):
    """The head of a signed request as text, without the line that ends it."""
    headers = Signer(cluster.credentials).headers(method, path, query, host_of(cluster, zone), payload)
    headers.update(dict(extra))
    return f"{method} {path}{'?' + query if query else ''} HTTP/1.1\r\n" + "".join(
        f"{k}: {v}\r\n" for k, v in headers.items())


def code_of(data):
    found = re.search(rb"<Code>(\w+)</Code>", data)
    return found.group(1).decode() if found else ""


class Raw:
    """A plain connection to a gateway."""

    def __init__(self, cluster, timeout=15, zone=1):
        self.s = socket.create_connection(("127.0.0.1", cluster.s3_port + zone - 1), timeout=timeout)
        self.got = b""

    def send(self, data):
        self.s.sendall(data.encode() if isinstance(data, str) else data)
        return self

    def more(self):
        data = self.s.recv(65536)
        self.got += data
        return data

    def response(self):
        """One response with a Content-Length (or none).  Returns: status, body; (0, b"") at the end."""
        try:
            while b"\r\n\r\n" not in self.got:
                if not self.more():
                    return 0, b""
            head, _, self.got = self.got.partition(b"\r\n\r\n")
            status = int(head.split()[1])
            length = re.search(rb"(?i)content-length: (\d+)", head)
            length = int(length.group(1)) if length and status >= 200 and status != 304 else 0
            while len(self.got) < length:
                if not self.more():
                    break
        except ConnectionResetError:
            return 0, b""
        body, self.got = self.got[:length], self.got[length:]
        return status, body

    def closed(self):
        try:
            return self.s.recv(1) == b""
        except ConnectionResetError:
            return True


def exchange(cluster, data):
    """Sends bytes, shuts down, reads what comes.  Returns: status (0: closed in silence), error code."""
    raw = Raw(cluster)
    raw.send(data)
    status, body = raw.response()
    raw.s.close()
    return status, code_of(body)


# ---- frames between nodes ----

def _crc_table():
    for n in range(256):
        for _ in range(8):
            n = (n >> 1) ^ (0x82F63B78 if n & 1 else 0)
        yield n


_CRC = list(_crc_table())


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _CRC[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


REQUEST, RESPONSE, HELLO = 1, 2, 16


def frame(flags, kind, request_id, timeout, message=b""):
    head = struct.pack(">4sBBHQIIIII", b"CRN1", 1, flags, kind, request_id, timeout, len(message), 0,
                       crc32c(message), 0)
    return head + struct.pack(">I", crc32c(head)) + message


def hello():
    return frame(HELLO, 0, 0, 0, struct.pack(">HH", 1, 1))


class Node:
    """A TLS connection to a node, with the certificate of another, or one that it will not like."""

    def __init__(self, port, ca=None, certificate=None, minimum=ssl.TLSVersion.TLSv1_3):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED if ca else ssl.CERT_NONE
        context.minimum_version = minimum
        context.maximum_version = minimum
        if ca:
            context.load_verify_locations(ca)
        if certificate:
            context.load_cert_chain(*certificate)
        plain = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.s = context.wrap_socket(plain)

    def read(self, n):
        data = b""
        while len(data) < n:
            piece = self.s.recv(n - len(data))
            if not piece:
                raise ConnectionResetError("closed")
            data += piece
        return data

    def frame(self):
        """Returns: flags, kind, request id, status, message."""
        head = self.read(40)
        magic, _, flags, kind, request_id, status, message, payload = struct.unpack(">4sBBHQiII",
                                                                                    head[:28])
        assert magic == b"CRN1" and crc32c(head[:36]) == struct.unpack(">I", head[36:])[0]
        return flags, kind, request_id, status, self.read(message + payload)[:message]
