#!/usr/bin/env python3
"""Writes the seeds that are made of lengths and checksums, or too long to type, into tests/fuzz/corpus.

The rest of the corpora are files that were written by hand or found by the fuzzer.  Run it again after
a change of a format; what it writes is committed, so that nothing depends on running it.
"""
import pathlib
import struct

CORPUS = pathlib.Path(__file__).resolve().parent / "corpus"


def crc32c(*parts, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in b"".join(parts):
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 & -(crc & 1))
    return crc ^ 0xFFFFFFFF


def be16(n):
    return struct.pack(">H", n)


def be32(n):
    return struct.pack(">I", n & 0xFFFFFFFF)


def be64(n):
    return struct.pack(">Q", n & 0xFFFFFFFFFFFFFFFF)


def seed(target, name, data):
    path = CORPUS / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


# ---- protobuf, by hand ----

def varint(n):
    out = bytearray()
    while True:
        out.append((n & 0x7F) | (0x80 if n > 0x7F else 0))
        n >>= 7
        if not n:
            return bytes(out)


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, str):
        value = value.encode()
    return varint(number << 3 | 2) + varint(len(value)) + value


# ---- frames ----

def frame(flags, kind, request, timeout, msg=b"", payload=b"", version=1, **wrong):
    head = b"CRN1" + bytes([version, flags]) + be16(kind) + be64(request) + be32(timeout)
    head += be32(wrong.get("msg_bytes", len(msg))) + be32(wrong.get("payload_bytes", len(payload)))
    head += be32(crc32c(msg)) + be32(crc32c(payload) if flags & 32 else 0)
    return head + be32(wrong.get("crc", crc32c(head))) + msg + payload


def frames():
    seed("frame", "request", frame(1, 1, 7, 500, field(1, 3)))
    seed("frame", "request_payload", frame(33, 1, 7, 500, field(1, 3), b"payload"))
    seed("frame", "response", frame(2, 1, 7, 0, field(1, 3), b"x" * 100))
    seed("frame", "response_error", frame(2, 1, 7, -5))
    seed("frame", "cast", frame(4, 2, 0, 0, field(2, "x")))
    seed("frame", "cancel", frame(8, 1, 7, 0))
    seed("frame", "hello", frame(16, 0, 0, 0, be16(1) + be16(4)))
    seed("frame", "hello_bare", be16(1) + be16(4))
    seed("frame", "hello_backwards", be16(9) + be16(4))
    seed("frame", "two_kinds", frame(3, 1, 7, 500))
    seed("frame", "huge", frame(1, 1, 7, 500, msg_bytes=0xFFFFFFFF, payload_bytes=0xFFFFFFFF))
    seed("frame", "bad_crc", frame(1, 1, 7, 500, crc=1))
    seed("frame", "no_id", frame(1, 1, 0, 500))
    seed("frame", "short", frame(1, 1, 7, 500)[:39])


# ---- the Raft log ----

def entry(index, term, kind, data, **wrong):
    head = be64(index) + be64(term) + bytes([kind]) + be32(wrong.get("length", len(data)))
    return head + be32(wrong.get("crc", crc32c(head, data))) + data


def record(body, group=3):
    return body + be32(crc32c(be32(group), body))


def raft_log():
    seed("raft_log", "entries", entry(1, 1, 0, b"") + entry(2, 1, 1, b"command") + entry(3, 2, 2, b"c" * 40))
    seed("raft_log", "entry_torn", entry(1, 1, 1, b"command")[:-3])
    seed("raft_log", "entry_huge", entry(1, 1, 1, b"x", length=0xFFFFFFFF))
    seed("raft_log", "entry_crc", entry(1, 1, 1, b"x", crc=9) + entry(2, 1, 1, b"y"))
    seed("raft_log", "entry_zero", entry(0, 0, 0, b""))
    seed("raft_log", "entry_kind", entry(1, 1, 255, b""))
    seed("raft_log", "hard_state", record(b"\x01" + be64(5) + be64(2)))
    seed("raft_log", "hard_state_newer", record(b"\x02" + be64(5) + be64(2)))
    seed("raft_log", "compaction", record(b"\x01" + be64(9) + be64(3) + be32(4) + b"head"))
    seed("raft_log", "compaction_long", record(b"\x01" + be64(9) + be64(3) + be32(0xFFFFFFF0) + b"head"))
    seed("raft_log", "key", be32(3) + b"\x03" + be64(77))


