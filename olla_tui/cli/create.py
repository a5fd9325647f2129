"""`olla create`: read a Modelfile, upload the files it names, have the server make the model."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from pathlib import Path

import msgspec

from olla_tui.cli.modelfile_request import FileSet, request_of
from olla_tui.cli.progress import Progress
from olla_tui.client.launch import ensure_server
from olla_tui.client.remote import RemoteServices
from server.errors import InvalidModelfile, InvalidModelName, InvalidRequest
from server.services.protocols import Services
from server.settings import Settings
from server.types.models import CreateRequest
from server.types.names import ModelName

PIECE_BYTES = 1024 * 1024

N_UPLOADS = max((os.cpu_count() or 1) - 1, 1)
"""Files hashed and sent at a time; one processor is left to the server."""


def create_model(model: str, *, file: str, quantize: str, draft_quantize: str) -> None:
    """Make a model from a Modelfile.

    Raises: InvalidModelName, InvalidModelfile, InvalidRequest, and what the server answers.
    """
    try:
        ModelName.parse(model)
    except InvalidModelName:
        raise InvalidModelName(f"invalid model name: {model}") from None
    path = Path(file or "Modelfile").absolute()
    request, files = read_modelfile(path)
    for warning in files.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if draft_quantize and not files.drafts:
        raise InvalidRequest("--draft-quantize requires a DRAFT model")
    request = msgspec.structs.replace(request, model=model, quantize=quantize, draft_quantize=draft_quantize)
    settings = Settings.load()
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


async def _create(base_url: str, request: CreateRequest, files: FileSet) -> None:
    services = RemoteServices.at(base_url)
    try:
        async with Progress(sys.stderr) as progress:
            request = msgspec.structs.replace(
                request,
                files=await send_files(services, files.models, progress),
                adapters=await send_files(services, files.adapters, progress),
                draft_files=await send_files(services, files.drafts, progress),
            )
            async with aclosing(services.models.create(request)) as lines:
                async for line in lines:
                    if line.digest and line.total_bytes:
                        progress.item(line.digest, line.status, line.completed_bytes, line.total_bytes)
                    elif line.status:
                        progress.step(line.status)
    finally:
        await services.aclose()


async def send_files(services: Services, files: Mapping[str, Path], progress: Progress) -> dict[str, str]:
    """Put files into the server's store; their digests by the names under which the request lists them."""
    turns = asyncio.Semaphore(N_UPLOADS)

    async def send(path: Path) -> str:
        async with turns:
            digest, n_bytes = await asyncio.to_thread(digest_and_size, path)

            def tell(n_sent: int) -> None:
                progress.note(digest, f"copying file {digest} {100 * n_sent // max(n_bytes, 1)}%")

            tell(0)
            await services.models.put_blob(digest, pieces(path, tell))
            progress.note(digest, f"copying file {digest} 100%", is_done=True)
            return digest

    return dict(zip(files, await asyncio.gather(*map(send, files.values())), strict=True))


def digest_and_size(path: Path) -> tuple[str, int]:
    """Digest of a file as the store names it, and its length in bytes."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return f"sha256:{digest}", file.tell()


async def pieces(path: Path, tell: Callable[[int], None]) -> AsyncGenerator[bytes, None]:
    """A file's bytes; `tell` is called with how many have gone."""
    n_sent = 0
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece
            n_sent += len(piece)
            tell(n_sent)
