"""From the commands of a Modelfile to the request that makes the model, and the files it needs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from server.errors import InvalidModelfile
from server.types.messages import Message
from server.types.models import CreateRequest
from server.types.options import parse_option_text

DEPRECATED = frozenset(
    {"penalize_newline", "low_vram", "f16_kv", "vocab_only", "use_mlock", "logits_all", "tfs_z", "numa"}
)
"""Parameters of older Ollamas that nothing has any more; a Modelfile that sets them still makes a model."""


# In the order in which a folder is searched; those of other names hold a model in another program's form.
_WEIGHTS = ("model*.safetensors", "adapter_model*.safetensors", "*.safetensors", "*.gguf")


class Command(Protocol):
    """A command of a Modelfile, as `server.storage.modelfile` reads it: `key` names a parameter or a role."""

    @property
    def kind(self) -> str: ...

    @property
    def key(self) -> str: ...

    @property
    def value(self) -> str: ...


class FileSet(NamedTuple):
    """Files to upload, by the names under which the request lists them.

    `draft_model`: the model of the server whose weights are the draft model, "" for none.
    """

    models: dict[str, Path]
    adapters: dict[str, Path]
    drafts: dict[str, Path]
    warnings: tuple[str, ...] = ()
    draft_model: str = ""


def request_of(commands: Sequence[Command], folder: Path) -> tuple[CreateRequest, FileSet]:
    """The request without its files, and the files. `folder`: what relative paths start from.

    Raises: InvalidModelfile, InvalidOption.
    """
    base = ""
    fields: dict[str, str] = dict.fromkeys(("template", "system", "renderer", "parser", "requires"), "")
    models: list[Path] = []
    adapters: list[Path] = []
    drafts: list[Path] = []
    draft_model = ""
    licenses: list[str] = []
    messages: list[Message] = []
    parameters: dict[str, Any] = {}
    warnings: list[str] = []
    for command in commands:
        match command.kind:
            case "from":
                found = model_files(command.value, folder)
                models += found
                base = base if found else command.value
            case "adapter":
                adapters = model_files(command.value, folder, must_exist=True)
            case "draft":
                found = model_files(command.value, folder)
                drafts += found
                draft_model = draft_model if found else command.value
            case "license":
                licenses.append(command.value)
            case "message":
                messages.append(Message(role=command.key, content=command.value))
            case "parameter" if command.key in DEPRECATED:
                warnings.append(f"parameter {command.key} is deprecated")
            case "parameter":
                _add_parameter(parameters, command.key, command.value)
            case kind:
                fields[kind] = command.value
    request = CreateRequest(
        model="",
        base=base,
        licenses=tuple(licenses),
        messages=tuple(messages),
        parameters=parameters,
        template=fields["template"],
        system=fields["system"],
        renderer=fields["renderer"],
        parser=fields["parser"],
        requires=fields["requires"].removeprefix("v"),
    )
    if same := [path for path in drafts if path in models]:
        raise InvalidModelfile(f"DRAFT must not reference the same local path as FROM: {same[0]}")
    return request, FileSet(named(models), named(adapters), named(drafts), tuple(warnings), draft_model)


def _add_parameter(parameters: dict[str, Any], name: str, text: str) -> None:
    """A list grows with each line; of any other parameter the last line counts."""
    value = parse_option_text(name, [text])
    if isinstance(value, tuple):
        parameters[name] = [*parameters.get(name, []), *value]
    else:
        parameters[name] = value


def model_files(text: str, folder: Path, *, must_exist: bool = False) -> list[Path]:
    """The files that FROM, ADAPTER or DRAFT names; none when the text names a model instead.

    Raises: InvalidModelfile for a path without a file and for a folder without model files.
    """
    path = folder / Path(text).expanduser()
    try:
        exists = path.exists()
    except OSError:
        exists = False
    if exists:
        # A link keeps its own name: what it leads to may be called by a digest.
        return folder_files(path) if path.is_dir() else [Path(os.path.abspath(path))]
    if must_exist or text.startswith(("./", "../", "/", "~")) or text.lower().endswith(".gguf"):
        raise InvalidModelfile(f"{text}: no such file", hint=f"Relative paths start from {folder}.")
    return []


def folder_files(folder: Path) -> list[Path]:
    """The files of a folder that make a model, of the first kind that is there.

    Safetensors come with the small files beside and one folder below them that say what they are. Raises:
    InvalidModelfile when there are none that olla reads.
    """
    root = Path(os.path.abspath(folder))
    for pattern in _WEIGHTS:
        if weights := sorted(root.glob(pattern)):
            return weights + (_companions(root) if pattern.endswith(".safetensors") else [])
    if any(root.glob("pytorch_model*.bin")) or any(root.glob("consolidated*.pth")):
        raise InvalidModelfile(
            f"{folder} holds weights as PyTorch pickles, which may run any code when they are read",
            hint="Fetch the model as safetensors.",
        )
    if found := sorted(root.glob("*.bin")):
        return found
    raise InvalidModelfile("no Modelfile or safetensors files found")


def _companions(root: Path) -> list[Path]:
    """Configuration and tokenizer of a model in Hugging Face's layout."""
    patterns = ("*.json", "*/*.json", "chat_template.jinja", "tokenizer.model")
    found = [path for pattern in patterns for path in sorted(root.glob(pattern)) if path.is_file()]
    return [path for path in found if not path.relative_to(root).parts[0].startswith(".")]


def named(files: Sequence[Path]) -> dict[str, Path]:
    """Files by their paths below the folder that holds them all, with forward slashes."""
    if not files:
        return {}
    root = os.path.commonpath([path.parent for path in files])
    return {path.relative_to(root).as_posix(): path for path in files}