# ---- exported ranges ----

def kv_record(key, value, **wrong):
    return be32(wrong.get("key_len", len(key))) + be32(wrong.get("value_len", len(value))) + key + value


def kv_block(records, **wrong):
    return be32(wrong.get("length", len(records))) + be32(crc32c(records)) + records


def kv_file(step, blocks, count, version=1):
    end = be32(0) + be64(count)
    return bytes([step]) + b"CAKV" + be16(version) + b"".join(blocks) + end + be32(crc32c(end))


def kv_files():
    a, b, c = kv_record(b"a", b"1"), kv_record(b"b", b""), kv_record(b"c" * 40, b"3" * 300)
    seed("kv_file", "two_blocks", kv_file(3, [kv_block(a + b), kv_block(c)], 3))
    seed("kv_file", "small_reads", kv_file(0, [kv_block(a + b), kv_block(c)], 3))
    seed("kv_file", "empty", kv_file(3, [], 0))
    seed("kv_file", "no_end", kv_file(3, [kv_block(a)], 1)[:-16])
    seed("kv_file", "wrong_count", kv_file(3, [kv_block(a)], 2))
    seed("kv_file", "order", kv_file(3, [kv_block(b + a)], 2))
    seed("kv_file", "twice", kv_file(3, [kv_block(a), kv_block(a)], 2))
    seed("kv_file", "huge_block", kv_file(3, [kv_block(a, length=0x7FFFFFFF)], 1))
    seed("kv_file", "huge_key", kv_file(3, [kv_block(kv_record(b"a", b"1", key_len=0xFFFFFFFF))], 1))
    seed("kv_file", "wrap", kv_file(3, [kv_block(kv_record(b"a", b"1", key_len=0x80000000, value_len=0x80000000))], 1))
    seed("kv_file", "newer", kv_file(3, [], 0, version=2))
    seed("kv_file", "behind_the_end", kv_file(3, [kv_block(a)], 1) + b"more")


# ---- control headers and entries ----

def witness(n, **wrong):
    return (field(1, wrong.get("incarnation", bytes([n]) * 16)) + field(2, wrong.get("name", f"z{n}-witness-1")) +
            field(3, wrong.get("addr", f"127.0.0.1:712{n}")) + field(4, f"z{n}"))


def control(header, *entries):
    return be16(len(header)) + header + b"".join(be16(len(e)) + e for e in entries)


def control_headers():
    base = field(1, 5) + field(2, 1) + field(3, 1) + field(4, bytes([1, 2, 3]))
    attached = b"".join(field(5, witness(n)) for n in (1, 2, 3))
    registered = b"".join(field(7, witness(n)) for n in (1, 2)) + field(8, bytes([3, 4])) + field(9, b"\x09" * 16)
    entries = [field(1, 1000) + field(2, witness(4)), field(1, 1001) + field(3, b"\x01" * 16),
               field(1, 1002) + field(4, 77), field(1, 1003) + field(6, witness(5)), field(7, b"\x05" * 16)]
    committed = [e + field(15, 0) + b"" for e in entries]
    seed("control", "empty", control(b""))
    seed("control", "attached", control(base + attached, *entries))
    seed("control", "root", control(base + attached + registered, *committed))
    seed("control", "register_death", control(base, field(6, witness(5)), field(7, b"\x05" * 16) + b"\x20\x00"))
    seed("control", "long_name", control(base + field(5, witness(1, name="n" * 200)), *entries))
    seed("control", "short_id", control(base + field(5, witness(1, incarnation=b"\x01" * 15))))
    seed("control", "zero_id", control(base + field(5, witness(1, incarnation=bytes(16)))))
    seed("control", "twice", control(base + field(5, witness(1)) * 2 + registered))
    seed("control", "many", control(base + b"".join(field(5, witness(n)) for n in range(1, 80))))
    seed("control", "many_entries", control(base, *[field(2, witness(n)) for n in range(1, 90)]))
    seed("control", "uneven", control(base + field(7, witness(1)) + field(8, bytes([1, 2, 3]))))
    seed("control", "attach_again", control(base, *[field(2, witness(1)), field(3, b"\x01" * 16)] * 6))


