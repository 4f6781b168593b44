"""What S3 would answer: a bucket as a table of versions, in plain Python.

Pure: nothing here speaks to anybody.  Ids of versions and uploads are the server's; the caller gives them in
once they are known (`Version.id`, `Upload.id`).  An operation that fails raises Fault with the answers that
S3 allows: more than one where several things are wrong at once and nobody says which is told.
"""
import dataclasses
import hashlib

ENABLED, SUSPENDED = "Enabled", "Suspended"
NULL = "null"


class Fault(Exception):
    def __init__(self, *answers, marker=None):
        super().__init__(answers)
        self.answers = answers  # (status, code)
        self.marker = marker    # the delete marker that is the reason


NO_KEY, NO_VERSION, NO_UPLOAD = (404, "NoSuchKey"), (404, "NoSuchVersion"), (404, "NoSuchUpload")
NOT_ALLOWED, UNMET, NOT_MODIFIED = (405, "MethodNotAllowed"), (412, "PreconditionFailed"), (304, "")
INVALID_REQUEST, INVALID_RANGE = (400, "InvalidRequest"), (416, "InvalidRange")


def md5(data):
    return hashlib.md5(data).hexdigest()


@dataclasses.dataclass
class About:
    """What a client says of an object when it writes it."""
    content_type: str = ""
    meta: dict = dataclasses.field(default_factory=dict)
    tags: dict = dataclasses.field(default_factory=dict)
    storage_class: str = ""


@dataclasses.dataclass
class Version:
    id: str | None  # None: the server has given one that is not known yet
    body: bytes = b""
    etag: str = ""
    about: About = dataclasses.field(default_factory=About)
    marker: bool = False
    parts: list | None = None  # sizes
    upload: str | None = None  # that made it, and the parts that were named
    named: list | None = None
    modified: int | None = None  # seconds, once they are known


@dataclasses.dataclass
class Upload:
    key: str
    about: About
    id: str | None = None
    parts: dict = dataclasses.field(default_factory=dict)  # number: (body, etag)


@dataclasses.dataclass
class Conditions:
    match: str | None = None       # an ETag, or *
    none_match: str | None = None
    since: int | None = None       # modified since, seconds
    not_since: int | None = None

    def read(self, version):
        """What a GET or HEAD of it hears; None: go on."""
        if self.match is not None:
            if self.match not in ("*", version.etag):
                return UNMET
        elif self.not_since is not None and version.modified > self.not_since:
            return UNMET
        if self.none_match is not None:
            if self.none_match in ("*", version.etag):
                return NOT_MODIFIED
        elif self.since is not None and version.modified <= self.since:
            return NOT_MODIFIED
        return None

    def write(self, current):
        """The faults of a write onto this object (None: there is none)."""
        if self.match is not None and current is None:
            return [NO_KEY]
        if self.match is not None and self.match not in ("*", current.etag):
            return [UNMET]
        if self.none_match is not None and current is not None:
            return [UNMET]
        return []


def utf8(text):
    return text.encode()


