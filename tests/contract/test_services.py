"""The same calls through every door to the services: in this loop, across two loops, and over HTTP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

import msgspec
import pytest

from olla_tui.client.crossloop import CrossLoopServices
from olla_tui.client.remote import RemoteServices
from server.api.app import ApiSettings, create_app
from server.errors import (
    Busy,
    Cancelled,
    CapabilityMissing,
    ContextExceeded,
    DiskFull,
    EngineCrashed,
    EngineError,
    InvalidRequest,
    ModelNotFound,
    NotFound,
    OllaError,
    QueueFull,
    RegistryError,
    RequestNotFound,
    ShuttingDown,
)
from server.services.protocols import Services
from server.types.generation import (
    ChatRequest,
    Chunk,
    Completed,
    EmbedRequest,
    EmbedResult,
    GenerateRequest,
    Rendered,
    Timings,
    TokenLogprob,
    TopLogprob,
)
from server.types.messages import Message, Tool, ToolCall
from server.types.models import CreateProgress, CreateRequest, ShowRequest
from server.types.ranking import Ranked, RerankRequest, RerankResult
from server.types.transfers import TransferProgress, TransferRequest
from tests.support.scripted_services import ScriptedServices, ScriptedUpkeep
from tests.support.served_app import served

DIGEST = "sha256:" + "0" * 64
TOP = (TopLogprob("a", -0.5, b"a"), TopLogprob("é", -1.5, "é".encode()))

CALL = ToolCall("f", {"z": 1, "a": [None, "é"]}, "call_1", 0)
LOGPROB = TokenLogprob("a", -0.5, b"a", TOP)
COMPLETED = Completed(
    reason="length",
    timings=Timings(
        total_duration_ns=9,
        load_duration_ns=1,
        queue_duration_ns=2,
        n_prompt_tokens=3,
        n_cached_tokens=1,
        prompt_duration_ns=4,
        n_output_tokens=5,
        output_duration_ns=6,
    ),
    n_dropped_messages=2,
)

CHAT = ChatRequest(
    model="m",
    messages=(
        Message(role="user", content="Hi", images=(b"\x89PNG\r\n\x1a\n",)),
        Message(role="assistant", tool_calls=(ToolCall("f", {"x": 1}, "call_0", 0),)),
        Message(role="tool", content="2", tool_name="f", tool_call_id="call_0"),
    ),
    tools=(Tool(name="f", description="d", parameters={"type": "object", "properties": {}}),),
    format={"type": "object"},
    think="high",
    options={"temperature": 0.5, "stop": ["x"]},
    keep_alive_s=60.0,
    truncate=False,
    shift=False,
    logprobs=True,
    n_top_logprobs=2,
    logit_bias={7: -1.0},
    drop_think_when_incapable=True,
    tool_choice="required",
)


@asynccontextmanager
async def direct(services: ScriptedServices) -> AsyncIterator[Services]:
    yield services


@asynccontextmanager
async def across_loops(services: ScriptedServices) -> AsyncIterator[Services]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    door = CrossLoopServices(services, loop, pull_interval_s=0.001)
    try:
        yield door
    finally:
        await door.aclose()
        loop.call_soon_threadsafe(loop.stop)
        await asyncio.to_thread(thread.join)
        loop.close()


@asynccontextmanager
async def over_http(services: ScriptedServices) -> AsyncIterator[Services]:
    app = create_app(services, ApiSettings(origins=(), bound_host="127.0.0.1"))
    async with served(app) as client:
        door = RemoteServices.at(str(client.base_url))
        try:
            yield door
        finally:
            await door.aclose()


DOORS = {"direct": direct, "across loops": across_loops, "over HTTP": over_http}


@pytest.fixture
def scripted() -> ScriptedServices:
    services = ScriptedServices()
    services.scripted_models.add("m")
    return services


@pytest.fixture(params=DOORS)
async def door(request: pytest.FixtureRequest, scripted: ScriptedServices) -> AsyncGenerator[Services, None]:
    async with DOORS[request.param](scripted) as services:
        yield services


async def test_an_answer(door: Services, scripted: ScriptedServices) -> None:
    scripted.scripted_inference.script = [
        Chunk(thinking="Hm. "),
        Chunk(content="A\u2028b", logprobs=(LOGPROB,)),
        Chunk(tool_calls=(CALL,)),
        COMPLETED,
    ]
    async with aclosing(door.inference.chat(CHAT)) as stream:
        *chunks, completed = [event async for event in stream]
    assert completed == COMPLETED
    answer = [chunk for chunk in chunks if isinstance(chunk, Chunk)]
    assert "".join(chunk.thinking for chunk in answer) == "Hm. "
    assert "".join(chunk.content for chunk in answer) == "A\u2028b"
    assert [call for chunk in answer for call in chunk.tool_calls] == [CALL]
    assert [item for chunk in answer for item in chunk.logprobs] == [LOGPROB]


async def test_the_request_arrives_as_it_was_made(door: Services, scripted: ScriptedServices) -> None:
    async with aclosing(door.inference.chat(CHAT)) as stream:
        async for _ in stream:
            pass
    (asked,) = scripted.scripted_inference.asked
    for field in ChatRequest.__struct_fields__:
        if field != "origin":
            assert getattr(asked, field) == getattr(CHAT, field), field


async def test_a_completion(door: Services, scripted: ScriptedServices) -> None:
    scripted.scripted_inference.script = [Chunk(content="x"), Completed(reason="stop", context=(1, 2))]
    request = GenerateRequest(model="m", prompt="p", suffix="s", system="y", context=(5,), images=(b"i",))
    async with aclosing(door.inference.generate(request)) as stream:
        got = [event async for event in stream]
    assert got == [Chunk(content="x"), Completed(reason="stop", context=(1, 2))]
    (asked,) = scripted.scripted_inference.asked
    assert (asked.prompt, asked.suffix, asked.system, asked.context, asked.images) == (
        "p",
        "s",
        "y",
        (5,),
        (b"i",),
    )


async def test_a_prompt_that_is_only_rendered(door: Services, scripted: ScriptedServices) -> None:
    scripted.scripted_inference.script = [Rendered(prompt="<p>", n_images=2)]
    async with aclosing(door.inference.chat(ChatRequest(model="m", render_only=True))) as stream:
        assert [event async for event in stream] == [Rendered(prompt="<p>", n_images=2)]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ModelNotFound("m"), ModelNotFound),
        (CapabilityMissing('"m" does not support tools'), InvalidRequest),
        (EngineCrashed("the worker ended", hint="Ask again: é 100%."), EngineError),
        (ModelNotFound("m", hint="`olla list` shows the models that are here."), ModelNotFound),
        (QueueFull("busy", hint="Try later."), Busy),
    ],
)
async def test_an_error_before_the_first_piece(
    door: Services, scripted: ScriptedServices, error: OllaError, kind: type[OllaError]
) -> None:
    scripted.scripted_inference.script = [error]
    with pytest.raises(kind) as caught:
        async with aclosing(door.inference.chat(CHAT)) as stream:
            await anext(stream)
    assert (caught.value.message, caught.value.hint) == (error.message, error.hint)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (EngineCrashed("the worker ended", hint="Ask again: é 100%."), EngineError),
        (Cancelled("the request was cancelled"), Cancelled),
        (ShuttingDown("the server is going down", hint="Start it again."), Busy),
    ],
)
async def test_an_error_after_the_first_piece(
    door: Services, scripted: ScriptedServices, error: OllaError, kind: type[OllaError]
) -> None:
    scripted.scripted_inference.script = [Chunk(content="a"), error]
    async with aclosing(door.inference.chat(CHAT)) as stream:
        assert await anext(stream) == Chunk(content="a")
        with pytest.raises(kind) as caught:
            await anext(stream)
    assert (caught.value.message, caught.value.hint) == (error.message, error.hint)


async def test_hints_of_calls_that_answer_at_once(door: Services, scripted: ScriptedServices) -> None:
    error = ContextExceeded("too long", hint="Raise num_ctx.")
    scripted.scripted_inference.embedded = error
    with pytest.raises(InvalidRequest) as caught:
        await door.inference.embed(EmbedRequest(model="m", inputs=("a",)))
    assert (caught.value.message, caught.value.hint) == (error.message, error.hint)


async def test_hints_of_a_create(door: Services, scripted: ScriptedServices) -> None:
    error = DiskFull("no room", hint="Delete a model.")
    scripted.scripted_models.progress = [CreateProgress("copying"), error]
    with pytest.raises(OllaError) as caught:
        async with aclosing(door.models.create(CreateRequest(model="new", base="m"))) as lines:
            async for line in lines:
                assert line == CreateProgress("copying")
    assert (caught.value.message, caught.value.hint) == (error.message, error.hint)


async def test_leaving_early_closes_the_stream(door: Services, scripted: ScriptedServices) -> None:
    scripted.scripted_inference.script = [Chunk(content="a"), asyncio.Event(), Completed(reason="stop")]
    async with aclosing(door.inference.chat(CHAT)) as stream:
        assert await anext(stream) == Chunk(content="a")
    if scripted.scripted_inference.n_closed == 0:
        async with asyncio.timeout(5):
            await scripted.scripted_inference.closed.wait()
    assert scripted.scripted_inference.n_closed == 1


async def test_rankings(door: Services, scripted: ScriptedServices) -> None:
    ranking = (Ranked(1, 0.5), Ranked(0, -1.25))
    scripted.scripted_inference.ranked = RerankResult(ranking=ranking, n_prompt_tokens=3)
    request = RerankRequest(model="m", query="q", documents=("a", "b"), n_top=2, truncate=False)
    result = await door.inference.rerank(request)
    assert (result.ranking, result.n_prompt_tokens) == (ranking, 3)
    (asked,) = scripted.scripted_inference.asked
    assert msgspec.structs.replace(asked, origin=request.origin) == request


async def test_embeddings_and_tokens(door: Services, scripted: ScriptedServices) -> None:
    vector = b"\x00\x00\x00\x3f\x00\x00\x80\xbf"
    scripted.scripted_inference.embedded = EmbedResult(vectors=(vector,), n_prompt_tokens=3)
    result = await door.inference.embed(EmbedRequest(model="m", inputs=("a", "b"), n_dimensions=2))
    assert (result.vectors, result.n_prompt_tokens) == ((vector,), 3)
    assert scripted.scripted_inference.asked[0].inputs == ("a", "b")
    assert await door.inference.tokenize("m", "é") == tuple("é".encode())
    assert await door.inference.tokenize("m", "bos:") == (1, *b"bos:")
    assert await door.inference.tokenize("m", "bos:", add_special=False) == tuple(b"bos:")
    assert await door.inference.detokenize("m", tuple("é".encode())) == "é"


async def test_models(door: Services, scripted: ScriptedServices) -> None:
    assert [model.name for model in await door.models.list_models()] == ["m"]
    info = await door.models.show(ShowRequest(model="m"))
    assert (info.modelfile, info.details.family) == ("FROM x", "llama")
    await door.models.copy("m", "n")
    await door.models.delete("m")
    assert list(scripted.scripted_models.names) == ["n"]
    for call in (door.models.show(ShowRequest(model="gone")), door.models.delete("gone")):
        with pytest.raises(ModelNotFound):
            await call


async def pieces() -> AsyncGenerator[bytes, None]:
    for piece in (b"a", b"b", b"c"):
        await asyncio.sleep(0)
        yield piece


async def test_files_and_new_models(door: Services, scripted: ScriptedServices) -> None:
    assert not await door.models.has_blob(DIGEST)
    assert await door.models.put_blob(DIGEST, pieces())
    assert not await door.models.put_blob(DIGEST, pieces())
    assert scripted.scripted_models.blobs == {DIGEST: b"abc"}
    scripted.scripted_models.progress = [
        CreateProgress("copying", DIGEST, 10, 10),
        CreateProgress("success"),
    ]
    request = CreateRequest(
        model="new",
        base="m",
        system="s",
        licenses=("MIT",),
        parameters={"seed": 1},
        messages=(Message(role="user", content="Hi"),),
    )
    async with aclosing(door.models.create(request)) as lines:
        assert [line async for line in lines] == scripted.scripted_models.progress
    assert scripted.scripted_models.created == [request]


async def test_footprints(door: Services, scripted: ScriptedServices) -> None:
    assert await door.models.footprints() == await scripted.models.footprints()


async def test_bundled_models(door: Services, scripted: ScriptedServices) -> None:
    assert [model.name for model in await door.models.bundled()] == ["spark:latest"]
    await door.models.install_bundled("spark")
    assert "spark" in scripted.scripted_models.names


async def test_transfers(door: Services, scripted: ScriptedServices) -> None:
    request = TransferRequest(model="m", insecure=True, limit_bytes_per_s=5)
    async with aclosing(door.transfers.pull(request)) as stream:
        lines = [line async for line in stream]
    assert lines == [
        TransferProgress("pulling manifest"),
        TransferProgress("pulling 000000000000", "sha256:" + "0" * 64, 9, 4),
        TransferProgress("success"),
    ]
    scripted.scripted_models.add("m")
    async with aclosing(door.transfers.push(TransferRequest(model="m"))) as stream:
        assert [line.status async for line in stream] == ["retrieving manifest", "success"]
    listed = await door.transfers.transfers()
    assert [(item.id, item.state, item.remaining_s) for item in listed.transfers] == [(7, "running", 1.5)]
    assert listed.limit_bytes_per_s == 3
    await door.transfers.pause_transfer(7)
    await door.transfers.resume_transfer(7)
    await door.transfers.move_transfer(7, 2)
    await door.transfers.limit_transfers(9)
    await door.transfers.limit_transfers(8, 7)
    await door.transfers.cancel_transfer(7)
    await door.transfers.forget_transfer(7)
    assert await door.transfers.start_transfer("push", request) == 8
    (partial,) = await door.transfers.partials()
    assert (partial.model, partial.total_bytes) == ("m:latest", 9)
    await door.transfers.remove_partial(partial.digest)
    assert scripted.scripted_transfers.used == [
        ("pull", request),
        ("push", TransferRequest(model="m")),
        ("pause", 7),
        ("resume", 7),
        ("move", 7, 2),
        ("limit", 7, 9),
        ("limit", 7, 8),
        ("cancel", 7),
        ("forget", 7),
        ("start", "push", request),
        ("remove", DIGEST),
    ]
    with pytest.raises(NotFound):
        await door.transfers.pause_transfer(8)
    with pytest.raises(NotFound):
        await door.transfers.remove_partial("sha256:" + "1" * 64)
    with pytest.raises(InvalidRequest):
        await door.transfers.start_transfer("pull", TransferRequest(model="a b"))


async def test_a_pull_that_fails_on_its_way(door: Services, scripted: ScriptedServices) -> None:
    scripted.scripted_transfers.failure = RegistryError("pull model manifest: file does not exist", hint="h")
    async with aclosing(door.transfers.pull(TransferRequest(model="m"))) as stream:
        assert (await anext(stream)).status == "pulling manifest"
        with pytest.raises(OllaError) as caught:
            await anext(stream)
    assert (caught.value.message, caught.value.hint) == ("pull model manifest: file does not exist", "h")


async def test_upkeep(door: Services, scripted: ScriptedServices) -> None:
    report = await door.upkeep.collect_garbage(90.0, dry_run=True)
    assert report == await ScriptedUpkeep().collect_garbage(dry_run=True)
    await door.upkeep.collect_garbage()
    async with aclosing(door.upkeep.check(quick=True)) as steps:
        found = [step async for step in steps]
    assert found == [step async for step in ScriptedUpkeep().check()]
    assert scripted.scripted_upkeep.used == [("gc", 90.0, True), ("gc", None, False), ("fsck", True)]


async def test_status_and_switches(door: Services, scripted: ScriptedServices) -> None:
    assert await door.status.version() == "1.2.3"
    assert await door.status.snapshot() == await scripted.status.snapshot()
    assert await door.status.running() == await scripted.status.running()
    await door.status.unload("m:latest")
    await door.status.set_keep_alive("m:latest", 60.0)
    await door.status.set_keep_alive("m:latest", float("inf"))
    await door.status.cancel_request(7)
    with pytest.raises(RequestNotFound):
        await door.status.cancel_request(8)
    assert await door.status.prompt(7) == await scripted.status.prompt(7)
    with pytest.raises(RequestNotFound):
        await door.status.prompt(8)
    assert [line.number for line in await door.status.logs(4, 10)] == [5]
    assert await door.status.history(600) == await scripted.status.history(600)
    assert scripted.scripted_status.used == [
        ("unload", "m:latest"),
        ("keep_alive", "m:latest", 60.0),
        ("keep_alive", "m:latest", float("inf")),
        ("cancel", 7),
        ("logs", 4, 10),
        ("history", 600),
        ("history", 600),
    ]
