"""A cluster whose network can be cut: every process in a network namespace of its own.

    hub: this process, its clients --- bridge 10.77.0.1
                                         |--- z1-metanode-1  10.77.1.1
                                         |--- z1-witness-1   10.77.1.21, ...

A namespace lives as long as a process or a descriptor is in it: nothing has a name outside, and nothing
is left behind when the tests end, however they do.  What a node is not to hear is dropped where it
arrives (nftables), so that the sender learns nothing, and each direction is cut by itself.  Clients
and admin ports are reached from the hub, which is never cut.

Needs CAP_SYS_ADMIN and CAP_NET_ADMIN: root, or what run.sh makes of others where the kernel allows that.
"""
import contextlib
import ctypes
import os
import re
import subprocess

from cluster import ROLE_OFFSET, ROLES, Cluster

PREFIX = "10.77."
CLONE_NEWNET = 0x40000000
RULES = """
table ip cut {
    set unheard { type ipv4_addr; }
    counter lost { }
    chain input { type filter hook input priority 0; ip saddr @unheard counter name lost drop; }
}
"""
_libc = ctypes.CDLL(None, use_errno=True)


def _call(function, *args):
    if function(*args) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{function.__name__}: {os.strerror(code)}")


def _new_namespace():
    """This thread goes into it.  Returns: its descriptor."""
    _call(_libc.unshare, CLONE_NEWNET)
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _run(command, text):
    done = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}\n{text}")
    return done.stdout


class NetworkCluster(Cluster):
    """open() before up(), close() after down(), in the thread that starts the clients."""

    def __init__(self, var):
        super().__init__(var)
        self.names = [f"z{z}-{role}-1" for z in (1, 2, 3) for role in ROLES]
        self.namespaces = var + "/net"
        self.env.update(ADDR_PREFIX=PREFIX, NODE_RUNNER=f"nsenter --net={self.namespaces}/{{}}")
        self.descriptors = []

    def address(self, role, zone=1, k=1):
        return f"{PREFIX}{zone}.{ROLE_OFFSET[role] + k}"

    def address_of(self, node):
        zone, role, k = node[1:].split("-")
        return self.address(role, int(zone), int(k))

    def zone(self, zone):
        return [f"z{zone}-{role}-1" for role in ROLES]

    # ---- namespaces ----

    def open(self):
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            hub = _new_namespace()
        except OSError as error:
            os.close(own)
            os.rmdir(self.var)
            raise RuntimeError(f"networks cannot be cut here ({error}): run the tests as root, or under "
                               "tests/chaos/run.sh") from error
        self.descriptors = [own, hub]
        os.mkdir(self.namespaces)
        links = ["link set lo up", "link add hub type bridge", f"addr add {PREFIX}0.1/16 dev hub",
                 "link set hub up"]
        for i, node in enumerate(self.names):
            self.descriptors.append(_new_namespace())
            place = f"/proc/{os.getpid()}/fd/{self.descriptors[-1]}"
            os.symlink(place, f"{self.namespaces}/{node}")
            links += [f"link add node{i} type veth peer name eth0 netns {place}",
                      f"link set node{i} master hub", f"link set node{i} up"]
        _call(_libc.setns, hub, CLONE_NEWNET)
        _run(["ip", "-batch", "-"], "\n".join(links) + "\n")
        for node in self.names:
            self._inside(node, ["ip", "-batch", "-"],
                         f"link set lo up\naddr add {self.address_of(node)}/16 dev eth0\nlink set eth0 up\n")
            self._inside(node, ["nft", "-f", "-"], RULES)

    def close(self):
        if self.descriptors:
            _call(_libc.setns, self.descriptors[0], CLONE_NEWNET)
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = []

    def _inside(self, node, command, text):
        return _run(["nsenter", f"--net={self.namespaces}/{node}", *command], text)

    def _lost(self, node):
        """Packets that it did not get since this was last asked."""
        listed = self._inside(node, ["nft", "-f", "-"], "reset counter ip cut lost\n")
        return int(re.search(r"packets (\d+)", listed).group(1))

    # ---- cuts ----

    @contextlib.contextmanager
    def cut(self, *ways):
        """Each way is (senders, receivers): what one of those sends to one of these does not arrive.
        One that nothing was sent on would prove nothing, and is an error."""
        unheard = {}
        for senders, receivers in ways:
            for receiver in receivers:
                unheard.setdefault(receiver, set()).update(map(self.address_of, senders))
        try:
            for receiver, addresses in unheard.items():
                self._inside(receiver, ["nft", "-f", "-"],
                             f"add element ip cut unheard {{ {', '.join(sorted(addresses))} }}\n")
            yield
            lost = {receiver: self._lost(receiver) for receiver in unheard}
            print("packets lost:", lost)
            assert any(lost.values()), "nothing was sent on what was cut"
        finally:
            self.heal(unheard)

    def heal(self, nodes=None):
        for node in self.names if nodes is None else nodes:
            self._inside(node, ["nft", "-f", "-"], "flush set ip cut unheard\n")

    def recover(self):
        self.heal()
        super().recover()
