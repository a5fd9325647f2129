"""The conversation of `olla run`: reads lines, shows answers, runs commands."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.styles import Style

from olla_tui.cli.answer import summary
from olla_tui.cli.entries import Entry, EntryReader
from olla_tui.cli.human import with_hint
from olla_tui.cli.line_history import LineHistory
from olla_tui.cli.live_answer import new_printer, show_answer
from olla_tui.cli.progress import Progress
from olla_tui.cli.session import Session
from olla_tui.cli.slash import Outcome, SlashCommands
from olla_tui.cli.type_ahead import as_others_expect, type_ahead
from olla_tui.files.media import attach_files
from server.errors import InvalidRequest, OllaError
from server.services.protocols import Services
from server.settings import Settings
from server.types.messages import Message

PROMPT, MORE_PROMPT = ">>> ", "... "
PLACEHOLDER = FormattedText([("class:placeholder", "Send a message (/? for help)")])
STYLE = Style.from_dict({"placeholder": "#8a8a8a"})
TAB = " " * 8


async def converse(services: Services, session: Session, settings: Settings) -> None:
    """Load the model, replay its stored messages, and talk until the user leaves.

    Raises: OllaError when the model cannot be loaded; later errors are printed and the conversation goes on.
    """
    with type_ahead():
        await load(services, session)
        replay(session)
        # Between a prompt and the next nothing is there to stop, and a second Ctrl-C must not end it all.
        with on_interrupt(lambda: None):
            await talk(services, session, settings)


async def talk(services: Services, session: Session, settings: Settings) -> None:
    """Read, answer and obey until the user leaves."""
    commands = SlashCommands(
        session,
        services,
        out=sys.stdout,
        err=sys.stderr,
        clock=time.time,
        keeps_history=not settings.no_history,
    )
    history = LineHistory(
        settings.olla_dir / "history",
        keeps=not settings.no_history,
        warn=lambda text: print(f"warning: {text}", file=sys.stderr),
    )
    prompt: PromptSession[str] = PromptSession(
        history=history, key_bindings=key_bindings(settings.editor), style=STYLE, enable_suspend=True
    )
    entries = EntryReader()
    while True:
        try:
            line = await prompt.prompt_async(
                MORE_PROMPT if entries.is_open else PROMPT,
                placeholder=None if entries.is_open else PLACEHOLDER,
                prompt_continuation=MORE_PROMPT,
            )
        except EOFError:
            return
        except KeyboardInterrupt:
            if not entries.is_open and not prompt.default_buffer.text:
                print("\nUse Ctrl + d or /bye to exit.")
            entries.drop()
            continue
        entry = entries.feed(line)
        if entry is None:
            continue
        was_kept = commands.keeps_history
        try:
            if not await obey(services, commands, entry):
                return
        except OllaError as error:
            print(f"error: {with_hint(error.message, error.hint)}")
        if commands.keeps_history != was_kept:
            history.keeps = commands.keeps_history


async def obey(services: Services, commands: SlashCommands, entry: Entry) -> bool:
    """Do what an entry asks for; False when it asks for the end. Raises: OllaError, with nothing changed."""
    if entry.kind == "system":
        commands.set_system(entry.text)
        return True
    outcome = await commands.run(entry.text) if entry.kind == "command" else Outcome.PROMPT
    if outcome is Outcome.PROMPT:
        await answer(services, commands.session, entry.text)
    return outcome is not Outcome.QUIT


async def load(services: Services, session: Session) -> None:
    """Load the model behind a spinner, so that it is ready and what it cannot do shows at once."""
    async with Progress(sys.stderr) as progress:
        progress.step("")
        try:
            async with aclosing(services.inference.generate(session.load_request())) as events:
                async for _ in events:
                    pass
        finally:
            progress.clear()


def replay(session: Session) -> None:
    """Print the messages stored with the model."""
    for message in session.loaded_messages:
        if message.role == "user":
            print(f"{PROMPT}{message.content}")
        elif message.role == "assistant":
            print(f"{message.content}\n")


async def answer(services: Services, session: Session, text: str) -> None:
    """Send what was typed and show the answer; Ctrl-C stops it and keeps the conversation.

    A stopped answer is not part of the conversation, the question is. A question that the server refuses is
    taken back.
    """
    images: tuple[bytes, ...] = ()
    if session.takes_media:
        attached = attach_files(text)
        text, images = attached.text, attached.files
        for note in attached.notes:
            print(note, file=sys.stderr)
    session.messages.append(Message(role="user", content=text, images=images))
    printer = new_printer(session)
    task = asyncio.create_task(show_answer(services.inference.chat(session.chat_request()), printer))
    try:
        with on_interrupt(task.cancel):
            completed = await task
    except asyncio.CancelledError:
        print()
        return
    except OllaError:
        session.messages.pop()
        raise
    session.messages.append(Message(role="assistant", content=printer.content, thinking=printer.thinking))
    print("\n")
    if session.verbose and completed is not None:
        sys.stderr.write(summary(completed.timings))


@contextmanager
def on_interrupt(action: Callable[[], object]) -> Iterator[None]:
    """What Ctrl-C does while the block runs; what it did before comes back."""
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(action))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def key_bindings(editor: str) -> KeyBindings:
    """Keys beyond every line editor's: Ctrl-J breaks the line, Tab indents, Ctrl-G opens the editor."""
    bindings = KeyBindings()

    @bindings.add("c-j")
    def break_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @bindings.add("tab")
    def indent(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text(TAB)

    @bindings.add("c-g")
    def open_editor(event: KeyPressEvent) -> None:
        async def edit() -> None:
            buffer = event.current_buffer
            try:
                text = await run_in_terminal(lambda: edit_text(editor, buffer.text), in_executor=True)
            except InvalidRequest as error:
                message = f"error: {error.message}"
                await run_in_terminal(lambda: print(message, file=sys.stderr))
                return
            buffer.text = text
            buffer.cursor_position = len(text)

        event.app.create_background_task(edit())

    return bindings


def edit_text(editor: str, text: str) -> str:
    """Let the user edit a text in their editor. Raises: InvalidRequest when that does not work."""
    command = shlex.split(editor)
    if not command or shutil.which(command[0]) is None:
        raise InvalidRequest(
            f'editor "{command[0] if command else editor}" not found, '
            "set OLLAMA_EDITOR to the path of your preferred editor"
        )
    with tempfile.TemporaryDirectory(prefix="olla-prompt-") as folder:
        file = Path(folder) / "prompt.txt"
        file.write_text(text, encoding="utf-8")
        with as_others_expect():
            code = subprocess.run([*command, str(file)], check=False).returncode
        if code != 0:
            raise InvalidRequest(f"editor exited with error: exit status {code}")
        return file.read_text(encoding="utf-8").rstrip("\n")
