"""The end-to-end tests' cluster: real processes, real clients, started once a run."""
import os
import tempfile

import pytest

from cluster import Cluster, pytest_pyfunc_call, pytest_terminal_summary, serve  # noqa: F401


@pytest.fixture(scope="session")
def cluster(request):
    yield from serve(request, Cluster(tempfile.mkdtemp(prefix="cairn-e2e-")))


@pytest.fixture(scope="session")
def s3(cluster):
    return cluster.client()


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
