"""Files named in a prompt."""

from __future__ import annotations

from pathlib import Path

import pytest

from olla_tui.files.media import attach_files, paths_in
from server.errors import InvalidImage

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
WAV = b"RIFF\x00\x00\x00\x00WAVEfmt "


def test_what_looks_like_a_path() -> None:
    text = (
        "before /a/one.png and ./two.jpg, C:\\x\\three.JPEG then /four\\ words/5.webp "
        "and ./six six.png but not seven.png nor /eight.txt /nine.wav"
    )
    assert paths_in(text) == [
        "/a/one.png",
        "./two.jpg",
        "C:\\x\\three.JPEG",
        "/four\\ words/5.webp",
        "./six six.png",
        "/eight.txt /nine.wav",
    ]


def test_files_are_taken_out_of_the_text(tmp_path: Path) -> None:
    picture, sound = tmp_path / "a b.png", tmp_path / "s.wav"
    picture.write_bytes(PNG)
    sound.write_bytes(WAV)
    written = str(picture).replace(" ", "\\ ")
    attached = attach_files(f"What is {written} and '{sound}'?")
    assert attached.text == "What is  and ?"
    assert attached.files == (PNG, WAV)
    assert attached.notes == (f"Added image '{picture}'", f"Added audio '{sound}'")


def test_a_path_without_a_file_stays() -> None:
    assert attach_files(" see /no/such.png ") == (" see /no/such.png ", (), ())


def test_other_files_are_refused(tmp_path: Path) -> None:
    fake = tmp_path / "fake.png"
    fake.write_bytes(b"<html>")
    with pytest.raises(InvalidImage, match="invalid file type"):
        attach_files(str(fake))


def test_large_files_are_refused(tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate(100 * 1024 * 1024 + 1)
    with pytest.raises(InvalidImage, match="100MB"):
        attach_files(str(large))
