"""Plays operations on a cluster and on the model side by side.

Plain HTTP, so that no library repairs what a client or the server does: paths go out as they are meant, with
"//", "." and "..".  Lists are read with encoding-type=url wherever XML could not carry a key.
"""
import email.utils
import hashlib
import http.client
import random
import re
import time
import urllib.parse
import xml.etree.ElementTree

from s3_model import (ENABLED, NO_UPLOAD, NULL, SUSPENDED, About, Bucket, Conditions, Fault, INVALID_RANGE, Upload,
                      md5, utf8)
from wire import Signer, host_of

XMLNS = "{http://s3.amazonaws.com/doc/2006-03-01/}"
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
SIZES = [0, 1, 17, 1000, 16384, 16385, 70_000, 200_000]


class Differs(Exception):
    def __init__(self, where, text):
        super().__init__(f"{where}: {text}")
        self.where = where


class Answer:
    def __init__(self, response, body):
        self.status, self.headers, self.body = response.status, response.headers, body
        found = re.search(rb"<Code>(\w+)</Code>", body) if self.status >= 300 else None
        self.code = found.group(1).decode() if found else ""

    def xml(self):
        return xml.etree.ElementTree.fromstring(self.body)


class Gateway:
    def __init__(self, cluster, zone):
        self.cluster, self.zone, self.host = cluster, zone, host_of(cluster, zone)
        self.connection = http.client.HTTPConnection(self.host, timeout=60)
        self.signer, self.signed = None, 0

    def request(self, method, bucket, key=None, query=(), headers=(), body=b""):
        if time.monotonic() - self.signed > 60:
            self.signer, self.signed = Signer(self.cluster.credentials), time.monotonic()
        path = f"/{bucket}" + ("" if key is None else "/" + key)
        text = "&".join(f"{quoted(k)}={quoted(v)}" for k, v in query)
        sent = self.signer.headers(method, path, text, self.host, hashlib.sha256(body).hexdigest(), headers)
        c = self.connection
        c.putrequest(method, urllib.parse.quote(path, safe="/-_.~") + (f"?{text}" if text else ""), skip_host=True,
                     skip_accept_encoding=True)
        for name, value in sent.items():
            c.putheader(name, value)
        if body or method in ("PUT", "POST"):
            c.putheader("Content-Length", str(len(body)))
        c.endheaders(body or None)
        response = c.getresponse()
        return Answer(response, response.read())


def quoted(text):
    return urllib.parse.quote(str(text), safe="-_.~")


