"""What a request's options, tools and format become for the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.errors import InvalidRequest
from server.services.load_plan import LoadPlanner
from server.services.resolve import MAX_KNOWN, Resolver
from server.settings import Settings
from server.storage.config import ModelConfig
from server.storage.manifests import Layer
from server.storage.store import ModelStore
from server.types.generation import ChatRequest, EmbedRequest
from server.types.messages import Message, Tool
from server.types.names import ModelName
from tests.support.stores import put
from tests.support.tiny_gguf import tiny_llama_bytes

TEMPLATE = "{{ range .Tools }}{{ . }}{{ end }}{{ .Prompt }}{{ range .ToolCalls }}%s{{ .Function }}{{ end }}"
TOOL = Tool(name="f", parameters={"type": "object", "properties": {}})


def resolver(tmp_path: Path, opening: str) -> Resolver:
    """Of a store with the model "m", whose calls begin with `opening`."""
    store = ModelStore(tmp_path)
    files = {"model": tiny_llama_bytes(), "template": (TEMPLATE % opening).encode()}
    layers = [Layer(kind, put(store, raw), len(raw)) for kind, raw in files.items()]
    store.write_model(ModelName.parse("m"), ModelConfig(model_format="gguf"), layers)
    settings = Settings.load(environ={"HOME": str(tmp_path)})

    async def none_bundled(name: str) -> None:
        raise AssertionError(name)

    planner = LoadPlanner(settings, lambda: 0, lambda: 8 << 30)
    return Resolver(store, settings, planner, none_bundled)


def request(**more: object) -> ChatRequest:
    return ChatRequest(model="m", messages=(Message(role="user", content="x"),), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("opening", "marks"),
    [("[TOOL_CALLS]", {"[TOOL_CALLS]"}), ("<tool_call>", {"<tool_call>", "</tool_call>"})],
)
async def test_marks_of_calls_stay_in_the_text(tmp_path: Path, opening: str, marks: set[str]) -> None:
    resolve = resolver(tmp_path, opening)
    stored = await resolve.find("m")
    with_tools = await resolve.resolve_chat(request(tools=(TOOL,)), stored)
    assert marks <= set(with_tools.sampling.preserved_tokens)
    assert (await resolve.resolve_chat(request(), stored)).sampling.preserved_tokens == ()


async def test_a_required_call_outranks_a_format(tmp_path: Path) -> None:
    resolve = resolver(tmp_path, "<tool_call>")
    stored = await resolve.find("m")
    asked = request(tools=(TOOL,), tool_choice="required", format="json")
    model = await resolve.resolve_chat(asked, stored)
    assert "<tool_call>" in model.sampling.grammar
    assert model.must_call


async def test_thoughts_within_a_budget_are_counted_token_by_token(tmp_path: Path) -> None:
    resolve = resolver(tmp_path, "<tool_call>")
    stored = await resolve.find("m")
    for budget, at_once in ((None, False), (12, True)):
        model = await resolve.resolve_chat(request(think_budget=budget), stored)
        assert (model.think_budget, model.sampling.reports_at_once) == (budget, at_once)


async def test_a_form_of_calls_that_cannot_be_required(tmp_path: Path) -> None:
    resolve = resolver(tmp_path, "<|tool_call>call:f<tool_call|>")
    stored = await resolve.find("m")
    with pytest.raises(InvalidRequest, match="tool_choice"):
        await resolve.resolve_chat(request(tools=(TOOL,), tool_choice="required"), stored)


async def test_options_that_do_not_exist_are_told_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    resolve = resolver(tmp_path, "<tool_call>")
    stored = await resolve.find("m")
    await resolve.resolve_chat(request(options={"top_k": 3, "num_ctxx": 4096, "x\n" * 80: 1}), stored)
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.startswith('a request for m:latest has options that do not exist: "num_ctxx", "x\\nx')
    assert len(line) < 180
    await resolve.resolve_chat(request(options={"top_k": 3}), stored)
    assert len(caplog.records) == 1


async def test_what_a_model_can_and_how_it_is_loaded_is_worked_out_once(tmp_path: Path) -> None:
    resolve = resolver(tmp_path, "<tool_call>")
    stored = await resolve.find("m")
    first = await resolve.resolve_chat(request(options={"seed": 1}), stored)
    again = await resolve.resolve_chat(request(options={"seed": 2}), await resolve.find("m"))
    assert (first.sampling.seed, again.sampling.seed) == (1, 2)
    assert again.target is first.target and again.template is first.template
    shorter = await resolve.resolve_chat(request(options={"num_ctx": 16}), stored)
    assert shorter.target.params.n_ctx == 16
    embedding = await resolve.resolve_embed(EmbedRequest(model="m", inputs=("x",)), stored)
    assert embedding.target.params.embedding and not first.target.params.embedding


async def test_a_model_that_is_made_anew_is_worked_out_anew(tmp_path: Path) -> None:
    resolve = resolver(tmp_path, "<tool_call>")
    old = await resolve.resolve_chat(request(), await resolve.find("m"))
    resolver(tmp_path, "[TOOL_CALLS]")
    new = await resolve.resolve_chat(request(), await resolve.find("m"))
    assert "<tool_call>" in old.template.source and "[TOOL_CALLS]" in new.template.source
    assert new.target.digest != old.target.digest


async def test_what_is_remembered_of_models_is_bounded(tmp_path: Path) -> None:
    resolve = resolver(tmp_path, "<tool_call>")
    stored = await resolve.find("m")
    for n_ctx in range(4, MAX_KNOWN + 10):
        await resolve.resolve_chat(request(options={"num_ctx": n_ctx}), stored)
    assert len(resolve._known_targets) == MAX_KNOWN
