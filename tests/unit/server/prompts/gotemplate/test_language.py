"""The template language against what Go's text/template printed for the same templates and data."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import InvalidTemplate
from server.prompts.gotemplate import evaluate
from server.prompts.gotemplate.data import go_number
from server.prompts.gotemplate.evaluate import execute
from server.prompts.gotemplate.extras import FUNCTION_NAMES, functions
from server.prompts.gotemplate.parser import MAX_DEPTH, MAX_SOURCE_CHARS, parse

CASES = json.loads((Path(__file__).parent / "cases.json").read_text(encoding="utf-8"))
DATA: dict[str, Any] = {
    "a": 1,
    "b": "hé<llo>",
    "c": [1, "x", None, True, 2.5, [1, 2]],
    "m": {"z": 1, "a": {"k": "v"}, "B": None},
    "t": True,
    "f": False,
    "n": None,
    "e": [],
    "s": "",
    "big": 1000000,
    "sm": 0.00001,
    "neg": -3.5,
    "emoji": "😀x",
}


def render(template: str, data: Any = None) -> str:
    tree = parse(template, FUNCTION_NAMES)
    made = functions(lambda: datetime.date(2026, 3, 1))
    return execute(tree, go_number(DATA if data is None else data), made)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["template"][:60])
def test_same_as_go(case: dict[str, Any]) -> None:
    template = case["template"]
    if "prints" in case:
        assert render(template) == case["prints"]
        return
    expected = case.get("refused", case.get("fails"))
    with pytest.raises(InvalidTemplate) as caught:
        if "refused" in case:
            parse(template, FUNCTION_NAMES)
        else:
            render(template)
    if isinstance(expected, str):
        assert caught.value.message == expected


def test_a_template_that_fails_only_when_it_runs_parses() -> None:
    for case in CASES:
        if "fails" in case:
            parse(case["template"], FUNCTION_NAMES)


def test_errors_name_the_line() -> None:
    with pytest.raises(InvalidTemplate, match=r"template: :3: unclosed action"):
        parse("one\ntwo\n{{ .a", FUNCTION_NAMES)
    with pytest.raises(InvalidTemplate, match=r"template: :2:5: executing"):
        render("one\nt {{ len .a }}")


def test_several_lines_in_one_action() -> None:
    assert render("{{ if\n and .a\n .b }}yes{{ end }}") == "yes"


def test_strings_are_counted_and_cut_by_bytes() -> None:
    assert render("{{ len .b }}{{ slice .b 0 3 }}") == "8hé"
    assert render("{{ slice .b 0 2 }}") == "h\ufffd"


def test_dates() -> None:
    assert render('{{ currentDate }} {{ yesterdayDate "x" }}') == "2026-03-01 2026-02-28"


@pytest.mark.parametrize(
    "template",
    [
        "{{ define `x` }}{{ template `x` . }}{{ end }}{{ template `x` . }}",
        "{{ range 2000 }}{{ range 2000 }}{{ end }}{{ end }}",
        '{{ $x := "aaaaaaaaaaaaaaaa" }}{{ range 40 }}{{ $x = print $x $x }}{{ end }}',
        '{{ range 2000 }}{{ printf "%900000d" 1 }}{{ end }}',
        '{{ printf "' + "%900000d" * 50 + '"' + " 1" * 50 + " }}",
        '{{ range 40 }}{{ printf "%99999d" $ }}{{ end }}',
        "{{ range 1000000000000 }}{{ end }}",
    ],
)
def test_a_hostile_template_is_stopped(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "MAX_STEPS", 100_000)
    monkeypatch.setattr(evaluate, "MAX_OUTPUT_CHARS", 1 << 20)
    with pytest.raises(InvalidTemplate):
        render(template)


@pytest.mark.parametrize(
    "template",
    [
        "{{ if .a }}" * (MAX_DEPTH + 1) + "{{ end }}" * (MAX_DEPTH + 1),
        "{{" + "(" * (MAX_DEPTH + 1) + ".a" + ")" * (MAX_DEPTH + 1) + "}}",
        "{{ if .a }}" + "{{ else if .a }}" * (MAX_DEPTH + 1) + "{{ end }}",
        "x" * (MAX_SOURCE_CHARS + 1),
    ],
    ids=["blocks", "parentheses", "else if", "length"],
)
def test_a_source_beyond_the_bounds_is_refused(template: str) -> None:
    with pytest.raises(InvalidTemplate):
        parse(template, FUNCTION_NAMES)


def test_nesting_within_the_bounds_runs() -> None:
    n = MAX_DEPTH - 2
    assert render("{{ if .a }}" * n + "x" + "{{ end }}" * n) == "x"


def test_data_nested_too_deeply_is_an_error_of_the_template() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    tree = parse("{{ .x }}", FUNCTION_NAMES)
    with pytest.raises(InvalidTemplate, match="nested too deeply"):
        execute(tree, {"x": deep}, functions(datetime.date.today))


FRAGMENTS = [
    *"{}()|.,$:='\"`\\ \n-*/x1é",
    "{{",
    "}}",
    "{{-",
    "-}}",
    " ",
    "/*",
    "*/",
    "if ",
    "else ",
    "end",
    "range ",
    "with ",
    "define ",
    "template ",
    "block ",
    "break",
    "continue",
    ".a",
    ".c",
    ".m.z",
    "$x",
    ":= ",
    "= ",
    "eq ",
    "len ",
    "index ",
    "slice ",
    "printf ",
    '"%v"',
    "0",
    "1.5",
    "nil",
    "true",
    "{{ if .a }}",
    "{{ end }}",
    "{{ range $i, $v := .c }}",
]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join) | st.text(max_size=60))
def test_any_source_renders_or_is_refused(source: str) -> None:
    try:
        render(source)
    except InvalidTemplate as exc:
        assert exc.message


@given(
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=50).filter(lambda t: "{{" not in t)
)
def test_text_without_actions_stays(text: str) -> None:
    assert render(text) == text


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=50))
def test_data_is_printed_as_it_is(text: str) -> None:
    assert render("{{ .x }}|{{ .x }}", {"x": text}) == f"{text}|{text}"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_json_reads_back(value: Any) -> None:
    printed = render("{{ json .x }}", {"x": value})
    assert json.loads(printed, parse_int=float) == value
    assert not set(printed) & set("<>&")
