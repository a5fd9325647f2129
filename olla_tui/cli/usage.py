"""How commands are written and explained: flags as Go's pflag reads them, help and errors in cobra's words.

Typer declares the commands and calls them. Where its own reading differs from what people of Ollama type
(`--think` without a value, `--truncate=false`) or its wording differs from what their scripts expect, the
two classes here stand between: they read the words and hand on values.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, NamedTuple

from typer.core import TyperCommand, TyperGroup

from server.errors import InvalidRequest

GO_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
GO_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})

ENVIRONMENT = {
    "OLLAMA_CONTEXT_LENGTH": "Context length to use unless otherwise specified (default: by memory)",
    "OLLAMA_DEBUG": "Show additional debug information (e.g. OLLAMA_DEBUG=1)",
    "OLLAMA_EDITOR": "Path to editor for interactive prompt editing (Ctrl+G)",
    "OLLAMA_FLASH_ATTENTION": "Enabled flash attention",
    "OLLAMA_HOST": "IP Address for the olla server (default 127.0.0.1:11434)",
    "OLLAMA_KEEP_ALIVE": 'The duration that models stay loaded in memory (default "5m")',
    "OLLAMA_KV_CACHE_TYPE": "Quantization type for the K/V cache (default: f16)",
    "OLLAMA_LOAD_TIMEOUT": 'How long to allow model loads to stall before giving up (default "5m")',
    "OLLAMA_MAX_LOADED_MODELS": "Maximum number of loaded models",
    "OLLAMA_MAX_QUEUE": "Maximum number of queued requests",
    "OLLAMA_MODELS": "The path to the models directory",
    "OLLAMA_NOHISTORY": "Do not preserve readline history",
    "OLLAMA_NOPRUNE": "Do not prune model blobs on startup",
    "OLLAMA_NUM_PARALLEL": "Maximum number of parallel requests",
    "OLLAMA_ORIGINS": "A comma separated list of allowed origins",
}


class Flag(NamedTuple):
    """A flag as the command line reads it.

    Attributes:
        long, short: with their dashes; short may be "".
        negation: long form that switches a bool off, "" when there is none.
        kind: word behind the name in help: "" for a bool, else "string", "int" or 'string[="true"]'.
        bare: value of a flag that may stand without one, None when it must have one.
    """

    long: str
    short: str
    negation: str
    kind: str
    bare: str | None
    help: str


class Usage(NamedTuple):
    """What a command takes. `n_max` None: any number of words."""

    use: str
    n_min: int = 0
    n_max: int | None = None
    variables: tuple[str, ...] = ("OLLAMA_HOST",)
    aliases: tuple[str, ...] = ()


def flags_of(command: Any, ctx: Any) -> list[Flag]:
    """The options of a Typer command, by name."""
    flags = []
    for parameter in command.get_params(ctx):
        if parameter.param_type_name != "option" or getattr(parameter, "hidden", False):
            continue
        long = next((name for name in parameter.opts if name.startswith("--")), "")
        short = next((name for name in parameter.opts if not name.startswith("--")), "")
        is_bool = bool(parameter.is_flag)
        kind = "" if is_bool else (parameter.metavar or "string")
        _, optional, rest = kind.partition('[="')
        bare = "true" if is_bool else rest.removesuffix('"]') if optional else None
        help_text = parameter.help or ""
        if long == "--help":
            help_text = f"help for {ctx.info_name}"
        negation = (parameter.secondary_opts or [""])[0]
        flags.append(Flag(long, short, negation, kind, bare, help_text))
    return sorted(flags, key=lambda flag: flag.long)


def read_words(words: Sequence[str], flags: Sequence[Flag], *, stop_at_word: bool = False) -> list[str]:
    """The words in a form that every parser reads alike: flags with values first, then `--`, then the rest.

    `stop_at_word` leaves everything from the first word without a dash on as it is (for groups of commands).

    Raises: InvalidRequest in pflag's words.
    """
    by_name = {name: flag for flag in flags for name in (flag.long, flag.short, flag.negation) if name}
    options: list[str] = []
    rest: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if word == "--":
            rest += queue
            break
        if not word.startswith("-") or word == "-":
            rest.append(word)
            if stop_at_word:
                rest += queue
                break
        elif word.startswith("--"):
            options += _read_long(word, queue, by_name)
        else:
            options += _read_short(word, queue, by_name)
    if "--help" in options:
        return ["--help"]
    return options + (rest if stop_at_word else ["--", *rest])


def _read_long(word: str, queue: list[str], by_name: dict[str, Flag]) -> list[str]:
    name, equals, value = word.partition("=")
    if name not in by_name:
        raise InvalidRequest(f"unknown flag: {name}")
    flag = by_name[name]
    if flag.kind == "":
        return _read_bool(flag, name, value if equals else "true")
    if equals:
        return [f"{flag.long}={value}"]
    if flag.bare is not None:
        return [f"{flag.long}={flag.bare}"]
    if not queue:
        raise InvalidRequest(f"flag needs an argument: {name}")
    return [f"{flag.long}={queue.pop(0)}"]


def _read_bool(flag: Flag, name: str, value: str) -> list[str]:
    if value in GO_TRUE:
        return [name]
    if value in GO_FALSE:
        return [flag.negation] if flag.negation and name == flag.long else []
    raise InvalidRequest(
        f'invalid argument "{value}" for "{name}" flag: strconv.ParseBool: parsing "{value}": invalid syntax'
    )


def _read_short(word: str, queue: list[str], by_name: dict[str, Flag]) -> list[str]:
    options: list[str] = []
    letters = word[1:]
    while letters:
        flag = by_name.get(f"-{letters[0]}")
        if flag is None:
            raise InvalidRequest(f"unknown shorthand flag: '{letters[0]}' in {word}")
        value, letters = letters[1:], letters[1:]
        if flag.kind == "":
            options.append(flag.long)
            continue
        if not value and not queue:
            raise InvalidRequest(f"flag needs an argument: '{flag.short[1:]}' in {word}")
        options.append(f"{flag.long}={value.removeprefix('=') or queue.pop(0)}")
        break
    return options


def check_count(usage: Usage, n_words: int) -> None:
    """Raises: InvalidRequest in cobra's words when a command got too few or too many words."""
    if usage.n_min == usage.n_max and n_words != usage.n_min:
        raise InvalidRequest(f"accepts {usage.n_min} arg(s), received {n_words}")
    if n_words < usage.n_min:
        raise InvalidRequest(f"requires at least {usage.n_min} arg(s), only received {n_words}")
    if usage.n_max is not None and n_words > usage.n_max:
        raise InvalidRequest(f"accepts at most {usage.n_max} arg(s), received {n_words}")


