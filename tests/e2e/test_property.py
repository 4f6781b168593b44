"""Random sequences of S3 operations against a model of S3 (s3_model.py), through all gateways.

A sequence has a few buckets, a few odd keys and some hundred operations; each operation draws from a seed of
its own, so that leaving one out changes nothing in the others, and a sequence that fails is made small before
it is shown.  What each answer says is compared with the model: status, code, fields, body, every entry of a
list.  The gateway is another one each time.

  --property-seconds=600    how long new sequences are begun (10)
  --property-seed=SEED      one sequence: that one
"""
import os
import random
import tempfile
import time

import pytest

from cluster import Cluster, serve
from s3_client import Differs, Player

PART_BYTES_MIN = 1000  # so that parts may be small


@pytest.fixture(scope="module")
def own(request):
    yield from serve(request, Cluster(tempfile.mkdtemp(prefix="cairn-property-"),
                                      CAIRN_PART_BYTES_MIN=str(PART_BYTES_MIN)))


def play(cluster, seed, numbers):
    """Returns: None, or how it differs; the requests, and the numbers of the operations that were played."""
    player = Player(cluster, seed, PART_BYTES_MIN)
    played = []
    try:
        for n in numbers:
            played.append(n)
            player.step(n)
        player.end()
    except Differs as differs:
        return differs, player.trace, played
    except Exception as error:  # an answer that is no answer: no XML, a field that is not there
        return Differs(player.where, repr(error)), player.trace, played
    return None, player.trace, played


def shrink(cluster, seed, differs, trace, played, seconds=60):
    """Leaves out what is not needed for the same operation to fail in the same way."""
    until = time.monotonic() + seconds
    size = max(1, len(played) // 2)
    while size >= 1 and time.monotonic() < until:
        at = 0
        while at < len(played) and time.monotonic() < until:
            fewer = played[:at] + played[at + size:]
            again, text, run = play(cluster, seed, fewer)
            if again and again.where == differs.where:
                differs, trace, played = again, text, run
            else:
                at += size
        size //= 2
    return differs, trace, played


def test_agrees_with_the_model(own, pytestconfig):
    one = pytestconfig.getoption("--property-seed")
    until = time.monotonic() + float(pytestconfig.getoption("--property-seconds"))
    source = random.Random(os.environ.get("CAIRN_PROPERTY_SEED"))
    count = 0
    while count == 0 or (not one and time.monotonic() < until):
        seed = one or f"{source.getrandbits(48):x}"
        differs, trace, played = play(own, seed, range(120))
        if differs:
            differs, trace, played = shrink(own, seed, differs, trace, played)
            pytest.fail("\n".join([f"--property-seed={seed}", *trace, "", str(differs)]), pytrace=False)
        count += 1
    print(f"{count} sequences")
