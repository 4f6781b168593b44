"""cairnctl: what it answers, and what it ends with; without a cluster, and of one."""
import http.server
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time

import pytest

from cluster import ROOT, Cluster, serve

CAIRNCTL = ROOT / "build" / "rel" / "bin" / "cairnctl"
BACKBLAZE = ("--scheme=17+3", "--zones=1", "--nodes=20", "--afr=0.405%", "--node-loss=0", "--zone-loss=0",
             "--disk-repair=6.5d", "--lse=0", "--cycles=50000")


def run(*args, status=0):
    done = subprocess.run([CAIRNCTL, *args], text=True, capture_output=True, timeout=60)
    assert done.returncode == status, f"{args}: {done.returncode} {done.stdout}{done.stderr}"
    return done


def test_usage():
    for command in ("durability", "salvage", "status", "nodes", "disks", "pgs", "drain", "undrain", "safe-to-remove",
                    "verify", "repair", "scrub"):
        assert command in run("--help").stdout
        said = run(command, "--help").stdout
        assert f"usage: cairnctl {command}" in said and "--json" in said
    for words in (("repair", "status"), ("scrub", "status"), ("scrub", "start")):
        said = run(*words, "--help").stdout
        assert f"usage: cairnctl {' '.join(words)}" in said and "Exit status" in said and "--endpoint" in said
    assert "--deep" in run("scrub", "start", "--help").stdout
    assert "usage" in run("scrub", status=2).stderr and "usage" in run("repair", "nonsense", status=2).stderr
    assert "at most" in run("scrub", "start", "a", "b", status=2).stderr
    assert "there is no command" in run("nonsense", status=2).stderr
    assert "usage" in run(status=2).stderr
    assert re.fullmatch(r"cairnctl \d+\.\d+\.\d+\n", run("--version").stdout)


def test_every_command_explains_itself():
    """Whatever --help names has help of its own, with --json and what it ends with, and is in the documents."""
    documents = "".join((ROOT / "docs" / name).read_text() for name in ("operations.md", "durability.md"))
    commands = re.findall(r"^  ([a-z-]+) ", run("--help").stdout, re.M)
    assert len(commands) > 15
    words = []
    for command in commands:
        found = re.findall(rf"^  {command} ([a-z-]+)\b", run(command, "--help").stdout, re.M)
        words += [(command, word) for word in found] or [(command, )]
        if found:
            assert run(command, status=2).stderr == run(command, "--help").stdout
    for asked in words:
        said = run(*asked, "--help").stdout
        assert f"usage: cairnctl {' '.join(asked)}" in said and "--json" in said and "Exit status" in said, asked
        assert run("help", *asked).stdout == said
        assert re.search(rf"`(cairnctl )?({asked[0]} )?{asked[-1]}\b", documents), f"not documented: {asked}"


def test_durability():
    answer = json.loads(run("durability", *BACKBLAZE, "--json").stdout)
    assert 7.3545e-12 < answer["closed"]["window_year"] < 7.3552e-12
    blob = answer["simulated"]["blob"]
    assert blob["low"] < 2.94e-11 < blob["high"] and 10 < blob["nines"] < 11
    assert run("durability", *BACKBLAZE).stdout == run("durability", *BACKBLAZE).stdout
    assert run("durability", *BACKBLAZE).stdout != run("durability", *BACKBLAZE, "--seed=2").stdout
    run("durability", *BACKBLAZE, "--want-nines=10")
    run("durability", *BACKBLAZE, "--want-nines=11", status=1)


def test_nonsense_is_refused():
    for args, says in ((("--scheme=5", ), "--scheme"), (("--scheme=-1+2", ), "--scheme"), (("--afr=x", ), "ratio"),
                       (("--scheme=5+4", "--nodes=2"), "at least as many nodes"), (("--nodes=0", ), "between 1"),
                       (("--afr=0", "--node-loss=0", "--zone-loss=0"), "nothing ever fails"), (("extra", ), "options only"),
                       (("--zone-loss=10000%", "--outage=1y"), "hardly ever whole"), (("--method=guess", ), "--method"),
                       (("--method=cluster", "--nodes=5000", "--years=1e9"), "10^10"),
                       (("--nodes=5000", "--scatter=20000", "--scheme=rep-2"), "1000000 groups")):
        assert says in run("durability", *args, status=2).stderr, args
    assert "needs the data directories" in run("salvage", status=2).stderr
    assert "No such file" in run("salvage", "/nonexistent", status=2).stderr


PAGE = {"objects": 1, "parts": 0, "inline": 0, "segments": 1, "bytes": 5, "interim": 0, "bad": [], "bad_left_out": 0,
        "schemes": [{"data_shards": 1, "parity_shards": 2, "full": 1}], "next": None}


