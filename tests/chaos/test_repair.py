"""What is lost comes back: storage nodes and zones that die under load, disks that are replaced, bits that flip,
nodes that are taken away.  `cairnctl verify` and every object's bytes are the judges; what was rebuilt, and in which
time, is said at the end of the run."""
import json
import random
import shutil
import tempfile
import time

import pytest

from cluster import Cluster, say, serve
from extents import disk_id, flip, frames, shards
from load import Load, Request
from steps import ZONE_STALL_S, finish, root_zone, settle, wait_ready
from survive import (FULL_S, REPLICA_S, TIMES, ZONES, Objects, Repaired, chosen, configure, counted, ctl, held,
                     nothing_lost, of_zone, settled, start, states, storage_nodes, wait, whole, wipe)

SIX = {"STORAGE_PER_ZONE": "2", "CAIRN_CLUSTER_EXTRA": "pgs: 6"}    # 3+3: each group has all nodes
NINE = {"STORAGE_PER_ZONE": "3", "CAIRN_CLUSTER_EXTRA": "pgs: 6"}   # 5+4: the same
SPARE = {"STORAGE_PER_ZONE": "2", "CAIRN_CLUSTER_EXTRA": "schemes: [2+1, rep-3]\npgs: 6",
         "CAIRN_PLACEMENT_CHANGES_MAX": "64"}  # a zone has a node more than it needs


@pytest.fixture(scope="module")
def cluster(request):
    yield from serve(request, Cluster(tempfile.mkdtemp(prefix="cairn-repair-"), **dict(TIMES, **request.param)))


def on(*which):
    names = {id(SIX): "3+3", id(NINE): "5+4", id(SPARE): "spare"}
    return pytest.mark.parametrize("cluster", which, indirect=True, ids=[names[id(w)] for w in which])


def gap(load, kind, since, bound, what, zones=ZONES):
    longest = load.gap(kind, since, zones=zones)
    say(f"{what}: the longest time without a {kind} was {longest:.2f} s, at most {bound:.1f}")
    assert longest < bound


# ---- nodes and zones ----

def a_node_for_ever(cluster, objects, small, load, what):
    """It dies; what was replicated finds another node of its zone, what was coded waits for a new one."""
    node, repaired, since = "z1-storagenode-1", Repaired(cluster), time.monotonic()
    cluster.kill(node)
    wait(cluster, f"{node} is lost", 15, lambda: states(cluster).get(node) == "lost")
    for kind in ("read", "write"):
        gap(load, kind, since, REPLICA_S, f"{what}, a storage node dies")
    objects.put("node-away")
    objects.check()
    nothing_lost(cluster)
    whole(cluster, small.bucket)
    repaired.tell(f"{what}, a storage node died: replicas, without it")
    repaired = Repaired(cluster)
    wipe(cluster, node)
    disks = [cluster.var / "data" / node / name for name in ("one", "two")]
    for disk in disks:
        disk.mkdir()
    configure(cluster, node, f"disks: {disks[0]},{disks[1]}")
    start(cluster, node)
    whole(cluster)
    assert repaired.tell(f"{what}, an empty node with two disks in its place: everything") > 0
    assert counted(cluster, "cairn_store_live_bytes")[node] > 0


def a_disk_is_replaced(cluster, what):
    """One of two of a node, by an empty one in the same place; the other goes on.  The one that has more of what is
    kept and cannot move: it need not be half."""
    node = "z1-storagenode-1"
    disk = max((cluster.var / "data" / node / name for name in ("one", "two")),
               key=lambda its: sum(one.data > 1 for one in shards(its, "before")))
    cluster.control("stop", node)
    configure(cluster, node, f"disks_lost: {disk_id(disk)}")
    shutil.rmtree(disk)
    disk.mkdir()
    repaired = Repaired(cluster)
    start(cluster, node)
    whole(cluster)
    assert repaired.tell(f"{what}, one of two disks is replaced by an empty one") > 0


def a_zone_and_one_more(cluster, objects, load, what):
    """The zone that leads the root, all its processes; then one more storage node.  The zone returns, one of its
    storage nodes with an empty disk."""
    zone = root_zone(cluster)
    others = tuple(z for z in ZONES if z != zone)
    nodes, since = of_zone(cluster, zone), time.monotonic()
    gone = [n for n in nodes if "storagenode" in n]
    more, wiped = f"z{others[0]}-storagenode-1", gone[-1]
    cluster.kill(*nodes)
    wait(cluster, f"zone {zone} is down", 25,
         lambda: all(states(cluster, others[0]).get(n) in ("down", "lost") for n in gone))
    objects.put("zone-away", zones=others)
    objects.check(others)
    for kind in ("read", "write"):
        gap(load, kind, since, ZONE_STALL_S, f"{what}, a zone dies", others)
    since = time.monotonic()
    cluster.kill(more)
    objects.put("more-away", zones=others)
    objects.check(others)
    for kind in ("read", "write"):
        gap(load, kind, since, REPLICA_S, f"{what}, one more storage node dies", others)
    nothing_lost(cluster, zone=others[0])
    wipe(cluster, wiped)
    repaired = Repaired(cluster)
    start(cluster, more, *nodes)
    wait_ready(cluster)
    whole(cluster)
    assert repaired.tell(f"{what}, the zone is back, {wiped} empty") > 0


