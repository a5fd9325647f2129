"""The commands inside `olla run`: `/set`, `/show`, `/load`, `/save`, `/clear`, `/list`, `/help`, `/bye`.

Commands are known by their beginning, as in Ollama: `/bye` and `/byebye` are one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from enum import Enum, auto
from typing import Any, TextIO

import msgspec

from olla_tui.cli import help_texts
from olla_tui.cli.details import describe_model
from olla_tui.cli.human import human_bytes, human_time
from olla_tui.cli.models import N_ID_CHARS
from olla_tui.cli.session import Session, parse_think
from olla_tui.cli.tables import table
from olla_tui.files.media import paths_in
from server.errors import InvalidModelName, InvalidOption, ModelNotFound
from server.services.protocols import Services
from server.types.models import ModelInfo, ShowRequest
from server.types.names import ModelName
from server.types.options import parse_option_text
from server.types.quoting import go_quote


class Outcome(Enum):
    """What a line was."""

    DONE = auto()
    QUIT = auto()
    PROMPT = auto()


class SlashCommands:
    """Runs commands on a session.

    Attributes:
        session: replaced by `/load`.
        keeps_history: whether lines typed are remembered.
    """

    def __init__(
        self,
        session: Session,
        services: Services,
        *,
        out: TextIO,
        err: TextIO,
        clock: Callable[[], float],
        keeps_history: bool = True,
    ) -> None:
        self.session = session
        self.keeps_history = keeps_history
        self._services = services
        self._out = out
        self._err = err
        self._clock = clock
        self._commands: tuple[tuple[str, Callable[[list[str]], Awaitable[None]]], ...] = (
            ("/list", self._list),
            ("/load", self._load),
            ("/save", self._save),
            ("/clear", self._clear),
            ("/set", self._set),
            ("/show", self._show),
            ("/help", self._help),
            ("/?", self._help),
        )

    async def run(self, line: str) -> Outcome:
        """Run a line that begins with a slash. Raises: OllaError, with the session as it was."""
        words = line.split()
        for name, command in self._commands:
            if line.startswith(name):
                await command(words)
                return Outcome.DONE
        if line.startswith(("/exit", "/bye")):
            return Outcome.QUIT
        if self.session.takes_media and any(path.startswith(words[0]) for path in paths_in(line)):
            return Outcome.PROMPT
        self._say(f"Unknown command '{words[0]}'. Type /? for help")
        return Outcome.DONE

    def set_system(self, text: str) -> None:
        """`/set system`, whose text may come over several lines."""
        self.session.set_system(text)
        self._say("Set system message.")

    def _say(self, text: str) -> None:
        print(text, file=self._out)

    async def _list(self, words: list[str]) -> None:
        prefix = words[1].lower() if len(words) > 1 else ""
        models = await self._services.models.list_models()
        rows = [
            [
                model.name,
                model.digest[:N_ID_CHARS],
                human_bytes(model.size_bytes),
                human_time(model.modified_at, self._clock()),
            ]
            for model in models
            if model.name.lower().startswith(prefix)
        ]
        self._out.write(table(("NAME", "ID", "SIZE", "MODIFIED"), rows))

    async def _load(self, words: list[str]) -> None:
        if len(words) != 2:
            self._say("Usage:\n  /load <modelname>")
            return
        model = words[1]
        self._say(f"Loading model '{model}'")
        session = self.session.moved_to(model)
        try:
            session.adopt(await self._services.models.show(ShowRequest(model=model)))
            async with aclosing(self._services.inference.generate(session.load_request())) as events:
                async for _ in events:
                    pass
        except ModelNotFound:
            self._say(f"Couldn't find model '{model}'")
            return
        self.session = session

    async def _save(self, words: list[str]) -> None:
        if len(words) != 2:
            self._say("Usage:\n  /save <modelname>")
            return
        try:
            ModelName.parse(words[1])
        except InvalidModelName:
            self._say(f"error: The model name '{words[1]}' is invalid")
            return
        request = self.session.create_request(words[1])
        async with aclosing(self._services.models.create(request)) as progress:
            async for _ in progress:
                pass
        self._say(f"Created new model '{words[1]}'")

    async def _clear(self, words: list[str]) -> None:
        self.session.clear()
        self._say("Cleared session context")

    async def _set(self, words: list[str]) -> None:
        session = self.session
        match words[1:]:
            case []:
                self._err.write(help_texts.SET)
            case ["history" | "nohistory" as word, *_]:
                self.keeps_history = word == "history"
            case ["wordwrap" | "nowordwrap" as word, *_]:
                session.word_wrap = word == "wordwrap"
                self._say(f"Set '{word}' mode.")
            case ["verbose" | "quiet" as word, *_]:
                session.verbose = word == "verbose"
                self._say(f"Set '{word}' mode.")
            case ["think" | "nothink" as word, *rest]:
                await self._set_think(word, rest[0] if rest and word == "think" else "")
            case ["format", "json", *_]:
                session.format = "json"
                self._say("Set format to 'json' mode.")
            case ["format", *_]:
                self._say("Invalid or missing format. For 'json' mode use '/set format json'")
            case ["noformat", *_]:
                session.format = None
                self._say("Disabled format.")
            case ["parameter", name, value, *more]:
                self._set_parameter(name, [value, *more])
            case ["parameter", *_]:
                self._err.write(help_texts.PARAMETERS)
            case ["system", *_]:
                self._err.write(help_texts.SET)
            case [word, *_]:
                self._say(f"Unknown command '/set {word}'. Type /? for help")

    async def _set_think(self, word: str, level: str) -> None:
        self.session.think = parse_think(level) if word == "think" else False
        self.session.think_is_set = True
        if not self.session.can_think:
            print(
                f"warning: model {go_quote(self.session.model)} does not support thinking output",
                file=self._err,
            )
        self._say(f"Set 'think' mode to '{level}'." if level else f"Set '{word}' mode.")

    def _set_parameter(self, name: str, values: list[str]) -> None:
        try:
            self.session.options[name] = parse_option_text(name, values)
        except InvalidOption as error:
            self._say(f"Couldn't set parameter: {go_quote(error.message)}")
            return
        self._say(f"Set parameter '{name}' to '{', '.join(values)}'")

    async def _show(self, words: list[str]) -> None:
        if len(words) == 1:
            self._err.write(help_texts.SHOW)
            return
        session = self.session
        info = await self._services.models.show(
            ShowRequest(model=session.model, system=session.system, options=session.options)
        )
        match words[1]:
            case "info":
                self._err.write(describe_model(info_json(info)))
            case "license":
                self._say(info.license or "No license was specified for this model.")
            case "modelfile":
                self._say(info.modelfile)
            case "parameters":
                self._say(parameters_text(info.parameters, session.options))
            case "system":
                text = session.system or info.system
                self._say(f"{text}\n" if text else "No system message was specified for this model.")
            case "template":
                self._say(info.template or "No prompt template was specified for this model.")
            case word:
                self._say(f"Unknown command '/show {word}'. Type /? for help")

    async def _help(self, words: list[str]) -> None:
        match words[1:2]:
            case []:
                media = help_texts.MEDIA if self.session.takes_media else ""
                self._err.write(f"{help_texts.COMMANDS}{media}\n")
            case ["set" | "/set"]:
                self._err.write(help_texts.SET)
            case ["show" | "/show"]:
                self._err.write(help_texts.SHOW)
            case ["shortcut" | "shortcuts"]:
                self._err.write(help_texts.SHORTCUTS)


def parameters_text(parameters: str, options: dict[str, Any]) -> str:
    """What `/show parameters` prints: the model's own, then those set here."""
    lines = ["Model defined parameters:"]
    lines += [f"  {line}" for line in parameters.splitlines()] or [
        "  No additional parameters were specified for this model."
    ]
    lines.append("")
    if options:
        lines.append("User defined parameters:")
        lines += [f"  {name:<30} {option_text(value)}" for name, value in options.items()]
        lines.append("")
    return "\n".join(lines)


def option_text(value: object) -> str:
    """An option's value as Go prints it."""
    if isinstance(value, tuple):
        return f"[{' '.join(map(str, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def info_json(info: ModelInfo) -> dict[str, Any]:
    """The fields of a model's description that `describe_model` reads."""
    fields: dict[str, Any] = msgspec.to_builtins(info)
    return fields