def verify_of(pages, status):
    """What `cairnctl verify` says of a gateway that answers with these, one after the other; the last one for ever."""
    left = list(pages)

    class Gateway(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps(left.pop(0) if len(left) > 1 else left[0]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Gateway)
    threading.Thread(target=server.serve_forever, args=(0.01, ), daemon=True).start()
    env = {"AWS_ACCESS_KEY_ID": "AKIAX", "AWS_SECRET_ACCESS_KEY": "secret", "PATH": os.environ["PATH"]}
    try:
        done = subprocess.run([CAIRNCTL, "verify", f"--endpoint=http://127.0.0.1:{server.server_port}"], text=True,
                              capture_output=True, timeout=60, env=env)
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == status, done
    return done


def test_keys_do_not_speak_to_the_terminal():
    """An object's name is anybody's bytes."""
    bad = {"state": "lost", "bucket": "b", "key": "a\x1b]0;owned\x07\u009b2J\nä", "part": 0, "segment": 0, "pg": 1,
           "shards_found": 0, "shards": 3, "absent": []}
    scheme = {"data_shards": 1, "parity_shards": 2, "lost": 1}
    done = verify_of([dict(PAGE, schemes=[scheme], bad=[bad])], 3)
    assert "b/a\\x1b]0;owned\\x07\\x9b2J\\x0aä part 0" in done.stdout
    assert not {"\x1b", "\x07", "\u009b"} & set(done.stdout)


def test_verify_ends_only_where_the_answer_says_so():
    """All is there if every page says so, up to one that says that it is the last."""
    assert "2 full" in verify_of([dict(PAGE, next="b/61/"), PAGE], 0).stdout
    assert verify_of([dict(PAGE, next="b/61/"), dict(PAGE, schemes=[])], 1)
    whole = verify_of([PAGE], 0).stdout
    cut = [{k: v for k, v in PAGE.items() if k != name} for name in PAGE if name != "bad_left_out"]
    for page in cut + [{}, [], dict(PAGE, next=5), dict(PAGE, segments="1")]:
        for pages in [page], [dict(PAGE, next="b/61/"), page]:
            done = verify_of(pages, 2)
            assert "no page of a verification" in done.stderr and not done.stdout, page
    verify_of([dict(PAGE, next="b/61/")], 2)  # where it was before
    assert whole == verify_of([PAGE], 0).stdout


# ---- of a cluster ----

def ask(cluster, *args, status=0, zone=1, **env):
    """With the root user's keys in the environment, and nothing else."""
    done = subprocess.run([CAIRNCTL, *args, f"--endpoint={cluster.endpoint(zone)}"], text=True, capture_output=True,
                          timeout=60, env=dict(cluster.shell_env(), **env), cwd=cluster.var.parent)
    assert status in (None, done.returncode), f"{args}: {done.returncode} {done.stdout}{done.stderr}"
    assert cluster.credentials[1] not in done.stdout + done.stderr
    return done


def ask_json(cluster, *args, **more):
    return json.loads(ask(cluster, *args, "--json", **more).stdout)


def wait_for(cluster, health, seconds=15):
    deadline = time.monotonic() + seconds
    while True:
        answer = ask_json(cluster, "status", status=None)
        if answer["health"] == health:
            return answer
        assert time.monotonic() < deadline, f"not {health}: {answer}"
        time.sleep(0.2)


def verify_settled(cluster, bucket, seconds=10):
    """The third copy may come after the answer."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask_json(cluster, "verify", bucket, status=None)
        if answer["full"] == answer["segments"]:
            return answer
        assert time.monotonic() < deadline, answer
        time.sleep(0.2)


def test_healthy(cluster):
    status = wait_for(cluster, "ok", 30)
    assert [z["zone"] for z in status["zones"]] == ["z1", "z2", "z3"] and not any(z["down"] for z in status["zones"])
    assert len(status["nodes"]) == 3 and all(n["answers"] and not n["draining"] for n in status["nodes"])
    assert status["reasons"] == [] and status["pgs"]["well"] == status["pgs"]["count"] > 0
    said = ask(cluster, "status").stdout
    assert "health     ok" in said and "z2-storagenode-1" in said and len(said.splitlines()) < 25
    assert len(ask_json(cluster, "nodes")["nodes"]) == 3
    groups = ask_json(cluster, "pgs")["pgs"]
    assert len(groups) == status["pgs"]["count"] and all(len(g["members"]) == 3 for g in groups)
    deadline = time.monotonic() + 15
    while len(disks := ask_json(cluster, "disks")["disks"]) < 3:  # nodes report them now and then
        assert time.monotonic() < deadline, disks
        time.sleep(0.2)
    assert all(d["state"] == "up" and d["writable"] and 0 < d["bytes_free"] < d["bytes_total"] for d in disks)
    assert len(ask(cluster, "disks").stdout.splitlines()) == 4
    capacity = ask_json(cluster, "status")["capacity"]
    assert capacity["bytes_total"] == sum(d["bytes_total"] for d in ask_json(cluster, "disks")["disks"])


def test_keys(cluster, tmp_path):
    wrong = tmp_path / "keys"
    access, _ = cluster.credentials
    wrong.write_text(f"access_key_id={access}\nsecret_access_key=wrong\n")
    assert "SignatureDoesNotMatch" in ask(cluster, "status", f"--credentials={wrong}", status=2).stderr
    wrong.write_text("access_key_id=SOMEBODY\nsecret_access_key=wrong\n")
    assert "another cluster's keys" in ask(cluster, "status", f"--credentials={wrong}", status=2).stderr
    ask(cluster, "status", f"--credentials={cluster.var}/root-credentials", AWS_ACCESS_KEY_ID="", status=0)
    said = ask(cluster, "status", AWS_ACCESS_KEY_ID="", status=2).stderr
    assert "AWS_ACCESS_KEY_ID" in said and "--credentials" in said
    said = run("status", "--endpoint=http://127.0.0.1:1", f"--credentials={wrong}", status=2).stderr
    assert "--endpoint" in said and "127.0.0.1:1" in said


def test_drain(cluster):
    node = "z1-storagenode-1"
    planned = ask_json(cluster, "drain", node, "--plan")
    assert planned["plan_only"] and planned["planned"] == []  # one node a zone: nobody could take its places
    assert not any(n["draining"] for n in ask_json(cluster, "nodes")["nodes"])
    unsafe = ask_json(cluster, "safe-to-remove", node, status=1)
    assert not unsafe["safe"] and unsafe["member_of"] > 0 and any("not draining" in m for m in unsafe["missing"])
    try:
        ask(cluster, "drain", node)
        assert [n["node"] for n in ask_json(cluster, "nodes")["nodes"] if n["draining"]] == [node]
        unsafe = ask_json(cluster, "safe-to-remove", node, status=1)
        assert unsafe["draining"] and unsafe["member_of"] > 0
    finally:
        ask(cluster, "undrain", node)
    assert not any(n["draining"] for n in ask_json(cluster, "nodes")["nodes"])
    for command in ("drain", "undrain", "safe-to-remove"):
        said = ask(cluster, command, "z9-storagenode-1", status=2).stderr
        assert "no such storage node" in said and "see `cairnctl nodes`" in said and "kms" not in said
        assert "no node's id" in ask(cluster, command, "a/b", status=2).stderr
    assert "see `cairnctl kms list`" in ask(cluster, "kms", "rotate", "no-such-key", status=2).stderr


def test_a_node_is_killed(cluster):
    wait_for(cluster, "ok", 30)
    cluster.control("kill", "z3-storagenode-1")
    try:
        status = wait_for(cluster, "degraded")
        assert {n["node"]: n["answers"] for n in status["nodes"]}["z3-storagenode-1"] is False
        assert status["pgs"]["degraded"] == status["pgs"]["count"]
    finally:
        cluster.control("start", "z3-storagenode-1")
    wait_for(cluster, "ok", 30)


@pytest.fixture
def own(request):
    """A cluster that may lose data, and that repairs none of it as long as it is young."""
    yield from serve(request, Cluster(tempfile.mkdtemp(prefix="cairn-cairnctl-"), CAIRN_REPAIR_AGE="1h",
                                      CAIRN_REPAIR_INTERVAL="1s"))


def test_verify(own):
    """Clean; then a storage node loses all that it has; then repair has given it everything again."""
    cluster, s3, bucket = own, own.client(), "bucket"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="in the index", Body=b"small")
    for i in range(4):
        s3.put_object(Bucket=bucket, Key=f"large {i}", Body=os.urandom(5 << 20))  # two segments each
    clean = verify_settled(cluster, bucket)
    assert clean["objects"] == 5 and clean["inline"] == 1 and clean["segments"] == clean["full"] == 8
    assert clean["bytes"] == 4 * (5 << 20) and clean["degraded"] == clean["lost"] == 0 and clean["bad"] == []
    assert ask_json(cluster, "verify", bucket, "--deep")["full"] == 8
    assert "8 full" in ask(cluster, "verify", bucket).stdout
    assert ask_json(cluster, "verify")["full"] >= 8
    assert "NoSuchBucket" in ask(cluster, "verify", "no-such-bucket", status=2).stderr
    node = "z2-storagenode-1"
    cluster.control("stop", node)
    away = ask_json(cluster, "verify", bucket, status=1)
    assert away["degraded"] == 8 and {a["state"] for b in away["bad"] for a in b["absent"]} == {"not answered"}
    for part in ("extents", "index"):
        shutil.rmtree(cluster.var / "data" / node / part)
    cluster.control("start", node)
    deadline = time.monotonic() + 15
    while True:  # its disk is being opened for a moment
        found = ask_json(cluster, "verify", bucket, status=1)
        if not any(a["state"] == "not answered" for b in found["bad"] for a in b["absent"]):
            break
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    assert found["degraded"] == 8 and found["lost"] == found["full"] == 0
    assert {(a["node"], a["state"]) for b in found["bad"] for a in b["absent"]} == {(node, "missing")}
    assert {b["key"] for b in found["bad"]} == {f"large {i}" for i in range(4)}
    cluster.env["CAIRN_REPAIR_AGE"] = "1s"
    for zone in (1, 2, 3):
        cluster.control("stop", f"z{zone}-storagenode-1")
        cluster.control("start", f"z{zone}-storagenode-1")
    repaired = verify_settled(cluster, bucket, 40)
    assert repaired["full"] == 8 and repaired["degraded"] == repaired["lost"] == 0 and repaired["bad"] == []
