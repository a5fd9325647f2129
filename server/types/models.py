"""What the store and the runners say about models."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from server.types.messages import Message

Capability = Literal["completion", "tools", "insert", "vision", "embedding", "rerank", "thinking", "audio"]


class ModelDetails(msgspec.Struct, frozen=True, kw_only=True):
    """The `details` object of Ollama's API.

    Attributes:
        families: None where the store's config has none.
        parameter_size: as shown to people, for instance "7.2B".
        context_length, embedding_length: 0 when not known.
    """

    parent_model: str = ""
    format: str = ""
    family: str = ""
    families: tuple[str, ...] | None = None
    parameter_size: str = ""
    quantization_level: str = ""
    context_length: int = 0
    embedding_length: int = 0


class ModelSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the model list.

    Attributes:
        name: display form, always with a tag.
        namespace: "library" unless the name says otherwise.
        digest: 64 hex digits of the manifest's sha256.
        modified_at: Unix time, seconds.
    """

    name: str
    namespace: str
    digest: str
    size_bytes: int
    modified_at: float
    details: ModelDetails
    capabilities: tuple[Capability, ...] = ()


class TensorInfo(msgspec.Struct, frozen=True):
    """Name, ggml type and shape of a tensor."""

    name: str
    type: str
    shape: tuple[int, ...]


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """All that `show` tells.

    Attributes:
        parameters: (key, value) in the order stored; a list is repeated keys.
        model_info: GGUF metadata; arrays are None unless the request was verbose.
        projector_info: the same of the projector, None without one.
    """

    name: str
    modelfile: str
    details: ModelDetails
    license: str = ""
    parameters: str = ""
    template: str = ""
    system: str = ""
    messages: tuple[Message, ...] = ()
    model_info: dict[str, Any] = {}
    projector_info: dict[str, Any] | None = None
    tensors: tuple[TensorInfo, ...] = ()
    capabilities: tuple[Capability, ...] = ()
    modified_at: float = 0.0
    requires: str = ""


class ShowRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to show of a model; `system` and `options` override what is echoed, as in Ollama."""

    model: str
    verbose: bool = False
    system: str = ""
    options: dict[str, Any] = {}


class CreateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A model to make from files or from another model.

    Attributes:
        base: name of the model to start from, "" when made from files.
        files, adapters: file name to blob digest ("sha256:...").
        info: Ollama's `info` object, unparsed.
    """

    model: str
    base: str = ""
    files: dict[str, str] = {}
    adapters: dict[str, str] = {}
    draft_files: dict[str, str] = {}
    template: str = ""
    system: str = ""
    licenses: tuple[str, ...] = ()
    parameters: dict[str, Any] = {}
    messages: tuple[Message, ...] = ()
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    quantize: str = ""
    draft_quantize: str = ""
    remote_host: str = ""
    info: dict[str, Any] = {}


class CreateProgress(msgspec.Struct, frozen=True):
    """One status line of a create; `total_bytes` is 0 for a line without progress."""

    status: str
    digest: str = ""
    total_bytes: int = 0
    completed_bytes: int = 0


class BundledModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that ships inside the package and can be installed without a network."""

    name: str
    title: str
    size_bytes: int
    installed: bool


RunnerState = Literal["starting", "loading", "ready", "stopping"]


class DevicePart(msgspec.Struct, frozen=True, kw_only=True):
    """What one device holds and computes of a loaded model.

    Attributes:
        device: llama.cpp's name for it, such as "CPU", "CUDA0" or "Vulkan1".
        description: its maker's name for it.
        kind: cpu, gpu, igpu or accel.
        n_layers: layers that it computes; the output layer is one of them.
    """

    device: str
    description: str = ""
    kind: str = "cpu"
    n_layers: int = 0
    weights_bytes: int = 0
    kv_bytes: int = 0
    compute_bytes: int = 0

    @property
    def n_bytes(self) -> int:
        """All that it holds."""
        return self.weights_bytes + self.kv_bytes + self.compute_bytes

    @property
    def is_gpu(self) -> bool:
        """Whether it is a graphics processor, of its own or a part of the processor."""
        return self.kind in ("gpu", "igpu")


class RunningModel(msgspec.Struct, frozen=True, kw_only=True):
    """A loaded model.

    Attributes:
        name: display form of the name that was asked for.
        size_bytes, size_vram_bytes: memory in all, and of that on GPUs.
        expires_at: Unix time, seconds; inf: never.
        n_ctx: tokens of context per slot.
        load_fraction: 0 to 1 while loading.
        n_kv_tokens: tokens held by the busy slots.
        host_cache_bytes: states of conversations that are kept in memory beside the slots.
        tokens_per_s: decode rate of all slots together over the last seconds.
        has_draft_model: a draft model guesses tokens for it.
        draft_refusal: why its draft model is not used, "" when it is or there is none.
        n_layers, n_gpu_layers: layers in all, the output layer among them, and those that GPUs compute; 0
            until the model is loaded.
        device_parts: what each device holds and computes, in llama.cpp's order.
    """

    name: str
    digest: str
    details: ModelDetails
    size_bytes: int
    size_vram_bytes: int
    expires_at: float
    n_ctx: int
    state: RunnerState = "ready"
    load_fraction: float = 1.0
    n_slots: int = 1
    n_busy_slots: int = 0
    n_kv_tokens: int = 0
    host_cache_bytes: int = 0
    weights_bytes: int = 0
    kv_bytes: int = 0
    tokens_per_s: float = 0.0
    pid: int = 0
    has_draft_model: bool = False
    draft_refusal: str = ""
    n_layers: int = 0
    n_gpu_layers: int = 0
    device_parts: tuple[DevicePart, ...] = ()
