"""Clients through all gateways, with a history of what each did and what it was told.

Every body names its value and is checked whole, so a torn or mixed body is found at once.  Writes of
unknown outcome (time-outs, broken connections, 5xx) stay open in the history.  The verdict is
tests/chaos/check_history.c's.
"""
import hashlib
import http.client
import random
import re
import socket
import subprocess
import threading
import time
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.credentials

CLIENT_TIMEOUT = 12.0


def body_of(value, large):
    """Deterministic: small ones travel inside the index, large ones through storage nodes."""
    head = b"value %d;" % value
    size = 40000 + value % 7919 if large else 60
    return (head * (size // len(head) + 1))[:size]


class Request:
    """One signed request over a kept connection."""

    def __init__(self, endpoint, credentials, timeout=CLIENT_TIMEOUT):
        self.host = endpoint[len("http://"):]
        self.endpoint = endpoint
        self.signer = botocore.auth.S3SigV4Auth(botocore.credentials.Credentials(*credentials),
                                                "s3", "us-east-1")
        self.timeout = timeout
        self.connection = None

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None

    def __call__(self, method, path, query="", body=b"", headers=()):
        url = f"{self.endpoint}{urllib.parse.quote(path)}" + (f"?{query}" if query else "")
        request = botocore.awsrequest.AWSRequest(method, url, data=body, headers=dict(headers))
        self.signer.add_auth(request)
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.host, timeout=self.timeout)
            self.connection.connect()
            self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.connection.request(method, url[len(self.endpoint):], body=body or None,
                                    headers=dict(request.headers))
            response = self.connection.getresponse()
            data = response.read()
            if response.will_close:
                self.close()
            return response.status, data, response.headers
        except Exception:
            self.close()
            raise


class History:
    def __init__(self):
        self.lock = threading.Lock()
        self.lines = []
        self.values = 0
        self.by_etag = {}
        self.events = []  # (time, gateway, "read"|"write"|"list", ok, bucket)
        self.faults = []  # what must never happen
        self.acknowledged = 0

    def next_value(self, large):
        with self.lock:
            self.values += 1
            value = self.values
        self.by_etag[hashlib.md5(body_of(value, large)).hexdigest()] = value
        return value

    def add(self, register, client, kind, value, expect, start, end):
        with self.lock:
            self.lines.append(f"{register} {client} {kind} {value} {expect} {start} "
                              f"{'?' if end is None else end}")

    def event(self, gateway, kind, ok, bucket):
        self.events.append((time.monotonic(), gateway, kind, ok, bucket))

    def fault(self, text):
        with self.lock:
            self.faults.append(text)


def present_in(history, text):
    """What a list shows: {register: value}; -1 is a content that nobody wrote."""
    found = re.findall(r"<Key>r(\d+)</Key>.*?<ETag>(?:&quot;|\"|&#34;)?([0-9a-f]{32})", text, re.S)
    keys = [int(k) for k, _ in found]
    if keys != sorted(set(keys)):
        history.fault(f"a list is out of order or repeats a key: {keys}")
    return {int(k): history.by_etag.get(e, -1) for k, e in found}


class Client(threading.Thread):
    def __init__(self, load, number, zone):
        super().__init__(daemon=True)
        self.load = load
        self.number = number
        self.zone = zone
        self.random = random.Random(number)
        self.request = Request(load.cluster.endpoint(zone), load.cluster.credentials)
        self.seen = {}

    def run(self):
        while not self.load.stop.is_set():
            try:
                self.one()
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
            time.sleep(self.random.uniform(0, self.load.think))
        self.request.close()

    def one(self):
        dice = self.random.random()
        register = self.random.randrange(self.load.registers)
        if dice < 0.5:
            self.read(register)
        elif dice < 0.93:
            self.write(register)
        else:
            self.list(register % self.load.buckets)

    def value_in(self, register, data):
        match = re.match(rb"value (\d+);", data)
        value = int(match.group(1)) if match else -1
        if data != body_of(value, self.load.is_large(register)):
            self.load.history.fault(f"torn or foreign body of register {register}: {data[:60]!r} "
                                    f"({len(data)} bytes)")
        return value

    def read(self, register):
        h, start = self.load.history, time.monotonic_ns()
        ok = False
        try:
            status, data, _ = self.request("GET", self.load.path(register))
            if status in (200, 404):
                value = self.value_in(register, data) if status == 200 else 0
                h.add(register, self.number, "read", value, 0, start, time.monotonic_ns())
                self.seen[register] = value
                ok = True
        finally:
            h.event(self.zone, "read", ok, register % self.load.buckets)

    def write(self, register):
        h, dice = self.load.history, self.random.random()
        value, expect, headers, kind, body, method = 0, 0, {}, "delete", b"", "DELETE"
        if dice >= 0.25:
            large = self.load.is_large(register)
            value, method, kind = h.next_value(large), "PUT", "put"
            body = body_of(value, large)
            if dice < 0.45:
                kind, headers = "absent", {"If-None-Match": "*"}
            elif dice < 0.6 and self.seen.get(register):
                kind, expect = "match", self.seen[register]
                etag = hashlib.md5(body_of(expect, large)).hexdigest()
                headers = {"If-Match": f'"{etag}"'}
        start, status = time.monotonic_ns(), None
        try:
            status, _, _ = self.request(method, self.load.path(register), body=body, headers=headers)
        except (OSError, http.client.HTTPException):
            pass
        end = time.monotonic_ns()
        ok = status in (200, 204)
        if ok:
            h.add(register, self.number, kind, value, expect, start, end)
            h.acknowledged += 1
            self.seen[register] = value
        elif status == 412 or (status == 404 and kind == "match"):
            h.add(register, self.number, f"{kind}-refused", value, expect, start, end)
            ok = True
        elif status == 409:
            ok = True  # a racing change: definitely not written
        else:
            h.add(register, self.number, kind, value, expect, start, None)
        h.event(self.zone, "write", ok, register % self.load.buckets)

    def list(self, bucket):
        h, start = self.load.history, time.monotonic_ns()
        ok = False
        try:
            status, data, _ = self.request("GET", f"/{self.load.name}-{bucket}", "list-type=2")
            if status == 200:
                end = time.monotonic_ns()
                present = present_in(h, data.decode())
                for register in range(bucket, self.load.registers, self.load.buckets):
                    h.add(register, self.number, "read", present.get(register, 0), 0, start, end)
                ok = True
        finally:
            h.event(self.zone, "list", ok, bucket)


class Load:
    """with Load(cluster, "name") as load: break things; load.verdict()

    The registers are objects in several buckets, which lie in different partitions of the index; what
    is said of a pause holds for each of them.
    """

    def __init__(self, cluster, name, clients_per_gateway=2, registers=24, think=0.03, buckets=6):
        self.cluster, self.name, self.buckets = cluster, name, buckets
        self.registers, self.think = registers, think
        self.history = History()
        self.stop = threading.Event()
        self.clients = [Client(self, z * 100 + i, z) for z in (1, 2, 3)
                        for i in range(clients_per_gateway)]

    def path(self, register):
        return f"/{self.name}-{register % self.buckets}/r{register:03d}"

    def is_large(self, register):
        return register % 3 == 0

    def __enter__(self):
        request = Request(self.cluster.endpoint(1), self.cluster.credentials)
        for i in range(self.buckets):
            status, data, _ = request("PUT", f"/{self.name}-{i}")
            assert status in (200, 409), data
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, *exc):
        self.stop.set()
        for client in self.clients:
            client.join(timeout=CLIENT_TIMEOUT + 5)

    def final_reads(self):
        """Every register and the list once more, through each gateway, after the load."""
        for zone in (1, 2, 3):
            last = Client(self, 9000 + zone, zone)
            for register in range(self.registers):
                last.read(register)
            for bucket in range(self.buckets):
                last.list(bucket)

    def gap(self, kind, since, zones=(1, 2, 3)):
        """The longest time in which some bucket saw no success of this kind through these gateways."""
        until = time.monotonic()
        times = [[since, until] for _ in range(self.buckets)]
        for t, zone, k, ok, bucket in list(self.history.events):
            if k == kind and ok and zone in zones and since <= t <= until:
                times[bucket].append(t)
        return max(b - a for each in map(sorted, times) for a, b in zip(each, each[1:]))

    def count(self, kind, since, ok, zones=(1, 2, 3)):
        return sum(1 for t, z, k, o, _ in list(self.history.events)
                   if k == kind and o == ok and z in zones and t >= since)

    def failures(self, kind, since, zones=(1, 2, 3)):
        return self.count(kind, since, False, zones)

    def successes(self, kind, since):
        return self.count(kind, since, True)

    def verdict(self, checker):
        h = self.history
        assert not h.faults, h.faults[:5]
        done = subprocess.run([checker], input="\n".join(h.lines) + "\n", text=True,
                              capture_output=True, timeout=240)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr
        assert h.acknowledged > 50, "the load hardly wrote anything"
        return done.stdout.strip().splitlines()[-1]
