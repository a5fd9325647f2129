"""Words on the command line: Go's pflag and cobra in reading, in errors and in help."""

from __future__ import annotations

import pytest

from olla_tui.cli.declare import read_int
from olla_tui.cli.main import run_command
from olla_tui.cli.usage import Flag, Usage, check_count, flag_lines, read_words
from server.errors import InvalidRequest

FLAGS = [
    Flag("--format", "", "", "string", None, "Format"),
    Flag("--file", "-f", "", "string", None, "File"),
    Flag("--help", "-h", "", "", "true", "help for run"),
    Flag("--think", "", "", 'string[="true"]', "true", "Think"),
    Flag("--truncate", "", "--no-truncate", "", "true", "Truncate"),
    Flag("--verbose", "-v", "", "", "true", "Verbose"),
]


@pytest.mark.parametrize(
    ("words", "read"),
    [
        (["m", "--verbose", "Hi"], ["--verbose", "--", "m", "Hi"]),
        (["m", "--think", "high"], ["--think=true", "--", "m", "high"]),
        (["m", "--think=high"], ["--think=high", "--", "m"]),
        (["--format", "json", "m"], ["--format=json", "--", "m"]),
        (["--format=", "m"], ["--format=", "--", "m"]),
        (["-f", "x", "m"], ["--file=x", "--", "m"]),
        (["-fx", "m"], ["--file=x", "--", "m"]),
        (["-f=x", "m"], ["--file=x", "--", "m"]),
        (["-vf", "x"], ["--verbose", "--file=x", "--"]),
        (["--truncate=false"], ["--no-truncate", "--"]),
        (["--truncate=T"], ["--truncate", "--"]),
        (["--verbose=0"], ["--"]),
        (["m", "--", "--verbose"], ["--", "m", "--verbose"]),
        (["m", "-"], ["--", "m", "-"]),
        (["m", "x", "-h", "--verbose"], ["--help"]),
    ],
)
def test_words_are_read_as_pflag_reads_them(words: list[str], read: list[str]) -> None:
    assert read_words(words, FLAGS) == read


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nope"], "unknown flag: --nope"),
        (["--nope=1"], "unknown flag: --nope"),
        (["-x"], "unknown shorthand flag: 'x' in -x"),
        (["-vx"], "unknown shorthand flag: 'x' in -vx"),
        (["--format"], "flag needs an argument: --format"),
        (["-f"], "flag needs an argument: 'f' in -f"),
        (
            ["--verbose=maybe"],
            'invalid argument "maybe" for "--verbose" flag: strconv.ParseBool: '
            'parsing "maybe": invalid syntax',
        ),
    ],
)
def test_errors_are_pflags(words: list[str], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_words(words, FLAGS)
    assert caught.value.message == message


def test_numbers() -> None:
    assert (read_int("--dimensions", ""), read_int("--dimensions", "12")) == (0, 12)
    with pytest.raises(InvalidRequest, match=r'strconv\.ParseInt: parsing "x": invalid syntax'):
        read_int("--dimensions", "x")


@pytest.mark.parametrize(
    ("usage", "n_words", "message"),
    [
        (Usage("show MODEL", 1, 1), 0, "accepts 1 arg(s), received 0"),
        (Usage("cp A B", 2, 2), 3, "accepts 2 arg(s), received 3"),
        (Usage("rm MODEL", 1), 0, "requires at least 1 arg(s), only received 0"),
        (Usage("x", 0, 1), 2, "accepts at most 1 arg(s), received 2"),
    ],
)
def test_counts(usage: Usage, n_words: int, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_count(usage, n_words)
    assert caught.value.message == message


def test_any_count() -> None:
    check_count(Usage("list"), 0)
    check_count(Usage("list"), 9)


def test_flags_stand_in_columns() -> None:
    assert flag_lines(FLAGS[1:4]) == [
        "  -f, --file string             File",
        "  -h, --help                    help for run",
        '      --think string[="true"]   Think',
    ]


def test_help_of_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Large language model runner\n\nUsage:\n  olla [flags]\n  olla [command]\n")
    assert "\n  list        List models\n" in out
    assert "login" not in out
    assert '\nUse "olla [command] --help" for more information about a command.\n' in out


@pytest.mark.parametrize("words", [["run", "--help"], ["help", "run"], ["run", "x", "-h"]])
def test_help_of_a_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(words) == 0
    out = capsys.readouterr().out
    assert out.startswith("Run a model\n\nUsage:\n  olla run MODEL [PROMPT] [flags]\n\nFlags:\n")
    assert '\n      --think string[="true"]   Enable thinking mode' in out
    assert "\nEnvironment Variables:\n      OLLAMA_EDITOR              Path to editor" in out


def test_aliases_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["list", "-h"]) == 0
    assert "\nAliases:\n  list, ls\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["frobnicate"], 'unknown command "frobnicate" for "olla"'),
        (["lst"], 'unknown command "lst" for "olla"\n\nDid you mean this?\n\tlist\n'),
        (["config", "shw"], 'unknown command "shw" for "olla config"\n\nDid you mean this?\n\tshow\n'),
        (["list", "--nope"], "unknown flag: --nope"),
        (["show"], "accepts 1 arg(s), received 0"),
        (["run"], "requires at least 1 arg(s), only received 0"),
        (
            ["run", "m", "--think=bad"],
            'invalid value for --think: "bad" (must be true, false, high, medium, low, or max)',
        ),
        (["run", "m", "--keepalive", "300"], 'time: missing unit in duration "300"'),
        (["run", "m", "--keepalive", "abc"], 'time: invalid duration "abc"'),
        (
            ["show", "m", "--license", "--system"],
            "only one of '--license', '--modelfile', '--parameters', '--system', or '--template' "
            "can be specified",
        ),
    ],
)
def test_errors_are_one_message_on_stderr(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(words) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"Error: {message}\n")


@pytest.mark.parametrize("words", [["signin"], ["signout"], ["pull", "m", "--limit", "much"]])
def test_what_is_not_there_says_so_in_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(words) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("Error: ")
    assert captured.err.count("\n") == 1
