"""Chaos: each module has a cluster of its own, from a fixture `cluster`; see tests/e2e/cluster.py."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from cluster import pytest_pyfunc_call, pytest_terminal_summary  # noqa: E402, F401