@on(SIX, NINE)
def test_nodes_and_zones_die(cluster, request):
    what = request.node.callspec.id
    objects, small = Objects(cluster, "kept"), Objects(cluster, "small")
    objects.put("before")
    small.put("small", sizes=(20_000,) * 12)
    with Load(cluster, "load", think=0.1) as load:
        settle(load)
        a_node_for_ever(cluster, objects, small, load, what)
        a_zone_and_one_more(cluster, objects, load, what)
        a_disk_is_replaced(cluster, what)
    finish(load)
    objects.check()
    small.check()
    whole(cluster, "--deep")


# ---- bits ----

FLIPS = 1000
OBJECTS = 460  # they have some more shards than that which may be damaged at once
PUTS_MAX = 4


def damageable(cluster, objects, dice):
    """FLIPS shards, none of which is about to move or to be encoded anew.  Of some objects none can be taken: the more
    of those, the more are put."""
    for number in range(PUTS_MAX):
        objects.put(f"flipped-{number}", sizes=[dice.randrange(17_000, 32_000) if i % 9 < 4 else
                                                dice.randrange(33_000, 190_000) for i in range(OBJECTS >> number)])
        wait(cluster, "all is coded that should be", FULL_S, lambda: nothing_lost(cluster, "flipped")["interim"] == 0)
        holders = settled(cluster)
        whole(cluster, "flipped", "--deep")
        taken = chosen(held(cluster, "flipped", holders), FLIPS, dice)
        if len(taken) == FLIPS:
            break
    return taken


@on(SIX)
def test_a_thousand_flipped_bits(cluster):
    """In live shards of all disks, as many of a blob as its code can do without: one round of the scrub finds each."""
    cluster.expected_error = r"ERR_CORRUPT|damage"
    dice, objects = random.Random(9), Objects(cluster, "flipped")
    dirs = {node: cluster.var / "data" / node for node in storage_nodes(cluster)}
    taken = damageable(cluster, objects, dice)

    def node_of(shard):
        return shard.path.relative_to(cluster.var / "data").parts[0]

    assert len(taken) == FLIPS and {node_of(t) for t in taken} == set(dirs)
    say(f"{FLIPS} flips in {len({t.path for t in taken})} extents and {len({t.blob for t in taken})} blobs")
    names = ("cairn_store_corruptions_total", "cairn_store_scrub_found_total")
    before, repaired, since = {n: counted(cluster, n) for n in names}, Repaired(cluster), time.monotonic()
    for one in taken:
        flip(one, dice)

    def found(name):
        return sum(counted(cluster, name).values()) - sum(before[name].values())

    wait(cluster, "all flips found", 75, lambda: found(names[0]) >= FLIPS)
    say(f"{found(names[0]):.0f} found after {time.monotonic() - since:.1f} s, {found(names[1]):.0f} of them by the "
        "scrub, the others by repair, which read them first")
    whole(cluster, "flipped", "--deep")
    assert repaired.tell("flipped bits") >= FLIPS
    objects.check()
    # On the disks: each was written anew, elsewhere.
    anew = {}
    for node in dirs:
        for one in frames(dirs[node], "flipped"):
            anew.setdefault((node, one.blob, one.index), []).append(one)
    for one in taken:
        assert any(new.seq > one.seq and (new.path, new.offset) != (one.path, one.offset)
                   for new in anew[node_of(one), one.blob, one.index]), one


# ---- nodes that may go ----

class Removal:
    """Asks about every node all the time; a node of which yes is said is switched off and emptied at once."""

    def __init__(self, cluster):
        self.cluster, self.asked, self.yes = cluster, 0, []
        self.request = Request(cluster.endpoint(), cluster.credentials)

    def is_safe(self, node):
        """As cairnctl asks, without a process each time.  Who cannot say does not say yes."""
        self.asked += 1
        status, data, _ = self.request("GET", f"/_cairn/admin/v1/nodes/{node}/safe-to-remove")
        return status == 200 and json.loads(data)["safe"]

    def ask(self, nodes):
        for node in nodes:
            if node not in self.yes and self.is_safe(node):
                assert ctl(self.cluster, "safe-to-remove", node)["safe"]
                self.cluster.kill(node)
                wipe(self.cluster, node)
                self.yes.append(node)
                nothing_lost(self.cluster)


@on(SPARE)
def test_safe_to_remove(cluster):
    """Every node: as it is; with another one stopped; while it is drained, with another one stopped; drained, alone
    and with others gone.  The drained ones of three zones go at once."""
    objects = Objects(cluster, "kept")
    objects.put("before", sizes=(20_000, 100_000, 500_000) * 8)
    whole(cluster)
    nodes, removal = storage_nodes(cluster), Removal(cluster)
    removal.ask(nodes)
    for other in nodes:
        cluster.kill(other)
        removal.ask(nodes)
        start(cluster, other)
    assert removal.yes == []
    for number in (1, 2):
        going = [f"z{zone}-storagenode-{number}" for zone in ZONES]
        other = f"z{number}-storagenode-{3 - number}"
        for node in going:
            ctl(cluster, "drain", node)
        removal.ask(nodes)
        cluster.kill(other)  # the only one that could take its neighbour's places
        wait(cluster, f"{other} is lost", 15,
             lambda: removal.ask(nodes) or number == 2 or states(cluster).get(other) == "lost")
        start(cluster, other)

        def all_may_go():
            removal.ask(going)
            return len(removal.yes) == 3

        wait(cluster, "all may go", FULL_S, all_may_go)
        assert sorted(removal.yes) == going
        objects.check()
        whole(cluster)
        start(cluster, *going)
        for node in going:
            ctl(cluster, "undrain", node)
        removal.yes = []
    say(f"safe-to-remove: asked {removal.asked} times; 6 nodes went, 3 at a time, and nothing was lost")
    objects.check()
    whole(cluster, "--deep")
