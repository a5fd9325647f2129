"""What the user sends: a text with the files and pictures that belong to it."""

from __future__ import annotations

from dataclasses import dataclass

N_FENCE_TICKS = 3


@dataclass(frozen=True)
class TextFile:
    """A file whose text goes along with a prompt; `name` is its path as it was written."""

    name: str
    text: str


@dataclass(frozen=True)
class MediaPart:
    """A picture or sound that goes along with a prompt: the bytes of its file."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Draft:
    """A prompt that is ready to be sent."""

    text: str
    files: tuple[TextFile, ...] = ()
    media: tuple[MediaPart, ...] = ()


def with_files(text: str, files: tuple[TextFile, ...]) -> str:
    """What the model reads: the prompt, then each file in a fence that its own text does not end."""
    return "\n\n".join(
        [text, *(f"{file.name}:\n{fenced(file.text, language_of(file.name))}" for file in files)]
    )


def fenced(text: str, info: str = "") -> str:
    """A text as a Markdown fence, longer than any run of backticks in it."""
    longest, run = 0, 0
    for char in text:
        run = run + 1 if char == "`" else 0
        longest = max(longest, run)
    marks = "`" * max(N_FENCE_TICKS, longest + 1)
    end = "" if not text or text.endswith("\n") else "\n"
    return f"{marks}{info}\n{text}{end}{marks}"


def language_of(name: str) -> str:
    """The info of a file's fence: the ending of its name."""
    stem, dot, ending = name.rpartition("/")[2].rpartition(".")
    return ending if stem and dot and ending.isalnum() else ""
