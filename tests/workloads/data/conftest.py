from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def s3() -> Iterator[tuple[Any, str]]:
    """A client and the endpoint of an S3 over HTTP, with the bucket `tokens`."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    client.create_bucket(Bucket="tokens")
    yield client, endpoint
    server.stop()


@pytest.fixture
def upload(s3: tuple[Any, str], monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, str], str]:
    """Put a directory's files into the bucket; gives its URL."""
    client, endpoint = s3
    for name, value in environment(endpoint).items():
        monkeypatch.setenv(name, value)

    def put(directory: Path, prefix: str) -> str:
        for path in directory.iterdir():
            client.put_object(Bucket="tokens", Key=f"{prefix}/{path.name}", Body=path.read_bytes())
        return f"s3://tokens/{prefix}"

    return put


def environment(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
    }
