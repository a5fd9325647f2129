"""Every generation option, declared once: validation, Modelfile, `/set`, forms and docs derive from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from server.errors import InvalidOption
from server.types.generation import SamplingParams

OptionValue = int | float | bool | str | tuple[str, ...]
OptionType = Literal["int", "float", "bool", "strings"]


class OptionSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One option by Ollama's name.

    Attributes:
        default: None where the default depends on the model or the machine.
        minimum, maximum: bounds for people's input; requests outside are clamped by the engine, as in Ollama.
        load_time: a change reloads the model.
        sampling: field of `SamplingParams` that takes the value, "" when it is none.
    """

    name: str
    type: OptionType
    default: OptionValue | None
    help: str
    group: Literal["context", "sampling", "penalties", "load"]
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    load_time: bool = False
    sampling: str = ""


def _sampling(
    name: str, type_: OptionType, default: OptionValue, help_: str, *, field: str = "", **more: Any
) -> OptionSpec:
    return OptionSpec(
        name=name,
        type=type_,
        default=default,
        help=help_,
        sampling=field or name,
        group=more.pop("group", "sampling"),
        **more,
    )


def _load(name: str, type_: OptionType, default: OptionValue | None, help_: str, **more: Any) -> OptionSpec:
    return OptionSpec(
        name=name,
        type=type_,
        default=default,
        help=help_,
        load_time=True,
        group=more.pop("group", "load"),
        **more,
    )


OPTIONS: tuple[OptionSpec, ...] = (
    _load("num_ctx", "int", None, "Size of the context", unit="tokens", minimum=4, group="context"),
    _sampling(
        "num_predict",
        "int",
        -1,
        "Most tokens to generate; -1: until the model stops",
        field="n_predict",
        unit="tokens",
        minimum=-2,
        group="context",
    ),
    _sampling(
        "num_keep",
        "int",
        4,
        "Tokens at the start that a context shift keeps",
        field="n_keep",
        unit="tokens",
        minimum=-1,
        group="context",
    ),
    _sampling("seed", "int", -1, "Seed of the random numbers; -1: a new one each time"),
    _sampling(
        "temperature", "float", 0.8, "Higher is more varied; 0 always takes the likeliest", minimum=0.0
    ),
    _sampling("top_k", "int", 40, "Keep the k likeliest tokens; 0 keeps all", minimum=0),
    _sampling(
        "top_p", "float", 0.9, "Keep the likeliest tokens up to this probability", minimum=0.0, maximum=1.0
    ),
    _sampling(
        "min_p", "float", 0.0, "Drop tokens below this share of the likeliest one", minimum=0.0, maximum=1.0
    ),
    _sampling("typical_p", "float", 1.0, "Locally typical sampling; 1 is off", minimum=0.0, maximum=1.0),
    _sampling("mirostat", "int", 0, "Mirostat sampling: 0 off, 1, 2", minimum=0, maximum=2),
    _sampling("mirostat_tau", "float", 5.0, "Mirostat's target surprise", minimum=0.0),
    _sampling("mirostat_eta", "float", 0.1, "Mirostat's learning rate", minimum=0.0),
    _sampling(
        "repeat_last_n",
        "int",
        64,
        "Tokens that penalties look back on; 0 off, -1 the context",
        unit="tokens",
        minimum=-1,
        group="penalties",
    ),
    _sampling("repeat_penalty", "float", 1.0, "Penalty for repeated tokens; 1 is off", group="penalties"),
    _sampling("presence_penalty", "float", 0.0, "Penalty for tokens seen before", group="penalties"),
    _sampling("frequency_penalty", "float", 0.0, "Penalty by how often a token was seen", group="penalties"),
    _sampling("stop", "strings", (), "Texts that end the answer"),
    _sampling("deterministic", "bool", False, "The same tokens whatever else runs; slower beside others"),
    _sampling("ignore_eos", "bool", False, "Go on where the model would end its answer"),
    _load("num_batch", "int", None, "Most tokens decoded in one step", unit="tokens", minimum=1),
    _load("num_gpu", "int", None, "Layers on the GPU; 0: none"),
    _load("main_gpu", "int", None, "GPU that holds what is not split", minimum=0),
    _load("use_mmap", "bool", None, "Map the weights instead of reading them"),
    _load("num_thread", "int", None, "Threads that compute; 0: as many as the worker may use", minimum=0),
    _sampling(
        "draft_num_predict",
        "int",
        -1,
        "Most tokens to guess ahead in one step; 0: none, -1: as many as pay",
        field="n_draft",
        unit="tokens",
        minimum=-1,
    ),
)

