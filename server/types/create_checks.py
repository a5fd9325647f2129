"""What can be said of a create request before the store is looked at, in Ollama's words and order."""

from __future__ import annotations

from server.errors import Forbidden, InvalidRequest
from server.types.models import CreateRequest
from server.types.names import ModelName, split_source


def check_form(request: CreateRequest) -> ModelName:
    """Whether names and digests have a form that can be meant; returns the new model's name.

    Raises: InvalidRequest, InvalidModelName.
    """
    for files in (request.files, request.draft_files):
        for file_name, digest in files.items():
            if not _is_relative(file_name):
                raise InvalidRequest("file path must be relative")
            _require_digest(digest)
    if request.draft_quantize and not request.draft_files:
        raise InvalidRequest("--draft-quantize requires a DRAFT model")
    for digest in request.adapters.values():
        _require_digest(digest)
    return ModelName.parse(request.model)


def check_source(request: CreateRequest) -> None:
    """Whether the request says what the model is made of. Raises: Forbidden, InvalidRequest."""
    if request.base:
        _, source = split_source(request.base)
        if source == "cloud" or request.remote_host:
            raise Forbidden("ollama cloud is disabled: remote model is unavailable")
    elif not request.files:
        raise InvalidRequest(
            "neither 'from' or 'files' was specified",
            hint="Name a model in `from`, or upload a GGUF file and name it in `files`.",
        )


def _is_relative(path: str) -> bool:
    """Whether a path is relative, slash-separated and goes nowhere but down."""
    return all(part not in ("", ".", "..") for part in path.split("/"))


def _require_digest(digest: str) -> None:
    if not digest:
        raise InvalidRequest("invalid digest format")