def escaped(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")


def text_of(element, name, default=None):
    found = element.find(XMLNS + name)
    return default if found is None else found.text or ""


# ---- odd keys ----

PIECES = ["a", "a", "b", "z", "/", "/", "//", ".", "..", "./", "../", " ", "  ", "+", "%", "%2F", "%00", "%zz", "&", "<",
          ">", '"', "'", "?", "#", ":", "@", "=", ";", ",", "!", "*", "(", ")", "~", "\\", "^", "`", "|", "{}", "[]", "$",
          "?versionId=null", "&amp;", "é", "e\u0301", "ß", "\u00a0", "\u0080", "\u2028", "日本", "\ue000", "\ufeff", "\ufffd",
          "\U00010000", "😀", "\U0010ffff", "\t", "\n", "\r", "\r\n"]
NOT_IN_XML = ["\x00", "\x01", "\x08", "\x0b", "\x1f", "\ufffe", "\uffff"]


def make_key(rng, xml_only):
    pieces = PIECES if xml_only else PIECES + NOT_IN_XML
    key = "".join(rng.choice(pieces) for _ in range(rng.randint(1, 5)))
    kind = rng.random()
    if kind < 0.08:
        while len(utf8(key)) <= 1024:
            key += rng.choice(pieces)
        key = utf8(key)[:1024].decode(errors="ignore")
    elif kind < 0.2:
        points = [rng.choice((rng.randrange(0x20, 0x3000), rng.randrange(0xe000, 0xfffe), rng.randrange(0x10000, 0x110000)))
                  for _ in range(rng.randint(1, 8))]
        key += "".join(map(chr, points))
    return key


def make_keys(rng, xml_only):
    keys = []
    while len(keys) < 12:
        key = make_key(rng, xml_only)
        if keys and rng.random() < 0.6:  # in one folder with another, or below it
            other = rng.choice(keys)
            key = other[:rng.randint(1, len(other))] + rng.choice(("", "/", "//")) + key
        if 0 < len(utf8(key)) <= 1024:
            keys.append(key)
    return keys


# ---- the player ----

class Player:
    WEIGHTS = {"put": 20, "get": 12, "delete": 9, "delete_version": 7, "delete_many": 6, "copy": 10, "set_versioning": 4,
               "tags": 7, "attributes": 3, "list_objects": 10, "list_versions": 9, "list_uploads": 6, "walk": 6, "walk_among_writes": 3,
               "create_upload": 6, "upload_part": 10, "copy_part": 5, "complete": 8, "abort": 2, "list_parts": 3,
               "remove_bucket": 1, "bad_key": 1}

    def __init__(self, cluster, seed, part_bytes_min):
        rng = random.Random(f"{seed} keys")
        self.seed, self.part_bytes_min, self.trace = seed, part_bytes_min, []
        self.gateways = [Gateway(cluster, z) for z in (1, 2, 3)]
        self.xml_only = rng.random() < 0.6
        self.keys = make_keys(rng, self.xml_only)
        serial = f"{time.time_ns():x}"
        self.buckets = [Bucket(f"p-{serial}-{n}") for n in range(2)]
        self.rng, self.where = rng, "begin"
        for b in self.buckets:
            self.send("PUT", b)
            self.expect(200)
            if rng.random() < 0.5:
                self.version_setting(b, rng.choice((ENABLED, SUSPENDED)))

    # ---- requests, and what is expected of them ----

    def send(self, method, bucket, key=None, query=(), headers=(), body=b""):
        gateway = self.rng.choice(self.gateways)
        self.answer = gateway.request(method, bucket.name, key, query, headers, body)
        shown = f"{gateway.zone} {method} {self.buckets.index(bucket)}" + ("" if key is None else f" {key!r}")
        shown += "".join(f" {k}={v!r}" for k, v in query) + "".join(f" [{k}: {v}]" for k, v in dict(headers).items())
        document = body.startswith((b"<Delete", b"<Versioning", b"<Tagging", b"<Complete"))
        shown += f" {body.decode()}" if document else f" {len(body)} bytes" if body else ""
        self.trace.append(f"{shown[:600]} -> {self.answer.status} {self.answer.code} "
                          f"{self.answer.headers.get('x-amz-version-id') or ''}")
        return self.answer

    def differs(self, text):
        raise Differs(self.where, text)

    def same(self, got, want, what):
        if got != want:
            self.differs(f"{what}: {got!r} instead of {want!r}"[:2000])

    def expect(self, status):
        if self.answer.status != status:
            self.differs(f"{self.answer.status} instead of {status}: {self.answer.body[:300]!r}")

    def refused(self, fault, head=False):
        a = self.answer
        allowed = [(s, "" if head else c) for s, c in fault.answers]
        if (a.status, a.code) not in allowed:
            self.differs(f"{a.status} {a.code} instead of {allowed}: {a.body[:300]!r}")
        if fault.marker:
            self.same(a.headers.get("x-amz-delete-marker"), "true", "x-amz-delete-marker")
            self.same(a.headers.get("x-amz-version-id"), fault.marker.id, "x-amz-version-id")

    def made(self, bucket, version):
        """The id of a version that was made is told, if the bucket has versions."""
        told = self.answer.headers.get("x-amz-version-id")
        if bucket.versioning != ENABLED:
            self.same(told, NULL if bucket.versioning else None, "x-amz-version-id")
            return
        self.learn(bucket, version, told)

    def learn(self, bucket, version, version_id):
        """The id of a version that was made: one that none of its key has had."""
        key = next(k for k, versions in bucket.keys.items() if any(v is version for v in versions))
        had = [v.id for v in bucket.keys[key] if v is not version] + bucket.gone.get(key, [])
        if not version_id or version_id == NULL or version_id in had:
            self.differs(f"a version of {key!r} with the id {version_id!r}")
        version.id = version_id

    def written(self, bucket, key, version):
        """Another gateway has it at once."""
        self.made(bucket, version)
        self.read(bucket, key, version, "HEAD", [], Conditions(), None)

    # ---- choices ----

    def key(self):
        return self.rng.choice(self.keys)

    def stored(self, bucket):
        """A key that has versions, mostly."""
        keys = bucket.sorted_keys()
        return self.rng.choice(keys) if keys and self.rng.random() < 0.85 else self.key()

    def version_of(self, bucket, key, often=0.5):
        """The id of one, or None."""
        if self.rng.random() > often:
            return None
        ids = [v.id for v in bucket.keys.get(key, [])] + bucket.gone.get(key, [])[-2:] + [NULL]
        return self.rng.choice(ids)

    def body(self):
        return self.rng.randbytes(self.rng.choice(SIZES[:5]) if self.rng.random() < 0.8 else self.rng.choice(SIZES))

    def tags(self):
        return {f"k{i} é+=/"[:self.rng.randint(2, 7)]: self.rng.choice(("", "v", "a b", "ü/+=")) for i in
                range(self.rng.choice((0, 0, 1, 3)))}

    def about(self):
        rng, headers = self.rng, {}
        about = About(tags=self.tags())
        if rng.random() < 0.3:
            about.content_type = headers["content-type"] = rng.choice(("text/plain", "image/x; a=b"))
        if rng.random() < 0.3:
            about.meta = {"m1": rng.choice(("x", "two words"))}
            headers["x-amz-meta-m1"] = about.meta["m1"]
        if rng.random() < 0.15:
            about.storage_class = headers["x-amz-storage-class"] = "STANDARD_IA"
        if about.tags:
            headers["x-amz-tagging"] = "&".join(f"{quoted(k)}={quoted(v)}" for k, v in about.tags.items())
        return about, headers

    def etag_for(self, version):
        etag = self.rng.choice(("*", md5(b"another"), None, None))
        return etag if etag or not version else version.etag

    def write_conditions(self, bucket, key):
        kind = self.rng.random()
        if kind < 0.12:
            c = Conditions(match=self.etag_for(bucket.current(key)) or md5(b"none"))
            return c, {"if-match": c.match if c.match == "*" else f'"{c.match}"'}
        if kind < 0.24:
            return Conditions(none_match="*"), {"if-none-match": "*"}
        return Conditions(), {}

    def read_conditions(self, version, prefix=""):
        c, headers = Conditions(), {}
        date = {"usegmt": True}
        if self.rng.random() < 0.25:
            c.match = self.etag_for(version)
            if c.match:
                headers[prefix + "if-match"] = c.match if c.match == "*" else f'"{c.match}"'
        if self.rng.random() < 0.25:
            c.none_match = self.etag_for(version)
            if c.none_match:
                headers[prefix + "if-none-match"] = c.none_match if c.none_match == "*" else f'"{c.none_match}"'
        if version and version.modified and self.rng.random() < 0.2:
            c.since = version.modified - self.rng.choice((0, 1, 1000))
            headers[prefix + "if-modified-since"] = email.utils.formatdate(c.since, **date)
        if version and version.modified and self.rng.random() < 0.2:
            c.not_since = version.modified - self.rng.choice((0, 1, 1000))
            headers[prefix + "if-unmodified-since"] = email.utils.formatdate(c.not_since, **date)
        return c, headers

    # ---- one operation ----

    def step(self, number):
        self.rng = random.Random(f"{self.seed} {number}")
        kind = self.rng.choices(list(self.WEIGHTS), list(self.WEIGHTS.values()))[0]
        self.where = kind
        getattr(self, "do_" + kind)(self.rng.choice(self.buckets))

    def do_put(self, b):
        key, body = self.key(), self.body()
        about, headers = self.about()
        conditions, more = self.write_conditions(b, key)
        self.send("PUT", b, key, [], headers | more, body)
        try:
            version = b.put(key, body, about, conditions)
        except Fault as fault:
            return self.refused(fault)
        self.expect(200)
        self.same(self.answer.headers["etag"], f'"{version.etag}"', "ETag")
        self.written(b, key, version)

    # ---- reading ----

    def range_of(self, size):
        """A Range header, and what it means: (first, end); INVALID_RANGE; None: everything."""
        rng = self.rng
        first, last = rng.randint(0, size + 2), rng.randint(0, size + 2)
        kind = rng.randrange(5)
        if kind == 0:
            return f"bytes={first}-", (first, size) if first < size else INVALID_RANGE
        if kind == 1:
            return f"bytes=-{last}", (max(0, size - last), size) if last and size else INVALID_RANGE
        if kind == 2 or first > last:
            return rng.choice(("bytes=x", "lines=1-2", f"bytes={first + 1}-{first}", "bytes=0-0,2-3")), None
        return f"bytes={first}-{last}", (first, min(last + 1, size)) if first < size else INVALID_RANGE

    def read(self, b, key, want, method, query, conditions, span, headers=()):
        """want: the version that is meant; or a Fault.  span: of the body, a part's number, or INVALID_RANGE."""
        a = self.send(method, b, key, query, dict(headers))
        head = method == "HEAD"
        if isinstance(want, Fault):
            return self.refused(want, head)
        unmet = conditions.read(want)
        if unmet or span == INVALID_RANGE:
            return self.refused(Fault(unmet or span), head)
        self.expect(200 if span is None else 206)
        first, end = span or (0, len(want.body))
        h = a.headers
        self.same(h["etag"], f'"{want.etag}"', "ETag")
        self.same(h["content-length"], str(end - first), "Content-Length")
        self.same(h.get("content-range"), f"bytes {first}-{end - 1}/{len(want.body)}" if span else None, "Content-Range")
        self.same(h.get("x-amz-version-id"), want.id if b.versioning else None, "x-amz-version-id")
        self.same(h["content-type"], want.about.content_type or "binary/octet-stream", "Content-Type")
        self.same({k[11:]: v for k, v in h.items() if k.startswith("x-amz-meta-")}, want.about.meta, "metadata")
        self.same(h.get("x-amz-tagging-count"), str(len(want.about.tags)) if want.about.tags else None, "count of tags")
        self.same(h.get("x-amz-storage-class"), want.about.storage_class or None, "storage class")
        modified = int(email.utils.parsedate_to_datetime(h["last-modified"]).timestamp())
        if want.modified is not None:
            self.same(modified, want.modified, "Last-Modified")
        want.modified = modified
        if not head and a.body != want.body[first:end]:
            self.differs(f"a body of {len(a.body)} bytes that is not what was written")

    def do_get(self, b):
        rng, key = self.rng, self.stored(b)
        version_id = self.version_of(b, key)
        query = [("versionId", version_id)] if version_id else []
        method = rng.choice(("GET", "GET", "HEAD"))
        try:
            want = b.get(key, version_id)
        except Fault as fault:
            return self.read(b, key, fault, method, query, Conditions(), None)
        conditions, headers = self.read_conditions(want)
        span = None
        if rng.random() < 0.35:
            headers["range"], span = self.range_of(len(want.body))
        elif rng.random() < 0.15 and want.body:
            sizes = want.parts or [len(want.body)]
            n = rng.randint(1, len(sizes) + 1)
            query.append(("partNumber", n))
            at = sum(sizes[:n - 1])
            span = (at, at + sizes[n - 1]) if n <= len(sizes) else (416, "InvalidPartNumber")
            if n > len(sizes):
                unmet = conditions.read(want)
                self.send(method, b, key, query, headers)
                return self.refused(Fault(unmet or span), method == "HEAD")
            if at == at + sizes[n - 1]:
                return None
        return self.read(b, key, want, method, query, conditions, span, headers)

    def do_attributes(self, b):
        key = self.stored(b)
        version_id = self.version_of(b, key)
        a = self.send("GET", b, key, [("attributes", "")] + ([("versionId", version_id)] if version_id else []),
                      {"x-amz-object-attributes": "ETag,ObjectSize,StorageClass,ObjectParts"})
        try:
            want = b.get(key, version_id)
        except Fault as fault:
            return self.refused(fault)
        self.expect(200)
        x = a.xml()
        self.same(text_of(x, "ETag"), want.etag, "ETag")
        self.same(text_of(x, "ObjectSize"), str(len(want.body)), "ObjectSize")
        self.same(text_of(x, "StorageClass"), want.about.storage_class or "STANDARD", "StorageClass")
        parts = x.find(XMLNS + "ObjectParts")
        self.same(None if parts is None else text_of(parts, "PartsCount"), str(len(want.parts)) if want.parts else None,
                  "PartsCount")

    def do_tags(self, b):
        key, tags = self.stored(b), self.tags()
        version_id = self.version_of(b, key)
        query = [("tagging", "")] + ([("versionId", version_id)] if version_id else [])
        method = self.rng.choice(("GET", "PUT", "PUT", "DELETE"))
        text = "".join(f"<Tag><Key>{escaped(k)}</Key><Value>{escaped(v)}</Value></Tag>" for k, v in tags.items())
        a = self.send(method, b, key, query, (),
                      f"<Tagging><TagSet>{text}</TagSet></Tagging>".encode() if method == "PUT" else b"")
        try:
            want = b.get(key, version_id)
        except Fault as fault:
            return self.refused(fault)
        self.expect(204 if method == "DELETE" else 200)
        self.same(a.headers.get("x-amz-version-id"), want.id if b.versioning else None, "x-amz-version-id")
        if method != "GET":
            want.about = About(**vars(want.about) | {"tags": tags if method == "PUT" else {}})
        got = self.send("GET", b, key, query).xml()
        self.expect(200)
        self.same({text_of(t, "Key"): text_of(t, "Value") for t in got.iter(XMLNS + "Tag")}, want.about.tags, "tags")

    # ---- deleting ----

    def do_delete(self, b):
        key, match, headers = self.stored(b), None, {}
        if self.rng.random() < 0.2:
            match = self.etag_for(b.current(key)) or md5(b"none")
            headers["if-match"] = match if match == "*" else f'"{match}"'
        self.deleted(b, key, None, match, headers)

    def do_delete_version(self, b):
        key = self.stored(b)
        self.deleted(b, key, self.version_of(b, key, 1), None, {})

    def deleted(self, b, key, version_id, match, headers):
        a = self.send("DELETE", b, key, [("versionId", version_id)] if version_id else [], headers)
        try:
            marker, was_marker = b.delete(key, version_id, match)
        except Fault as fault:
            return self.refused(fault)
        self.expect(204)
        self.same(a.headers.get("x-amz-delete-marker"), "true" if marker or was_marker else None, "x-amz-delete-marker")
        if marker:
            self.made(b, marker)
        else:
            self.same(a.headers.get("x-amz-version-id"), version_id, "x-amz-version-id")
        return self.look(b, key)

    def look(self, b, key):
        """What is current now."""
        try:
            want = b.get(key)
        except Fault as fault:
            want = fault
        self.read(b, key, want, "HEAD", [], Conditions(), None)

    def do_delete_many(self, b):
        rng = self.rng
        named = []
        for _ in range(rng.randint(1, 8)):
            key = self.stored(b)
            version_id = self.version_of(b, key, 0.7)
            if not NOT_XML.search(key) and (key, version_id) not in [n[:2] for n in named]:
                named.append((key, version_id, self.etag_for(b.current(key)) if rng.random() < 0.15 else None))
        if not named:
            return
        quiet = rng.random() < 0.2
        objects = "".join(f"<Object><Key>{escaped(k)}</Key>" + (f"<VersionId>{v}</VersionId>" if v else "")
                          + (f"<ETag>{etag}</ETag>" if etag else "") + "</Object>" for k, v, etag in named)
        a = self.send("POST", b, None, [("delete", "")], {}, f"<Delete><Quiet>{str(quiet).lower()}</Quiet>{objects}"
                      "</Delete>".encode())
        self.expect(200)
        wanted, refused = [], []
        for k, v, etag in named:
            try:
                wanted.append((k, v, *b.delete(k, v, etag)))
            except Fault as fault:
                refused.append((k, v, fault.answers[0][1]))
        x = a.xml()
        told = [(text_of(d, "Key"), text_of(d, "VersionId"), text_of(d, "DeleteMarker"), text_of(d, "DeleteMarkerVersionId"))
                for d in x.iter(XMLNS + "Deleted")]
        self.same([(text_of(e, "Key"), text_of(e, "VersionId"), text_of(e, "Code")) for e in x.iter(XMLNS + "Error")], refused,
                  "errors")
        if quiet:
            self.same(told, [], "answers")
            if b.versioning == ENABLED:  # ids that nobody told
                self.learn_markers(b)
        else:
            self.same([t[:3] for t in told], [(k, v, "true" if m or was else None) for k, v, m, was in wanted], "answers")
            for (_, version_id, _, marker_id), (_, _, marker, was) in zip(told, wanted):
                if marker and marker.id is None:
                    self.learn(b, marker, marker_id)
                self.same(marker_id, marker.id if marker else version_id if was else None, "DeleteMarkerVersionId")
        for key in sorted({k for k, _, _ in named})[:2]:
            self.look(b, key)

    def learn_markers(self, b):
        x = self.send("GET", b, None, [("versions", ""), ("encoding-type", "url")]).xml()
        for d in x.iter(XMLNS + "DeleteMarker"):
            key = urllib.parse.unquote_plus(text_of(d, "Key"))
            for v in b.keys.get(key, []):
                if v.id is None and not b.find(key, text_of(d, "VersionId")):
                    self.learn(b, v, text_of(d, "VersionId"))

    # ---- copies ----

    def source(self, b):
        """Of a copy: bucket, key, version id, and the version or a Fault; the header."""
        rng = self.rng
        bucket = rng.choice(self.buckets)
        key = self.stored(bucket)
        version_id = self.version_of(bucket, key, 0.35)
        try:
            version = bucket.get(key, version_id)
        except Fault as fault:
            marker = fault.answers == ((405, "MethodNotAllowed"),)
            version = Fault((400, "InvalidRequest")) if marker else Fault(*fault.answers)
        text = rng.choice(("", "/")) + quoted(bucket.name) + "/" + urllib.parse.quote(key, safe=rng.choice(("", "/")))
        return bucket, key, version_id, version, text + (f"?versionId={version_id}" if version_id else "")

    def do_copy(self, b):
        rng, key = self.rng, self.key()
        from_bucket, from_key, from_id, source, text = self.source(b)
        about, tags, headers = None, None, {"x-amz-copy-source": text}
        if rng.random() < 0.4:
            about, more = self.about()
            more.pop("x-amz-storage-class", None)
            more.pop("x-amz-tagging", None)
            headers |= more | {"x-amz-metadata-directive": "REPLACE"}
        if rng.random() < 0.3:
            tags = self.tags()
            headers["x-amz-tagging-directive"] = "REPLACE"
            if tags:
                headers["x-amz-tagging"] = "&".join(f"{quoted(k)}={quoted(v)}" for k, v in tags.items())
        found = None if isinstance(source, Fault) else source
        source_conditions, more = self.read_conditions(found, "x-amz-copy-source-")
        conditions, more_still = self.write_conditions(b, key)
        a = self.send("PUT", b, key, [], headers | more | more_still)
        try:
            version = b.copy(key, source, from_bucket.name, from_key, from_id, about, tags, source_conditions, conditions)
        except Fault as fault:
            return self.refused(fault)
        self.expect(200)
        self.same(text_of(a.xml(), "ETag"), f'"{version.etag}"', "ETag")
        self.same(a.headers.get("x-amz-copy-source-version-id"), source.id if from_bucket.versioning else None,
                  "x-amz-copy-source-version-id")
        self.written(b, key, version)

    # ---- uploads ----

    def do_create_upload(self, b):
        key = self.key()
        about, headers = self.about()
        a = self.send("POST", b, key, [("uploads", "")], headers)
        self.expect(200)
        upload = Upload(key, about, text_of(a.xml(), "UploadId"))
        if not upload.id or any(u.id == upload.id for u in b.uploads + b.ended):
            self.differs(f"an upload with the id {upload.id!r}")
        b.uploads.append(upload)

    def an_upload(self, b):
        """Key and id; mostly of one under way."""
        ended = b.ended and (not b.uploads or self.rng.random() < 0.1)
        if not b.uploads and not ended:
            return None, None
        upload = self.rng.choice(b.ended if ended else b.uploads)
        return (self.key() if self.rng.random() < 0.05 else upload.key), upload.id

    def put_part(self, b, key, upload_id, body, fault, headers, sent):
        n = self.rng.choice((1, 2, 3, 4, 10000))
        a = self.send("PUT", b, key, [("partNumber", n), ("uploadId", upload_id)], headers, sent)
        faults = list(fault.answers) if fault else []
        try:
            upload = b.upload(key, upload_id)
        except Fault as missing:
            faults += missing.answers
        if faults:
            return self.refused(Fault(*faults))
        self.expect(200)
        told = a.headers["etag"] if sent or "x-amz-copy-source" not in headers else text_of(a.xml(), "ETag")
        self.same(told, f'"{md5(body)}"', "ETag")
        upload.parts[n] = (body, md5(body))

    def do_upload_part(self, b):
        key, upload_id = self.an_upload(b)
        if key:
            body = self.rng.randbytes(self.rng.choice((0, 999, 1000, 5000, 17000, 70_000)))
            self.put_part(b, key, upload_id, body, None, {}, body)

    def do_copy_part(self, b):
        key, upload_id = self.an_upload(b)
        if not key:
            return
        _, _, _, source, text = self.source(b)
        headers = {"x-amz-copy-source": text}
        body, fault = b"", source if isinstance(source, Fault) else None
        if not fault:
            conditions, more = self.read_conditions(source, "x-amz-copy-source-")
            headers |= more
            body = source.body
            if conditions.read(source):
                fault = Fault((412, "PreconditionFailed"))
            elif self.rng.random() < 0.5:
                first, last = self.rng.randint(0, len(body)), self.rng.randint(0, len(body))
                headers["x-amz-copy-source-range"] = f"bytes={first}-{last}"
                if first > last or last >= len(body):
                    fault = Fault((400, "InvalidArgument"))
                body = body[first:last + 1]
        self.put_part(b, key, upload_id, body, fault, headers, b"")

    def do_complete(self, b):
        rng = self.rng
        key, upload_id = self.an_upload(b)
        if not key:
            return
        current = b.current(key)
        upload = next((u for u in b.uploads + b.ended if u.id == upload_id), None)
        if current and current.upload == upload_id and rng.random() < 0.7:
            named = current.named
        else:
            named = [(n, upload.parts[n][1]) for n in sorted(upload.parts) if rng.random() < 0.8]
            if rng.random() < 0.08:
                named.append((7, md5(b"another")))
            elif rng.random() < 0.08 and named:
                named[-1] = (named[-1][0], md5(b"another"))
            elif rng.random() < 0.08:
                named.reverse()
        if not named:
            return
        conditions, headers = self.write_conditions(b, key)
        text = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>&quot;{e}&quot;</ETag></Part>" for n, e in named)
        a = self.send("POST", b, key, [("uploadId", upload_id)], headers,
                      f"<CompleteMultipartUpload>{text}</CompleteMultipartUpload>".encode())
        again = upload not in b.uploads
        try:
            version = b.complete(key, upload_id, named, self.part_bytes_min, conditions)
        except Fault as fault:
            return self.refused(fault)
        if again:
            faults = conditions.write(current)
            if faults and self.answer.status != 200:
                return self.refused(Fault(*faults))
        self.expect(200)
        x = a.xml()
        self.same(text_of(x, "ETag"), f'"{version.etag}"', "ETag")
        if not NOT_XML.search(key):
            self.same(text_of(x, "Key"), key, "Key")
        if again:
            self.same(a.headers.get("x-amz-version-id"), version.id if b.versioning else None, "x-amz-version-id")
        else:
            self.written(b, key, version)

    def do_abort(self, b):
        key, upload_id = self.an_upload(b)
        if not key:
            return
        self.send("DELETE", b, key, [("uploadId", upload_id)])
        try:
            b.end_upload(b.upload(key, upload_id))
        except Fault as fault:
            return self.refused(fault)
        self.expect(204)

    def do_list_parts(self, b):
        key, upload_id = self.an_upload(b)
        if not key:
            return
        after, most = self.rng.choice((0, 1, 3, 10001)), self.rng.choice((1, 2, 1000))
        x = self.send("GET", b, key, [("uploadId", upload_id), ("part-number-marker", after), ("max-parts", most)])
        try:
            upload = b.upload(key, upload_id)
        except Fault as fault:
            return self.refused(fault)
        self.expect(200)
        want = [(str(n), f'"{e}"', str(len(d))) for n, (d, e) in sorted(upload.parts.items()) if n > after]
        x = x.xml()
        self.same([(text_of(p, "PartNumber"), text_of(p, "ETag"), text_of(p, "Size")) for p in x.iter(XMLNS + "Part")],
                  want[:most], "parts")
        self.same(text_of(x, "IsTruncated"), "true" if len(want) > most else "false", "IsTruncated")

    # ---- lists ----

    def cut(self, text):
        return text[:self.rng.randint(0, len(text))]

    def list_params(self):
        rng = self.rng
        prefix = rng.choice(("", "", self.cut(self.key()), self.cut(self.key()), self.key(), "none"))
        delimiter = rng.choice(("", "/", "/", "//", "a", ".", " ", "%", self.cut(self.key())[-1:], self.cut(self.key())[-2:]))
        return prefix, delimiter

    def marker(self, items):
        rng = self.rng
        given = [i[0] for i in items]
        choices = ["", self.key(), self.cut(self.key()), self.key() + "a"] + ([rng.choice(given)] * 2 if given else [])
        return rng.choice(choices)

    def encoding(self, *texts):
        """url where XML could not carry what may come back; else sometimes."""
        must = not self.xml_only or any(NOT_XML.search(t) for t in texts)
        url = must or self.rng.random() < 0.5
        return (lambda t: None if t is None else urllib.parse.unquote_plus(t) if url else t), \
            [("encoding-type", "url")] if url else []

    def list_page(self, b, kind, prefix, delimiter, marker, id_marker, most, token=None):
        """Asks for one page.  Returns: its items as (key, id or ETag; None: a common prefix), and the document."""
        decode, query = self.encoding(prefix, delimiter, marker)
        query = list(query)
        names = {"v1": ("marker", "max-keys"), "v2": ("start-after", "max-keys"), "versions": ("key-marker", "max-keys"),
                 "uploads": ("key-marker", "max-uploads")}[kind]
        query += {"v1": [], "v2": [("list-type", 2)], "versions": [("versions", "")], "uploads": [("uploads", "")]}[kind]
        query += [(k, v) for k, v in (("prefix", prefix), ("delimiter", delimiter), (names[0], marker),
                                      ("continuation-token", token)) if v]
        if id_marker:
            query.append(("version-id-marker" if kind == "versions" else "upload-id-marker", id_marker))
        query.append((names[1], most))
        self.rng.shuffle(query)
        a = self.send("GET", b, None, query)
        self.expect(200)
        x = a.xml()
        self.same(decode(text_of(x, "Prefix", "")), prefix, "Prefix")
        self.same(decode(text_of(x, "Delimiter", "")), delimiter, "Delimiter")
        items = []
        for e in x:
            tag = e.tag.removeprefix(XMLNS)
            if tag == "CommonPrefixes":
                items.append((decode(text_of(e, "Prefix")), None))
            elif tag == "Contents":
                items.append((decode(text_of(e, "Key")), (text_of(e, "ETag"), text_of(e, "Size"), text_of(e, "StorageClass"))))
            elif tag in ("Version", "DeleteMarker"):
                items.append((decode(text_of(e, "Key")), (tag, text_of(e, "VersionId"), text_of(e, "IsLatest"),
                                                          text_of(e, "ETag"), text_of(e, "Size"))))
            elif tag == "Upload":
                items.append((decode(text_of(e, "Key")), text_of(e, "UploadId")))
        return items, x, decode

    def all_of(self, b, kind, prefix, delimiter, marker, id_marker=""):
        """What the model would list, in the form of list_page()."""
        if kind == "uploads":
            return [(k, u and u.id) for k, u in b.list_uploads(prefix, delimiter, marker, id_marker)]
        if kind == "versions":
            return [(k, v and (("DeleteMarker", v.id, self.latest(b, k, v), None, None) if v.marker else
                               ("Version", v.id, self.latest(b, k, v), f'"{v.etag}"', str(len(v.body)))))
                    for k, v in b.list_versions(prefix, delimiter, marker, id_marker)]
        return [(k, v and (f'"{v.etag}"', str(len(v.body)), v.about.storage_class or "STANDARD"))
                for k, v in b.list_objects(prefix, delimiter, marker)]

    @staticmethod
    def latest(b, key, version):
        return "true" if b.keys[key][0] is version else "false"

    def a_list(self, b, kind):
        rng = self.rng
        prefix, delimiter = self.list_params()
        everything = self.all_of(b, kind, prefix, delimiter, "")
        marker, id_marker = self.marker(everything), ""
        if kind == "versions" and b.keys and rng.random() < 0.4:
            marker = rng.choice(b.sorted_keys())
            id_marker = rng.choice(b.keys[marker]).id
        elif kind == "uploads" and b.uploads and rng.random() < 0.4:
            upload = rng.choice(b.uploads)
            marker, id_marker = upload.key, upload.id
        most = rng.choice((1, 2, 3, 5, 1000) + (() if kind == "uploads" else (0,)))
        want = self.all_of(b, kind, prefix, delimiter, marker, id_marker)
        got, x, decode = self.list_page(b, kind, prefix, delimiter, marker, id_marker, most)
        self.page(kind, got, x, decode, want, most, delimiter)

    def page(self, kind, got, x, decode, want, most, delimiter):
        self.same(got, want[:most], "entries")
        more = most > 0 and len(want) > most
        self.same(text_of(x, "IsTruncated"), "true" if more else "false", "IsTruncated")
        last = want[most - 1] if more else (None, None)
        if kind == "v1":
            self.same(decode(text_of(x, "NextMarker")), last[0] if delimiter else None, "NextMarker")
        elif kind == "v2":
            self.same(text_of(x, "KeyCount"), str(len(got)), "KeyCount")
        elif kind == "versions":
            self.same(decode(text_of(x, "NextKeyMarker")), last[0], "NextKeyMarker")
            self.same(text_of(x, "NextVersionIdMarker"), last[1] and last[1][1], "NextVersionIdMarker")
        elif more:
            self.same(decode(text_of(x, "NextKeyMarker")), last[0], "NextKeyMarker")
            self.same(text_of(x, "NextUploadIdMarker", "") or None, last[1], "NextUploadIdMarker")

    def do_list_objects(self, b):
        self.a_list(b, self.rng.choice(("v1", "v2")))

    def do_list_versions(self, b):
        self.a_list(b, "versions")

    def do_list_uploads(self, b):
        self.a_list(b, "uploads")

    def do_walk(self, b):
        self.walk(b, self.rng.choice(("v1", "v2", "versions", "uploads")), *self.list_params(), self.rng.choice((1, 2, 3, 7)))

    def walk(self, b, kind, prefix, delimiter, most):
        """Page after page, as a client does."""
        want = self.all_of(b, kind, prefix, delimiter, "")
        marker = id_marker = token = ""
        at = 0
        while True:
            got, x, decode = self.list_page(b, kind, prefix, delimiter, marker, id_marker, most, token)
            self.page(kind, got, x, decode, want[at:], most, delimiter)
            at += len(got)
            if text_of(x, "IsTruncated") == "false":
                return
            if kind == "v2":
                token = text_of(x, "NextContinuationToken")
            elif kind == "v1":
                marker = decode(text_of(x, "NextMarker")) or got[-1][0]
            else:
                marker = decode(text_of(x, "NextKeyMarker"))
                id_marker = text_of(x, "NextVersionIdMarker" if kind == "versions" else "NextUploadIdMarker", "")

    def do_walk_among_writes(self, b):
        """Writes and deletions between the pages: what is not touched is given once, in its place."""
        rng, kind = self.rng, self.rng.choice(("v1", "v2", "versions", "uploads"))
        prefix, most = self.list_params()[0], rng.choice((1, 2, 3))
        touched = rng.sample(self.keys, 2)
        want = [i for i in self.all_of(b, kind, prefix, "", "") if i[0] not in touched]
        got, marker, id_marker, token = [], "", "", None
        for _ in range(200):
            page, x, decode = self.list_page(b, kind, prefix, "", marker, id_marker, most, token)
            got += page
            if text_of(x, "IsTruncated") == "false":
                return self.same([i for i in got if i[0] not in touched], want, "entries that nobody touched")
            if not page:
                self.differs("a page of nothing")
            token = text_of(x, "NextContinuationToken")
            marker = "" if kind == "v2" else decode(text_of(x, "NextKeyMarker")) or page[-1][0]
            id_marker = text_of(x, "NextVersionIdMarker" if kind == "versions" else "NextUploadIdMarker", "")
            key = rng.choice(touched)
            if rng.random() < 0.5:
                version = b.put(key, b"x", About())
                self.send("PUT", b, key, [], (), b"x")
                self.expect(200)
                self.made(b, version)
            else:
                self.deleted(b, key, self.version_of(b, key), None, {})
        self.differs("a list without an end")

    # ---- buckets ----

    def version_setting(self, b, status):
        self.send("PUT", b, None, [("versioning", "")], (),
                  f"<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>".encode())
        self.expect(200)
        b.versioning = status

    def do_set_versioning(self, b):
        if self.rng.random() < 0.7:
            self.version_setting(b, self.rng.choice((ENABLED, ENABLED, SUSPENDED)))
        x = self.send("GET", b, None, [("versioning", "")]).xml()
        self.expect(200)
        self.same(text_of(x, "Status"), b.versioning, "versioning")

    def do_remove_bucket(self, b):
        if b.keys or b.uploads:
            self.send("DELETE", b)
            self.refused(Fault((409, "BucketNotEmpty")))

    def do_bad_key(self, b):
        self.send("PUT", b, "k" * 1025, [], (), b"x")
        self.refused(Fault((400, "KeyTooLongError")))

    def end(self):
        """All that is there, in lists and as bytes; then nothing is left behind."""
        self.rng = random.Random(f"{self.seed} end")
        for b in self.buckets:
            self.where = "last look"
            for kind in ("v1", "v2", "versions", "uploads"):
                self.walk(b, kind, "", "", 1000)
            for key in b.sorted_keys():
                for v in b.keys[key]:
                    if not v.marker:
                        self.read(b, key, v, "GET", [("versionId", v.id)], Conditions(), None)
            self.where = "emptying"
            for key in b.sorted_keys():
                for v in list(b.keys[key]):
                    self.deleted(b, key, v.id, None, {})
            for upload in list(b.uploads):
                self.send("DELETE", b, upload.key, [("uploadId", upload.id)])
                self.expect(204)
            self.send("DELETE", b)
            self.expect(204)
            self.send("HEAD", b)
            self.expect(404)
