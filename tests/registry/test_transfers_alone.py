"""Transfers that nobody follows, and what is left of those that did not come to their end."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.errors import InvalidModelName, InvalidRequest, NotFound
from server.storage.partials import list_partials
from server.types.transfers import TransferRequest
from tests.support.registry import TestRegistry
from tests.support.stores import digest_of
from tests.support.transfers import Fixture
from tests.support.until import until

WEIGHTS = random.Random(2).randbytes(200_000)


@pytest.fixture
async def fixture(tmp_path: Path) -> AsyncIterator[Fixture]:
    fixture = Fixture(tmp_path)
    yield fixture
    await fixture.transfers.aclose()


def request_of(registry: TestRegistry, **fields: int) -> TransferRequest:
    registry.add_model("me/spark", {"model": WEIGHTS})
    return TransferRequest(model=f"{registry.host}/me/spark", insecure=True, **fields)


async def ended(fixture: Fixture) -> None:
    await until(lambda: not fixture.transfers._order)


async def test_one_that_was_started_ends_without_followers(fixture: Fixture, registry: TestRegistry) -> None:
    request = request_of(registry)
    transfer_id = await fixture.transfers.start_transfer("pull", request)
    await ended(fixture)
    only = await fixture.only()
    assert (only.id, only.state, only.n_followers) == (transfer_id, "done", 0)
    assert fixture.store.has_blob(digest_of(WEIGHTS))
    await fixture.transfers.forget_transfer(transfer_id)
    assert (await fixture.transfers.transfers()).transfers == ()
    with pytest.raises(NotFound):
        await fixture.transfers.forget_transfer(transfer_id)


async def test_one_under_way_goes_on_when_its_follower_leaves(
    fixture: Fixture, registry: TestRegistry
) -> None:
    request = request_of(registry)
    await fixture.transfers.limit_transfers(1)
    stream = fixture.transfers.pull(request)
    await anext(stream)
    followed = (await fixture.only()).id
    assert await fixture.transfers.start_transfer("pull", request) == followed
    await stream.aclose()
    assert (await fixture.only()).n_followers == 0
    await fixture.transfers.limit_transfers(0)
    await ended(fixture)
    assert (await fixture.only()).state == "done"


async def test_a_name_that_is_none_is_refused_at_once(fixture: Fixture) -> None:
    with pytest.raises(InvalidModelName):
        await fixture.transfers.start_transfer("pull", TransferRequest(model="a b"))
    with pytest.raises(InvalidRequest):
        await fixture.transfers.start_transfer("pull", TransferRequest(model="http://127.0.0.1:1/me/m"))
    assert (await fixture.transfers.transfers()).transfers == ()


async def test_what_was_cancelled_is_listed_removed_and_begun_again(
    fixture: Fixture, registry: TestRegistry
) -> None:
    request = request_of(registry, limit_bytes_per_s=100_000)
    first = await fixture.transfers.start_transfer("pull", request)
    await until(lambda: fixture.transfers._order and fixture.transfers._order[0].completed_bytes >= 20_000)
    (partial,) = await fixture.transfers.partials()
    assert partial.is_in_use and partial.model == f"{registry.host}/me/spark:latest"
    with pytest.raises(InvalidRequest, match="is being fetched"):
        await fixture.transfers.remove_partial(partial.digest)
    await fixture.transfers.cancel_transfer(first)
    (partial,) = await fixture.transfers.partials()
    assert (partial.is_in_use, partial.total_bytes) == (False, len(WEIGHTS))
    assert 20_000 <= partial.completed_bytes < len(WEIGHTS) and partial.size_bytes > 0
    await fixture.transfers.remove_partial(partial.digest)
    assert list_partials(fixture.store.paths) == ()
    with pytest.raises(NotFound):
        await fixture.transfers.remove_partial(partial.digest)
    with pytest.raises(InvalidRequest):
        await fixture.transfers.remove_partial("../../etc/passwd")
    await fixture.transfers.start_transfer("pull", TransferRequest(model=request.model, insecure=True))
    await ended(fixture)
    assert (await fixture.only()).state == "done", "the new one stands in the place of the old"
