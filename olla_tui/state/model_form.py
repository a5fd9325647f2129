"""The form that a model is made from: what its fields mean, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.errors import InvalidModelName, InvalidRequest
from server.types.models import CreateRequest
from server.types.names import ModelName
from server.types.options import parse_option_text

FIELDS: tuple[tuple[str, str, str], ...] = (
    ("model", "name", "mine:latest"),
    ("base", "from", "a model of the store"),
    ("system", "system prompt", "kept as it is when empty"),
    ("parameters", "parameters", "temperature 0.6, num_ctx 8192"),
)
"""(id, label, placeholder) of each field."""


def read_parameters(text: str) -> dict[str, Any]:
    """ "temperature 0.6, stop END" as options; a name that comes again makes a list.

    Raises: InvalidRequest with a sentence.
    """
    texts: dict[str, list[str]] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = part.partition(" ")
        if not value.strip():
            raise InvalidRequest(f"{name} needs a value, such as: temperature 0.6")
        texts.setdefault(name, []).append(value.strip())
    options = {name: parse_option_text(name, values) for name, values in texts.items()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}


def request_of(values: Mapping[str, str]) -> CreateRequest:
    """What the form asks for. Raises: InvalidRequest and its kinds."""
    if not values["model"].strip():
        raise InvalidRequest("the new model needs a name")
    if not values["base"].strip():
        raise InvalidRequest("a model to start from is needed")
    return CreateRequest(
        model=_name(values["model"], "the name"),
        base=_name(values["base"], "the model to start from"),
        system=values["system"].strip(),
        parameters=read_parameters(values["parameters"]),
    )


def form_problem(values: Mapping[str, str]) -> str:
    """What is wrong with the form, "" when it will do."""
    try:
        request_of(values)
    except InvalidRequest as error:
        return error.message
    return ""


def copy_problem(text: str, source: str) -> str:
    """Why a model cannot get this second name, "" when it can."""
    if not text.strip():
        return "a name is needed"
    try:
        same = ModelName.parse(text.strip()).folded() == ModelName.parse(source).folded()
    except InvalidModelName:
        return "this is no model's name: HOST/NAMESPACE/MODEL:TAG, all but the model may be left out"
    return "this is the name that it has" if same else ""


def _name(text: str, what: str) -> str:
    try:
        return ModelName.parse(text.strip()).display()
    except InvalidModelName:
        raise InvalidRequest(f"{what} is no model's name") from None
