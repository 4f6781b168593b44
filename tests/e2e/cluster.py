"""A real three-zone cluster for the end-to-end and chaos tests.

It lives in a directory of its own and on ports of its own, so that it neither meets nor disturbs one
that `make run` keeps.  The directory is kept, and its path printed at the end, when a test failed, and
with CAIRN_E2E_KEEP=1.

A process that ends without having been told to fails the test in which it happened, which names the
process and its last words.  A test that failed leaves the cluster as the next one expects it: all
processes there, none suspended.
"""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time

import boto3
import botocore.config
import pytest

ROLES = ("metanode", "witness", "storagenode", "gateway")
ROLE_OFFSET = {"metanode": 0, "witness": 20, "storagenode": 40, "gateway": 60}
ROOT = pathlib.Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "deploy" / "local" / "cluster.sh"


def claim_ports():
    """A PORT_BASE that no other cluster of tests on this machine has: below the ports that the kernel
    gives to clients, three in each 2,000 (nodes use base + 101 to 380, and 1,000 above for admin).
    Returns: the base, and a socket whose name holds it until it is closed: names are of a network, as ports
    are, whatever TMPDIR is; nobody owns them, and none is left behind."""
    for base in (block + third for block in range(11000, 31000, 2000) for third in (0, 300, 600)):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0cairn-ports-{base}")
            nodes = [base + zone * 100 + offset + k for zone in (1, 2, 3) for offset in ROLE_OFFSET.values()
                     for k in (1, 2, 3)]
            for port in (*range(base + 90, base + 99), *nodes, *(port + 1000 for port in nodes)):
                with socket.socket() as s:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    s.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        return base, claim
    raise RuntimeError("no ports are free for a cluster of tests")


class ProcessEnded(AssertionError):
    pass


