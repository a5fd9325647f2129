"""What a model can do, from its config, its weights and its templates together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from server.gguf.metadata import GgufMetadata
from server.prompts.capabilities import template_capabilities
from server.prompts.choice import DEFAULT_GO_TEMPLATE
from server.prompts.template import PromptTemplate, go_template
from server.storage.config import ModelConfig
from server.types.models import Capability

_KNOWN: frozenset[str] = frozenset(get_args(Capability))
_GPT_OSS_FAMILIES = frozenset({"gptoss", "gpt-oss"})

# What Ollama's built-in parsers read from a model's output: tool calls, reasoning.
_PARSER_TOOLS = frozenset(
    """cogito cohere deepseek3 functiongemma gemma4 gemma4-no-thinking glimmer glm-4.7 glm-ocr harmony laguna
    lfm2 lfm2-thinking ministral nemotron-3-nano nemotron-3.5-nano olmo3 ornith poolside-v1 qwen3 qwen3-coder
    qwen3-thinking qwen3-vl-instruct qwen3-vl-thinking qwen3.5""".split()
)
_PARSER_THINKING = frozenset(
    """cogito cohere deepseek3 gemma4 glimmer glm-4.7 harmony laguna lfm2-thinking nemotron-3-nano
    nemotron-3.5-nano olmo3-think ornith poolside-v1 qwen3-thinking qwen3-vl-thinking qwen3.5""".split()
)


def full_capabilities(
    config: ModelConfig,
    weights: GgufMetadata | None,
    projectors: Iterable[GgufMetadata],
    template: PromptTemplate,
) -> tuple[Capability, ...]:
    """All capabilities, in the order of Ollama's `show`."""
    found = [*config.capabilities]
    if template.kind == "jinja":
        found += template_capabilities(template)
    if weights is not None:
        found += weights.capabilities()
    for projector in projectors:
        found += ["vision", "audio"] if projector.has_audio_encoder else ["vision"]
    if template.kind == "go":
        found += template_capabilities(template)
    found += _parser_capabilities(config)
    if config.model_family in _GPT_OSS_FAMILIES:
        found.append("thinking")
    architecture = weights.architecture if weights is not None else config.model_family
    if architecture == "nemotron_h_omni":
        # llama.cpp cannot leave out this model's audio projector, and Ollama does not offer it.
        found = [capability for capability in found if capability != "audio"]
    return _unique(found)


def listed_capabilities(
    config: ModelConfig, weights: GgufMetadata | None, n_projectors: int, go_source: str | None
) -> tuple[Capability, ...]:
    """Capabilities as Ollama's list of models has them: without those of a Jinja template, which `show` adds.

    Raises: InvalidTemplate.
    """
    template = go_template(DEFAULT_GO_TEMPLATE if go_source is None else go_source)
    found: list[str] = list(weights.capabilities()) if weights is not None else []
    # Ollama's list puts what the weights are for behind what they see and hear.
    found.sort(key=lambda capability: capability in ("completion", "embedding", "rerank"))
    found += config.capabilities
    parser = _parser_capabilities(config)
    if template.supports_tools or "tools" in parser:
        found.append("tools")
    if template.supports_insert:
        found.append("insert")
    if template.supports_thinking or "thinking" in parser or config.model_family in _GPT_OSS_FAMILIES:
        found.append("thinking")
    if n_projectors:
        found.append("vision")
    return _unique(found)


def _parser_capabilities(config: ModelConfig) -> list[str]:
    tools = ["tools"] if config.parser in _PARSER_TOOLS else []
    return tools + (["thinking"] if config.parser in _PARSER_THINKING else [])


def _unique(found: Iterable[str]) -> tuple[Capability, ...]:
    """In order of first appearance, without what no API of ours knows."""
    return tuple(c for c in dict.fromkeys(found) if c in _KNOWN)  # type: ignore[misc]
