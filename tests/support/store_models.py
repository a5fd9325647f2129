"""What the tests of the store make and look at."""

from __future__ import annotations

from server.storage.config import ModelConfig
from server.storage.manifests import Layer
from server.storage.store import ModelStore
from server.types.names import ModelName
from tests.support.stores import put
from tests.support.tiny_gguf import tiny_llama_bytes

CONFIG = ModelConfig(model_format="gguf", model_family="llama", model_families=("llama",), model_type="18K")
WEIGHTS = tiny_llama_bytes()


def name(text: str) -> ModelName:
    return ModelName.parse(text)


def make(store: ModelStore, text: str, *, system: str = "", weights: bytes = WEIGHTS) -> ModelName | None:
    """A model of a GGUF and a system text."""
    layers = [Layer("model", put(store, weights), len(weights))]
    if system:
        layers.append(Layer("system", put(store, system.encode()), len(system)))
    return store.write_model(name(text), CONFIG, layers)


def blobs(store: ModelStore) -> set[str]:
    return {path.name for path in store.paths.blobs.iterdir()}


def names(store: ModelStore) -> list[str]:
    return [model.name.display() for model in store.list_models()]
