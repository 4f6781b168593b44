"""Connections by the hundred that say nothing, to a listener of nodes and to one of clients: those who
have something to say get in all the same, and are never the ones who make room."""
import contextlib
import pathlib
import selectors
import socket
import threading
import time
import urllib.error
import urllib.request

from wire import HELLO, REQUEST, RESPONSE, Node, Raw, frame, head_text, hello, request

COUNT = 300        # kept open at each port: more than a node takes of those that are not authenticated
BATCH, PAUSE = 10, 0.04  # what was closed is opened again at this pace


class Flood:
    """Keeps silent connections open at each port, and opens those again that are closed."""

    def __init__(self, ports, count=COUNT):
        self.ports, self.count = ports, count
        self.held, self.opened = {port: set() for port in ports}, dict.fromkeys(ports, 0)
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join()

    def open(self, selector, port):
        try:
            s = socket.create_connection(("127.0.0.1", port), timeout=1)
        except OSError:
            return  # its process is away
        s.setblocking(False)
        selector.register(s, selectors.EVENT_READ, port)
        self.held[port].add(s)
        self.opened[port] += 1

    def run(self):
        end = time.monotonic() + 120
        with selectors.DefaultSelector() as selector:
            while not self.ending.is_set() and time.monotonic() < end:
                for port in self.ports:
                    for _ in range(min(BATCH, self.count - len(self.held[port]))):
                        self.open(selector, port)
                for key, _ in selector.select(0):
                    with contextlib.suppress(OSError):
                        if key.fileobj.recv(4096):
                            continue
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
                    self.held[key.data].discard(key.fileobj)
                time.sleep(PAUSE)
        for held in self.held.values():
            for s in held:
                s.close()


def metric(cluster, role, zone, name):
    text = urllib.request.urlopen(cluster.admin_url(role, zone) + "/metrics", timeout=5).read().decode()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name} "))


def until(what, seconds=30):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_ready(cluster, role, zone):
    try:
        return urllib.request.urlopen(cluster.admin_url(role, zone) + "/readyz", timeout=5).status == 200
    except (urllib.error.URLError, OSError):
        return False


def restart(cluster, node):
    cluster.control("stop", node)
    cluster.control("start", node)


def test_flood_of_silence(cluster, s3, bucket):
    """At two of three metanodes, one of which starts anew meanwhile and needs its peers."""
    evicted = "cairn_rpc_handshakes_evicted_total"
    port = {zone: cluster.admin_port("metanode", zone) - 1000 for zone in (1, 2)}
    pki = pathlib.Path(cluster.var) / "pki"
    who = [str(pki / f"z3-metanode-1.{kind}") for kind in ("crt", "key")]
    with Flood(port.values()) as flood:
        for zone in port:
            until(lambda z=zone: flood.opened[port[z]] > COUNT)
        node = Node(port[1], str(pki / "ca.crt"), who)
        node.s.sendall(hello())
        assert node.frame()[0] == HELLO
        before = metric(cluster, "metanode", 1, evicted)

        restart(cluster, "z2-metanode-1")
        until(lambda: is_ready(cluster, "metanode", 2))
        for i in range(20):
            s3.put_object(Bucket=bucket, Key=f"k{i}", Body=b"x" * (1 << i))
            assert len(s3.get_object(Bucket=bucket, Key=f"k{i}")["Body"].read()) == 1 << i
        until(lambda: metric(cluster, "metanode", 2, evicted) > 0)

        # As many again have come and gone; who is authenticated has not.
        until(lambda: metric(cluster, "metanode", 1, evicted) > before + 256)
        node.s.sendall(frame(REQUEST, 999, 1, 5000))
        flags, _, request_id, _, _ = node.frame()
        assert (flags & 31, request_id) == (RESPONSE, 1)
        node.s.close()


def test_flood_of_idle_clients(cluster, bucket):
    """At a gateway that takes fewer: requests are answered, and one that is under way is not cut."""
    cluster.env["CAIRN_CONNECTIONS_MAX"] = "200"
    try:
        restart(cluster, "z2-gateway-1")
        until(lambda: is_ready(cluster, "gateway", 2))
        slow = Raw(cluster, 30, zone=2)
        slow.send(head_text(cluster, "PUT", f"/{bucket}/slow", {"Content-Length": 10}, "UNSIGNED-PAYLOAD", zone=2)
                  + "\r\n12345")
        with Flood([cluster.s3_port + 1]) as flood:
            until(lambda: flood.opened[cluster.s3_port + 1] > COUNT)
            for i in range(20):
                assert request(cluster, "PUT", f"/{bucket}/k{i}", body=b"x" * 1000, zone=2) == (200, "")
                assert request(cluster, "GET", f"/{bucket}/k{i}", zone=2) == (200, "")
            slow.send("67890")
            assert slow.response()[0] == 200
        assert metric(cluster, "gateway", 2, "cairn_gateway_http_evicted_total") > 0
    finally:
        del cluster.env["CAIRN_CONNECTIONS_MAX"]
        restart(cluster, "z2-gateway-1")
        until(lambda: is_ready(cluster, "gateway", 2))
