"""Networks that are cut, between zones and between single processes, in both directions and in one, under
load: what is cut off says so and never what is stale, the others go on, and all is well when the cut
is healed."""
import tempfile
import time

import pytest

from cluster import serve
from load import Load
from network import NetworkCluster
from steps import (WITNESS_STALL_S, WRITES_AGAIN_S, ZONE_STALL_S, finish, metric, root_zone, settle,
                   wait_ready, within)

HEALED_S = 10.0  # until every gateway serves again: connections are tried anew, witnesses catch up


@pytest.fixture(scope="module")
def cluster(request):
    made = NetworkCluster(tempfile.mkdtemp(prefix="cairn-network-"))
    try:
        made.open()
        yield from serve(request, made)
    finally:
        made.close()


def both(a, b):
    return (a, b), (b, a)


def node(role, zone):
    return f"z{zone}-{role}-1"


def others_of(zone):
    return tuple({1, 2, 3} - {zone})


def total(cluster, role, zone, name):
    return sum(float(v) for _, v in metric(cluster, role, zone, name))


def healed(load):
    """Every gateway reads and writes again, in time."""
    since = time.monotonic()
    waiting = {(kind, zone) for kind in ("read", "write") for zone in (1, 2, 3)}
    while waiting:
        assert time.monotonic() < since + HEALED_S, f"not healed: {sorted(waiting)}"
        time.sleep(0.1)
        waiting = {(kind, zone) for kind, zone in waiting if not load.count(kind, since, True, (zone,))}
    print(f"healed in {time.monotonic() - since:.2f} s")


def test_cut_off_a_zone(cluster):
    """The zone that leads the root, from both others.  Its clients still reach its gateway: that one may
    refuse or be silent; it may not claim anything."""
    with Load(cluster, "cut-zone") as load:
        settle(load)
        zone = root_zone(cluster)
        rest = [n for z in others_of(zone) for n in cluster.zone(z)]
        since = time.monotonic()
        with cluster.cut(*both(cluster.zone(zone), rest)):
            time.sleep(12)
            within(load, "write", since, ZONE_STALL_S, others_of(zone))
            within(load, "read", since, ZONE_STALL_S, others_of(zone))
            assert load.count("write", time.monotonic() - 2, True, others_of(zone)) > 0
            # An answer that was under way when the cut came may still have been given.
            assert load.count("write", since + 1, True, (zone,)) == 0
            assert load.count("read", since + WITNESS_STALL_S, True, (zone,)) == 0
        healed(load)
    wait_ready(cluster)
    finish(load)


def test_cut_between_two_zones(cluster):
    """The third reaches both.  No promise of service here (docs/operations.md, "When a zone is lost"): what
    is said has to be true, and when the cut is healed all goes on."""
    with Load(cluster, "cut-pair") as load:
        settle(load)
        zone = root_zone(cluster)
        with cluster.cut(*both(cluster.zone(zone), cluster.zone(others_of(zone)[0]))):
            time.sleep(6)
        healed(load)
    wait_ready(cluster)
    finish(load)


@pytest.mark.parametrize("what", ["deaf", "mute"])
def test_cut_a_leader_one_way(cluster, what):
    """The leader of the root sends to its followers and hears nothing from them, or the reverse."""
    with Load(cluster, f"cut-{what}") as load:
        settle(load)
        zone = root_zone(cluster)
        leader, followers = [node("metanode", zone)], [node("metanode", z) for z in others_of(zone)]
        since = time.monotonic()
        with cluster.cut((followers, leader) if what == "deaf" else (leader, followers)):
            time.sleep(7)
            within(load, "write", since, WRITES_AGAIN_S)
            within(load, "read", since, WRITES_AGAIN_S)
            assert root_zone(cluster) != zone
        healed(load)
    wait_ready(cluster)
    finish(load)


def test_cut_a_witness_from_the_leaders(cluster):
    """Its gateway still asks it.  Its lease ends, and it says nothing that is stale."""
    with Load(cluster, "cut-witness") as load:
        settle(load)
        since = time.monotonic()
        leaders = [node("metanode", z) for z in (1, 2, 3)]
        with cluster.cut(*both([node("witness", 1)], leaders)):
            time.sleep(6)
            assert load.failures("read", since) == 0
            within(load, "write", since, WITNESS_STALL_S)
            with pytest.raises(AssertionError, match=r"z1-witness-1 .* waiting "):
                cluster.control("status")
        healed(load)
        assert load.failures("read", since) == 0
    wait_ready(cluster)
    finish(load)


def test_cut_a_gateway_from_its_witness(cluster):
    """Another zone's witness is as good."""
    with Load(cluster, "cut-gateway") as load:
        settle(load)
        since = time.monotonic()
        before = total(cluster, "gateway", 1, "cairn_gateway_witness_hedges_total")
        with cluster.cut(*both([node("witness", 1)], [node("gateway", 1)])):
            time.sleep(6)
            assert load.failures("read", since) == 0 and load.failures("write", since) == 0
            within(load, "read", since, 2)
            within(load, "write", since, 2)
            assert total(cluster, "gateway", 1, "cairn_gateway_witness_hedges_total") > before
        healed(load)
    wait_ready(cluster)
    finish(load)
