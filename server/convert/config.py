"""config.json and the other small files of a model in Hugging Face's layout."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.errors import BadModelFile

MAX_JSON_BYTES = 1 << 28  # tokenizer.json of a large vocabulary has tens of megabytes


class Files:
    """The files of a model by their names."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self.paths = dict(paths)

    def json(self, name: str) -> dict[str, Any]:
        """An object from a file, empty when there is no such file. Raises: BadModelFile."""
        raw = self.read(name)
        if raw is None:
            return {}
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise BadModelFile(f"{name} is no JSON: {error}") from error
        if not isinstance(value, dict):
            raise BadModelFile(f"{name} is no JSON object")
        return value

    def text(self, name: str) -> str:
        """A text, "" when there is no such file. Raises: BadModelFile."""
        return (self.read(name) or b"").decode("utf-8", "replace")

    def read(self, name: str) -> bytes | None:
        """All bytes of a small file; None when there is none. Raises: BadModelFile."""
        path = self.paths.get(name)
        if path is None:
            return None
        try:
            if path.stat().st_size > MAX_JSON_BYTES:
                raise BadModelFile(f"{name} is larger than {MAX_JSON_BYTES} bytes")
            return path.read_bytes()
        except OSError as error:
            raise BadModelFile(f"{name} cannot be read: {(error.strerror or '').lower()}") from error


class Config:
    """Values of config.json by the first of several names that is there."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    @property
    def architecture(self) -> str:
        """The first name under `architectures`, "" when there is none."""
        names = self.values.get("architectures")
        return str(names[0]) if isinstance(names, list) and names else ""

    def text(self) -> Config:
        """The config of the text part of a model that has others, such as one that sees; else this one."""
        part = self.values.get("text_config")
        if not isinstance(part, dict):
            return self
        return Config({**self.values, **part, "architectures": self.values.get("architectures")})

    def integer(self, *names: str, default: int | None = None) -> int:
        """Raises: BadModelFile when there is no whole number and no default."""
        for name in names:
            value = self.values.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31:
                return value
        if default is None:
            raise BadModelFile(f"config.json has no {names[0]}")
        return default

    def number(self, *names: str, default: float | None = None) -> float:
        """Raises: BadModelFile when there is no finite number and no default."""
        for name in names:
            value = self.values.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                return float(value)
        if default is None:
            raise BadModelFile(f"config.json has no {names[0]}")
        return default

    def rope(self) -> Config:
        """Parameters of the rotary embedding, in today's names, wherever the file has them."""
        scaling = self.values.get("rope_parameters") or self.values.get("rope_scaling") or {}
        if isinstance(scaling, dict) and isinstance(scaling.get("full_attention"), dict):
            scaling = scaling["full_attention"]
        found = dict(scaling) if isinstance(scaling, dict) else {}
        for name in ("rope_theta", "rotary_emb_base", "partial_rotary_factor"):
            if self.values.get(name) is not None:
                found.setdefault("rope_theta" if name == "rotary_emb_base" else name, self.values[name])
        if "rope_type" not in found and "type" in found:
            found["rope_type"] = found["type"]
        if self.values.get("original_max_position_embeddings") is not None:
            found.setdefault(
                "original_max_position_embeddings", self.values["original_max_position_embeddings"]
            )
        return Config(found)
