from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from server.errors import RegistryError, RegistryUnreachable
from server.registry.client import RegistryClient
from server.registry.upload import BlobUpload, UploadPolicy, put_manifest
from tests.registry.conftest import REPOSITORY
from tests.support.registry import TestRegistry, UploadFault
from tests.support.stores import digest_of

NewClient = Callable[..., RegistryClient]

DATA = random.Random(1).randbytes(100_000)
QUICK = UploadPolicy(part_bytes=30_000, backoff_s=0.001)


class MemorySource:
    """A blob in memory."""

    digest = digest_of(DATA)
    total_bytes = len(DATA)

    def read_at(self, n_bytes: int, offset: int) -> bytes:
        return DATA[offset : offset + n_bytes]


def send(client: RegistryClient, **fields: str) -> BlobUpload:
    upload = BlobUpload(client, MemorySource(), policy=QUICK, **fields)
    upload.run()
    return upload


def test_a_blob_goes_in_parts(registry: TestRegistry, new_client: NewClient) -> None:
    upload = send(new_client(registry.host))
    assert registry.blobs[REPOSITORY, digest_of(DATA)] == DATA
    assert upload.completed_bytes == len(DATA)
    assert registry.count("PATCH", "") == 4
    (finished,) = [path for method, path, _ in registry.requests if method == "PUT"]
    assert f"digest={digest_of(DATA).replace(':', '%3A')}" in finished
    assert finished.endswith("-4")  # the number of parts behind their sum


def test_what_is_there_is_not_sent(registry: TestRegistry, new_client: NewClient) -> None:
    registry.add_blob(REPOSITORY, DATA)
    assert send(new_client(registry.host)).completed_bytes == len(DATA)
    assert [method for method, _, _ in registry.requests] == ["HEAD"]


def test_what_another_repository_has_is_mounted(registry: TestRegistry, new_client: NewClient) -> None:
    registry.add_blob("me/other", DATA)
    send(new_client(registry.host), mount_from="me/other")
    assert registry.blobs[REPOSITORY, digest_of(DATA)] == DATA
    assert registry.count("PATCH", "") == 0


def test_where_nothing_can_be_mounted_it_is_sent(registry: TestRegistry, new_client: NewClient) -> None:
    send(new_client(registry.host), mount_from="me/nothing")
    assert registry.blobs[REPOSITORY, digest_of(DATA)] == DATA


@pytest.mark.parametrize("fault", ["busy", "half", "lost"])
def test_a_part_that_fails_goes_on_from_where_the_registry_stands(
    registry: TestRegistry, new_client: NewClient, fault: UploadFault
) -> None:
    registry.upload_faults = ["", "", fault]
    upload = send(new_client(registry.host))
    assert registry.blobs[REPOSITORY, digest_of(DATA)] == DATA
    assert upload.completed_bytes == len(DATA)
    offsets = [h["Content-Range"].split("-")[0] for m, _, h in registry.requests if m == "PATCH"]
    expected = {"busy": "60000", "half": "75000", "lost": "0"}[fault]
    assert offsets[:4] == ["0", "30000", "60000", expected]


def test_a_registry_that_only_fails_is_given_up(registry: TestRegistry, new_client: NewClient) -> None:
    registry.upload_faults = ["busy"] * 100
    with pytest.raises(RegistryUnreachable, match="max retries exceeded: 429"):
        send(new_client(registry.host))
    assert registry.count("PATCH", "") == QUICK.n_tries


def test_a_refusal_is_an_end(registry: TestRegistry, new_client: NewClient) -> None:
    registry.token, registry.given_token = "a", "b"
    with pytest.raises(RegistryError, match="unauthorized: access denied"):
        send(new_client(registry.host))


def test_a_token_that_runs_out_is_renewed_on_the_way(registry: TestRegistry, new_client: NewClient) -> None:
    registry.token = "a"
    client = new_client(registry.host)
    client._token = "old"
    send(client)
    assert registry.blobs[REPOSITORY, digest_of(DATA)] == DATA


def test_the_manifest_names_the_blobs(registry: TestRegistry, new_client: NewClient) -> None:
    put_manifest(new_client(registry.host), "t", b"{}")
    assert registry.manifests[REPOSITORY, "t"] == b"{}"
    ((_, _, headers),) = registry.requests
    assert headers["Content-Type"] == "application/vnd.docker.distribution.manifest.v2+json"
