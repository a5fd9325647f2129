"""Headers that olla adds to replies of Ollama's API. Small, so that short commands start fast."""

from __future__ import annotations

from urllib.parse import quote, unquote

VERSION_HEADER = "olla-version"
"""On `/api/version`: olla's own version beside Ollama's; a server without it is an Ollama."""

HINT_HEADER = "olla-hint"
"""On a refusal: what to do about it. The body keeps the shape that Ollama or OpenAI gave it."""

IGNORED_HEADER = "olla-ignored"
"""On a reply: names of fields of the request that would have changed the answer elsewhere, but not here."""

MAX_HINT_CHARS = 1000
_PLAIN = " !\"#$&'()*+,/:;<=>?@[\\]^`{|}"


def hint_headers(hint: str) -> tuple[tuple[str, str], ...]:
    """The header that carries a hint, percent-encoded UTF-8; none for ""."""
    return ((HINT_HEADER, quote(hint[:MAX_HINT_CHARS], safe=_PLAIN, errors="replace")),) if hint else ()


def ignored_headers(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The header that names fields without effect; none for none."""
    return ((IGNORED_HEADER, ", ".join(names)),) if names else ()


def read_hint(value: str | None) -> str:
    """The hint that a header carries, "" without one."""
    return unquote(value) if value else ""
