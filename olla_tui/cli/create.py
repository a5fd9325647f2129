"""`olla create`: read a Modelfile, upload the files it names, have the server make the model."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO, Protocol

import aiofiles
import msgspec

from olla_tui.cli.addressed import client_settings
from olla_tui.cli.modelfile_request import FileSet, request_of
from olla_tui.cli.progress import Progress
from olla_tui.client.launch import ensure_server
from olla_tui.client.remote import RemoteServices
from server.errors import InvalidModelfile, InvalidModelName, InvalidRequest
from server.services.protocols import Services
from server.types.models import CreateRequest, ShowRequest
from server.types.names import ModelName

PIECE_BYTES = 1024 * 1024
HASH_BYTES = 8 * PIECE_BYTES

DRAFT_NAME = "draft.gguf"
"""What the weights of a model of the server are listed as, where DRAFT names one."""

BLOB_PATH = re.compile(r"sha256-([0-9a-f]{64})$")

N_UPLOADS = max((os.cpu_count() or 1) - 1, 1)
"""Files hashed and sent at a time; one processor is left to the server."""


class Hasher(Protocol):
    """A hash of hashlib's."""

    def update(self, data: bytes, /) -> None: ...


def create_model(model: str, *, file: str, quantize: str, draft_quantize: str) -> None:
    """Make a model from a Modelfile.

    Raises: InvalidModelName, InvalidModelfile, InvalidRequest, and what the server answers.
    """
    try:
        ModelName.parse(model)
    except InvalidModelName:
        raise InvalidModelName(f"invalid model name: {model}") from None
    path = Path(file or "Modelfile").absolute()
    request, files = read_modelfile(path) if file or path.exists() else request_of_folder(path.parent)
    for warning in files.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if draft_quantize and not (files.drafts or files.draft_model):
        raise InvalidRequest("--draft-quantize requires a DRAFT model")
    request = msgspec.structs.replace(request, model=model, quantize=quantize, draft_quantize=draft_quantize)
    settings = client_settings()
    ensure_server(settings)
    asyncio.run(_create(settings.base_url, request, files))


def read_modelfile(path: Path) -> tuple[CreateRequest, FileSet]:
    """The request that a Modelfile describes, and the files that it names.

    Raises: InvalidModelfile.
    """
    from server.storage.modelfile import parse_modelfile

    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise InvalidModelfile("no Modelfile or safetensors files found") from None
    except OSError as error:
        raise InvalidModelfile(f"{path} cannot be read: {error.strerror}") from None
    return request_of(parse_modelfile(text), path.parent)


def request_of_folder(folder: Path) -> tuple[CreateRequest, FileSet]:
    """As of a Modelfile that says `FROM .`, where there is none. Raises: InvalidModelfile."""
    from server.storage.modelfile import parse_modelfile

    return request_of(parse_modelfile(b"FROM ."), folder)


async def _create(base_url: str, request: CreateRequest, files: FileSet) -> None:
    services = RemoteServices.at(base_url)
    try:
        async with Progress(sys.stderr) as progress:
            drafts = await send_files(services, files.drafts, progress)
            if files.draft_model:
                drafts |= {DRAFT_NAME: await weights_of(services, files.draft_model)}
            request = msgspec.structs.replace(
                request,
                files=await send_files(services, files.models, progress),
                adapters=await send_files(services, files.adapters, progress),
                draft_files=drafts,
            )
            async with aclosing(services.models.create(request)) as lines:
                async for line in lines:
                    if line.digest and line.total_bytes:
                        key = f"{line.status} {line.digest}"
                        progress.item(key, line.status, line.completed_bytes, line.total_bytes)
                    elif line.status:
                        progress.step(line.status)
    finally:
        await services.aclose()


async def weights_of(services: Services, name: str) -> str:
    """The digest of the weights of a model of the server. Raises: ModelNotFound, InvalidModelfile."""
    from server.storage.modelfile import parse_modelfile

    info = await services.models.show(ShowRequest(model=name))
    for command in parse_modelfile(info.modelfile.encode()):
        if command.kind == "from" and (found := BLOB_PATH.search(command.value)):
            return f"sha256:{found[1]}"
    raise InvalidModelfile(f"the model {name} has no weights that could be a draft model")


async def send_files(services: Services, files: Mapping[str, Path], progress: Progress) -> dict[str, str]:
    """Put files into the server's store; their digests by the names under which the request lists them.

    Each file is read once for its digest, and once more only if the server does not have it.
    """
    turns = asyncio.Semaphore(N_UPLOADS)

    async def send(path: Path) -> str:
        async with turns:
            return await send_file(services, path, progress)

    return dict(zip(files, await asyncio.gather(*map(send, files.values())), strict=True))


async def send_file(services: Services, path: Path, progress: Progress) -> str:
    """Put a file into the server's store, if it is not there; its digest."""
    key = str(path)
    n_bytes = (await asyncio.to_thread(path.stat)).st_size

    def hashed(n_read: int) -> None:
        progress.note(key, f"hashing {path.name}", completed=n_read, total=n_bytes)

    digest = await digest_of(path, hashed)

    def sent(n_sent: int) -> None:
        progress.note(key, f"copying {path.name}", completed=n_sent, total=n_bytes)

    if not await services.models.has_blob(digest):
        await services.models.put_blob(digest, pieces(path, sent))
    progress.note(key, f"copying file {digest} 100%", is_done=True)
    return digest


async def digest_of(path: Path, tell: Callable[[int], None]) -> str:
    """Digest of a file as the store names it; `tell` is called with how many bytes are read.

    In pieces, so that Ctrl-C need not wait for the end of a large file.
    """
    hasher = hashlib.sha256()
    n_read = 0
    with path.open("rb") as file:
        while n_bytes := await asyncio.to_thread(_hash_piece, file, hasher):
            n_read += n_bytes
            tell(n_read)
    return f"sha256:{hasher.hexdigest()}"


def _hash_piece(file: BinaryIO, hasher: Hasher) -> int:
    piece = file.read(HASH_BYTES)
    hasher.update(piece)
    return len(piece)


async def pieces(path: Path, tell: Callable[[int], None]) -> AsyncGenerator[bytes, None]:
    """A file's bytes; `tell` is called with how many have gone."""
    n_sent = 0
    async with aiofiles.open(path, "rb") as file:
        while piece := await file.read(PIECE_BYTES):
            yield piece
            n_sent += len(piece)
            tell(n_sent)
