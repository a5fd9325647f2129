"""Bodies of forms with files (multipart/form-data)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from server.errors import InvalidRequest

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_MAX_PARTS: Final = 64


class Form(msgspec.Struct):
    """A form that was sent. The first of two fields with one name counts."""

    fields: dict[str, str] = msgspec.field(default_factory=dict)
    files: dict[str, bytes] = msgspec.field(default_factory=dict)


def parse_form(body: bytes, content_type: str) -> Form:
    """Read a form. Raises: InvalidRequest."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise InvalidRequest("the request is no form: send multipart/form-data with a boundary")
    parts = _Parts()
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        parser.write(body)
        parser.finalize()
    except MultipartParseError as error:
        raise InvalidRequest(f"the form cannot be read: {error}") from error
    if not parts.is_whole:
        raise InvalidRequest("the form is cut off")
    return parts.form


class _Parts:
    """Collects what the parser finds."""

    def __init__(self) -> None:
        self.form = Form()
        self.is_whole = False
        self._n_parts = 0
        self._name = b""
        self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._content = bytearray()

    def callbacks(self) -> MultipartCallbacks:
        """What the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._whole,
        }

    def _begin(self) -> None:
        self._n_parts += 1
        if self._n_parts > _MAX_PARTS:
            raise InvalidRequest(f"a form has at most {_MAX_PARTS} parts")
        self._headers = {}
        self._content = bytearray()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def _end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" in options:
            self.form.files.setdefault(name, bytes(self._content))
        else:
            self.form.fields.setdefault(name, self._content.decode("utf-8", "replace"))

    def _whole(self) -> None:
        self.is_whole = True
