"""safe-to-remove against every combination of stopped storage nodes on the small cluster: six of them, two a zone, of
which three, one a zone, can hold all.  Two minutes long, so `make removal` runs it, not `make test`, where
test_repair.py stops one other node at a time."""
import json
import tempfile
import time

import pytest

from cluster import Cluster, say, serve
from extents import shards
from load import Request
from survive import (FULL_S, TIMES, ZONES, Objects, nothing_lost, place, settled, start, storage_nodes, wait,
                     whole, wipe)

# A node that is lost while it drains has been given up, and whoever is stopped here is to come back: none is lost.
SMALL = dict(TIMES, STORAGE_PER_ZONE="2", CAIRN_CLUSTER_EXTRA="schemes: [2+1, rep-3]\npgs: 6",
             CAIRN_PLACEMENT_CHANGES_MAX="64", CAIRN_NODE_LOST_AFTER="1h")
KNOWN_S = 20.0  # until the root has noticed that a node is gone, or is back


@pytest.fixture(scope="module")
def cluster(request):
    yield from serve(request, Cluster(tempfile.mkdtemp(prefix="cairn-removal-"), **SMALL))


def chains(items):
    """Every subset once, in chains in which each has one item more than the one before it, and as few of them as there
    can be (de Bruijn, Tengbergen and Kruyswijk): one that stops is not soon noticed, one that starts is at once."""
    found = [[frozenset()]]
    for item in items:
        found = [longer for chain in found
                 for longer in (chain + [chain[-1] | {item}], [subset | {item} for subset in chain[:-1]]) if longer]
    return found


class Operator:
    """Drains and asks, as cairnctl does, without a process each time; and knows from groups' members, from the disks
    and from whom it has stopped what it must be answered."""

    def __init__(self, cluster):
        self.cluster, self.nodes = cluster, storage_nodes(cluster)
        self.request = Request(cluster.endpoint(), cluster.credentials)
        self.stopped, self.draining, self.held = frozenset(), set(), {}
        self.asked = self.yes = self.fatal = 0

    def call(self, method, path):
        status, data, _ = self.request(method, f"/_cairn/admin/v1/{path}")
        assert status == 200, (method, path, status, data)
        return json.loads(data)

    def drain(self, *nodes, undrain=False):
        for node in nodes:
            self.call("POST", f"nodes/{node}/{'undrain' if undrain else 'drain'}")
            (self.draining.discard if undrain else self.draining.add)(node)

    def reach(self, stopped):
        """These and no others are stopped."""
        self.cluster.kill(*stopped - self.stopped)
        start(self.cluster, *self.stopped - stopped)
        self.stopped = stopped

    def wait_known(self):
        """The root knows who is stopped."""
        wanted = {node: "down" if node in self.stopped else "up" for node in self.nodes}
        deadline = time.monotonic() + KNOWN_S
        while (said := {n["node"]: n["state"] for n in self.call("GET", "nodes")["nodes"]}) != wanted:
            assert time.monotonic() < deadline, (wanted, said)
            time.sleep(0.05)

    def named(self):
        """By a group, as a member, now or next, or by a change that is planned."""
        said = self.call("GET", "pgs")
        return {node for g in said["pgs"] + said["planned"] for node in g["members"] + g["next_members"]}

    def look(self, prefix):
        """Which shards lie where they should, on the disks of groups' members; nothing moves from now on."""
        holders = settled(self.cluster)
        for node in self.nodes:
            for one in shards(self.cluster.var / "data" / node, prefix):
                if holders.get((one.pg, one.index)) == node:
                    self.held.setdefault(one.blob, (one.data, one.data + one.parity, {}))[2][one.index] = node
        for data, count, its in self.held.values():
            assert len(its) == count >= 3 and len(set(its.values())) == count

    def loses(self, node):
        """Some blob can be read now, and could not be once this node is gone as well; or has less than it should."""
        less = lost = False
        for data, _, its in self.held.values():
            there = sum(holder not in self.stopped for holder in its.values())
            left = sum(holder not in self.stopped | {node} for holder in its.values())
            less |= node in its.values()
            lost |= left < data <= there
        assert less or not lost
        return less, lost

    def ask(self):
        """About everybody, whether stopped or not."""
        before = self.named()
        said = {node: self.call("GET", f"nodes/{node}/safe-to-remove")["safe"] for node in self.nodes}
        named = before | self.named()
        for node, yes in said.items():
            less, lost = self.loses(node)
            what = f"{node}, {sorted(self.stopped)} stopped, {sorted(self.draining)} draining, {sorted(named)} named"
            assert not (yes and less), f"yes, and it has shards that nobody else has: {what}"
            assert yes == (node in self.draining and node not in named), f"{yes}: {what}"
            self.asked += 1
            self.yes += yes
            self.fatal += lost


def test_every_combination(cluster):
    """One node of each zone is drained and emptied; then, for every subset of all six that is stopped, all are asked
    about, while the other three do not drain, and while they do.  At once; and, of subsets that differ only in the
    order of zones for one, when the root knows as well."""
    objects, operator = Objects(cluster, "kept"), Operator(cluster)
    nodes = operator.nodes
    objects.put("before", sizes=(20_000, 100_000, 500_000) * 8)
    whole(cluster)
    empty, full = ([n for n in nodes if place(n)[1] == number] for number in (1, 2))
    operator.drain(*empty)
    wait(cluster, "nobody is left on them", FULL_S, lambda: not operator.named() & set(empty))
    whole(cluster)
    operator.look("before")
    began, walk = time.monotonic(), chains(nodes)
    assert len({subset for chain in walk for subset in chain}) == 2 ** len(nodes)
    known = set()
    for subset in (subset for chain in walk for subset in reversed(chain)):
        operator.reach(subset)
        kind = tuple(sorted(tuple(n in subset for n in nodes if place(n)[0] == zone) for zone in ZONES))
        if kind not in known:
            operator.ask()
            operator.wait_known()
            known.add(kind)
        operator.ask()
        operator.drain(*full)
        operator.ask()
        operator.drain(*full, undrain=True)
    say(f"safe-to-remove: {operator.asked} questions, {2 ** len(nodes)} subsets, the root knew of {len(known)}; "
        f"{time.monotonic() - began:.0f} s; {operator.yes} yes; {operator.fatal} times one more had lost data at once")
    assert operator.yes == operator.asked // 2 and operator.fatal > 0 and len(known) == 20
    # Those of which yes was said go, while another one is stopped, and then with everybody else there.
    operator.reach(frozenset())
    operator.wait_known()
    operator.reach(frozenset([*empty, full[0]]))
    for node in empty:
        wipe(cluster, node)
    nothing_lost(cluster)
    objects.check()
    operator.reach(frozenset(empty))
    whole(cluster, "--deep")
    objects.check()
    # Who does not drain may be given places as soon as he is back, though nobody names him yet.
    operator.wait_known()
    operator.drain(*empty, undrain=True)
    operator.ask()
    operator.reach(frozenset())
    operator.wait_known()
    operator.ask()
