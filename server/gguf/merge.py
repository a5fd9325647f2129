"""Making one file of the parts of a split one, as llama.cpp's gguf-split does.

The parts are named `NAME-00001-of-0000N.gguf`; the first has the metadata of the model, each a part of the
tensors, and `split.no`, `split.count` and `split.tensors.count` say what belongs together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from server.errors import BadModelFile, InvalidRequest
from server.gguf.metadata import GgufMetadata
from server.gguf.raw import copied_range, raw_records, tensor_places
from server.gguf.reader import DEFAULT_ALIGNMENT, GgufHeader
from server.gguf.writer import encode_header, padded
from server.types.quoting import go_quote

_NAME = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")
_SPLIT_KEYS = ("split.no", "split.count", "split.tensors.count")
_PIECE_BYTES = 1 << 20


class Part(NamedTuple):
    """A part of a split file. `group`: what all parts of one file have alike; `number` counts from 0."""

    group: str
    number: int
    n_parts: int


def part_of(file_name: str, metadata: GgufMetadata) -> Part | None:
    """Which part of a split file this is; None for a file that is whole.

    Raises: InvalidRequest in Ollama's words when name and metadata disagree.
    """
    count = metadata.integer("split.count")
    if count <= 1:
        return None
    what = f"split GGUF {go_quote(file_name)}"
    match = _NAME.fullmatch(PurePosixPath(file_name).name)
    if match is None:
        raise InvalidRequest(f"{what} must use llama.cpp split filename pattern")
    if int(match[3]) != count:
        raise InvalidRequest(f"{what} filename count {int(match[3])} does not match metadata count {count}")
    index = metadata.integer("split.no", -1)
    if index < 0:
        raise InvalidRequest(f"{what} is missing split.no metadata")
    if index != int(match[2]) - 1:
        raise InvalidRequest(
            f"{what} filename index {int(match[2]) - 1} does not match metadata index {index}"
        )
    return Part(f"{match[1]}:{count}", index, count)


def in_order(parts: Sequence[tuple[Part, GgufHeader]], file_name: str) -> list[GgufHeader]:
    """The headers of all parts of one file, from the first to the last.

    Raises: InvalidRequest in Ollama's words when one is missing or there twice, and when they have fewer or
        more tensors than the first part says.
    """
    by_index: dict[int, GgufHeader] = {}
    count = parts[0][0].n_parts
    for part, header in parts:
        if part.number in by_index:
            raise InvalidRequest(f"split GGUF has duplicate shard index {part.number}")
        by_index[part.number] = header
    if len(by_index) != count:
        missing = next(i for i in range(count) if i not in by_index)
        raise InvalidRequest(
            f"split GGUF {go_quote(file_name)} has {len(by_index)} shards, expected {count}",
            hint=f"Part {missing + 1} is missing.",
        )
    headers = [by_index[index] for index in range(count)]
    n_tensors = sum(len(header.tensors) for header in headers)
    wanted = headers[0].metadata.get("split.tensors.count", n_tensors)
    names = {info.name for header in headers for info in header.tensors}
    if n_tensors != wanted or len(names) != n_tensors:
        raise InvalidRequest(
            f"split GGUF {go_quote(file_name)} has {len(names)} tensors, expected {wanted}",
            hint="The parts are not of one file.",
        )
    return headers


def merged_bytes(headers: Sequence[GgufHeader]) -> int:
    """About how long the merged file will be."""
    return sum(header.file_bytes for header in headers)


def merged(headers: Sequence[GgufHeader]) -> Iterator[bytes]:
    """The bytes of one file with the tensors of all parts, in pieces of a megabyte at most.

    Raises: BadModelFile when a part cannot be read to its end.
    """
    records = raw_records(headers[0])
    kept = [raw for key, raw in records.items() if key not in _SPLIT_KEYS]
    yield from rewritten(headers, kept)


def rewritten(headers: Sequence[GgufHeader], records: Sequence[bytes]) -> Iterator[bytes]:
    """A file of these records and the tensors of all headers. Raises: as `merged`."""
    alignment = headers[0].metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    tensors = [info for header in headers for info in header.tensors]
    yield encode_header(records, tensors, alignment=alignment)
    for header in headers:
        for _, offset, size in tensor_places(header):
            try:
                yield from copied_range(header.path, offset, size, _PIECE_BYTES)
            except (OSError, EOFError) as error:
                raise BadModelFile(f"model file {header.path.name} cannot be read: {error}") from error
            if padding := padded(size, alignment) - size:
                yield bytes(padding)
