"""`olla pull` and `olla push`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing

from olla_tui.cli.addressed import client_settings
from olla_tui.cli.progress import Progress
from olla_tui.client.launch import ensure_server
from olla_tui.client.remote import RemoteServices
from server.errors import InvalidRequest
from server.services.protocols import Services
from server.types.names import DEFAULT_HOST, ModelName
from server.types.setting_values import parse_rate
from server.types.transfers import TransferProgress, TransferRequest

RESUMES = "Stopped; pull again to go on from where it stands."


def read_limit(text: str) -> int:
    """Bytes a second of a flag, 0 for none. Raises: InvalidRequest."""
    try:
        return parse_rate(text) if text else 0
    except ValueError as error:
        raise InvalidRequest(f'invalid argument "{text}" for "--limit" flag: {error}') from None


def pull_model(model: str, *, insecure: bool, limit: str) -> None:
    """Fetch a model, and show how far it is."""
    request = TransferRequest(model=model, insecure=insecure, limit_bytes_per_s=read_limit(limit))
    settings = client_settings()
    ensure_server(settings)
    try:
        asyncio.run(_pull(settings.base_url, request))
    except KeyboardInterrupt:
        print(RESUMES, file=sys.stderr)
        raise


def push_model(model: str, *, insecure: bool, limit: str) -> None:
    """Send a model, and show how far it is."""
    request = TransferRequest(model=model, insecure=insecure, limit_bytes_per_s=read_limit(limit))
    settings = client_settings()
    ensure_server(settings)
    asyncio.run(_push(settings.base_url, request))
    name = ModelName.parse(model)
    place = name.full() if name.host != DEFAULT_HOST else f"https://ollama.com/{name.display()}"
    print(f"\nYou can find your model at:\n\n\t{place.removesuffix(':latest')}\n")


async def _pull(base_url: str, request: TransferRequest) -> None:
    services = RemoteServices.at(base_url)
    try:
        await show_pull(services, request)
    finally:
        await services.aclose()


async def _push(base_url: str, request: TransferRequest) -> None:
    services = RemoteServices.at(base_url)
    try:
        async with Progress(sys.stderr) as progress:
            await _show(services.transfers.push(request), progress)
    finally:
        await services.aclose()


async def show_pull(services: Services, request: TransferRequest) -> None:
    """Pull a model with its progress on stderr."""
    async with Progress(sys.stderr) as progress:
        await _show(services.transfers.pull(request), progress, mark=":")


async def _show(
    stream: AsyncGenerator[TransferProgress, None], progress: Progress, *, mark: str = ""
) -> None:
    """Show a transfer; `mark` stands behind the name of a blob, as in Ollama."""
    async with aclosing(stream) as lines:
        async for line in lines:
            if line.digest and line.completed_bytes:
                progress.item(line.digest, f"{line.status}{mark}", line.completed_bytes, line.total_bytes)
            elif not line.digest and line.status:
                progress.step(line.status)
