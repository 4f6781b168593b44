"""What a user types: the AWS CLI, s3cmd, rclone and restic against a running cluster."""
import filecmp
import hashlib
import http.client
import io
import os
import pathlib
import random
import subprocess
import time
import urllib.request

import boto3
import pytest


def run(cluster, *args, check=True, cwd=None, extra=None, timeout=300):
    env = cluster.shell_env()
    env.update(extra or {})
    done = subprocess.run([str(a) for a in args], env=env, cwd=cwd, text=True,
                          capture_output=True, timeout=timeout)
    if check:
        assert done.returncode == 0, f"{args}:\n{done.stdout}\n{done.stderr}"
    return done


def aws(cluster, *args, **kw):
    return run(cluster, "aws", "--endpoint-url", cluster.endpoint(), *args, **kw)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Files from 0 bytes to beyond the multipart threshold, odd names among them."""
    top = tmp_path_factory.mktemp("tree")
    rng = random.Random(7)
    sizes = {"empty": 0, "one": 1, "a/16k": 16384, "a/16k+1": 16385, "a/b/64k": 65536,
             "a/b/64k-1": 65535, "c d/ü ñ.txt": 1000, "c d/plus+and&amp": 300,
             "deep/er/and/deeper/file": 4096, "4M+1": (4 << 20) + 1, "multi": 21 << 20}
    for name, size in sizes.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(size))
    return top


def same_tree(a, b):
    left = sorted(p.relative_to(a) for p in pathlib.Path(a).rglob("*") if p.is_file())
    right = sorted(p.relative_to(b) for p in pathlib.Path(b).rglob("*") if p.is_file())
    assert left == right
    for name in left:
        assert filecmp.cmp(pathlib.Path(a) / name, pathlib.Path(b) / name, shallow=False), name


def test_aws_cli(cluster, tree, tmp_path):
    aws(cluster, "s3", "mb", "s3://photos")
    again = aws(cluster, "s3", "mb", "s3://photos", check=False)
    assert again.returncode == 0 or "BucketAlreadyOwnedByYou" in again.stderr
    aws(cluster, "s3", "cp", "--recursive", "--quiet", tree, "s3://photos/tree")
    aws(cluster, "s3", "cp", "--recursive", "--quiet", "s3://photos/tree", tmp_path / "down")
    same_tree(tree, tmp_path / "down")

    listing = aws(cluster, "s3", "ls", "s3://photos/tree/").stdout
    assert "PRE a/" in listing and "empty" in listing and "multi" in listing
    recursive = aws(cluster, "s3", "ls", "--recursive", "s3://photos").stdout
    assert len(recursive.strip().splitlines()) == 11

    # sync moves only what differs
    (tmp_path / "down" / "one").write_bytes(b"changed!")
    (tmp_path / "down" / "new").write_bytes(b"new")
    synced = aws(cluster, "s3", "sync", tmp_path / "down", "s3://photos/tree").stdout
    assert "one" in synced and "new" in synced and "multi" not in synced
    os.unlink(tmp_path / "down" / "new")
    aws(cluster, "s3", "sync", "--delete", "--quiet", tmp_path / "down", "s3://photos/tree")
    assert "new" not in aws(cluster, "s3", "ls", "s3://photos/tree/").stdout

    url = aws(cluster, "s3", "presign", "s3://photos/tree/one").stdout.strip()
    curl = run(cluster, "curl", "-sf", url)
    assert curl.stdout == "changed!"
    broken = run(cluster, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url[:-2] + "00")
    assert broken.stdout == "403"

    aws(cluster, "s3", "mv", "--quiet", "s3://photos/tree/one", "s3://photos/moved")
    assert aws(cluster, "s3", "cp", "s3://photos/moved", "-").stdout == "changed!"
    not_empty = aws(cluster, "s3", "rb", "s3://photos", check=False)
    assert not_empty.returncode != 0 and "BucketNotEmpty" in not_empty.stderr
    aws(cluster, "s3", "rm", "--recursive", "--quiet", "s3://photos")
    aws(cluster, "s3", "rb", "s3://photos")


def test_one_gibibyte(cluster, tmp_path):
    """1 GiB up and down through one gateway; its memory stays below 64 MiB above idle."""
    def rss(kind):
        status = pathlib.Path(f"/proc/{cluster.pid('z1-gateway-1')}/status").read_text()
        return next(int(line.split()[1]) << 10 for line in status.splitlines()
                    if line.startswith(kind))

    size = 1 << 30
    source = tmp_path / "big"
    rng = random.Random(11)
    digest = hashlib.sha256()
    with open(source, "wb") as f:
        for _ in range(size >> 20):
            block = rng.randbytes(1 << 20)
            digest.update(block)
            f.write(block)
    before = rss("VmRSS")
    pathlib.Path(f"/proc/{cluster.pid('z1-gateway-1')}/clear_refs").write_text("5")
    aws(cluster, "s3", "mb", "s3://big")
    aws(cluster, "s3", "cp", "--quiet", source, "s3://big/multipart")

    # the same in one PUT and one GET
    s3 = cluster.client(retries={"max_attempts": 1}, read_timeout=300)
    with open(source, "rb") as f:
        s3.put_object(Bucket="big", Key="single", Body=f)
    os.unlink(source)
    for key in ("multipart", "single"):
        got = hashlib.sha256()
        for block in s3.get_object(Bucket="big", Key=key)["Body"].iter_chunks(1 << 20):
            got.update(block)
        assert got.digest() == digest.digest(), key
    peak = rss("VmHWM")
    assert peak - before <= 64 << 20, f"gateway grew by {(peak - before) >> 20} MiB"
    aws(cluster, "s3", "rb", "--force", "s3://big")


def test_s3cmd(cluster, tree, tmp_path):
    access, secret = cluster.credentials
    host = cluster.endpoint()[len("http://"):]
    config = tmp_path / "s3cfg"
    config.write_text(f"[default]\naccess_key = {access}\nsecret_key = {secret}\n"
                      f"host_base = {host}\nhost_bucket = {host}\nuse_https = False\n"
                      "bucket_location = us-east-1\nmultipart_chunk_size_mb = 5\n")

    def s3cmd(*args):
        return run(cluster, "s3cmd", "-c", config, "--no-progress", *args).stdout

    s3cmd("mb", "s3://s3cmd")
    s3cmd("put", "--recursive", f"{tree}/", "s3://s3cmd/tree/")
    down = tmp_path / "down"
    down.mkdir()
    s3cmd("get", "--recursive", "s3://s3cmd/tree/", f"{down}/")
    same_tree(tree, down)
    assert "multi" in s3cmd("ls", "s3://s3cmd/tree/")
    s3cmd("sync", f"{tree}/", "s3://s3cmd/tree/")
    s3cmd("cp", "s3://s3cmd/tree/one", "s3://s3cmd/copy")
    assert "copy" in s3cmd("info", "s3://s3cmd/copy")
    s3cmd("del", "--recursive", "--force", "s3://s3cmd")
    s3cmd("rb", "s3://s3cmd")


def test_rclone(cluster, tree, tmp_path):
    access, secret = cluster.credentials
    extra = {"RCLONE_CONFIG": str(tmp_path / "rclone.conf"), "RCLONE_CONFIG_C_TYPE": "s3",
             "RCLONE_CONFIG_C_PROVIDER": "Other", "RCLONE_CONFIG_C_ENDPOINT": cluster.endpoint(),
             "RCLONE_CONFIG_C_ACCESS_KEY_ID": access, "RCLONE_CONFIG_C_SECRET_ACCESS_KEY": secret,
             "RCLONE_CONFIG_C_REGION": "us-east-1", "RCLONE_S3_UPLOAD_CUTOFF": "8M",
             "RCLONE_S3_CHUNK_SIZE": "5M"}

    def rclone(*args):
        return run(cluster, "rclone", *args, extra=extra).stdout

    rclone("mkdir", "c:rclone")
    rclone("copy", tree, "c:rclone/tree")
    rclone("check", tree, "c:rclone/tree", "--download")
    rclone("copy", "c:rclone/tree", tmp_path / "down")
    same_tree(tree, tmp_path / "down")
    assert "deep/" in rclone("lsf", "c:rclone/tree")
    rclone("moveto", "c:rclone/tree/one", "c:rclone/moved")
    assert "moved" in rclone("lsf", "c:rclone")
    rclone("purge", "c:rclone")


def test_restic(cluster, tree, tmp_path):
    extra = {"RESTIC_REPOSITORY": f"s3:{cluster.endpoint()}/restic", "RESTIC_PASSWORD": "test only",
             "RESTIC_CACHE_DIR": str(tmp_path / "cache")}

    def restic(*args):
        return run(cluster, "restic", *args, extra=extra).stdout

    restic("init")
    restic("backup", tree)
    (tmp_path / "more").write_bytes(random.Random(3).randbytes(3 << 20))
    restic("backup", tmp_path / "more")
    restic("check", "--read-data")
    restic("restore", "latest", "--path", tree, "--target", tmp_path / "restored")
    same_tree(tree, pathlib.Path(f"{tmp_path}/restored{tree}"))
    restic("forget", "--keep-last", "1", "--prune")
    restic("check")


def test_virtual_host_addressing(cluster, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"v")
    access, secret = cluster.credentials
    import botocore.auth
    import botocore.awsrequest
    import botocore.credentials
    host = f"{bucket}.localhost:{cluster.s3_port}"
    request = botocore.awsrequest.AWSRequest("GET", f"http://{host}/k", headers={"Host": host})
    botocore.auth.S3SigV4Auth(botocore.credentials.Credentials(access, secret), "s3",
                              "us-east-1").add_auth(request)
    out = run(cluster, "curl", "-sf", "--resolve", f"{host}:127.0.0.1",
              *[x for k, v in request.headers.items() for x in ("-H", f"{k}: {v}")],
              f"http://{host}/k")
    assert out.stdout == "v"


def test_admin_endpoints(cluster):
    for role in ("gateway", "metanode", "storagenode", "witness"):
        base = f"http://127.0.0.1:{cluster.admin_port(role)}"
        assert urllib.request.urlopen(f"{base}/healthz").status == 200
        assert urllib.request.urlopen(f"{base}/readyz").status == 200
        metrics = urllib.request.urlopen(f"{base}/metrics").read().decode()
        assert "# TYPE" in metrics and "process_resident_memory_bytes" in metrics


@pytest.fixture
def https(cluster):
    """Zone 3's gateway speaks TLS for a while."""
    node = "z3-gateway-1"
    conf = cluster.var / "conf" / f"{node}.yaml"
    plain = conf.read_text()

    def restart(text):
        conf.write_text(text)
        cluster.control("stop", node)
        cluster.control("start", node)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{cluster.admin_port('gateway', 3)}/readyz", timeout=2)
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("the gateway does not become ready")

    pki = cluster.var / "pki"
    restart(f"{plain}http_tls_cert: {pki / node}.crt\nhttp_tls_key: {pki / node}.key\n")
    yield cluster.endpoint(3).replace("http:", "https:"), str(pki / "ca.crt")
    restart(plain)