class Bucket:
    def __init__(self, name):
        self.name = name
        self.versioning = None
        self.keys = {}     # key: versions, the newest first
        self.uploads = []
        self.gone = {}     # key: ids of versions that were deleted
        self.ended = []    # uploads that were completed or aborted

    # ---- versions ----

    def current(self, key):
        """The object; None: none, or a delete marker."""
        versions = self.keys.get(key)
        return versions[0] if versions and not versions[0].marker else None

    def find(self, key, version_id):
        return next((v for v in self.keys.get(key, []) if v.id == version_id), None)

    def get(self, key, version_id=None):
        """The object that is meant."""
        if version_id is None:
            versions = self.keys.get(key)
            if not versions:
                raise Fault(NO_KEY)
            if versions[0].marker:
                raise Fault(NO_KEY, marker=versions[0])
            return versions[0]
        version = self.find(key, version_id)
        if version is None:
            raise Fault(NO_VERSION)
        if version.marker:
            raise Fault(NOT_ALLOWED, marker=version)
        return version

    def _remove(self, key, version):
        versions = [v for v in self.keys[key] if v is not version]
        if version.id != NULL:
            self.gone.setdefault(key, []).append(version.id)
        if versions:
            self.keys[key] = versions
        else:
            del self.keys[key]

    def _push(self, key, version):
        if self.versioning == ENABLED:
            version.id = None
        else:
            version.id = NULL
            old = self.find(key, NULL)
            if old:
                self._remove(key, old)
        self.keys.setdefault(key, []).insert(0, version)
        return version

    def put(self, key, body, about, conditions=Conditions()):
        faults = conditions.write(self.current(key))
        if faults:
            raise Fault(*faults)
        return self._push(key, Version(None, body, md5(body), about))

    def delete(self, key, version_id=None, match=None):
        """Returns: the delete marker that was made, or None; whether a delete marker was deleted."""
        if match is not None:
            current = self.current(key)
            if current is None or match not in ("*", current.etag):
                raise Fault(UNMET)
        if version_id is None and self.versioning:
            return self._push(key, Version(None, marker=True)), False
        version = self.find(key, version_id or NULL)
        if version is None:
            return None, False
        self._remove(key, version)
        return None, version.marker

    def copy(self, key, source, source_bucket, source_key, source_id, about, tags, source_conditions, conditions):
        """about, tags: instead of the source's; None: the source's.  source: a Version, or a Fault."""
        faults = conditions.write(self.current(key))
        if isinstance(source, Fault):
            faults += source.answers
        else:
            unmet = source_conditions.read(source)
            if unmet:
                faults.append(UNMET)
            elif about is None and (source_bucket, source_key, source_id) == (self.name, key, None):
                faults.append(INVALID_REQUEST)
        if faults:
            raise Fault(*faults)
        made = About(**vars(source.about if about is None else about))
        made.storage_class = ""
        made.tags = dict(source.about.tags if tags is None else tags)
        return self._push(key, Version(None, source.body, md5(source.body), made))

    # ---- uploads ----

    def upload(self, key, upload_id):
        found = next((u for u in self.uploads if u.key == key and u.id == upload_id), None)
        if not found:
            raise Fault(NO_UPLOAD)
        return found

    def complete(self, key, upload_id, named, part_bytes_min, conditions=Conditions()):
        """named: (number, ETag) in the client's order.  Returns: the version."""
        upload = next((u for u in self.uploads if u.key == key and u.id == upload_id), None)
        current = self.current(key)
        faults = conditions.write(current)
        numbers = [n for n, _ in named]
        if numbers != sorted(set(numbers)):
            faults.append((400, "InvalidPartOrder"))
        if upload is None:
            if current and current.upload == upload_id and current.named == named:
                return current  # asked twice
            # Of one that is an object by now, other parts than it was made of may be told as such.
            faults += [NO_UPLOAD, (400, "InvalidPart")] if any(u.id == upload_id for u in self.ended) else [NO_UPLOAD]
        elif any(n not in upload.parts or upload.parts[n][1] != etag for n, etag in named):
            faults.append((400, "InvalidPart"))
        elif any(len(upload.parts[n][0]) < part_bytes_min for n in numbers[:-1]):
            faults.append((400, "EntityTooSmall"))
        if faults:
            raise Fault(*faults)
        bodies = [upload.parts[n][0] for n in numbers]
        etag = hashlib.md5(b"".join(hashlib.md5(b).digest() for b in bodies)).hexdigest()
        version = Version(None, b"".join(bodies), f"{etag}-{len(bodies)}", upload.about, parts=[len(b) for b in bodies],
                          upload=upload_id, named=named)
        self.end_upload(upload)
        return self._push(key, version)

    def end_upload(self, upload):
        self.uploads.remove(upload)
        self.ended.append(upload)

    # ---- lists: all that is left behind the marker, in order ----

    @staticmethod
    def _group(entries, prefix, delimiter, marker, is_behind):
        """entries: (key, what) in order.  Returns: (key or common prefix, what; None: a common prefix).  A common
        prefix is given if it is greater than the marker."""
        items = []
        for key, what in entries:
            if not utf8(key).startswith(utf8(prefix)):
                continue
            at = key.find(delimiter, len(prefix)) if delimiter else -1
            if at < 0:
                if is_behind(key, what):
                    items.append((key, what))
                continue
            common = key[:at + len(delimiter)]
            if utf8(common) > utf8(marker) and (not items or items[-1] != (common, None)):
                items.append((common, None))
        return items

    def sorted_keys(self):
        return sorted(self.keys, key=utf8)

    def list_objects(self, prefix="", delimiter="", marker=""):
        entries = [(k, self.current(k)) for k in self.sorted_keys() if self.current(k)]
        return self._group(entries, prefix, delimiter, marker, lambda k, _: utf8(k) > utf8(marker))

    def list_versions(self, prefix="", delimiter="", marker="", version_marker=""):
        entries = [(k, v) for k in self.sorted_keys() for v in self.keys[k]]

        def is_behind(key, version):
            if key != marker or not version_marker:
                return utf8(key) > utf8(marker)
            ids = [v.id for v in self.keys[key]]
            return ids.index(version.id) > ids.index(version_marker)

        return self._group(entries, prefix, delimiter, marker, is_behind)

    def list_uploads(self, prefix="", delimiter="", marker="", id_marker=""):
        entries = [(u.key, u) for u in sorted(self.uploads, key=lambda u: (utf8(u.key), u.id))]

        def is_behind(key, upload):
            return utf8(key) > utf8(marker) or (bool(id_marker) and key == marker and upload.id > id_marker)

        return self._group(entries, prefix, delimiter, marker, is_behind)
