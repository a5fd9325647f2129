"""Picture files: the formats, the way up, transparency, and files that lie."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from server.engine.failures import BadRequest
from server.engine.pictures import FORMATS, MAX_PIXELS, decode_picture
from server.engine.projector import is_sound
from tests.support.vision_models import picture


@pytest.mark.parametrize("form", FORMATS)
def test_formats(form: str) -> None:
    data = picture(1, size=(20, 10), form=form)
    assert decode_picture(data).shape == (10, 20, 3)
    assert not is_sound(data)


def test_lossless_pixels_are_exact() -> None:
    whole = np.asarray(Image.open(io.BytesIO(picture(2))))
    assert np.array_equal(decode_picture(picture(2)), whole)


def test_what_is_transparent_is_white() -> None:
    file = io.BytesIO()
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(file, "PNG")
    assert (decode_picture(file.getvalue()) == 255).all()


def test_a_picture_taken_sideways_is_turned() -> None:
    image = Image.new("RGB", (4, 2))
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif)
    assert decode_picture(file.getvalue()).shape == (4, 2, 3)


def test_grey_and_palettes() -> None:
    for mode in ("L", "P", "1", "I;16", "CMYK"):
        file = io.BytesIO()
        Image.new(mode, (3, 3)).save(file, "JPEG" if mode == "CMYK" else "PNG")
        assert decode_picture(file.getvalue()).shape == (3, 3, 3)


def test_a_small_file_that_claims_to_be_huge_is_refused_before_it_is_decoded() -> None:
    side = int(MAX_PIXELS**0.5) + 1
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    with pytest.raises(BadRequest, match="send a smaller one"):
        decode_picture(bomb + chunk(b"IEND", b""))


@given(st.data())
def test_broken_files_are_refused(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(FORMATS))
    whole = bytearray(picture(3, form=form))
    if data.draw(st.booleans()):
        whole = whole[: data.draw(st.integers(0, len(whole) - 1))]
    for _ in range(data.draw(st.integers(0, 4))):
        if whole:
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert decode_picture(bytes(whole)).ndim == 3
    except BadRequest as error:
        assert "picture" in error.message


@pytest.mark.parametrize(
    "data", [b"RIFF\0\0\0\0WAVEfmt ", b"ID3\x04" + bytes(8), b"fLaC" + bytes(8), b"\xff\xfb\x90" + bytes(9)]
)
def test_sounds_are_known_by_their_first_bytes(data: bytes) -> None:
    assert is_sound(data)
    assert not is_sound(data[:11])
