"""`olla run`: ask a model once, or talk to it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from olla_tui.cli.addressed import client_settings
from olla_tui.cli.answer import summary
from olla_tui.cli.float32 import vector_text
from olla_tui.cli.live_answer import new_printer, show_answer
from olla_tui.cli.progress import Progress
from olla_tui.cli.session import Session, parse_format, parse_think
from olla_tui.cli.transfers import show_pull
from olla_tui.client.launch import ensure_server
from olla_tui.client.remote import RemoteServices
from olla_tui.files.media import attach_files
from server.errors import InvalidRequest, ModelNotFound, OllaError
from server.services.protocols import Services
from server.settings import Settings
from server.types.durations import parse_keep_alive
from server.types.generation import EmbedRequest
from server.types.models import ModelInfo, ShowRequest
from server.types.names import ModelName
from server.types.transfers import TransferRequest


@dataclass(frozen=True)
class RunFlags:
    """The flags of `olla run` as they were written."""

    keep_alive: str = ""
    verbose: bool = False
    no_word_wrap: bool = False
    format: str = ""
    think: str | None = None
    hide_thinking: bool = False
    truncate: bool | None = None
    n_dimensions: int = 0
    insecure: bool = False


def run_model(model: str, prompts: Sequence[str], flags: RunFlags) -> None:
    """Ask once when there is a prompt or a pipe, else open a conversation.

    Ctrl-C while a model answers once ends the answer and is no error.
    """
    session = Session(
        model=model,
        think=parse_think(flags.think),
        think_is_set=flags.think is not None,
        hide_thinking=flags.hide_thinking,
        word_wrap=not flags.no_word_wrap and sys.stdout.isatty(),
        verbose=flags.verbose,
        format=parse_format(flags.format),
        keep_alive_s=parse_keep_alive(flags.keep_alive or None),
    )
    piped = "" if sys.stdin.isatty() else sys.stdin.buffer.read().decode("utf-8", "replace")
    is_conversation = not prompts and sys.stdin.isatty() and sys.stdout.isatty()
    prompt = " ".join([piped, *prompts] if piped else prompts)
    settings = client_settings()
    ensure_server(settings)
    try:
        asyncio.run(_run(settings, session, flags, prompt, is_conversation))
    except KeyboardInterrupt:
        print()


async def _run(
    settings: Settings, session: Session, flags: RunFlags, prompt: str, is_conversation: bool
) -> None:
    services = RemoteServices.at(settings.base_url)
    try:
        info = await find_model(services, session.model, insecure=flags.insecure)
        session.adopt(info)
        if "embedding" in info.capabilities:
            await print_embedding(services, session, flags, prompt)
        elif is_conversation:
            from olla_tui.cli.repl import converse

            await converse(services, session, settings)
        else:
            await ask_once(services, session, prompt)
    finally:
        await services.aclose()


async def find_model(
    services: Services, model: str, *, insecure: bool = False, pulls: bool = True
) -> ModelInfo:
    """All about a model; one that is not in the store is put there first, or else pulled.

    `pulls`: False: only what ships with olla is put there. Raises: ModelNotFound, what a pull raises.
    """
    try:
        return await services.models.show(ShowRequest(model=model))
    except ModelNotFound:
        wanted = ModelName.parse(model)
        bundled = [item.name for item in await services.models.bundled()]
        name = next((name for name in bundled if ModelName.parse(name).folded() == wanted.folded()), None)
        if name is None and not pulls:
            raise ModelNotFound(model, hint=f"`olla pull {model}` fetches it.") from None
        if name is None:
            await show_pull(services, TransferRequest(model=model, insecure=insecure))
        else:
            async with Progress(sys.stderr) as progress:
                progress.step(f"installing {name}, which ships with olla")
                await services.models.install_bundled(name)
                progress.clear()
        return await services.models.show(ShowRequest(model=model))


async def ask_once(services: Services, session: Session, prompt: str) -> None:
    """Print one answer; without a prompt only load the model."""
    images: tuple[bytes, ...] = ()
    if session.takes_media:
        attached = attach_files(prompt)
        prompt, images = attached.text, attached.files
        for note in attached.notes:
            print(note, file=sys.stderr)
    printer = new_printer(session)
    try:
        completed = await show_answer(
            services.inference.generate(session.generate_request(prompt, images)), printer
        )
    except OllaError:
        if printer.content or printer.thinking:
            print()
        raise
    if prompt:
        print("\n")
    if session.verbose and completed is not None:
        sys.stderr.write(summary(completed.timings))


async def print_embedding(services: Services, session: Session, flags: RunFlags, prompt: str) -> None:
    """Print the vector of a text as a JSON list. Raises: InvalidRequest without a text."""
    if not prompt:
        raise InvalidRequest(
            f'embedding models require input text. Usage: olla run {session.model} "your text here"'
        )
    result = await services.inference.embed(
        EmbedRequest(
            model=session.model,
            inputs=(prompt,),
            truncate=flags.truncate is not False,
            n_dimensions=flags.n_dimensions,
            keep_alive_s=session.keep_alive_s,
        )
    )
    if not result.vectors:
        raise InvalidRequest("no embeddings returned")
    print(vector_text(result.vectors[0]))
