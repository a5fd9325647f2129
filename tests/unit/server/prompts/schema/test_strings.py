"""Patterns, formats and lengths of strings, tried on llama.cpp's own grammar sampler."""

from __future__ import annotations

import re
from typing import Any

import pytest

from server.errors import InvalidFormat
from server.prompts.grammar import grammar_for
from tests.support.grammars import check, texts


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"^[a-z]{2,3}-\d+$", ["ab-1", "abc-99"], ["a-1", "abcd-1", "ab-", "ab-1x"]),
        (r"^(foo|bar)?$", ["", "foo"], ["x", "foobar"]),
        (r"\d{3}", ["abc123x", "123"], ["12", "a"]),
        (r"^a", ["a", "ab"], ["ba", ""]),
        (r"a$", ["a", "ba"], ["ab", ""]),
        (r"^a.b$", ["axb", 'a"b', "a\\b", "aéb"], ["a\nb", "ab"]),
        (r'^[^a-c"]+$', ["xyz", "\\", "é\t"], ["a", 'x"', ""]),
        (r"^\S+@\S+\.\w+$", ["a@b.c"], ["a b@c.d"]),
        (r'^"\\$', ['"\\'], ["x"]),
        (r"^(?:ab)*c?$", ["", "abab", "ababc", "c"], ["a"]),
        (r"^(?P<x>a)(?<y>b)$", ["ab"], ["a"]),
        (r"^\+?[1-9]\d{1,14}$", ["+12", "123"], ["+0", "1"]),
        (r"^\w[\w-]*$", ["a-b"], ["-a", ""]),
        (r"^x{3,}$", ["xxx", "xxxxx"], ["xx"]),
        (r"^x{2}y{0,1}$", ["xx", "xxy"], ["x", "xxyy"]),
        (r"^[]a]+?$", ["]a"], ["b"]),
        (r"^[a\-z\]]+$", ["a-z]"], ["b"]),
        (r"^a{0}b$", ["b"], ["ab"]),
        (r"^\x41\u0042$", ["AB"], ["ab"]),
        (r"^(a|)b$", ["ab", "b"], ["a"]),
        (r"^[\d.]+\s?%$", ["1.5 %", "3%"], ["%"]),
        ("", ["", "x"], []),
        ("^$", [""], ["x"]),
    ],
)
def test_patterns(pattern: str, good: list[str], bad: list[str]) -> None:
    if "(?<" not in pattern:
        assert all(re.search(pattern, text) for text in good)
        assert not any(re.search(pattern, text) for text in bad)
    check({"type": "string", "pattern": pattern}, texts(*good), texts(*bad))


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?=x)",
        r"(?!x)y",
        r"(a)\1",
        r"\bx",
        r"a|^b",
        r"^a|b$",
        "(",
        "[a",
        "*",
        "a{2,1}",
        "a{99999}",
        "x^y",
        r"\p{L}",
        "(" * 99 + ")" * 99,
    ],
)
def test_patterns_that_no_grammar_says_are_refused(pattern: str) -> None:
    with pytest.raises(InvalidFormat, match="'pattern'"):
        grammar_for({"type": "string", "pattern": pattern})


@pytest.mark.parametrize(
    ("format", "good", "bad"),
    [
        ("date", ["2024-02-28"], ["2024-13-01", "2024-2-28"]),
        ("time", ["10:11:12Z", "10:11:12.5+02:00"], ["25:00:00Z", "10:11:12"]),
        ("date-time", ["2024-02-28T10:11:12Z"], ["2024-02-28"]),
        ("duration", ["P3D", "PT5M", "P1DT2H"], ["3D", "P"]),
        ("uuid", ["123e4567-e89b-12d3-a456-426614174000"], ["123e4567"]),
        ("email", ["a.b@c.de"], ["a@b", "@b.c"]),
        ("uri", ["https://a.b/c?d=[1]#e"], ["abc", "a://"]),
        ("ipv4", ["1.2.3.255"], ["1.2.3.256", "1.2.3"]),
        ("ipv6", ["1:2:3:4:5:6:7:8"], ["1:2"]),
        ("hostname", ["a-b.c"], ["-a", "a..b"]),
        ("byte", ["", "QUJD", "QQ=="], ["Q", "Q==="]),
        ("password", ["", "x"], []),
    ],
)
def test_formats_of_strings(format: str, good: list[str], bad: list[str]) -> None:
    check({"type": "string", "format": format}, texts(*good), texts(*bad))


@pytest.mark.parametrize(
    ("bounds", "good", "bad"),
    [
        ({"minLength": 2, "maxLength": 4}, ["ab", "abcd", "é\n😀"], ["a", "abcde", ""]),
        ({"maxLength": 2500}, ["", "a" * 999, "a" * 1000, "a" * 1999, "a" * 2000, "a" * 2500], ["a" * 2501]),
        ({"minLength": 1500}, ["a" * 1500, "a" * 1601], ["a" * 1499]),
        ({"minLength": 1, "maxLength": 1}, ["a"], ["", "ab"]),
        ({"maxLength": 0}, [""], ["a"]),
        ({"pattern": "^a{2,3}$", "minLength": 2, "maxLength": 3}, ["aa"], ["a"]),
    ],
)
def test_lengths_of_strings(bounds: dict[str, Any], good: list[str], bad: list[str]) -> None:
    check({"type": "string", **bounds}, texts(*good), texts(*bad))


def test_half_a_surrogate_pair_is_no_character() -> None:
    check({"type": "string", "maxLength": 2}, ['"\\u00e9"'], ['"\\ud83d\\ude00"'])
