"""What deploy/ has for clusters elsewhere, as far as it shows without a container: files, nodes, parameters."""
import os
import re
import shutil
import stat
import subprocess

import pytest

from cluster import ROOT

BINARIES = ROOT / "build" / "rel" / "bin"
ROLES = ("metanode", "witness", "storagenode", "gateway")
NODES = {f"z{zone}-{role}-1" for zone in (1, 2, 3) for role in ROLES}


def run(*args, status=0, **environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CAIRN_", "AWS_"))}
    done = subprocess.run(args, cwd=ROOT, text=True, capture_output=True, timeout=60, check=False,
                          env=kept | {"PATH": f"{BINARIES}:{os.environ['PATH']}"} | environment)
    assert status is None or done.returncode == status, f"{args}: {done.returncode} {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def founded(tmp_path_factory):
    """/etc/cairn of a container that has founded a cluster."""
    etc = tmp_path_factory.mktemp("founded") / "etc"
    run("deploy/docker/node.sh", "found", CAIRN_ETC=str(etc), CAIRN_SHARE=str(ROOT), HOSTS="{}.cairn")
    return etc


def test_a_cluster_is_founded_once(founded):
    text = (founded / "cluster.yaml").read_text()
    assert set(re.findall(r"id: (\S+),", text)) == NODES
    assert set(re.findall(r'addr: "(\S+?)"', text)) == {f"{node}.cairn:7000" for node in NODES}
    for secret in (founded / "root-credentials", founded / "master-key", *(founded / "pki").glob("*.key")):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    certificate = founded / "pki" / "z2-witness-1.crt"
    said = run("openssl", "x509", "-in", certificate, "-noout", "-subject", "-ext", "subjectAltName")
    assert "OU = witness, CN = z2-witness-1" in said and "DNS:z2-witness-1.cairn" in said
    keys = (founded / "root-credentials").read_text()
    assert "already" in run("deploy/docker/node.sh", "found", CAIRN_ETC=str(founded), CAIRN_SHARE=str(ROOT), HOSTS="{}")
    assert (founded / "root-credentials").read_text() == keys
    assert "holds a cluster" in run("deploy/local/cluster.sh", "files", CAIRN_VAR=str(founded), HOSTS="{}", status=1)
    assert "HOSTS" in run("deploy/local/cluster.sh", "files", CAIRN_VAR=str(founded), status=1)
    assert "{}" in run("deploy/local/cluster.sh", "files", CAIRN_VAR=str(founded), HOSTS="host", status=1)


@pytest.mark.parametrize("fails", ["-CAcreateserial", "rand -base64", "rand -hex 32", "rand -hex 16", "mv"])
def test_who_dies_founding_founds_the_next_time(tmp_path, fails):
    """One command fails, as if the container had been killed there; then the container is started again."""
    etc, fake = tmp_path / "etc", tmp_path / "bin"
    fake.mkdir()
    name, wanted = ("mv", "/conf ") if fails == "mv" else ("openssl", fails)
    real = shutil.which(name)
    (fake / name).write_text(f'#!/bin/sh\ncase "$* " in *"{wanted}"*) exit 9 ;; esac\nexec {real} "$@"\n')
    (fake / name).chmod(0o755)
    of = {"CAIRN_ETC": str(etc), "CAIRN_SHARE": str(ROOT), "HOSTS": "{}"}
    run("deploy/docker/node.sh", "found", status=None, PATH=f"{fake}:{os.environ['PATH']}", **of)
    assert not (etc / "cluster.yaml").exists()
    assert "founded" in run("deploy/docker/node.sh", "found", **of)
    for role in ROLES:
        run("deploy/docker/node.sh", role, "--check-config", CAIRN_NODE_ID=f"z3-{role}-1", **of)
    for node in NODES:
        certificate = etc / "pki" / f"{node}.crt"
        run("openssl", "verify", "-CAfile", etc / "pki" / "ca.crt", certificate)
    assert re.fullmatch(r"access_key_id=\w{20}\nsecret_access_key=\w{40}\n", (etc / "root-credentials").read_text())
    assert re.fullmatch(r"local:[0-9a-f]{64}\n", (etc / "master-key").read_text())
    assert not list(etc.glob(".found*"))


def test_what_is_there_is_not_founded_over(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "master-key").write_text("local:aa\n")
    of = {"CAIRN_ETC": str(tmp_path / "etc"), "CAIRN_SHARE": str(ROOT), "HOSTS": "{}"}
    assert "master-key" in run("deploy/docker/node.sh", "found", status=1, **of)
    assert (tmp_path / "etc" / "master-key").read_text() == "local:aa\n"


@pytest.mark.parametrize("role", ROLES)
def test_a_container_is_a_node(founded, role):
    def config(**environment):
        said = run("deploy/docker/node.sh", role, "--print-config", CAIRN_ETC=str(founded), **environment)
        return dict(re.findall(r'^(\w+): "?([^"\s]*)', said, re.M))

    node = f"z2-{role}-1"
    of = config(CAIRN_NODE_ID=node)
    assert (of["node_id"], of["zone"], of["listen"]) == (node, "z2", "0.0.0.0:7000")
    assert of["tls_cert"] == f"{founded}/pki/{node}.crt" and os.path.exists(of["tls_key"]) and os.path.exists(of["tls_ca"])
    assert of["cluster_file"] == f"{founded}/cluster.yaml" and of["data_dir"] == "/var/lib/cairn"
    if role == "gateway":
        assert of["http_listen"] == "0.0.0.0:9000" and of["master_key_file"] == f"{founded}/master-key"
    if role == "metanode":
        assert of["root_credentials_file"] == f"{founded}/root-credentials"
    assert config(CAIRN_NODE_ID=node, CAIRN_LISTEN="127.0.0.1:7", CAIRN_LOG_LEVEL="warn")["listen"] == "127.0.0.1:7"
    run("deploy/docker/node.sh", role, "--check-config", CAIRN_ETC=str(founded), CAIRN_NODE_ID=node)


def test_compose_has_the_nodes_that_are_founded():
    text = (ROOT / "deploy" / "compose" / "compose.yaml").read_text()
    services = dict(re.findall(r"^  (\S+):\n(?:    .*\n)*?    command: (\S+)$", text, re.M))
    assert services.pop("found") == "found"
    assert services == {node: node.split("-")[1] for node in NODES}
    for node in NODES:
        assert f"hostname: {node}\n" in text
    assert re.findall(r"^ *environment: (.*)$", text, re.M) == ['{HOSTS: "{}"}']  # which "docker inspect" shows
    for node in NODES:
        assert (f'"{node}:/var/lib/cairn"' in text) == (node.split("-")[1] in ("metanode", "storagenode"))


def drain_seconds(role):
    """What a node takes at most to end: proc.c; gateway/main.c by its parameters."""
    if role != "gateway":
        return 10
    table = (ROOT / "docs" / "parameters.md").read_text()
    return 2 + sum(int(re.search(rf"`{name}` \| `(\d+)s`", table)[1]) for name in ("drain_grace", "request_timeout"))


def test_kubernetes_has_the_nodes_that_are_founded(tmp_path):
    folder = ROOT / "deploy" / "kubernetes"
    run("deploy/kubernetes/found.sh", CAIRN_FILES=str(tmp_path / "files"))
    made = (tmp_path / "files" / "kustomization.yaml").read_text()
    named = re.findall(r"- (pki/\S+)|files: \[(\S+)\]", made)
    assert all((tmp_path / "files" / (a or b)).is_file() for a, b in named)
    assert {a for a, _ in named if a} == {"pki/ca.crt"} | {f"pki/{node}.{end}" for node in NODES for end in ("crt", "key")}
    sets = (folder / "zone" / "nodes.yaml").read_text().split("\n---\n")
    assert {re.search(r"args: \[(\w+)\]", one)[1] for one in sets} == set(ROLES)
    secrets = set(re.findall(r"(?:secretName|configMap: \{name): ([\w-]+)", "".join(sets)))
    assert secrets == set(re.findall(r"name: ([\w-]+)", made))
    for one in sets:
        role = re.search(r"^  name: (\w+)$", one, re.M)[1]
        # A node that opens its databases for long is not killed at it; and is not ended before it has drained.
        assert "startupProbe: {httpGet: {path: /healthz" in one and "failureThreshold: 120" in one
        assert f"labelSelector: {{matchLabels: {{app: cairn, role: {role}}}}}" in one
        grace = int(re.search(r"terminationGracePeriodSeconds: (\d+)", one)[1])
        waits = int((re.search(r'preStop: {exec: {command: \[sleep, "(\d+)"\]', one) or [0, 0])[1])
        assert (waits > 0) == (role == "gateway") and grace > waits + drain_seconds(role)
        assert f"args: [{role}]" in one and "ordinals: {start: 1}" in one and "serviceName: cairn" in one
    assert "name: cairn\n" in (folder / "common.yaml").read_text()
    for zone in ("z1", "z2", "z3"):
        assert f"namePrefix: {zone}-\n" in (folder / zone / "kustomization.yaml").read_text()


def test_the_image_has_what_the_programs_need():
    text = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
    for source in re.findall(r"^COPY (deploy\S+) (?:deploy/packages.txt )?", text, re.M):
        assert (ROOT / source).exists(), source
    packages = set(re.findall(r"[\w.+-]+", text.split("FROM debian:12-slim")[1])) | {"libc6", "libgcc-s1", "libstdc++6"}
    needed = {name for program in BINARIES.iterdir()
              for name in re.findall(r"NEEDED +(\S+)", run("objdump", "-p", program))}
    assert len(needed) > 12
    for name in needed:
        found = re.search(rf"^\s+{re.escape(name)} .*=> (\S+)", run("/sbin/ldconfig", "-p"), re.M)[1]
        owners = re.findall(r"^([\w.+-]+):", run("dpkg", "-S", os.path.basename(os.path.realpath(found))), re.M)
        assert packages & set(owners), f"{name} of {owners}"
