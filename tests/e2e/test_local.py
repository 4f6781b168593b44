"""deploy/local/cluster.sh, as `make run` and its like use it: foreground and background, restart,
another shape, what goes wrong."""
import os
import pathlib
import re
import shutil
import signal
import socket
import stat
import subprocess
import time
import types

import pytest

from cluster import CLUSTER, ROOT, Cluster, ProcessEnded, keep, pytest_pyfunc_call

KEYS = {"AWS_ACCESS_KEY_ID": "OWNKEY0123456789", "AWS_SECRET_ACCESS_KEY": "a secret of one's own/+="}


@pytest.fixture
def local(request, tmp_path):
    """A cluster that is not started yet."""
    made = Cluster(tmp_path / "var")
    failed_before = request.session.testsfailed
    yield made
    if os.environ.get("CAIRN_E2E_KEEP") or request.session.testsfailed > failed_before:
        subprocess.run([CLUSTER, "down"], env=made.env, cwd=ROOT, check=False)
        keep(made)
        return
    try:
        made.wipe()
    finally:
        shutil.rmtree(made.var, ignore_errors=True)


def processes(cluster):
    """The pids of this cluster's processes, however they were started."""
    found = set()
    for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"--config={cluster.var}/".encode() in entry.read_bytes():
                found.add(int(entry.parent.name))
        except OSError:
            pass
    return found


class Foreground:
    """cluster.sh run, with the keys in its environment, until it says that it serves."""

    def __init__(self, cluster):
        began = time.monotonic()
        self.process = subprocess.Popen([CLUSTER, "run"], env={**cluster.env, **KEYS}, cwd=ROOT, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        start_new_session=True)
        self.said = ""
        for line in self.process.stdout:
            self.said += line
            if "Ctrl-C stops" in line:
                break
        self.took = time.monotonic() - began

    def interrupt(self):
        os.killpg(self.process.pid, signal.SIGINT)
        rest, _ = self.process.communicate(timeout=30)
        return self.process.returncode, rest


def test_run(local):
    run = Foreground(local)
    assert "Cairn serves S3 on" in run.said and KEYS["AWS_ACCESS_KEY_ID"] in run.said, run.said
    assert "cairnctl status --endpoint http://" in run.said
    assert local.credentials == tuple(KEYS.values())
    secrets = [local.var / "root-credentials", *(local.var / "pki").glob("*.key")]
    assert len(secrets) == 14 and all(stat.S_IMODE(f.stat().st_mode) == 0o600 for f in secrets)
    assert len(processes(local)) == 12
    s3 = local.client()
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="k", Body=b"kept" * 50000)
    status, rest = run.interrupt()
    assert status == 0 and "stopping" in rest and "killed" not in rest, rest
    assert processes(local) == set()

    again = Foreground(local)
    assert again.took < 8, again.took
    assert s3.get_object(Bucket="kept", Key="k")["Body"].read() == b"kept" * 50000
    # A process that dies is told of; the others go on.
    local.control("kill", "z3-gateway-1")
    assert "z3-gateway-1 has stopped" in again.process.stdout.readline()
    assert s3.get_object(Bucket="kept", Key="k")["Body"].read() == b"kept" * 50000
    assert again.interrupt()[0] == 0 and processes(local) == set()
    for log in (local.var / "log").iterdir():
        assert KEYS["AWS_SECRET_ACCESS_KEY"] not in log.read_text()


@pytest.mark.parametrize("mode", ["run", "up"])
def test_interrupted_while_it_starts(local, mode):
    """At its first process, at its second, in the middle: nothing stays behind."""
    for started in (1, 2, 7):
        process = subprocess.Popen([CLUSTER, mode], env=local.env, cwd=ROOT, text=True, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        deadline = time.monotonic() + 10
        while len(processes(local)) < started and time.monotonic() < deadline:
            time.sleep(0.002)
        assert len(processes(local)) >= started
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=30)
        assert process.returncode == 130 and "interrupted" in said, said
        assert processes(local) == set(), said


