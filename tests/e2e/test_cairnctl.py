"""cairnctl without a cluster: what it answers, and what it ends with."""
import json
import subprocess

from cluster import ROOT

CAIRNCTL = ROOT / "build" / "rel" / "bin" / "cairnctl"
BACKBLAZE = ("--scheme=17+3", "--zones=1", "--nodes=20", "--afr=0.405%", "--node-loss=0", "--zone-loss=0",
             "--disk-repair=6.5d", "--lse=0", "--cycles=50000")


def run(*args, status=0):
    done = subprocess.run([CAIRNCTL, *args], text=True, capture_output=True, timeout=60)
    assert done.returncode == status, f"{args}: {done.returncode} {done.stdout}{done.stderr}"
    return done


def test_usage():
    for command in ("durability", "salvage"):
        assert command in run("--help").stdout
        said = run(command, "--help").stdout
        assert f"usage: cairnctl {command}" in said and "--json" in said
    assert "there is no command" in run("nonsense", status=2).stderr
    assert "usage" in run(status=2).stderr


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
