"""Files on their way into the store: hashed once, sent only when they are not there, with bars."""

from __future__ import annotations

import io
from collections.abc import AsyncIterable
from pathlib import Path

from olla_tui.cli.create import digest_of, send_files
from olla_tui.cli.progress import Progress
from tests.support.scripted_services import ScriptedModels, ScriptedServices
from tests.support.stores import digest_of as digest_of_bytes

ABC = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


class Counting(ScriptedModels):
    """Counts the bytes that are sent."""

    def __init__(self) -> None:
        super().__init__()
        self.n_sent: list[int] = []

    async def put_blob(self, digest: str, body: AsyncIterable[bytes]) -> bool:
        data = b"".join([piece async for piece in body])
        self.n_sent.append(len(data))
        self.blobs[digest] = data
        return True


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def test_a_digest_is_told_with_how_far_the_reading_is(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    told: list[int] = []
    assert await digest_of(path, told.append) == ABC
    assert told == [3]


async def test_what_the_server_has_is_not_sent(tmp_path: Path) -> None:
    services = ScriptedServices()
    models = services.scripted_models = Counting()
    files = {}
    for name, data in (("a", b"abc"), ("b", b"x" * 3_000_000), ("same", b"abc")):
        files[name] = tmp_path / name
        files[name].write_bytes(data)
    models.blobs[ABC] = b"abc"
    out = io.StringIO()
    async with Progress(out) as progress:
        digests = await send_files(services, files, progress)
    other = digest_of_bytes(b"x" * 3_000_000)
    assert digests == {"a": ABC, "b": other, "same": ABC}
    assert models.n_sent == [3_000_000]
    assert sorted(out.getvalue().splitlines()) == sorted(
        [f"copying file {ABC} 100%", f"copying file {ABC} 100%", f"copying file {other} 100%"]
    )


async def test_a_terminal_shows_one_line_for_each_file_with_a_bar(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(bytes(9_000_000))
    seen: list[str] = []
    out = Terminal()

    class Watched(Counting):
        async def put_blob(self, digest: str, body: AsyncIterable[bytes]) -> bool:
            async for _ in body:
                seen.append(progress._steps[str(path)].line(0.0, 80))
            return True

    services = ScriptedServices()
    services.scripted_models = Watched()
    async with Progress(out, clock=lambda: 0.0) as progress:
        (digest,) = (await send_files(services, {"model.gguf": path}, progress)).values()
        assert len(progress._steps) == 1
    assert seen[0].startswith("hashing model.gguf 100% ▕█")
    assert seen[-1].startswith("copying model.gguf  93% ▕█")
    assert f"copying file {digest} 100%" in out.getvalue()
