"""What `olla show` prints of a model, from the JSON of `/api/show`. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from olla_tui.cli.human import human_number
from olla_tui.cli.tables import table, text_width

LONG_CELL_WIDTH = 100
N_HEAD_LINES = 2
"""Lines of a system message or licence that are shown."""

ARRAY_WIDTH = 10
"""Columns of an array of metadata that are shown."""

Rows = list[list[str]]


def describe_model(info: dict[str, Any], *, verbose: bool = False) -> str:
    """All sections, each with its title, its rows and an empty line."""
    sections = [
        _section("Model", _model_rows(info)),
        _section("Capabilities", [["", capability] for capability in info.get("capabilities") or ()]),
        _section("Projector", _projector_rows(info.get("projector_info"))),
        _section("Parameters", _parameter_rows(info.get("parameters") or "")),
    ]
    if verbose:
        metadata = info.get("model_info") or {}
        sections.append(
            _section("Metadata", [["", key, metadata_text(metadata[key])] for key in sorted(metadata)])
        )
        tensors = info.get("tensors") or ()
        sections.append(_section("Tensors", [_tensor_row(tensor) for tensor in tensors]))
    for title, key in (("System", "system"), ("License", "license")):
        sections.append(_section(title, _head(info.get(key) or ""), cell_width=LONG_CELL_WIDTH))
    return "".join(sections)


def _section(title: str, rows: Sequence[Sequence[str]], **options: int) -> str:
    return f"  {title}\n{table((), rows, **options)}\n" if rows else ""


def _model_rows(info: dict[str, Any]) -> Rows:
    details, metadata = info.get("details") or {}, info.get("model_info")
    rows: Rows = []
    if info.get("remote_host"):
        rows += [["", "Remote model", info.get("remote_model", "")], ["", "Remote URL", info["remote_host"]]]
    if metadata is None:
        rows.append(["", "architecture", details.get("family", "")])
        rows.append(["", "parameters", details.get("parameter_size", "")])
    else:
        architecture = str(metadata.get("general.architecture") or "")
        if architecture:
            rows.append(["", "architecture", architecture])
        n_parameters = metadata.get("general.parameter_count")
        size = details.get("parameter_size") or (human_number(int(n_parameters)) if n_parameters else "")
        if size:
            rows.append(["", "parameters", size])
        for key in ("context_length", "embedding_length"):
            value = metadata.get(f"{architecture}.{key}")
            if isinstance(value, int | float):
                rows.append(["", key.replace("_", " "), f"{int(value)}"])
    rows.append(["", "quantization", details.get("quantization_level", "")])
    if info.get("requires"):
        rows.append(["", "requires", info["requires"]])
    return rows


def _projector_rows(projector: dict[str, Any] | None) -> Rows:
    if projector is None:
        return []
    architecture = str(projector.get("general.architecture") or "")
    rows = [["", "architecture", architecture]] if architecture else []
    if isinstance(projector.get("general.parameter_count"), int | float):
        rows.append(["", "parameters", human_number(int(projector["general.parameter_count"]))])
    for suffix, title in (("embedding_length", "embedding length"), ("projection_dim", "dimensions")):
        for modality in ("vision", "audio"):
            value = projector.get(f"{architecture}.{modality}.{suffix}")
            if isinstance(value, int | float):
                rows.append(["", title, f"{int(value)}"])
                break
    return rows


def _parameter_rows(parameters: str) -> Rows:
    return [["", *line.split()] for line in parameters.splitlines() if line.strip()]


def _tensor_row(tensor: dict[str, Any]) -> list[str]:
    return ["", tensor["name"], tensor["type"], f"[{' '.join(map(str, tensor.get('shape') or ()))}]"]


def _head(text: str) -> Rows:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    rows = [["", line] for line in lines[:N_HEAD_LINES]]
    return [*rows, ["", "..."]] if len(lines) > N_HEAD_LINES else rows


def metadata_text(value: object) -> str:
    """A value of metadata as Go prints it: numbers as %g, a long array cut, null as `<nil>`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return go_g(float(value))
    if isinstance(value, list):
        return _array_text([metadata_text(item) for item in value])
    return "<nil>" if value is None else str(value)


def _array_text(items: list[str]) -> str:
    width, n_shown = 1, 0
    for index, item in enumerate(items):
        item_width = text_width(item) + (2 if index else 0)
        if index and width + item_width > ARRAY_WIDTH:
            break
        width += item_width
        n_shown += 1
    shown = " ".join(items[:n_shown])
    n_left = len(items) - n_shown
    return f"[{shown} ...+{n_left} more]" if n_left else f"[{shown}]"


def go_g(value: float) -> str:
    """Go's %g: the shortest digits that read back, with an exponent below 1e-04 and from 1e+06 on."""
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    if not isinstance(exponent, int):
        return repr(value)
    power = len(digits) + exponent - 1
    if not any(digits):
        return "0"
    if -4 <= power < 6:
        return repr(value).removesuffix(".0")
    text = "".join(map(str, digits))
    mantissa = f"{text[0]}.{text[1:]}" if len(text) > 1 else text
    return f"{'-' if sign else ''}{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"