OPTION_BY_NAME: dict[str, OptionSpec] = {spec.name: spec for spec in OPTIONS}

GO_BOOLS: dict[str, bool] = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
"""The texts that Go's strconv.ParseBool takes."""

MIN_INT, MAX_INT = -(2**31), 2**31 - 1
SEED_MASK = 2**32 - 1
MAX_FLOAT32 = (2 - 2**-23) * 2.0**127
"""Numbers beyond what llama.cpp's fields hold are taken for the nearest that they do."""

_GO_TYPE = {"int": "integer", "float": "float32", "bool": "boolean", "strings": "array"}


def parse_options(raw: Mapping[str, Any]) -> dict[str, OptionValue]:
    """Values of the known options; None values and unknown names are left out.

    Numbers for integer options are cut toward zero and held to 32 bits.
    Raises: InvalidOption with Ollama's text.
    """
    parsed: dict[str, OptionValue] = {}
    for name, value in raw.items():
        spec = OPTION_BY_NAME.get(name)
        if spec is not None and value is not None:
            parsed[name] = _checked(spec, value)
    return parsed


def unknown_options(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """Names that no option has. They are ignored, as Ollama does it, and it is for the log to say so."""
    return tuple(name for name in raw if name not in OPTION_BY_NAME)


def _checked(spec: OptionSpec, value: Any) -> OptionValue:
    wrong = InvalidOption(f'option "{spec.name}" must be of type {_GO_TYPE[spec.type]}')
    if spec.type == "strings":
        if not isinstance(value, list | tuple):
            raise wrong
        if not all(isinstance(item, str) for item in value):
            raise InvalidOption(f'option "{spec.name}" must be of an array of strings')
        return tuple(value)
    if spec.type == "bool":
        if not isinstance(value, bool):
            raise wrong
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong
    try:
        number = float(value)
    except OverflowError:
        raise wrong from None
    if not math.isfinite(number):
        raise wrong
    if spec.name == "seed":
        # The engine's seeds have 32 bits, and clients draw longer ones: each must stay its own.
        return int(value) if MIN_INT <= value <= MAX_INT else int(value) & SEED_MASK
    if spec.type == "int":
        return min(max(int(value), MIN_INT), MAX_INT)
    return min(max(number, -MAX_FLOAT32), MAX_FLOAT32)


def sampling_params(options: Mapping[str, OptionValue]) -> SamplingParams:
    """The options that concern sampling, as `SamplingParams`; the rest keeps its default."""
    fields = {
        OPTION_BY_NAME[name].sampling: value
        for name, value in options.items()
        if OPTION_BY_NAME[name].sampling
    }
    return SamplingParams(**fields)  # type: ignore[arg-type]


def parse_option_text(name: str, texts: list[str]) -> OptionValue:
    """The value of an option as a person writes it (`/set parameter`, a Modelfile's PARAMETER).

    Raises: InvalidOption with Ollama's text for an unknown name or a value of a wrong type.
    """
    spec = OPTION_BY_NAME.get(name)
    if spec is None:
        raise InvalidOption(f"unknown parameter '{name}'", hint="`/set parameter` lists the parameters.")
    if spec.type == "strings":
        return tuple(texts)
    text = texts[0] if texts else ""
    try:
        if spec.type == "bool":
            return GO_BOOLS[text]
        return int(text) if spec.type == "int" else float(text)
    except (ValueError, KeyError):
        raise InvalidOption(f"invalid {spec.type} value [{' '.join(texts)}]") from None