# ---- what operators write ----

NODE = '  - {{id: z{0}-{1}-1, zone: z{0}, role: {1}, addr: "127.0.0.1:7{0}0{2}", admin: "127.0.0.1:8{0}0{2}"}}\n'


def config():
    nodes = "".join(NODE.format(z, role, k) for z in (1, 2, 3)
                    for k, role in enumerate(("metanode", "witness", "storagenode", "gateway")))
    head = "cluster_id: 00112233445566778899aabbccddeeff\nregion: us-east-1\n"
    seed("config", "cluster", head + "nodes:\n" + nodes + "partitions: 4\npgs: 16\n")
    seed("config", "splits", head + 'nodes:\n' + nodes + 'split_points: ["8000000000000000", "800000000000000061"]\n')
    seed("config", "splits_order", head + 'nodes:\n' + nodes + 'split_points: ["81", "8000000000000000"]\n')
    seed("config", "classes", head + "nodes:\n" + nodes +
         "schemes: [rep-3]\nstorage_classes: {ECONOMY: rep-3, WIDE: 4+2}\n")
    seed("config", "too_many", head + "nodes:\n" + nodes + "partitions: 99999999999999999999\n")
    seed("config", "twice", head + head)
    seed("config", "process", "node_id: z1-gateway-1\nzone: z1\nbytes: 64KiB\nwait: 5s\ncount: -3\nfast: yes\n"
         "secret: 0123456789abcdef0123\npeer: \"[::1]:9000\"\n")
    seed("config", "unknown", "node_id: n\nbites: 3\n")
    seed("config", "alias", "a: &a [x, x, x]\nb: &b [*a, *a, *a]\nnodes: [*b, *b, *b]\n")
    seed("config", "deep", "a: " + "[" * 2000)
    seed("config", "tabs", "nodes:\n\t- x\n")
    seed("config", "binary", b"\x00\xff\xfe\x01: \x80\n")
    seed("config", "bytes", "16MiB")
    seed("config", "overflow", "9223372036854775807GiB")
    seed("config", "duration", "250ms")
    seed("config", "negative", "-5")
    seed("config", "address", "[2001:db8::1]:65536")
    seed("config", "address_name", "host.example:0")