def test_background(local):
    access = local.control("up")
    assert "export AWS_ACCESS_KEY_ID=CAIRN" in access  # made up, since the environment names none
    assert local.control("status").count(" ready ") == 12
    before = processes(local)
    local.up()  # again: nothing happens
    assert processes(local) == before
    local.control("kill", "z2-witness-1")
    done = subprocess.run([CLUSTER, "status"], env=local.env, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 1 and done.stdout.count(" down ") == 1

    # Another shape: an error that names both, and nothing is touched.
    other = dict(local.env, STORAGE_PER_ZONE="2")
    done = subprocess.run([CLUSTER, "up"], env=other, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 1 and "STORAGE_PER_ZONE=1" in done.stderr and "make wipe" in done.stderr
    assert len(processes(local)) == 11
    # The shape is kept: it need not be named again.
    bare = {k: v for k, v in local.env.items() if k not in ("S3_PORT", "PORT_BASE")}
    subprocess.run([CLUSTER, "start", "z2-witness-1"], env=bare, cwd=ROOT, check=True)
    subprocess.run([CLUSTER, "down"], env=bare, cwd=ROOT, check=True, timeout=40)
    assert processes(local) == set()
    local.wipe()
    assert not [p for p in local.var.iterdir()], list(local.var.iterdir())


def test_a_witness_is_found_where_the_cluster_file_says(local):
    """And not at what it listens at, which may be every address of a container."""
    local.up()
    local.control("stop", "z1-witness-1")
    conf = local.var / "conf" / "z1-witness-1.yaml"
    conf.write_text(re.sub(r"^listen: .*:", "listen: 0.0.0.0:", conf.read_text(), flags=re.M))
    subprocess.run([CLUSTER, "start", "z1-witness-1"], env=local.env, cwd=ROOT, check=True)
    deadline = time.monotonic() + 20
    while " ready " not in local_status(local, "z1-witness-1") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert " ready " in local_status(local, "z1-witness-1")
    logs = "".join(path.read_text() for path in (local.var / "log").glob("*metanode*.log"))
    told = re.findall(r"witness\.register name=z1-witness-1 addr=(\S+)", logs)
    assert len(told) >= 2 and set(told) == {f"127.0.0.1:{local.port_base + 121}"}, told


def local_status(local, node):
    done = subprocess.run([CLUSTER, "status"], env=local.env, cwd=ROOT, text=True, capture_output=True, check=False)
    return next(line for line in done.stdout.splitlines() if line.startswith(node))


def test_a_port_that_is_taken(local):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", local.port_base + 201))
        s.listen()
        done = subprocess.run([CLUSTER, "up"], env=local.env, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 1 and "z2-metanode-1" in done.stderr and "in use" in done.stderr, done.stderr
    assert processes(local) == set()
    # Another gateway's port, too, although a gateway's own loops share theirs.
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        s.bind(("127.0.0.1", local.s3_port + 2))
        s.listen()
        done = subprocess.run([CLUSTER, "up"], env=local.env, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 1 and "z3-gateway-1" in done.stderr and "in use" in done.stderr, done.stderr
    assert processes(local) == set()
    done = subprocess.run([CLUSTER, "up"], env=dict(local.env, ZONES="many"), cwd=ROOT, text=True,
                          capture_output=True)
    assert done.returncode == 1 and "ZONES=many" in done.stderr


def test_two_storage_nodes_a_zone(local):
    local.env["STORAGE_PER_ZONE"] = "2"
    local.up()
    assert len(processes(local)) == 15
    s3 = local.client()
    s3.create_bucket(Bucket="spread")
    bodies = {f"k{i}": bytes([i]) * 300000 for i in range(40)}
    for key, body in bodies.items():
        s3.put_object(Bucket="spread", Key=key, Body=body)

    def held(node):
        return sum(f.stat().st_blocks * 512 for f in (local.var / "data" / node).rglob("*") if f.is_file())

    for zone in (1, 2, 3):  # each of the two holds some, and together they hold each object once
        first, second = held(f"z{zone}-storagenode-1"), held(f"z{zone}-storagenode-2")
        assert min(first, second) > 1 << 20 and first + second > 40 * 300000, (zone, first, second)
    local.control("kill", "z1-storagenode-2")
    local.control("kill", "z2-storagenode-1")
    for zone in (1, 2, 3):
        for key, body in bodies.items():
            assert local.client(zone).get_object(Bucket="spread", Key=key)["Body"].read() == body
    s3.put_object(Bucket="spread", Key="more", Body=b"more" * 100000)
    assert s3.get_object(Bucket="spread", Key="more")["Body"].read() == b"more" * 100000


def test_timeouts_are_those_of_the_record():
    """docs/decisions/0003-timeouts.md speaks of the defaults that the programs have."""
    rows = re.findall(r"^\| (`[^|]+)\| ([^|]+?) \|", (ROOT / "docs/decisions/0003-timeouts.md").read_text(), re.M)
    table = {name: value for names, value in rows for name in re.findall(r"`(\w+)`", names)}
    binaries = pathlib.Path(os.environ.get("CAIRN_BIN", ROOT / "build/rel/bin"))
    text = "".join(subprocess.run([binaries / f"cairn-{role}", "--help"], text=True, check=True,
                                  capture_output=True).stdout for role in ("metanode", "witness"))
    assert len(table) >= 8
    for name, value in table.items():
        found = re.search(rf"--{name}=.*?Default: (\w+)\.", text, re.S)
        value = re.sub(r"[ ,]|\(.*", "", value)
        assert found and milliseconds(found.group(1)) == milliseconds(value), (name, value, found)


def milliseconds(text):
    number, unit = re.fullmatch(r"(\d+)([a-z]*)", text).groups()
    return int(number) * {"s": 1000, "m": 60000}.get(unit, 1)


def all_ready(cluster, seconds=10):
    """Within so long: a partition that changes its leader makes metanodes wait for a moment."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return cluster.control("status").count(" ready ") == 12
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_a_crash_is_noticed(local):
    """By the test around which it happens, with the process's name and last words; the next one finds
    everybody there.  So do those that were left suspended by a test that failed."""
    def around(outcome):
        hook = pytest_pyfunc_call(types.SimpleNamespace(funcargs={"cluster": local}))
        next(hook)
        return hook.send(outcome) if outcome is True else hook.throw(outcome)

    local.up()
    with pytest.raises(StopIteration):
        around(True)
    local.signal("z1-witness-1", signal.SIGSEGV)
    deadline = time.monotonic() + 10
    while local.runs("z1-witness-1") and time.monotonic() < deadline:
        time.sleep(0.02)
    with pytest.raises(ProcessEnded) as noticed:
        around(True)
    words = str(noticed.value)
    assert words.startswith("z1-witness-1 (pid ") and words.count("has ended") == 1
    assert "proc.crashed program=cairn-witness" in words and "signal=SIGSEGV" in words
    assert "cairn-witness(proc_run+0x" in words, words  # the frames have names
    assert local.ended() == [] and all_ready(local)
    assert any(" ERROR z1-witness-1 proc.crashed " in x for x in local.errors())

    local.signal("z2-gateway-1", signal.SIGSTOP)
    with pytest.raises(ZeroDivisionError):
        around(ZeroDivisionError())
    assert all_ready(local)
