"""Names of models: `[host/][namespace/]model[:tag]`, with Ollama's grammar and defaults.

| part | length | first character | others | default |
| --- | --- | --- | --- | --- |
| host | 1 to 350 | ASCII letter, digit, `_` | the same, `-` `.` `:` | registry.ollama.ai |
| namespace | 1 to 80 | the same | the same, `-` | library |
| model | 1 to 80 | the same | the same, `-` `.` | |
| tag | 1 to 80 | the same | the same, `-` `.` | latest |

No part can begin with a dot or hold a slash, so that a name is always safe as a path below the store.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Literal

import msgspec

from server.errors import InvalidModelName
from server.types.quoting import go_quote

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

Source = Literal["", "local", "cloud"]

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}")
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_MODEL_OR_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")


class ModelName(msgspec.Struct, frozen=True):
    """A fully qualified name; every instance is valid.

    Raises: InvalidModelName on construction with a part that breaks the grammar.
    """

    host: str
    namespace: str
    model: str
    tag: str

    def __post_init__(self) -> None:
        valid = (
            _HOST.fullmatch(self.host)
            and _NAMESPACE.fullmatch(self.namespace)
            and _MODEL_OR_TAG.fullmatch(self.model)
            and _MODEL_OR_TAG.fullmatch(self.tag)
        )
        if not valid:
            raise InvalidModelName("invalid model name")

    @classmethod
    def parse(cls, text: str) -> ModelName:
        """Read a name from right to left and fill in what is left out.

        A scheme (`https://`) before the host is dropped. A host always needs a namespace behind it:
        `localhost:5000/m` has its port in the namespace and is invalid.

        Raises: InvalidModelName.
        """
        rest, tag = text, DEFAULT_TAG
        if rest.rfind(":") > rest.rfind("/"):
            rest, tag = _cut_last(rest, ":")
        if "/" not in rest:
            return cls(DEFAULT_HOST, DEFAULT_NAMESPACE, rest, tag)
        rest, model = _cut_last(rest, "/")
        if "/" not in rest:
            return cls(DEFAULT_HOST, rest, model, tag)
        rest, namespace = _cut_last(rest, "/")
        before, scheme_mark, after = rest.partition("://")
        host = after if scheme_mark else before
        return cls(host or DEFAULT_HOST, namespace, model, tag)

    @classmethod
    def from_path(cls, path: PurePosixPath) -> ModelName:
        """The name that `relative_path` gave. Raises: InvalidModelName for any other path."""
        if len(path.parts) != 4:
            raise InvalidModelName("invalid model name")
        return cls(*path.parts)

    def display(self) -> str:
        """Shortest form that `parse` reads back; the tag is always there.

        A default host is left out; a default namespace only together with it.
        """
        model = f"{self.model}:{self.tag}"
        if self.host.lower() != DEFAULT_HOST:
            return f"{self.host}/{self.namespace}/{model}"
        if self.namespace.lower() != DEFAULT_NAMESPACE:
            return f"{self.namespace}/{model}"
        return model

    def full(self) -> str:
        """All four parts."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    def relative_path(self) -> PurePosixPath:
        """Place of the manifest below `manifests/`; upper and lower case are kept."""
        return PurePosixPath(self.host, self.namespace, self.model, self.tag)

    def folded(self) -> tuple[str, str, str, str]:
        """Key under which names that differ only in case are one."""
        return (self.host.lower(), self.namespace.lower(), self.model.lower(), self.tag.lower())


def split_source(text: str) -> tuple[str, Source]:
    """Split off a suffix that says where a model is to run.

    `x:cloud`, `x:20b:cloud` and `x:20b-cloud` name the cloud, `x:local` this machine; upper and lower case
    are alike. The rest of the name is not checked here.

    Raises: InvalidModelName for an empty name and for two suffixes.
    """
    raw = text.strip()
    if not raw:
        raise InvalidModelName("model is required")
    base, source = _cut_source(raw)
    if source and _cut_source(base)[1]:
        raise InvalidModelName(f"use either :local or :cloud, not both: {go_quote(raw)}")
    return base, source


def _cut_source(text: str) -> tuple[str, Source]:
    before, colon, last = text.rpartition(":")
    if not colon:
        return text, ""
    suffix = last.strip()
    if suffix.lower() == "cloud":
        return before, "cloud"
    if suffix.lower() == "local":
        return before, "local"
    if "/" not in suffix and suffix.lower().endswith("-cloud"):
        return f"{before}:{suffix[: -len('-cloud')]}", "cloud"
    return text, ""


def _cut_last(text: str, separator: str) -> tuple[str, str]:
    """Both sides of the last separator.

    Raises: InvalidModelName when a side is empty: a separator promises both.
    """
    before, _, after = text.rpartition(separator)
    if not before or not after:
        raise InvalidModelName("invalid model name")
    return before, after
