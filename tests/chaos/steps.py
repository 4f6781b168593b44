"""What the chaos tests say again and again, and the bounds that docs/decisions/0003-timeouts.md derives."""
import re
import time
import urllib.request

from cluster import ROOT

CHECKER = ROOT / "build" / "rel" / "bin" / "cairn-check-history"
WRITES_AGAIN_S = 5.0     # after a leader's death
WITNESS_STALL_S = 4.0    # detection plus one witness lease plus drift, with room for this machine
ZONE_STALL_S = WRITES_AGAIN_S + WITNESS_STALL_S


def metric(cluster, role, zone, name):
    url = cluster.admin_url(role, zone) + "/metrics"
    text = urllib.request.urlopen(url, timeout=5).read().decode()
    return re.findall(rf"^{name}(?:{{([^}}]*)}})? ([0-9.e+]+)$", text, re.M)


def wait_ready(cluster, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            cluster.control("status")
            return
        except AssertionError:
            time.sleep(0.2)
    cluster.control("status")


def settle(load, seconds=2.0):
    time.sleep(seconds)
    assert load.successes("write", time.monotonic() - seconds) > 0


def within(load, kind, since, bound, zones=(1, 2, 3)):
    """Service of this kind through these zones never paused for longer."""
    gap = load.gap(kind, since, zones=zones)
    print(f"{kind}s paused for {gap:.2f} s, at most {bound:.1f}")
    assert gap < bound


def root_zone(cluster):
    """The zone whose metanode leads the root partition."""
    for zone in (1, 2, 3):
        if any('"0"' in labels and float(value) for labels, value in
               metric(cluster, "metanode", zone, "cairn_meta_partition_leader")):
            return zone
    raise AssertionError("nobody leads the root partition")


def finish(load):
    load.__exit__()
    load.final_reads()
    print(load.verdict(CHECKER))
