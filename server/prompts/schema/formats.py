"""The `format` of strings as GBNF, without the quotes."""

from __future__ import annotations

from server.prompts.schema.patterns import Piece

_HEX = "[0-9a-fA-F]"
_UP_TO_28 = '("0" [1-9] | "1" [0-9] | "2" [0-8])'
_MONTHS = (
    f'("0" [1-9] | "1" [0-2]) "-" {_UP_TO_28} | ("0" [13-9] | "1" [0-2]) "-" ("29" | "30") | '
    '("0" [13578] | "1" [02]) "-31"'
)
_YEAR = '("000" [1-9] | "00" [1-9] [0-9] | "0" [1-9] [0-9]{2} | [1-9] [0-9]{3})'
_FOURTH = '("0" [48] | [2468] [048] | [13579] [26])'
"""Two digits that four divides, 00 aside."""
_DATE = f'({_YEAR} "-" ({_MONTHS}) | ([0-9]{{2}} {_FOURTH} | {_FOURTH} "00") "-02-29")'
_CLOCK = '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,9})?'
_OFFSET = '("Z" | [-+] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9])'
_BYTE = '("25" [0-5] | "2" [0-4] [0-9] | "1" [0-9] [0-9] | [1-9] [0-9] | [0-9])'
_LABEL = "[a-zA-Z0-9] ([-a-zA-Z0-9]{0,30} [a-zA-Z0-9])?"
_MAILBOX = '[-a-zA-Z0-9_+]{1,40} ("." [-a-zA-Z0-9_+]{1,20})?'
_URL_CHAR = r"""[-a-zA-Z0-9._~:/?#@!$&'()*+,;=%\x5B\x5D]"""

FORMATS: dict[str, Piece] = {
    "date": Piece(_DATE, 10, 10),
    "time": Piece(f"{_CLOCK} {_OFFSET}", 9, 24),
    "date-time": Piece(f'{_DATE} "T" {_CLOCK} {_OFFSET}', 20, 35),
    "duration": Piece(
        '"P" ([0-9]{1,9} "W" | [0-9]{1,9} "D" ("T" [0-9]{1,9} [HMS])? | "T" [0-9]{1,9} [HMS])', 3, 22
    ),
    "uuid": Piece(f'{_HEX}{{8}} "-" {_HEX}{{4}} "-" {_HEX}{{4}} "-" {_HEX}{{4}} "-" {_HEX}{{12}}', 36, 36),
    "ipv4": Piece(f'{_BYTE} "." {_BYTE} "." {_BYTE} "." {_BYTE}', 7, 15),
    "ipv6": Piece(f'{_HEX}{{1,4}} (":" {_HEX}{{1,4}}){{7}}', 15, 39),
    "hostname": Piece(f'{_LABEL} ("." {_LABEL}){{0,6}}', 1, 230),
    "email": Piece(f'{_MAILBOX} "@" {_LABEL} ("." {_LABEL}){{1,4}}', 5, 226),
    "uri": Piece(f'[a-zA-Z] [-a-zA-Z0-9+.]{{0,15}} "://" {_URL_CHAR}{{1,1000}}', 5, 1019),
    "byte": Piece('([A-Za-z0-9+/]{4})* ([A-Za-z0-9+/]{2} "==" | [A-Za-z0-9+/]{3} "=")?', 0, None),
}
"""The forms that a schema may ask for. Some hold fewer texts than the standards allow, never others."""

UNCONSTRAINED = frozenset({"password", "binary"})
"""Formats that say what a text is for and allow any."""
