"""Pulls and pushes of a whole service, with a registry on a real socket."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from server.errors import (
    Cancelled,
    DigestMismatch,
    DiskFull,
    InvalidRequest,
    NotFound,
    RegistryError,
    RegistryUnreachable,
)
from server.services import pull as pull_module
from server.services.models import Models
from server.services.transfers import TransferTuning, user_agent
from server.storage.partials import list_partials
from server.types.models import CreateRequest
from server.types.names import ModelName
from server.types.transfers import TransferInfo, TransferProgress, TransferRequest
from server.version import OLLAMA_VERSION
from tests.support.registry import TestRegistry
from tests.support.stores import digest_of
from tests.support.tiny_gguf import tiny_llama_bytes
from tests.support.transfers import TUNING, Fixture
from tests.support.until import until

GOLDEN = Path(__file__).parents[1] / "golden" / "registry"
REPOSITORY = "me/spark"
WEIGHTS = random.Random(1).randbytes(200_000)
LAYERS = {"model": WEIGHTS, "template": b"{{ .Prompt }}", "params": b'{"stop":["x"]}'}


@pytest.fixture
async def fixture(tmp_path: Path) -> AsyncIterator[Fixture]:
    fixture = Fixture(tmp_path)
    yield fixture
    await fixture.transfers.aclose()


def statuses(lines: list[TransferProgress]) -> list[str]:
    """Each status once, in order."""
    return list(dict.fromkeys(line.status for line in lines))


def recorded(name: str, registry: TestRegistry) -> list[dict[str, Any]]:
    """Lines that a real Ollama told, with our digests and sizes in the place of its own."""
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    text = json.dumps(golden["response"]["body"]["ndjson"])
    manifest = json.loads(registry.manifests[REPOSITORY, "latest"])
    theirs = [line for line in json.loads(text) if "digest" in line]
    for line, layer in zip(theirs, [*manifest["layers"], manifest["config"]], strict=True):
        text = text.replace(line["digest"], layer["digest"])
        text = text.replace(line["digest"][7:19], layer["digest"][7:19])
        text = text.replace(f'"total": {line["total"]},', f'"total": {layer["size"]},')
        text = text.replace(f'"completed": {line["total"]}}}', f'"completed": {layer["size"]}}}')
    return json.loads(text)


def told(lines: list[TransferProgress]) -> list[dict[str, Any]]:
    """Lines as JSON, of those about one blob the last."""
    last = {line.digest or line.status: line for line in lines}
    return [
        {
            "status": line.status,
            **({"digest": line.digest, "total": line.total_bytes} if line.digest else {}),
            **({"completed": line.completed_bytes} if line.completed_bytes else {}),
        }
        for line in last.values()
    ]


@asynccontextmanager
async def following(fixture: Fixture, model: str, **fields: Any) -> AsyncIterator[asyncio.Task[Any]]:
    """A pull in the background; left at the end of the block."""
    task = asyncio.create_task(fixture.pull(model, **fields))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def reached(fixture: Fixture, n_bytes: int) -> TransferInfo:
    """Wait until the only transfer runs and has so many bytes."""

    def is_there() -> bool:
        running = fixture.transfers._order
        return bool(running) and running[0].state == "running" and running[0].completed_bytes >= n_bytes

    await until(is_there)
    return await fixture.only()


@pytest.mark.parametrize("golden", ["reg-pull", "reg-pull-again"])
async def test_a_pull_tells_what_ollama_tells(fixture: Fixture, registry: TestRegistry, golden: str) -> None:
    raw = registry.add_model(REPOSITORY, LAYERS)
    model = f"{registry.host}/{REPOSITORY}"
    lines = await fixture.pull(model)
    if golden == "reg-pull-again":
        n_before = registry.count("GET", "/blobs/")
        lines = await fixture.pull(model)
        assert registry.count("GET", "/blobs/") == n_before
    assert told(lines) == recorded(golden, registry)
    name = ModelName.parse(model)
    assert fixture.store.paths.manifest(name).read_bytes() == raw
    for data in LAYERS.values():
        assert fixture.store.paths.blob(digest_of(data)).read_bytes() == data
    assert list_partials(fixture.store.paths) == ()
    assert list(fixture.store.paths.pins.iterdir()) == []
    assert fixture.retired.names == []


@pytest.mark.parametrize("golden", ["reg-push", "reg-push-again"])
async def test_a_push_tells_what_ollama_tells(fixture: Fixture, registry: TestRegistry, golden: str) -> None:
    raw = registry.add_model(REPOSITORY, LAYERS)
    model = f"{registry.host}/{REPOSITORY}"
    await fixture.pull(model)
    blobs = dict(registry.blobs)
    registry.blobs.clear()
    lines = await fixture.push(model)
    if golden == "reg-push-again":
        n_before = registry.count("PATCH", "")
        lines = await fixture.push(model)
        assert registry.count("PATCH", "") == n_before
    assert told(lines) == recorded(golden, registry)
    assert registry.blobs == blobs
    assert registry.manifests[REPOSITORY, "latest"] == raw


@pytest.mark.parametrize(("golden", "insecure"), [("reg-pull-nope", True), ("reg-pull-tls", False)])
async def test_a_pull_that_fails_tells_what_ollama_tells(
    fixture: Fixture, registry: TestRegistry, golden: str, insecure: bool
) -> None:
    exchange = json.loads((GOLDEN / f"{golden}.json").read_text())
    model = exchange["request"]["body"]["model"]
    expected = exchange["response"]["body"]["ndjson"][-1]["error"]
    request = TransferRequest(model=model.replace("127.0.0.1:5000", registry.host), insecure=insecure)
    with pytest.raises((RegistryError, RegistryUnreachable)) as caught:
        async with aclosing(fixture.transfers.pull(request)) as lines:
            async for _ in lines:
                pass
    assert caught.value.message == expected.replace("127.0.0.1:5000", registry.host)
    assert fixture.store.list_models() == []


async def test_who_asks_for_a_pull_that_is_under_way_joins_it(
    fixture: Fixture, registry: TestRegistry
) -> None:
    registry.add_model(REPOSITORY, LAYERS)
    model = f"{registry.host}/{REPOSITORY}"
    first, second = await asyncio.gather(fixture.pull(model), fixture.pull(model.upper().replace("ME", "me")))
    assert statuses(first)[-1] == statuses(second)[-1] == "success"
    assert registry.count("GET", "/manifests/") == 1


async def test_who_leaves_does_not_stop_the_others_and_the_last_one_does(
    fixture: Fixture, registry: TestRegistry
) -> None:
    registry.add_model(REPOSITORY, LAYERS)
    model = f"{registry.host}/{REPOSITORY}"
    await fixture.transfers.limit_transfers(100_000)
    async with following(fixture, model) as second:
        async with following(fixture, model):
            await reached(fixture, 20_000)
            assert (await fixture.only()).n_followers == 2
        assert (await fixture.only()).state == "running"
        assert not second.done()
    assert (await fixture.only()).state == "cancelled"
    (partial,) = list_partials(fixture.store.paths)
    assert partial.completed_bytes >= 20_000
    assert (partial.model, partial.is_in_use) == (f"{model}:latest", False)
    registry.requests.clear()
    await fixture.transfers.limit_transfers(0)
    lines = await fixture.pull(model)
    assert statuses(lines)[-1] == "success"
    assert sum(fetched(registry, digest_of(WEIGHTS))) <= len(WEIGHTS) - partial.completed_bytes


async def test_who_asks_while_the_last_one_leaves_gets_the_model_all_the_same(
    fixture: Fixture, registry: TestRegistry
) -> None:
    registry.add_model(REPOSITORY, LAYERS)
    model = f"{registry.host}/{REPOSITORY}"
    await fixture.transfers.limit_transfers(100_000)
    async with following(fixture, model) as first:
        await reached(fixture, 20_000)
        first.cancel()
        await until(lambda: any(transfer.is_ending for transfer in fixture.transfers._order))
        await fixture.transfers.limit_transfers(0)
        assert statuses(await fixture.pull(model))[-1] == "success"


def fetched(registry: TestRegistry, digest: str) -> list[int]:
    """Lengths of the ranges of a blob that were asked for."""
    ranges = [headers.get("Range", "") for method, path, headers in registry.requests if digest in path]
    pairs = [text.removeprefix("bytes=").split("-") for text in ranges]
    return [int(end) - int(start) + 1 for start, end in pairs]


async def test_a_blob_of_two_models_is_fetched_once(tmp_path: Path, registry: TestRegistry) -> None:
    fixture = Fixture(tmp_path)
    fixture.transfers._tuning = TransferTuning(
        download=TUNING.download, timeouts=TUNING.timeouts, max_running=2
    )
    registry.add_model("me/a", {"model": WEIGHTS})
    registry.add_model("me/b", {"model": WEIGHTS, "template": b"x"})
    await fixture.transfers.limit_transfers(400_000)
    await asyncio.gather(fixture.pull(f"{registry.host}/me/a"), fixture.pull(f"{registry.host}/me/b"))
    assert sum(fetched(registry, digest_of(WEIGHTS))) == len(WEIGHTS)
    assert len(fixture.store.list_models()) == 2
    await fixture.transfers.aclose()


async def test_a_pull_that_is_paused_goes_on_where_it_stood(fixture: Fixture, registry: TestRegistry) -> None:
    registry.add_model(REPOSITORY, LAYERS)
    await fixture.transfers.limit_transfers(100_000)
    async with following(fixture, f"{registry.host}/{REPOSITORY}") as task:
        info = await reached(fixture, 20_000)
        await fixture.transfers.pause_transfer(info.id)
        await until(lambda: not any(p.is_in_use for p in list_partials(fixture.store.paths)))
        paused = await fixture.only()
        assert (paused.state, paused.bytes_per_s) == ("paused", 0.0)
        assert not task.done()
        await fixture.transfers.limit_transfers(0)
        await fixture.transfers.resume_transfer(info.id)
        lines = await task
    assert statuses(lines)[-1] == "success"
    shown = [line.completed_bytes for line in lines if line.digest == digest_of(WEIGHTS)]
    assert shown == sorted(shown)


async def test_a_transfer_that_is_cancelled_tells_those_who_follow(
    fixture: Fixture, registry: TestRegistry
) -> None:
    registry.add_model(REPOSITORY, LAYERS)
    await fixture.transfers.limit_transfers(1)
    async with following(fixture, f"{registry.host}/{REPOSITORY}") as task:
        await until(lambda: registry.count("GET", "/blobs/"))
        await fixture.transfers.cancel_transfer((await fixture.only()).id)
        with pytest.raises(Cancelled):
            await task
    with pytest.raises(NotFound):
        await fixture.transfers.cancel_transfer((await fixture.only()).id)


async def test_others_wait_in_an_order_that_can_be_changed(fixture: Fixture, registry: TestRegistry) -> None:
    for name in "abc":
        registry.add_model(f"me/{name}", {"model": WEIGHTS + name.encode()})
    await fixture.transfers.limit_transfers(1)
    async with asyncio.TaskGroup() as tasks:
        for name in "abc":
            tasks.create_task(fixture.pull(f"{registry.host}/me/{name}"))
            await until(lambda name=name: any(t.name.model == name for t in fixture.transfers._order))
        listed = (await fixture.transfers.transfers()).transfers
        await fixture.transfers.move_transfer(listed[2].id, 1)
        listed = (await fixture.transfers.transfers()).transfers
        assert [item.model[-8:-7] for item in listed] == ["a", "c", "b"]
        await fixture.transfers.limit_transfers(0)
    manifests = [path for _, path, _ in registry.requests if "/manifests/" in path]
    assert [path[7:8] for path in manifests] == ["a", "c", "b"]


async def test_a_limit_of_its_own_holds_until_it_is_changed(fixture: Fixture, registry: TestRegistry) -> None:
    registry.add_model(REPOSITORY, LAYERS)
    model = f"{registry.host}/{REPOSITORY}"
    async with following(fixture, model, limit_bytes_per_s=1) as task:
        await until(lambda: registry.count("GET", "/blobs/"))
        info = await fixture.only()
        assert info.limit_bytes_per_s == 1
        assert info.completed_bytes < len(WEIGHTS)
        await fixture.transfers.limit_transfers(0, info.id)
        assert statuses(await task)[-1] == "success"


async def test_another_model_of_the_name_takes_its_place_at_the_end(
    fixture: Fixture, registry: TestRegistry
) -> None:
    registry.add_model(REPOSITORY, LAYERS)
    model = f"{registry.host}/{REPOSITORY}"
    await fixture.pull(model)
    registry.add_model(REPOSITORY, {**LAYERS, "template": b"another"})
    lines = await fixture.pull(model)
    assert statuses(lines)[-3:] == ["writing manifest", "removing unused layers", "success"]
    assert not fixture.store.has_blob(digest_of(b"{{ .Prompt }}"))
    assert fixture.store.has_blob(digest_of(WEIGHTS))
    assert fixture.retired.names == [f"{model}:latest"]


async def test_what_another_model_needs_stays_and_noprune_keeps_everything(
    tmp_path: Path, registry: TestRegistry
) -> None:
    fixture = Fixture(tmp_path, noprune=True)
    registry.add_model(REPOSITORY, LAYERS)
    model = f"{registry.host}/{REPOSITORY}"
    await fixture.pull(model)
    registry.add_model(REPOSITORY, {"model": WEIGHTS})
    assert "removing unused layers" not in statuses(await fixture.pull(model))
    assert fixture.store.has_blob(digest_of(b"{{ .Prompt }}"))


async def test_a_pull_that_fails_leaves_the_model_that_was_there(
    fixture: Fixture, registry: TestRegistry
) -> None:
    registry.add_model(REPOSITORY, LAYERS)
    model = f"{registry.host}/{REPOSITORY}"
    await fixture.pull(model)
    before = fixture.store.find(ModelName.parse(model)).digest
    registry.add_model(REPOSITORY, {"model": b"other weights"})
    del registry.blobs[REPOSITORY, digest_of(b"other weights")]
    with pytest.raises(RegistryError):
        await fixture.pull(model)
    assert fixture.store.find(ModelName.parse(model)).digest == before


async def test_bytes_that_are_wrong_get_no_name(fixture: Fixture, registry: TestRegistry) -> None:
    registry.add_model(REPOSITORY, LAYERS)
    registry.blobs[REPOSITORY, digest_of(WEIGHTS)] = bytes(len(WEIGHTS))
    with pytest.raises(DigestMismatch, match="digest mismatch, file must be downloaded again: want sha256:"):
        await fixture.pull(f"{registry.host}/{REPOSITORY}")
    assert not fixture.store.has_blob(digest_of(WEIGHTS))
    assert list_partials(fixture.store.paths) == ()


async def test_a_blob_that_is_cut_short_is_fetched_again(fixture: Fixture, registry: TestRegistry) -> None:
    registry.add_model(REPOSITORY, LAYERS)
    model = f"{registry.host}/{REPOSITORY}"
    await fixture.pull(model)
    fixture.store.paths.blob(digest_of(WEIGHTS)).write_bytes(b"cut")
    await fixture.pull(model)
    assert fixture.store.paths.blob(digest_of(WEIGHTS)).read_bytes() == WEIGHTS


async def test_room_is_looked_for_before_anything_is_fetched(
    fixture: Fixture, registry: TestRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add_model(REPOSITORY, LAYERS)
    monkeypatch.setattr(pull_module, "free_bytes", lambda _: pull_module.RESERVE_BYTES + len(WEIGHTS))
    with pytest.raises(DiskFull, match=r"needs 0\.2 MB more on the disk of the model store .* are free"):
        await fixture.pull(f"{registry.host}/{REPOSITORY}")
    assert registry.count("GET", "/blobs/") == 0


async def test_a_model_to_start_from_that_is_not_there_is_pulled(
    fixture: Fixture, registry: TestRegistry
) -> None:
    registry.add_model(REPOSITORY, {**LAYERS, "model": tiny_llama_bytes()})
    base = f"{registry.host}/{REPOSITORY}"

    def pull(request: TransferRequest) -> AsyncGenerator[TransferProgress, None]:
        return fixture.transfers.pull(msgspec.structs.replace(request, insecure=True))

    models = Models(fixture.store, fixture.retired, pull=pull)
    request = CreateRequest(model="mine", base=base, system="Be kind.")
    async with aclosing(models.create(request)) as lines:
        statuses = [line.status async for line in lines]
    assert statuses[0] == "pulling manifest"
    assert statuses[-2:] == ["writing manifest", "success"]
    assert {model.name.model for model in fixture.store.list_models()} == {"mine", "spark"}
    absent = CreateRequest(model="other", base=f"{registry.host}/me/nope")
    with pytest.raises(RegistryError, match="pull model manifest: file does not exist"):
        async with aclosing(models.create(absent)) as lines:
            async for _ in lines:
                pass


async def test_plain_http_by_the_name_alone_is_refused(fixture: Fixture) -> None:
    with pytest.raises(InvalidRequest, match="insecure protocol http"):
        async with aclosing(fixture.transfers.pull(TransferRequest(model="http://h/n/m"))) as lines:
            await anext(lines)


def test_registries_are_told_the_version_of_ollama() -> None:
    assert user_agent().startswith(f"ollama/{OLLAMA_VERSION} (")