def admin():
    seed("admin", "metrics", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    seed("admin", "query", "HEAD /healthz?verbose=1&x HTTP/1.0\r\n\r\n")
    seed("admin", "body", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
    seed("admin", "chunked", "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    seed("admin", "post", "POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    seed("admin", "absolute", "GET http://x/metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    seed("admin", "newer", "GET / HTTP/2.0\r\n\r\n")
    seed("admin", "bare_lf", "GET /readyz HTTP/1.1\nHost: x\n\n")
    seed("admin", "dots", "GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n")
    seed("admin", "long", "GET /" + "a" * 9000 + " HTTP/1.1\r\n\r\n")
    seed("admin", "nul", b"GET /\x00 HTTP/1.1\r\n\r\n")


# ---- more of what clients send ----

def clients():
    seed("http", "both_lengths", "\x01POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd")
    seed("http", "huge_length", "\x01PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n")
    seed("http", "huge_chunk", "\x01PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n")
    seed("http", "chunk_extension", "\x21PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
         "3;a=\"b\"\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n")
    seed("http", "many_headers", "\x01GET / HTTP/1.1\r\n" + "".join(f"h{n}: {n}\r\n" for n in range(200)) + "\r\n")
    seed("http", "long_target", "\x01GET /" + "a" * 5000 + " HTTP/1.1\r\nHost: x\r\n\r\n")
    seed("http", "upgrade", "\x01GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0\r\n")
    seed("http", "tls_hello", b"\x01\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(64)))
    seed("http", "connect", "\x01CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n")
    seed("http", "identity", "\x01PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n")
    xmlns = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
    seed("xml", "bomb", "<!DOCTYPE d [" + "".join(f'<!ENTITY e{n} "&e{n - 1};&e{n - 1};">' for n in range(1, 30)) +
         "]><Delete>&e29;</Delete>")
    seed("xml", "external", '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><Delete><Object><Key>&x;</Key></Object></Delete>')
    seed("xml", "deep", "<a>" * 3000)
    seed("xml", "unclosed", f"<Delete{xmlns}><Object><Key>a</Key></Object>")
    seed("xml", "parts_order", "<CompleteMultipartUpload>" + "".join(
        f"<Part><PartNumber>{n}</PartNumber><ETag>x</ETag></Part>" for n in (2, 1)) + "</CompleteMultipartUpload>")
    seed("xml", "parts_number", "<CompleteMultipartUpload><Part><PartNumber>99999999999</PartNumber><ETag>x</ETag></Part>"
         "</CompleteMultipartUpload>")
    seed("xml", "many", f"<Delete{xmlns}>" + "".join(f"<Object><Key>{n}</Key></Object>" for n in range(1100)) + "</Delete>")
    seed("xml", "attributes", "<Delete " + " ".join(f'a{n}="{n}"' for n in range(200)) + "><Quiet>true</Quiet></Delete>")
    seed("xml", "cdata", "<Delete><Object><Key><![CDATA[a<b]]]]><![CDATA[>c]]></Key></Object></Delete>")
    seed("xml", "character", "<Delete><Object><Key>&#0;&#x10FFFF;&#xD800;</Key></Object></Delete>")
    seed("query", "overlong", "GET /b/%c0%af?prefix=%ff%fe&delimiter=%\nHost: x\n")
    seed("query", "dots", "PUT /b/../../x//y?uploads&uploadId=%00\nHost: b.s3.amazonaws.com\n")
    seed("query", "twice", "GET /b?prefix=a&prefix=b&list-type=2&list-type=1\nHost: x\n")
    seed("query", "numbers", "GET /b/k?partNumber=18446744073709551616&max-keys=-1\nHost: x\nRange: bytes=18446744073709551615-\n")
    seed("query", "ranges", "GET /b/k\nHost: x\nRange: bytes=-0,5-,7-3\n")
    seed("query", "long_key", "GET /b/" + "%41" * 1100 + "\nHost: x\n")
    seed("query", "metadata", "PUT /b/k\nHost: x\n" + "".join(f"x-amz-meta-{n}: {'v' * 60}\n" for n in range(40)))
    seed("query", "checksums", "PUT /b/k\nHost: x\nx-amz-checksum-crc32: AAAAAA==\nx-amz-checksum-sha256: AAAA\n"
         "x-amz-sdk-checksum-algorithm: CRC64NVME\nContent-MD5: x\nContent-Length: 3\n")
    auth = ("Authorization: AWS4-HMAC-SHA256 Credential=A/20130524/us-east-1/s3/aws4_request, SignedHeaders={}, "
            "Signature=" + "0" * 64 + "\n")
    head = "GET /\nHost: b.s3.amazonaws.com\nx-amz-date: 20130524T000000Z\nx-amz-content-sha256: UNSIGNED-PAYLOAD\n"
    seed("sigv4", "unsigned_host", head + auth.format("x-amz-date"))
    seed("sigv4", "many_signed", head + auth.format(";".join(f"h{n}" for n in range(100))))
    seed("sigv4", "empty_signed", head + auth.format(";;;"))
    seed("sigv4", "twice", head + auth.format("host") * 2)
    seed("sigv4", "expires", "GET /?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=99999999999999999999&X-Amz-Date=x\nHost: x\n")
    seed("sigv4", "date", head.replace("20130524T", "20139924T") + auth.format("host;x-amz-date"))
    claim = "AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Expires=1175139620&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D"
    host = "\nHost: johnsmith.s3.amazonaws.com\n"
    seed("sigv4", "v2", f"GET /photos/puppy.jpg?{claim}{host}")
    seed("sigv4", "v2_fields", f"PUT /k?uploadId=a%26b&partNumber=1&{claim}&x-amz-meta-a=%20b&X-Amz-Meta-B&content-type=t"
         f"&x-amz-security-token=t&x-amz-user-agent=u{host}x-amz-meta-a: b\nX-Amz-Meta-c: 1\nX-Amz-Meta-c: 2\n")
    seed("sigv4", "v2_several", f"GET /k?{claim}&response-content-type=a%26versionId%3D1&versionId=1&versionId=2{host}")
    seed("sigv4", "v2_expires", f"GET /k?AWSAccessKeyId=A&Signature=A&Expires=18446744073709551615{host}")
    seed("sigv4", "v2_both", f"GET /k?{claim}&X-Amz-Algorithm=AWS4-HMAC-SHA256{host}" + auth.format("host"))
    seed("chunked", "huge", b"\x02" + be16(5) + b"ffffffffffffffff\r\n")
    seed("chunked", "long_line", b"\x02" + be16(5) + b"5;" + b"a" * 5000 + b"\r\nhello\r\n0\r\n\r\n")
    seed("chunked", "longer", b"\x02" + be16(4) + b"5\r\nhello\r\n0\r\n\r\n")
    seed("chunked", "trailers", b"\x02" + be16(0) + b"0\r\n" + b"".join(b"x-%d: y\r\n" % n for n in range(60)) + b"\r\n")
    seed("chunked", "bare_lf", b"\x02" + be16(5) + b"5\nhello\n0\n\n")


def commands():
    """Entries that are not commands, and commands of nothing."""
    def entries(*data):
        return b"".join(be16(len(d)) + d for d in data)
    seed("command", "empty", entries(b"", b""))
    seed("command", "noise", entries(bytes(range(256)), b"\xff" * 40))
    seed("command", "short_id", entries(field(1, b"\x01" * 15) + field(2, 1)))
    seed("command", "nested", entries(field(13, field(13, field(13, b"")))))
    seed("command", "unknown_fields", entries(field(1, b"\x01" * 16) + field(900, b"x" * 90) + field(901, 1)))
    seed("command", "condemn", entries(*condemn_entries()))
    seed("command", "interim", entries(*condemn_entries(interim=True)))
    seed("command", "placement", entries(*placement_entries()))
    seed("command", "settings", entries(*setting_entries()))
    seed("command", "locks", entries(*lock_entries()))
    seed("command", "registry", entries(*registry_entries()))


def fixed64(number, *values):
    return b"".join(varint(number << 3 | 1) + struct.pack("<Q", v) for v in values)


def fixed32(number, value):
    return varint(number << 3 | 5) + struct.pack("<I", value)


def command(write, operation, body, time=1000):
    """A command that applies: epoch 7 as the target has it, and touching the object "k" of bucket 1."""
    packed = (field(1, bytes([write]) * 16) if write else b"") + field(2, time) + field(3, time) + field(4, 7)
    packed += field(5, 1) + fixed64(6, OBJECT_K) + field(operation, body)
    return be32(len(packed)) + packed


# keyhash_object(1, "k"), by proto/keyhash.c: a command that does not name it is refused.
OBJECT_K = 0x6822BCB2930D9719
# keyhash_bucket("name"), keyhash_account("1"), keyhash_access_key("AK")
BUCKET_NAME = 0x403777246532FF09
ACCOUNT_1 = 0xE3B97B5F5E48A505
KEY_AK = 0x5927244972C2547


def condemn_entries(interim=False):
    """An object of a segment and an upload; some condemned, some moved; one named afterwards; all expired.
    interim: what is moved were copies that waited for it."""
    place = fixed64(1, 1) + field(2, "k")
    blobs = [bytes([n]) * 16 for n in range(1, 8)]

    def segment(n):
        waits = field(5, 1) if interim and n in (0, 1, 3) else b""
        return field(1, 1) + field(2, blobs[n]) + field(3, 5) + fixed32(4, 9) + waits

    def put(n):
        return place + field(3, field(2, 5) + field(4, "e") + field(5, 1) + field(6, segment(n)))

    upload = b"\x77" * 16
    part = field(1, 1) + field(2, 5) + field(3, "e") + field(5, 1) + field(6, segment(1))
    condemned = b"".join(field(3, field(1, 1) + field(2, b)) for b in blobs[:5])
    move = place + field(5, blobs[0]) + field(6, segment(5))
    move_part = place + field(3, upload) + field(4, 1) + field(5, blobs[1]) + field(6, segment(6))
    complete = (place + field(3, upload) + field(4, field(1, 1) + field(2, "e")) +
                field(6, field(2, 5) + field(4, "e") + field(5, 2) + field(7, upload) + field(8, 1)))
    return (command(1, 16, put(0)), command(2, 19, place + field(3, field(1, upload) + field(3, field(4, "x")))),
            command(3, 20, place + field(3, upload) + field(4, part)), command(0, 27, place + condemned),
            command(4, 28, move), command(5, 28, move_part), command(6, 16, put(3)), command(7, 21, complete),
            command(8, 27, place + condemned), command(0, 25, b"", time=5000000))


def setting_entries():
    """An object tagged, tagged again under conditions, replaced; settings of a bucket made, changed and taken away."""
    place = fixed64(1, 1) + field(2, "k")
    put = place + field(3, field(2, 0) + field(4, "e"))
    pair = field(3, field(1, "name") + field(2, "value"))

    def root(write, operation, body):
        packed = field(1, bytes([write]) * 16) + field(2, 1000) + field(3, 1000) + field(4, 7)
        packed += fixed64(6, BUCKET_NAME) + field(operation, body)
        return be32(len(packed)) + packed

    def setting(write, kind, name, document):
        return root(write, 60, field(1, "name") + fixed64(2, 1 << 63) +
                    field(3, field(1, kind) + field(2, name) + field(3, document)))

    return (command(1, 16, put), command(2, 36, place + pair * 3), command(3, 36, place + pair + field(4, field(5, 1))),
            command(4, 36, place + pair + field(4, field(5, 9))), command(5, 16, put), command(6, 36, place),
            root(7, 41, field(1, field(1, "name") + field(4, "owner"))), setting(8, 2, "", "document"),
            setting(9, 6, "b", "x"), setting(10, 6, "a", "y"), setting(11, 2, "", ""))


def registry_entries():
    """Rows made, guarded, changed by their versions, given to another account in vain, and removed."""
    def change(write, *rows):
        packed = field(1, bytes([write]) * 16) + field(2, 1000) + field(3, 1000) + field(4, 7)
        packed += fixed64(6, ACCOUNT_1, KEY_AK) + field(61, b"".join(field(1, row) for row in rows))
        return be32(len(packed)) + packed

    def row(kind, scope, name, version, rest=b""):
        return field(1, kind) + field(2, scope) + field(3, name) + field(4, version) + rest

    key, moved = field(7, field(3, "1")), field(7, field(3, "2"))
    return (change(1, row(1, "", "1", 0, field(7, "a")), row(2, "1", "u", 0, field(7, field(1, "u")))),
            change(2, row(6, "", "AK", 0, key), row(1, "", "1", 1, field(5, 1))), change(3, row(6, "", "AK", 2, moved)),
            change(4, row(9, "s", "k/1", 0, field(7, "x")), row(9, "s", "k/1", 0)), change(5, row(9, "s", "k/1", 7)),
            change(6, row(6, "", "AK", 2, field(6, 1)), row(2, "1", "u", 1, field(6, 1))))


def lock_entries():
    """An object that is locked, pushed aside, locked longer, deleted in vain, released, and deleted."""
    place = fixed64(1, 1) + field(2, "k")
    put = place + field(3, field(2, 0) + field(4, "e"))
    default = place + field(3, field(2, 0) + field(4, "e") + field(25, 2)) + field(5, 5000)

    def enabled(write, operation, body, time=1000):
        packed = field(1, bytes([write]) * 16) + field(2, time) + field(3, time) + field(4, 7) + field(5, 2)
        packed += fixed64(6, OBJECT_K) + field(7, 1) + field(operation, body)
        return be32(len(packed)) + packed

    retain = lambda mode, until: place + field(4, 1) + field(5, mode) + field(6, until)
    return (enabled(1, 16, default), enabled(2, 16, put), enabled(3, 29, place + field(3, 1) + field(7, 1)),
            enabled(4, 29, retain(1, 4000)), enabled(5, 29, retain(2, 9000)), enabled(6, 18, place + field(4, 1)),
            enabled(7, 29, retain(1, 3000) + field(8, 1)), enabled(8, 18, place + field(4, 2) + field(6, 1)),
            enabled(9, 29, place + field(3, 1) + field(7, 2), 7000), enabled(10, 18, place + field(4, 1), 7000),
            enabled(11, 18, place, 7000))


def placement_entries():
    """Nodes, a group of each scheme, and a change of members begun and ended."""
    nodes = [field(1, f"s{n}") + field(2, f"z{n % 3}") + field(3, 4) for n in range(4)]
    members = b"".join(field(6, f"s{n}") for n in range(3))
    copies = field(1, 1) + field(2, 1) + field(4, 1) + field(5, 2) + members
    coded = field(1, 2) + field(2, 1) + field(3, 1) + field(4, 2) + field(5, 1) + members
    disk = field(10, field(1, b"\x05" * 16) + field(2, 1) + field(3, 9))
    following = b"".join(field(3, f"s{n}") for n in (3, 1, 2))
    return (*[command(0, 49, field(1, n)) for n in nodes], command(0, 49, field(1, nodes[0] + field(6, 1) + disk)),
            command(0, 50, field(1, copies) + field(1, coded)), command(0, 51, field(1, 1) + field(2, 1) + following),
            command(1, 51, field(1, 1) + field(2, 2) + following), command(0, 52, field(1, 1) + field(2, 2)))


def settings():
    """A document of each kind, tags in a field, and rules with a question."""
    tag = "<Tag><Key>k</Key><Value>v</Value></Tag>"
    rule = ("<CORSConfiguration><CORSRule><ID>a</ID><AllowedOrigin>http://*.a</AllowedOrigin><AllowedMethod>GET"
            "</AllowedMethod><AllowedHeader>x-*</AllowedHeader><ExposeHeader>ETag</ExposeHeader>"
            "<MaxAgeSeconds>5</MaxAgeSeconds></CORSRule></CORSConfiguration>")
    where = f"<Id>a</Id><Filter><And><Prefix>p</Prefix>{tag}</And></Filter>"
    documents = (("tagging", f"<Tagging><TagSet>{tag}</TagSet></Tagging>"), ("cors", rule),
                 ("payment", "<RequestPaymentConfiguration><Payer>Requester</Payer></RequestPaymentConfiguration>"),
                 ("accelerate", "<AccelerateConfiguration><Status>Enabled</Status></AccelerateConfiguration>"),
                 ("analytics", f"<AnalyticsConfiguration>{where}<StorageClassAnalysis/></AnalyticsConfiguration>"),
                 ("metrics", f"<MetricsConfiguration>{where}</MetricsConfiguration>"),
                 ("tiering", f"<IntelligentTieringConfiguration>{where}<Status>Enabled</Status><Tiering><Days>90</Days>"
                  "<AccessTier>ARCHIVE_ACCESS</AccessTier></Tiering></IntelligentTieringConfiguration>"),
                 ("field", "a=b&c%20d=e+f&%C3%BC=%2F"), ("rules", rule + "\0http://x.a\0x-a, X-b"))
    acl = (f"<AccessControlPolicy><Owner><ID>{'a' * 64}</ID></Owner><AccessControlList><Grant><Grantee>"
           f"<ID>{'b' * 64}</ID></Grantee><Permission>READ</Permission></Grant><Grant><Grantee><URI>"
           "http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee><Permission>WRITE_ACP</Permission>"
           "</Grant></AccessControlList></AccessControlPolicy>")
    for number, (name, text) in enumerate(documents):
        seed("settings", name, bytes([number]) + text.encode())
    until = "<Mode>COMPLIANCE</Mode><RetainUntilDate>2090-01-01T00:00:00.5Z</RetainUntilDate>"
    period = "<Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>30</Days></DefaultRetention></Rule>"
    for name, text in (("lock", "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>" + period +
                        "</ObjectLockConfiguration>"),
                       ("retention", f"<Retention>{until}</Retention>"),
                       ("hold", "<LegalHold><Status>ON</Status></LegalHold>")):
        seed("settings", name, b"\x0b" + text.encode())
    for kind, name, text in ((12, "acl", acl), (13, "block", "<PublicAccessBlockConfiguration><BlockPublicAcls>TRUE"
                              "</BlockPublicAcls></PublicAccessBlockConfiguration>"),
                             (14, "ownership", "<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership>"
                              "</Rule></OwnershipControls>"),
                             (12, "grants", f'id="{"a" * 64}", emailAddress="a,b@c"')):
        seed("settings", name, bytes([kind]) + text.encode())
    notification = ("<NotificationConfiguration><QueueConfiguration><Id>a</Id><Queue>arn:cairn:sqs::hook:webhook</Queue>"
                    "<Event>s3:ObjectCreated:*</Event><Filter><S3Key><FilterRule><Name>prefix</Name><Value>p</Value>"
                    "</FilterRule></S3Key></Filter></QueueConfiguration><TopicConfiguration><Topic>"
                    "arn:cairn:sqs::b:webhook</Topic><Event>s3:ObjectRemoved:Delete</Event></TopicConfiguration>"
                    "</NotificationConfiguration>")
    replication = ("<ReplicationConfiguration><Role>r</Role><Rule><Priority>1</Priority><Filter><And><Prefix>p</Prefix>"
                   f"{tag}</And></Filter><Status>Enabled</Status><DeleteMarkerReplication><Status>Disabled</Status>"
                   "</DeleteMarkerReplication><Destination><Bucket>arn:aws:s3:::dr/bucket</Bucket></Destination></Rule>"
                   "<Rule><ID>b</ID><Prefix>q</Prefix><Status>Disabled</Status><Destination><Bucket>"
                   "arn:aws:s3:::dr/other</Bucket></Destination></Rule></ReplicationConfiguration>")
    site = ("<WebsiteConfiguration><IndexDocument><Suffix>i</Suffix></IndexDocument><ErrorDocument><Key>e/4</Key>"
            "</ErrorDocument><RoutingRules><RoutingRule><Condition><KeyPrefixEquals>a/</KeyPrefixEquals>"
            "<HttpErrorCodeReturnedEquals>404</HttpErrorCodeReturnedEquals></Condition><Redirect><HostName>h.x</HostName>"
            "<Protocol>https</Protocol><ReplaceKeyPrefixWith>b \u00fc/</ReplaceKeyPrefixWith><HttpRedirectCode>302"
            "</HttpRedirectCode></Redirect></RoutingRule><RoutingRule><Redirect><ReplaceKeyWith>k</ReplaceKeyWith>"
            "</Redirect></RoutingRule></RoutingRules></WebsiteConfiguration>")
    seed("settings", "website", bytes([17]) + site.encode())
    seed("settings", "website_elsewhere", bytes([17]) + b"<WebsiteConfiguration><RedirectAllRequestsTo><HostName>h"
         b"</HostName></RedirectAllRequestsTo></WebsiteConfiguration>")
    seed("settings", "notification", bytes([15]) + notification.encode())
    seed("settings", "replication", bytes([16]) + replication.encode())
    seed("settings", "field_document", bytes([7]) + documents[0][1].encode())


if __name__ == "__main__":
    for make in (frames, raft_log, kv_files, control_headers, config, admin, clients, commands, settings):
        make()
