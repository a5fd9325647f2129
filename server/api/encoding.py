"""Request bodies that came compressed (`Content-Encoding`), made plain again within a bound."""

from __future__ import annotations

import sys
import zlib

from server.errors import InvalidRequest

MAX_PLAIN_BYTES = 64 << 20
"""Largest body after decompression: far below that of a plain one, as kilobytes can become gigabytes."""
MAX_ZSTD_WINDOW_LOG = 23
"""8 MiB, which every decoder must be able to give a frame (RFC 8878, section 3.1.1.1.2)."""


class UnsupportedEncoding(InvalidRequest):
    """The body came in an encoding that is not known here."""


class BodyTooLarge(InvalidRequest):
    """The body is larger than what is kept in memory."""


def plain_body(body: bytes, encoding: str) -> bytes:
    """The body without its `Content-Encoding`, which may be empty.

    Raises: UnsupportedEncoding, BodyTooLarge; InvalidRequest when it is not what the header says.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    try:
        if name in ("gzip", "x-gzip"):
            return _inflate(body, 16 + zlib.MAX_WBITS)
        if name == "deflate":
            # RFC 9110 means zlib's format; some clients send the bare one.
            is_zlib = len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
            return _inflate(body, zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
        if name == "zstd":
            return _zstd(body)
    except (zlib.error, EOFError) as error:
        raise InvalidRequest(f"the request body is not {name}: {error}") from None
    raise UnsupportedEncoding(
        f"Content-Encoding {encoding!r} is not supported",
        hint="Send the body as it is, or with one of gzip, deflate and zstd.",
    )


def _inflate(body: bytes, window_bits: int) -> bytes:
    """Raises: zlib.error, EOFError, BodyTooLarge."""
    inflater = zlib.decompressobj(window_bits)
    plain = inflater.decompress(body, MAX_PLAIN_BYTES + 1)
    _check(len(plain), inflater.eof, inflater.unused_data)
    return plain


def _zstd(body: bytes) -> bytes:
    """Raises: InvalidRequest, EOFError, BodyTooLarge."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd

    frame = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: MAX_ZSTD_WINDOW_LOG})
    try:
        plain = frame.decompress(body, MAX_PLAIN_BYTES + 1)
    except zstd.ZstdError as error:
        raise InvalidRequest(f"the request body is not zstd: {error}") from None
    _check(len(plain), frame.eof, frame.unused_data)
    return plain


def _check(n_bytes: int, is_over: bool, rest: bytes) -> None:
    """One stream and nothing behind it: thousands of empty ones in a row would take hours."""
    if n_bytes > MAX_PLAIN_BYTES:
        raise BodyTooLarge(
            f"the request body is larger than {MAX_PLAIN_BYTES} bytes when it is decompressed",
            hint="Send it uncompressed: the bound is far higher then.",
        )
    if not is_over:
        raise EOFError("it ends too early")
    if rest:
        raise EOFError("something follows its end")