def flag_lines(flags: Sequence[Flag]) -> list[str]:
    """pflag's block of flags: names in one column, texts in the next."""
    left = [
        f"  {f'{flag.short}, ' if flag.short else '    '}{flag.long}"
        + (f" {flag.kind}" if flag.kind and not flag.kind.startswith("[") else flag.kind)
        for flag in flags
    ]
    width = max(map(len, left), default=0) + 3
    return [f"{name:<{width}}{flag.help}" for name, flag in zip(left, flags, strict=True)]


def values_of(options: Sequence[str], command: Any, ctx: Any) -> dict[str, Any]:
    """A command's options by the names of its function's parameters; what is not given has its default.

    `options`: as `read_words` gives them.
    """
    values: dict[str, Any] = {}
    for parameter in command.get_params(ctx):
        if parameter.param_type_name != "option" or not parameter.expose_value:
            continue
        values[parameter.name] = parameter.default
        for option in options:
            name, equals, text = option.partition("=")
            if name in parameter.opts:
                values[parameter.name] = text if equals else True
            elif name in parameter.secondary_opts:
                values[parameter.name] = False
    return values


def arguments_of(words: Sequence[str], command: Any, ctx: Any) -> dict[str, Any]:
    """Words by the names of the function's parameters; one that takes a list gets all that are left."""
    values: dict[str, Any] = {}
    left = list(words)
    for parameter in command.get_params(ctx):
        if parameter.param_type_name == "argument":
            taken = left if parameter.nargs == -1 else left.pop(0)
            values[parameter.name] = taken
    return values


class OllaCommand(TyperCommand):
    """A command that reads its words as Ollama's does; `command_class` makes one for a usage."""

    usage = Usage("")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read flags and words into the parameters that Typer calls the function with.

        Everything is a text or a bool here, and Typer's own conversion would import a validation library that
        takes longer than `olla list` altogether.
        """
        words = read_words(args, flags_of(self, ctx))
        if words == ["--help"]:
            return super().parse_args(ctx, words)
        end = words.index("--")
        rest = words[end + 1 :]
        check_count(self.usage, len(rest))
        ctx.params = {**values_of(words[:end], self, ctx), **arguments_of(rest, self, ctx)}
        ctx.args = []
        return []

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Help in cobra's layout."""
        usage = self.usage
        path = ctx.command_path.rpartition(" ")[0]
        lines = [self.help or "", "", "Usage:", f"  {path} {usage.use} [flags]", ""]
        if usage.aliases:
            lines += ["Aliases:", f"  {', '.join((usage.use.split()[0], *usage.aliases))}", ""]
        lines += ["Flags:", *flag_lines(flags_of(self, ctx))]
        if usage.variables:
            lines += ["", "Environment Variables:"]
            lines += [f"      {name:<27}{ENVIRONMENT[name]}" for name in usage.variables]
        formatter.write("\n".join(lines) + "\n")


def command_class(usage: Usage) -> type[OllaCommand]:
    """The class of a command that is used so."""
    return type("Command", (OllaCommand,), {"usage": usage})


class OllaGroup(TyperGroup):
    """The program itself, or a command with commands of its own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the flags before the command's name."""
        args = read_words(args, flags_of(self, ctx), stop_at_word=True)
        if not args and not self.invoke_without_command:
            args = ["--help"]
        return super().parse_args(ctx, args)

    def get_help_option(self, ctx: Any) -> Any:
        """`--help`, false and not unknown when it is not given, which spares Typer the conversion."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False
        return option

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command. Raises: InvalidRequest in cobra's words."""
        name = args[0]
        if self.get_command(ctx, name) is None:
            close = difflib.get_close_matches(name, self.visible_commands(ctx), n=1)
            hint = f"\n\nDid you mean this?\n\t{close[0]}\n" if close else ""
            raise InvalidRequest(f'unknown command "{name}" for "{ctx.command_path}"{hint}')
        return super().resolve_command(ctx, args)

    def visible_commands(self, ctx: Any) -> list[str]:
        """Names of the commands that help shows, in the order declared."""
        return [name for name, command in self.commands.items() if not command.hidden]

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, in the order declared."""
        return list(self.commands)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Help in cobra's layout."""
        path = ctx.command_path
        lines = [self.help or "", "", "Usage:"]
        lines += [f"  {path} [flags]"] if self.invoke_without_command else []
        lines += [f"  {path} [command]", "", "Available Commands:"]
        names = self.visible_commands(ctx)
        width = max(11, *map(len, names))
        lines += [f"  {name:<{width}} {self.commands[name].help or ''}" for name in names]
        lines += ["", "Flags:", *flag_lines(flags_of(self, ctx)), ""]
        lines += [f'Use "{path} [command] --help" for more information about a command.']
        formatter.write("\n".join(lines) + "\n")
