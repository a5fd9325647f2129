"""From the prompt to the chat: commands, lines for the shell, files that go along, prompts that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from olla_tui.bridge import Bridge
from olla_tui.files.attach import make_draft, names_files
from olla_tui.files.clipboard import read_picture
from olla_tui.files.shell import run_line
from olla_tui.messages import ActionChosen, DialogWanted, Noticed
from olla_tui.panes.chat_desk import ChatDesk
from olla_tui.state.commands import COMMAND_BY_NAME, parse
from olla_tui.state.conversation import MAX_QUEUED, Conversation
from olla_tui.state.drafts import Draft, MediaPart, fenced
from olla_tui.state.fuzzy import best
from olla_tui.state.option_form import parse_field
from server.errors import CapabilityMissing, InvalidOption, InvalidRequest, OllaError
from server.types.options import OPTION_BY_NAME

MAX_PASTED = 20
NO_SHELL_HINT = "Open the workstation in a terminal for it: `olla`, or `olla attach`."

Message = ActionChosen | DialogWanted | Noticed


class Prompt(Protocol):
    """The text field."""

    def put(self, text: str) -> None:
        """Show another text."""
        ...

    def insert(self, text: str) -> object:
        """Write a text where the cursor stands."""
        ...


class ChatSender:
    """Takes what the user sends and does what it asks for."""

    def __init__(
        self,
        bridge: Bridge,
        desk: ChatDesk,
        prompt: Callable[[], Prompt],
        post: Callable[[Message], object],
        *,
        root: Path,
        shell: bool = True,
    ) -> None:
        """Make the sender.

        Args:
            prompt: the field that a text goes back to when it cannot be sent.
            post: tells the screen.
            root: the folder that relative paths and lines of the shell start from.
            shell: whether lines of the shell are run.
        """
        self._bridge = bridge
        self._desk = desk
        self._prompt = prompt
        self._post = post
        self.root = root
        self._runs_shell = shell
        self._pasted: dict[str, MediaPart] = {}

    def submit(self, text: str) -> None:
        """Take a prompt that the user has sent."""
        parsed = parse(text)
        if parsed.kind == "unknown":
            self._refuse(text, InvalidRequest(parsed.rest))
        elif parsed.kind == "shell" and not self._runs_shell:
            self._refuse(text, InvalidRequest("a browser runs no lines of the shell", hint=NO_SHELL_HINT))
        elif parsed.kind == "shell":
            self._post(DialogWanted("run_shell", parsed.rest))
        elif parsed.kind == "command":
            try:
                self._command(parsed.name, parsed.rest)
            except OllaError as error:
                self._refuse(text, error)
        elif names_files(text):
            self._bridge.order(self._send_with_files(self._desk.current, text))
        else:
            self._send(self._desk.current, Draft(text.strip()))

    def send_next(self) -> bool:
        """Send the first prompt that waits; False when none does or an answer is under way."""
        chat = self._desk.current
        if chat.is_answering or not chat.queue:
            return False
        self._bridge.send(chat, chat.queue.pop(0))
        return True

    def take_back(self, index: int) -> None:
        """Take a prompt that waits back into the field."""
        draft = self._desk.current.unqueue(index)
        if draft is not None:
            self._prompt().put(draft.text)
            self._bridge.touch("chat")

    def run_shell(self, line: str) -> None:
        """Run a line of the shell; what it says goes into the field, to be sent or not."""
        self._bridge.order(self._run_shell(line))

    async def _run_shell(self, line: str) -> None:
        result = await run_line(line, self.root)
        words = f"`{line}`" + (f" ({result.problem})" if result.problem else "")
        self._prompt().put(f"{words}:\n\n{fenced(result.output)}\n\n")

    async def _send_with_files(self, chat: Conversation, text: str) -> None:
        try:
            draft = await self.draft_of(text)
            self._require_eyes(chat, draft)
        except OllaError:
            self._prompt().put(text)
            raise
        self._send(chat, draft)

    async def draft_of(self, text: str) -> Draft:
        """A prompt with the files that it names. Raises: InvalidRequest, InvalidImage, as `make_draft`."""
        if not names_files(text):
            return Draft(text.strip())
        return await asyncio.to_thread(make_draft, text, self.root, self._pasted)

    async def paste_image(self) -> None:
        """Put the picture of the clipboard into the prompt by a name. Raises: InvalidImage without one."""
        data = await read_picture()
        name = f"pasted-{len(self._pasted) + 1}.png"
        if len(self._pasted) >= MAX_PASTED:
            raise InvalidRequest(f"{MAX_PASTED} pictures were pasted already", hint="Name files by @path.")
        self._pasted[name] = MediaPart(name, data)
        self._prompt().insert(f"@{name} ")

    def _require_eyes(self, chat: Conversation, draft: Draft) -> None:
        """Raises: CapabilityMissing when there are pictures and the model is known to see none."""
        model = self._bridge.state.model(chat.model)
        capabilities = model.capabilities if model else ()
        if draft.media and capabilities and not {"vision", "audio"} & {*capabilities}:
            raise CapabilityMissing(
                f"{chat.model} takes no pictures or sounds",
                hint="alt+m chooses a model; those with vision say so.",
            )

    def _send(self, chat: Conversation, draft: Draft) -> None:
        if chat.is_answering and len(chat.queue) >= MAX_QUEUED:
            self._refuse(
                draft.text, InvalidRequest(f"{MAX_QUEUED} prompts wait already; this one was kept here")
            )
        else:
            self._bridge.send(chat, draft)

    def _refuse(self, text: str, error: OllaError) -> None:
        self._prompt().put(text)
        self._post(Noticed(error.message, severity="warning", hint=error.hint))

    # --- commands ---

    def _command(self, name: str, rest: str) -> None:
        """Carry out a command. Raises: OllaError with what is wrong with its argument."""
        chat = self._desk.current
        if not rest and (action := COMMAND_BY_NAME[name].action):
            self._post(ActionChosen(action))
            return
        if name == "model":
            chat.model = self._model_called(rest)
        elif name == "system":
            chat.system = rest
        elif name == "set":
            set_option(chat, rest)
        elif name == "rename":
            self._bridge.order(self._desk.rename(chat.id, rest))
        elif name == "compare":
            self._post(DialogWanted("compare", rest))
        elif name == "export":
            first, _, path = rest.partition(" ")
            self._post(DialogWanted("export_chat", f"{first} {path.strip()}".strip()))
        elif name == "import":
            if not rest:
                raise InvalidRequest("/import needs the path of a file", hint="`/export json` writes one.")
            self._post(DialogWanted("import_chat", rest))
        else:
            raise InvalidRequest(f"/{name} takes no argument")
        self._bridge.touch("chat", "chats")

    def _model_called(self, text: str) -> str:
        """The model of the store that is meant. Raises: InvalidRequest when none is."""
        names = [model.name for model in self._bridge.state.models or ()]
        found = [name for name in names if name in (text, f"{text}:latest")] or best(text, names, 1)
        if not found:
            raise InvalidRequest(f"no model in the store is called {text}", hint="alt+m lists them.")
        if self._desk.current.is_answering:
            raise InvalidRequest("the answer is still coming", hint="Escape stops it.")
        return found[0]


def set_option(chat: Conversation, text: str) -> None:
    """Change an option as "top_k 20"; without a value it is the model's again. Raises: InvalidOption."""
    name, _, value = text.partition(" ")
    spec = OPTION_BY_NAME.get(name)
    if spec is None:
        near = best(name, OPTION_BY_NAME, 1)
        raise InvalidOption(f"there is no option {name}", hint=f"Did you mean {near[0]}?" if near else "")
    parsed = parse_field(spec, value)
    if parsed is None:
        chat.options.pop(name, None)
    else:
        chat.options[name] = parsed
