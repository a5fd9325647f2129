"""Modelfiles: Ollama's grammar, its errors, and that what is written reads back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from server.errors import InvalidModelfile
from server.storage.modelfile import Command, CommandKind, format_modelfile, parse_modelfile, quote

BAD_COMMAND = (
    'command must be one of "from", "license", "template", "system", "adapter", "draft", "renderer", '
    '"parser", "parameter", "message", or "requires"'
)
BAD_ROLE = 'message role must be one of "system", "user", or "assistant"'


def parsed(text: str | bytes) -> list[tuple[str, str, str]]:
    return [(command.kind, command.key, command.value) for command in parse_modelfile(text)]


def value_of(text: str) -> str:
    """The value of the second command behind a FROM line."""
    return parse_modelfile("FROM x\n" + text)[1].value


def test_reads_a_whole_file() -> None:
    assert parsed((Path(__file__).parents[3] / "data" / "Modelfile").read_bytes()) == [
        ("from", "", "plain"),
        ("parameter", "temperature", "0"),
        ("parameter", "stop", "zzz"),
        ("system", "", "\nTalk like a pirate.\n"),
        ("message", "user", "Hi"),
        ("message", "assistant", "Arr!"),
        ("license", "", "MIT"),
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("SYSTEM hello  ", "hello"),
        ("SYSTEM   hello", "hello"),
        ("system\thello", "hello"),
        ('SYSTEM "  hello "', "  hello "),
        ('SYSTEM "a\nb"', "a\nb"),
        ('SYSTEM """a\n"b"\n"""', 'a\n"b"\n'),
        ('SYSTEM """"quoted""""', '"quoted"'),
        ('SYSTEM "a" b\nc"', 'a" b\nc'),
        ("SYSTEM 'single'", "'single'"),
        ("SYSTEM hello # no comment", "hello # no comment"),
        ("SYSTEM a\u00a0b\u200dc\td", "abc\td"),
        ("SYSTEM a\\nb", "a\\nb"),
        ("SYSTEM \nLICENSE x", ""),
        ("SYSTEM ", ""),
        ('SYSTEM ""', ""),
        ('SYSTEM """"""', ""),
        ("PARAMETER temperature 1 # hot", "1 # hot"),
        ("PARAMETER stop   <|x|>", "<|x|>"),
        ('MESSAGE user "a\nb"', "a\nb"),
        ("  \t SYSTEM indented", "indented"),
    ],
)
def test_values(text: str, value: str) -> None:
    assert value_of(text) == value


def test_a_second_blank_before_a_parameter_makes_an_empty_name() -> None:
    assert parsed("FROM x\nPARAMETER  temperature 1")[1] == ("parameter", "", "temperature 1")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings(encoding: str) -> None:
    bom = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    assert parsed(bom + "FROM x\nSYSTEM é世".encode(encoding)) == [("from", "", "x"), ("system", "", "é世")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no FROM line"),
        ("# FROM x", "no FROM line"),
        ("SYSTEM hello", "no FROM line"),
        ("FROM", "unexpected EOF"),
        ("FROM x\nPARAMETER stop", "unexpected EOF"),
        ('FROM x\nSYSTEM "open', "unexpected EOF"),
        ('FROM x\nSYSTEM """open"', "unexpected EOF"),
        ("FROM x\nPARAMETER stop\n", "unexpected EOF: stop"),
        ("FROM x\nPARAMETER st-op x", "unexpected EOF: st"),
        ("FROM plain\nFROBNICATE yes", f"(line 2): {BAD_COMMAND}"),
        ("FROM x\nSYSTEM\n", f"(line 3): {BAD_COMMAND}"),
        ("FR0M x", f"(line 1): {BAD_COMMAND}"),
        ("\r\n\r\nNOPE x", f"(line 5): {BAD_COMMAND}"),
        (
            "FROM x\nMESSAGE robot Hi",
            f"(line 2): {BAD_ROLE}",
        ),
        ("FROM x\nMESSAGE User Hi", f"(line 2): {BAD_ROLE}"),
        (
            "FROM x\nMESSAGE  user Hi",
            f"(line 2): {BAD_ROLE}",
        ),
    ],
)
def test_errors_in_ollamas_words(text: str, message: str) -> None:
    with pytest.raises(InvalidModelfile) as caught:
        parse_modelfile(text)
    assert str(caught.value) == message


def test_lines_of_commands() -> None:
    assert [c.line for c in parse_modelfile('FROM x\n\nSYSTEM "a\nb"\nLICENSE y')] == [1, 3, 5]


@pytest.mark.parametrize("quotes", ['"', '"""'])
def test_a_long_licence_is_read_in_a_time_that_grows_with_its_length(quotes: str) -> None:
    """To look at each line together with all before it would take minutes."""
    licence = "\n".join("The words of a licence, a line of them." for _ in range(40_000))
    _, command = parse_modelfile(f"FROM x\nLICENSE {quotes}{licence}{quotes}\n")
    assert command.value == licence


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("plain", "plain"),
        ("a\nb", '"a\nb"'),
        ('a\n"b"', '"""a\n"b""""'),
        (" a", '" a"'),
        ('say "hi"', 'say "hi"'),
        ('"', '"""""""'),
        ('"a"', '""""a""""'),
        ("", ""),
    ],
)
def test_quotes_only_where_it_must(text: str, quoted: str) -> None:
    assert quote(text) == quoted


printable = st.characters(exclude_categories=("C", "Z"), include_characters=" \n\t\"'#\r")
texts = st.text(printable, max_size=40)
plain_kinds: list[CommandKind] = [
    "license",
    "template",
    "system",
    "adapter",
    "renderer",
    "parser",
    "requires",
]
commands = st.one_of(
    st.builds(Command, st.sampled_from(plain_kinds), texts),
    st.builds(Command, st.just("parameter"), texts, st.from_regex(r"[A-Za-z0-9_]+", fullmatch=True)),
    st.builds(Command, st.just("message"), texts, st.sampled_from(["system", "user", "assistant"])),
)


def has_a_form(text: str) -> bool:
    """No line but the last ends with quotes that would close the value there."""
    lines = text.replace("\r", "\n").split("\n")[:-1]
    return not any(line.rstrip(" \t").endswith('"""') for line in lines)


@given(st.lists(commands, max_size=6))
def test_what_is_written_reads_back(body: list[Command]) -> None:
    assume(all(has_a_form(command.value) for command in body))
    written = format_modelfile((Command("from", "x"), *body))
    assert parsed(written)[1:] == [(command.kind, command.key, command.value) for command in body]


@given(st.one_of(st.text(), st.text(alphabet='FROMfrom MESAG"\n\r\t#_1x')))
def test_raises_nothing_else(text: str) -> None:
    try:
        found = parse_modelfile(text)
    except InvalidModelfile:
        return
    assert any(command.kind == "from" for command in found)


@given(st.binary(max_size=60))
def test_bytes_raise_nothing_else(raw: bytes) -> None:
    try:
        parse_modelfile(b"FROM x\n" + raw)
    except InvalidModelfile:
        return