class Cluster:
    def __init__(self, var, **extra):
        self.var = pathlib.Path(var)
        self.port_base, self.claim = claim_ports()
        self.s3_port = self.port_base + 90
        self.env = dict(os.environ, CAIRN_VAR=str(var), S3_PORT=str(self.s3_port),
                        PORT_BASE=str(self.port_base), **extra)
        self.told = set()  # nodes that have been told to end
        self.expected_error = "^$"  # a pattern: what a test has provoked
        for name in [n for n in self.env if n.startswith("AWS_")]:
            del self.env[name]

    def control(self, *args, timeout=90):
        """cluster.sh; it knows afterwards who was told to end, and finds beforehand who was not."""
        if args[0] in ("stop", "kill", "down"):
            self.check_nobody_ended()
            self.told.update(args[1:] or self.nodes())
        done = subprocess.run([CLUSTER, *args], env=self.env, cwd=ROOT, text=True,
                              capture_output=True, timeout=timeout)
        assert done.returncode == 0, f"cluster.sh {args}: {done.stdout}{done.stderr}"
        if args[0] in ("up", "start"):
            self.told.difference_update(args[1:] or self.nodes())
        return done.stdout

    def up(self):
        self.control("up")

    def down(self):
        self.control("down")

    def wipe(self):
        self.control("wipe")

    # ---- processes ----

    def nodes(self):
        """Those that were ever started."""
        return sorted(p.stem for p in (self.var / "run").glob("*.pid"))

    def pid(self, node):
        return int((self.var / "run" / f"{node}.pid").read_text().split()[0])

    def runs(self, node):
        """A process that begins is a shell for a moment, and has no command line for another; one that dies has
        none either, and says in its state when it is dead: then no thread is left, which might hold ports."""
        deadline = time.monotonic() + 2
        while True:
            try:
                argv = pathlib.Path(f"/proc/{self.pid(node)}/cmdline").read_bytes()
                stat = pathlib.Path(f"/proc/{self.pid(node)}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                return False
            if f"--config={self.var}/conf/{node}.yaml".encode() in argv:
                return True
            if not argv and stat[0] in "ZX" and int(stat[17]) <= 1:
                return False
            if time.monotonic() > deadline:
                return not argv
            time.sleep(0.01)

    def signal(self, node, number):
        if number in (signal.SIGKILL, signal.SIGTERM):
            self.check_nobody_ended()
            self.told.add(node)
        os.kill(self.pid(node), number)

    def kill(self, *nodes):
        """All at once.  Afterwards they are gone: one that is about to write may take its time to die, and would
        meanwhile pass for one that runs."""
        for node in nodes:
            self.signal(node, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while any(map(self.runs, nodes)):
            assert time.monotonic() < deadline, f"not all have died: {nodes}"
            time.sleep(0.01)

    @contextlib.contextmanager
    def suspended(self, *nodes):
        for node in nodes:
            self.signal(node, signal.SIGSTOP)
        try:
            yield
        finally:
            for node in nodes:
                self.signal(node, signal.SIGCONT)

    def ended(self):
        """The nodes whose process has ended although nobody told it to."""
        return [node for node in self.nodes() if node not in self.told and not self.runs(node)]

    def last_words(self, node):
        def tail(suffix, count):
            path = self.var / "log" / f"{node}{suffix}"
            lines = path.read_text(errors="replace").splitlines() if path.exists() else []
            return [f"  {path.name}: {line}" for line in lines[-count:]]
        return "\n".join([f"{node} (pid {self.pid(node)}) has ended, and nobody told it to:",
                          *(tail(".out", 40) + tail(".log", 8) or ["  it left no word"])])

    def check_nobody_ended(self):
        ended = self.ended()
        if ended:
            raise ProcessEnded("\n".join(map(self.last_words, ended)))

    def recover(self):
        """After a failed test: everybody is there again."""
        for node in self.nodes():
            if self.runs(node):
                self.signal(node, signal.SIGCONT)
        self.up()

    # ---- what it says, and where it is ----

    def errors(self):
        """What the logs hold that a human must act upon, and what came to standard error."""
        found = []
        for log in sorted((self.var / "log").iterdir()):
            lines = log.read_text().splitlines()
            found += [x for x in lines if log.suffix == ".out" or re.match(r"\S+ ERROR ", x)]
        return [x for x in found if not re.search(self.expected_error, x)]

    def address(self, _role, _zone=1, _k=1):
        return "127.0.0.1"

    def endpoint(self, zone=1):
        return f"http://{self.address('gateway', zone)}:{self.s3_port + zone - 1}"

    def admin_port(self, role, zone=1, k=1):
        return self.port_base + zone * 100 + ROLE_OFFSET[role] + k + 1000

    def admin_url(self, role, zone=1, k=1):
        return f"http://{self.address(role, zone, k)}:{self.admin_port(role, zone, k)}"

    @property
    def credentials(self):
        lines = (self.var / "root-credentials").read_text().splitlines()
        fields = dict(line.split("=", 1) for line in lines)
        return fields["access_key_id"], fields["secret_access_key"]

    def client(self, zone=1, path_style=True, **config):
        access, secret = self.credentials
        options = {"retries": {"max_attempts": 1}, "s3": {"addressing_style": "path"},
                   "connect_timeout": 5, "read_timeout": 60}
        if not path_style:
            options["s3"] = {"addressing_style": "virtual"}
        options.update(config)
        return boto3.client("s3", endpoint_url=self.endpoint(zone), aws_access_key_id=access,
                            aws_secret_access_key=secret, region_name="us-east-1",
                            config=botocore.config.Config(**options))

    def shell_env(self):
        access, secret = self.credentials
        return dict(self.env, AWS_ACCESS_KEY_ID=access, AWS_SECRET_ACCESS_KEY=secret,
                    AWS_DEFAULT_REGION="us-east-1", AWS_EC2_METADATA_DISABLED="true",
                    AWS_CONFIG_FILE="/dev/null", AWS_SHARED_CREDENTIALS_FILE="/dev/null",
                    PATH=f"/usr/bin:{os.environ['PATH']}")


# ---- fixtures and hooks, for the conftest.py of the layers ----

_kept = []
_said = []


def keep(made):
    """Its directory is said to be there when the run ends."""
    _kept.append(made.var)


def say(text):
    """A figure that is to be seen though the test passed: when the run ends."""
    _said.append(text)
    print(text)


def serve(request, made):
    """The body of a fixture: the cluster runs; in the end nobody has ended unnoticed, and nothing in
    the logs needs a human."""
    failed_before = request.session.testsfailed
    good = False
    try:
        made.up()
        yield made
        made.down()
        errors = made.errors()
        assert not errors, "ERROR lines in the logs:\n" + "\n".join(errors[:20])
        good = True
    finally:
        if not good:
            made.told.update(made.nodes())
            subprocess.run([CLUSTER, "down"], env=made.env, cwd=ROOT, capture_output=True, check=False)
        made.claim.close()
        if good and request.session.testsfailed == failed_before and not os.environ.get("CAIRN_E2E_KEEP"):
            shutil.rmtree(made.var)
        else:
            keep(made)


def pytest_terminal_summary(terminalreporter):
    for text in _said:
        terminalreporter.write_line(text)
    for var in _kept:
        terminalreporter.write_line(f"the cluster's directory is kept: {var}")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    """Around each test: did a process end?  Did the test fail?"""
    made = pyfuncitem.funcargs.get("cluster")
    if made is None:
        return (yield)
    failure = None
    try:
        result = yield
        made.check_nobody_ended()
        return result
    except (Exception, pytest.fail.Exception) as error:
        failure = error
    try:
        made.check_nobody_ended()
    except ProcessEnded as ended:
        if not isinstance(failure, ProcessEnded):
            ended.__cause__ = failure
            failure = ended
    try:
        made.recover()
    except Exception as error:
        failure.add_note(f"and the cluster did not come back: {error}")
    raise failure
