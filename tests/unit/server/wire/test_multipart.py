"""Forms with files, whole and broken."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import InvalidRequest
from server.wire.multipart import parse_form


def _sent(fields: dict[str, str], files: dict[str, bytes]) -> tuple[bytes, str]:
    request = httpx.Request(
        "POST", "http://x/", data=fields, files={name: ("a.wav", data) for name, data in files.items()}
    )
    return request.read(), request.headers["content-type"]


names = st.text("abcdefgh", min_size=1, max_size=5)


@given(
    st.dictionaries(names, st.text(max_size=20).map(lambda text: text.replace("\r", "").replace("\n", ""))),
    st.dictionaries(names, st.binary(max_size=200), min_size=1),
)
def test_what_is_sent_is_read(fields: dict[str, str], files: dict[str, bytes]) -> None:
    form = parse_form(*_sent(fields, files))
    assert form.files == files
    assert form.fields == {name: text.encode("utf-8", "replace").decode() for name, text in fields.items()}


@given(st.data())
def test_a_broken_form_is_refused(data: st.DataObject) -> None:
    body, kind = _sent({"model": "x"}, {"file": b"sound" * 20})
    cut = data.draw(st.integers(0, len(body) - 3))
    with pytest.raises(InvalidRequest, match="form"):
        parse_form(body[:cut], kind)


@pytest.mark.parametrize("kind", ["", "application/json", "multipart/form-data", "multipart/form-data; x=y"])
def test_what_is_no_form_is_refused(kind: str) -> None:
    with pytest.raises(InvalidRequest, match="no form"):
        parse_form(b"{}", kind)


def test_many_parts_are_refused() -> None:
    body, kind = _sent({f"field{i}": "x" for i in range(100)}, {"file": b""})
    with pytest.raises(InvalidRequest, match="at most 64"):
        parse_form(body, kind)


def test_a_long_header_is_refused() -> None:
    body, kind = _sent({"n" * 20_000: "x"}, {"file": b""})
    with pytest.raises(InvalidRequest, match="header size"):
        parse_form(body, kind)
