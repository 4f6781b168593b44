"""A real three-zone cluster for the end-to-end tests: real processes, real clients.

The cluster is started once a run in a directory of its own and on ports of its own, so that it
neither meets nor disturbs one that `make run` keeps.  CAIRN_E2E_KEEP=1 keeps the directory.
"""
import fcntl
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile

import boto3
import botocore.config
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "deploy" / "local" / "cluster.sh"


def claim_ports():
    """A PORT_BASE that no other cluster of tests on this machine has: below the ports that the kernel
    gives to clients, three in each 2,000 (nodes use base + 101 to 380, and 1,000 above for admin).
    Returns: the base, and a file whose lock holds it until it is closed."""
    for base in (block + third for block in range(11000, 31000, 2000) for third in (0, 300, 600)):
        lock = open(pathlib.Path(tempfile.gettempdir()) / f"cairn-ports-{os.getuid()}-{base}.lock", "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for port in (base + 90, base + 101, base + 1101, base + 241, base + 1241):
                with socket.socket() as s:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    s.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            continue
        return base, lock
    raise RuntimeError("no ports are free for a cluster of tests")


class Cluster:
    def __init__(self, var, **extra):
        self.var = pathlib.Path(var)
        self.port_base, self.claim = claim_ports()
        self.s3_port = self.port_base + 90
        self.env = dict(os.environ, CAIRN_VAR=str(var), S3_PORT=str(self.s3_port),
                        PORT_BASE=str(self.port_base), **extra)
        for name in [n for n in self.env if n.startswith("AWS_")]:
            del self.env[name]

    def control(self, *args, timeout=90):
        done = subprocess.run([CLUSTER, *args], env=self.env, cwd=ROOT, text=True,
                              capture_output=True, timeout=timeout)
        assert done.returncode == 0, f"cluster.sh {args}: {done.stdout}{done.stderr}"
        return done.stdout

    def up(self):
        self.control("up")

    def down(self):
        self.control("down")

    def wipe(self):
        self.control("wipe")

    def errors(self):
        """What the logs hold that a human must act upon, and what came to standard error."""
        found = []
        for log in sorted((self.var / "log").iterdir()):
            lines = log.read_text().splitlines()
            found += [x for x in lines if log.suffix == ".out" or re.match(r"\S+ ERROR ", x)]
        return found

    def pid(self, node):
        return int((self.var / "run" / f"{node}.pid").read_text())

    def endpoint(self, zone=1):
        return f"http://127.0.0.1:{self.s3_port + zone - 1}"

    def admin_port(self, role, zone=1, k=1):
        offset = {"metanode": 0, "witness": 20, "storagenode": 40, "gateway": 60}[role]
        return self.port_base + zone * 100 + offset + k + 1000

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


@pytest.fixture(scope="session")
def cluster():
    var = tempfile.mkdtemp(prefix="cairn-e2e-")
    made = Cluster(var)
    made.up()
    yield made
    made.down()
    errors = made.errors()
    if not os.environ.get("CAIRN_E2E_KEEP") and not errors:
        shutil.rmtree(var)
    assert not errors, "ERROR lines in the logs:\n" + "\n".join(errors[:20])


@pytest.fixture(scope="session")
def s3(cluster):
    return cluster.client()


_serial = iter(range(1, 100000))


@pytest.fixture
def bucket(s3):
    """A fresh bucket, emptied and removed afterwards."""
    name = f"bucket-{os.getpid()}-{next(_serial)}"
    s3.create_bucket(Bucket=name)
    yield name
    for upload in s3.list_multipart_uploads(Bucket=name).get("Uploads", []):
        s3.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name):
        keys = [{"Key": o["Key"]} for o in page.get("Contents", [])]
        if keys:
            s3.delete_objects(Bucket=name, Delete={"Objects": keys})
    s3.delete_bucket(Bucket=name)
