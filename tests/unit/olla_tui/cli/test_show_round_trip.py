"""What `olla show --modelfile` prints makes the same model again."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from olla_tui.cli.create import read_modelfile
from server.services.models import Models
from server.storage.store import ModelStore, StoredModel
from server.types.messages import Message
from server.types.models import CreateRequest, ShowRequest
from server.types.names import ModelName
from tests.support.stores import Recorder, put
from tests.support.tiny_gguf import gguf_bytes, tiny_llama_bytes

FILES = {
    "model.gguf": tiny_llama_bytes(chat_template="{{ messages }}"),
    "mmproj.gguf": gguf_bytes({"general.architecture": "clip", "general.type": "mmproj"}),
}
ADAPTER = gguf_bytes({"general.architecture": "llama", "general.type": "adapter"})

# What the grammar of Modelfiles can hold: printable characters, tabs and line breaks, and no line that ends
# with three quotes.
TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z")) | st.sampled_from(" \t\n"), max_size=40
)
TEXTS = TEXT.filter(lambda text: text != "" and '""' not in text)
NUMBERS = st.floats(0, 100, allow_nan=False, width=32)

MODELS = st.fixed_dictionaries(
    {},
    optional={
        "template": st.sampled_from(["{{ .Prompt }}", "{{ .System }}\n{{ .Prompt }}\n", '"{{ .Prompt }}"']),
        "system": TEXTS,
        "licenses": st.lists(TEXTS, min_size=1, max_size=3).map(tuple),
        "messages": st.lists(
            st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=TEXTS),
            min_size=1,
            max_size=3,
        ).map(tuple),
        "renderer": st.just("qwen3-coder"),
        "parser": st.just("qwen3"),
        "requires": st.just("0.14.0"),
        "parameters": st.fixed_dictionaries(
            {},
            optional={
                "temperature": NUMBERS,
                "num_ctx": st.integers(1, 1 << 30),
                "seed": st.integers(-5, 1 << 30),
                "stop": st.lists(TEXTS, min_size=1, max_size=3),
            },
        ),
        "adapters": st.just({"lora.gguf": ADAPTER}),
        "files": st.sampled_from([["model.gguf"], ["model.gguf", "mmproj.gguf"]]),
    },
)


@asynccontextmanager
async def room() -> AsyncIterator[tuple[ModelStore, Models]]:
    with tempfile.TemporaryDirectory() as folder:
        store = ModelStore(Path(folder) / "models")
        yield store, Models(store, Recorder())


async def make(models: Models, request: CreateRequest) -> None:
    async for _ in models.create(request):
        pass


def digests(model: StoredModel) -> list[tuple[str, str]]:
    layers = [(layer.kind, layer.digest) for layer in model.manifest.layers]
    return [*sorted(layers), ("config", model.manifest.config_digest)]


@settings(max_examples=60)
@given(MODELS)
async def test_a_model_made_of_its_own_modelfile_is_the_same(fields: dict[str, Any]) -> None:
    async with room() as (store, models):
        names = fields.pop("files", ["model.gguf"])
        files = {name: put(store, FILES[name]) for name in names}
        adapters = {name: put(store, data) for name, data in fields.pop("adapters", {}).items()}
        await make(models, CreateRequest(model="first", files=files, adapters=adapters, **fields))
        shown = await models.show(ShowRequest(model="first"))
        path = store.root / "Modelfile"
        path.write_text(shown.modelfile, encoding="utf-8", newline="")
        request, found = read_modelfile(path)
        sent = {
            kind: {name: put(store, file.read_bytes()) for name, file in getattr(found, kind).items()}
            for kind in ("models", "adapters")
        }
        request = msgspec.structs.replace(
            request, model="second", files=sent["models"], adapters=sent["adapters"]
        )
        await make(models, request)
        first, second = (store.find(ModelName.parse(name)) for name in ("first", "second"))
        assert digests(second) == digests(first)
        if names == ["model.gguf"] and not adapters:
            assert second.digest == first.digest
