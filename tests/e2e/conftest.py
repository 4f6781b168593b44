"""The end-to-end tests' cluster: real processes, real clients, started once a run."""
import os
import tempfile

import pytest

from cluster import Cluster, pytest_pyfunc_call, pytest_terminal_summary, serve  # noqa: F401


def pytest_addoption(parser):
    parser.addoption("--property-seconds", default="10", help="how long test_property.py begins new sequences")
    parser.addoption("--property-seed", help="of one sequence of test_property.py")


@pytest.fixture(scope="session")
def cluster(request):
    yield from serve(request, Cluster(tempfile.mkdtemp(prefix="cairn-e2e-")))


@pytest.fixture(scope="session")
def s3(cluster):
    return cluster.client()


@pytest.fixture(scope="session")
def quick(request):
    """Another cluster, whose background work comes soon."""
    yield from serve(request, Cluster(
        tempfile.mkdtemp(prefix="cairn-quick-"), CAIRN_JOBS_INTERVAL="200ms", CAIRN_JOBS_LEASE="2s",
        CAIRN_ACCESS_LOG_INTERVAL="1s", CAIRN_INVENTORY_FILE_BYTES="4096", CAIRN_INVENTORY_RATE="400",
        CAIRN_QUOTA_INTERVAL="300ms",
        CAIRN_PART_BYTES_MIN="1"))


_serial = iter(range(1, 100000))


@pytest.fixture
def bucket(s3):
    """A fresh bucket, emptied and removed afterwards."""
    name = f"bucket-{os.getpid()}-{next(_serial)}"
    s3.create_bucket(Bucket=name)
    yield name
    for upload in s3.list_multipart_uploads(Bucket=name).get("Uploads", []):
        s3.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name):
        keys = [{"Key": o["Key"]} for o in page.get("Contents", [])]
        if keys:
            s3.delete_objects(Bucket=name, Delete={"Objects": keys})
    s3.delete_bucket(Bucket=name)
