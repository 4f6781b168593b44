"""The judge is judged first: histories with a planted fault must be found, and sound ones must pass."""
import pathlib
import subprocess

import pytest

from load import History, body_of, present_in

CHECKER = pathlib.Path(__file__).resolve().parents[2] / "build" / "rel" / "bin" / "cairn-check-history"


def judge(*lines):
    done = subprocess.run([CHECKER], input="".join(f"{line}\n" for line in lines), text=True,
                          capture_output=True, timeout=30)
    return done.returncode, done.stdout + done.stderr


SOUND = {
    "reads see what was written": ["7 1 put 1 0 10 20", "7 2 read 1 0 30 40", "7 1 delete 0 0 50 60",
                                   "7 2 read 0 0 70 80"],
    "a read beside a write may see either": ["7 1 put 1 0 10 20", "7 1 put 2 0 30 60", "7 2 read 1 0 40 45",
                                             "7 3 read 2 0 46 50", "7 2 read 2 0 70 80"],
    "an unknown outcome may come late": ["7 1 put 1 0 10 20", "7 1 put 2 0 30 ?", "7 2 read 1 0 40 50",
                                         "7 2 read 2 0 60 70"],
    "or never": ["7 1 put 1 0 10 20", "7 1 put 2 0 30 ?", "7 2 read 1 0 1000 1010"],
    "one of two creations": ["7 1 absent 1 0 10 40", "7 2 absent-refused 2 0 10 40", "7 3 read 1 0 50 60"],
    "registers have nothing to do with each other": ["1 1 put 1 0 10 20", "2 2 read 0 0 30 40"],
}
PLANTED = {
    "a stale read": ["7 1 put 1 0 10 20", "7 1 put 2 0 30 40", "7 2 read 1 0 50 60"],
    "a lost write": ["7 1 put 1 0 10 20", "7 2 read 0 0 30 40"],
    "a deleted object returns": ["7 1 put 1 0 10 20", "7 1 delete 0 0 30 40", "7 2 read 1 0 50 60"],
    "reads that go back": ["7 1 put 1 0 10 20", "7 1 put 2 0 30 90", "7 2 read 2 0 40 50", "7 3 read 1 0 60 70"],
    "an unknown outcome that comes and goes": ["7 1 put 1 0 10 20", "7 1 put 2 0 30 ?", "7 2 read 2 0 40 50",
                                               "7 2 read 1 0 60 70"],
    "a refused write appears": ["7 1 put 1 0 10 20", "7 1 absent-refused 2 0 30 40", "7 2 read 2 0 50 60"],
    "two creations win": ["7 1 absent 1 0 10 40", "7 2 absent 2 0 10 40"],
    "a condition on a value that was gone": ["7 1 put 1 0 10 20", "7 1 put 2 0 30 40", "7 2 match 3 1 50 60"],
    "a refusal without a reason": ["7 1 put 1 0 10 20", "7 2 match-refused 3 1 30 40"],
    "a value from nowhere": ["7 1 put 1 0 10 20", "7 2 read 9 0 30 40"],
}


@pytest.mark.parametrize("name", SOUND)
def test_sound(name):
    status, text = judge(*SOUND[name])
    assert status == 0, text


@pytest.mark.parametrize("name", PLANTED)
def test_planted(name):
    status, text = judge("1 1 put 1 0 10 20", *PLANTED[name])
    assert status == 1 and "register 7 is not linearizable" in text


def test_malformed():
    assert judge("7 1 put 1 0 10")[0] == 2 and judge("7 1 dance 1 0 10 20")[0] == 2


def test_a_stale_read_among_thousands():
    """As long as a real history: one read of the value before last, far from its end."""
    lines, at = [], 0
    for value in range(1, 1500):
        lines += [f"3 1 put {value} 0 {at} {at + 8}", f"3 2 read {value} 0 {at + 9} {at + 12}",
                  f"3 3 read {value} 0 {at + 10} {at + 14}"]
        at += 20
    assert judge(*lines)[0] == 0
    lines[2000] = lines[2000].replace(lines[2000].split()[3], str(int(lines[2000].split()[3]) - 1))
    assert judge(*lines)[0] == 1


def test_what_the_clients_look_for():
    """Bodies name their value and are compared whole; a list names each key's content."""
    for large in (False, True):
        assert body_of(12, large) != body_of(13, large)
    h = History()
    first, second = h.next_value(False), h.next_value(False)
    entry = "<Contents><Key>r{:03}</Key><ETag>&quot;{}&quot;</ETag></Contents>"
    etag = {v: e for e, v in h.by_etag.items()}
    assert present_in(h, entry.format(1, etag[first]) + entry.format(2, etag[second])) == {1: first, 2: second}
    assert present_in(h, entry.format(1, "0" * 32)) == {1: -1} and not h.faults  # no register held this
    present_in(h, entry.format(2, etag[first]) + entry.format(1, etag[second]))
    assert "out of order" in h.faults[0]
