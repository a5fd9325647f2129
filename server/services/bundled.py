"""Models that ship inside the package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import msgspec

from server.types.models import CreateRequest
from server.types.names import ModelName


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A model in the package.

    Attributes:
        stem: name of its files without the suffix.
        parameters: what `create` is told.
    """

    name: ModelName
    stem: str
    title: str
    parameters: dict[str, list[str]]

    @contextmanager
    def weights(self) -> Iterator[Path]:
        """The GGUF file; unpacked for the time being where the package is an archive."""
        with resources.as_file(resources.files("server.bundled") / f"{self.stem}.gguf") as path:
            yield path

    def template(self) -> str:
        """The Modelfile TEMPLATE."""
        return (resources.files("server.bundled") / f"{self.stem}.gotmpl").read_text(encoding="utf-8")

    def size_bytes(self) -> int:
        """Size of the weights' file."""
        with self.weights() as path:
            return path.stat().st_size

    def create_request(self, digest: str) -> CreateRequest:
        """How the model is made once its weights are a blob."""
        return CreateRequest(
            model=self.name.display(),
            files={f"{self.stem}.gguf": digest},
            template=self.template(),
            parameters=dict(self.parameters),
        )


BUNDLES: tuple[Bundle, ...] = (
    Bundle(
        name=ModelName.parse("spark"),
        stem="spark",
        title="A chat model of 6 million parameters for trying things out",
        parameters={"stop": ["<|im_end|>"]},
    ),
)


def find_bundle(name: ModelName) -> Bundle | None:
    """The bundled model of that name."""
    return next((bundle for bundle in BUNDLES if bundle.name.folded() == name.folded()), None)