def test_https(cluster, https, tree, tmp_path):
    """Where boto3 and the CLI leave payloads unsigned and send checksums behind them."""
    endpoint, ca = https
    access, secret = cluster.credentials
    s3 = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=access, aws_secret_access_key=secret,
                      region_name="us-east-1", verify=ca)
    sent = []
    s3.meta.events.register("before-send.s3.PutObject", lambda request, **_: sent.append(
        request.headers.get("X-Amz-Content-SHA256")))
    s3.create_bucket(Bucket="https")
    for size in (0, 100, 100000, 9 << 20):
        body = random.Random(size).randbytes(size)
        s3.put_object(Bucket="https", Key="k", Body=io.BytesIO(body))
        got = s3.get_object(Bucket="https", Key="k", ChecksumMode="ENABLED")
        assert got["Body"].read() == body and (got.get("ChecksumCRC32") or got.get("ChecksumCRC64NVME"))
    assert "STREAMING-UNSIGNED-PAYLOAD-TRAILER" in str(sent)
    s3.upload_file(str(tree / "multi"), "https", "multi")
    s3.download_file("https", "multi", str(tmp_path / "multi"))
    assert filecmp.cmp(tree / "multi", tmp_path / "multi", shallow=False)
    run(cluster, "aws", "--endpoint-url", endpoint, "--ca-bundle", ca, "s3", "sync", "--quiet", tree, "s3://https/tree")
    run(cluster, "aws", "--endpoint-url", endpoint, "--ca-bundle", ca, "s3", "sync", "--quiet", "s3://https/tree",
        tmp_path / "down")
    same_tree(tree, tmp_path / "down")
    # What is written over TLS is the same object through another gateway.
    plain = cluster.client(1)
    assert plain.head_object(Bucket="https", Key="multi")["ContentLength"] == 21 << 20
    # Nobody speaks plain HTTP to this port.
    with pytest.raises((OSError, http.client.HTTPException)):
        urllib.request.urlopen(cluster.endpoint(3), timeout=5)
    for o in plain.list_objects_v2(Bucket="https")["Contents"]:
        plain.delete_object(Bucket="https", Key=o["Key"])
    plain.delete_bucket(Bucket="https")
