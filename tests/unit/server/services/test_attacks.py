"""Attacks on model stores that are on record, one test each, named after its entry.

Those on pulls stand beside the registry's tests.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from server.errors import BadModelFile, InvalidModelName, InvalidRequest, ModelNotFound, OllaError
from server.gguf.memory_shape import memory_shape
from server.gguf.metadata import GgufMetadata
from server.gguf.reader import read_header
from server.services.models import Models
from server.services.transfers import Transfers
from server.settings import Settings
from server.storage.store import ModelStore
from server.types.models import ShowRequest
from server.types.names import ModelName
from server.types.transfers import TransferRequest
from tests.support.stores import Recorder, body, create, digest_of, upload
from tests.support.tiny_gguf import gguf_bytes, tiny_llama_bytes

TINY = tiny_llama_bytes()
OUTSIDE = ["../../outside", "/etc/passwd", "a/../../outside", "..", "./m", "me/../m", "h:1/../m:latest"]


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def models(store: ModelStore) -> Models:
    return Models(store, Recorder())


async def make(models: Models, data: bytes, file: str = "m.gguf", **fields: Any) -> None:
    await create(models, model="m", files={file: await upload(models, data)}, **fields)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "digest",
    ["sha256:../../../../etc/passwd", "sha256-" + "../" * 20 + "etc/passwd", "", "sha256:" + "g" * 64],
)
async def test_cve_2024_37032_a_path_is_no_digest(models: Models, store: ModelStore, digest: str) -> None:
    for attempt in (models.has_blob(digest), models.put_blob(digest, body(b"x"))):
        with pytest.raises(InvalidRequest):
            await attempt
    with pytest.raises(OllaError):
        await create(models, model="m", files={"m.gguf": digest})
    assert everything(store.root) == {}


@pytest.mark.parametrize("name", OUTSIDE)
async def test_cve_2026_7020_a_name_cannot_leave_the_store(
    models: Models, store: ModelStore, tmp_path: Path, name: str
) -> None:
    (tmp_path / "outside").write_bytes(b"precious")
    await make(models, TINY)
    before = everything(tmp_path)
    attempts = (
        models.show(ShowRequest(model=name)),
        models.copy("m", name),
        models.copy(name, "n"),
        models.delete(name),
        create(models, model=name, base="m"),
        create(models, model="n", base=name),
    )
    for attempt in attempts:
        with pytest.raises((InvalidModelName, ModelNotFound, InvalidRequest)):
            await attempt
    assert everything(tmp_path) == before


async def test_cve_2024_39722_a_push_does_not_tell_which_files_there_are(
    store: ModelStore, tmp_path: Path
) -> None:
    (tmp_path / "there").write_bytes(b"x")
    settings = Settings.load(environ={"HOME": str(tmp_path)})
    transfers = Transfers(store, settings, Recorder())
    said = set()
    for name in ("../../there", "../../nowhere"):
        with pytest.raises(OllaError) as caught:
            async for _ in transfers.push(TransferRequest(model=name)):
                pass
        said.add((type(caught.value), caught.value.message.replace(name, "")))
    await transfers.aclose()
    assert len(said) == 1


async def test_cve_2024_39719_a_create_does_not_tell_which_files_there_are(
    models: Models, tmp_path: Path
) -> None:
    (tmp_path / "there").write_bytes(b"x")
    said = set()
    for name in ("there", "nowhere"):
        for fields in (
            {"base": f"{tmp_path}/{name}"},
            {"files": {f"{tmp_path}/{name}": digest_of(b"no blob")}},
        ):
            with pytest.raises(OllaError) as caught:
                await create(models, model="m", **fields)
            told = caught.value.message.replace(f"{tmp_path}/{name}", "").replace(name, "")
            said.add((tuple(fields), type(caught.value), told))
    assert len(said) == 2, "one for each way to ask, whatever there is"


async def test_cve_2024_45436_an_archive_is_not_unpacked(
    models: Models, store: ModelStore, tmp_path: Path
) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("../../outside", b"written")
        file.writestr("config.json", b"{}")
    for name in ("m.zip", "m.gguf", "model.safetensors"):
        with pytest.raises(OllaError):
            await make(models, archive.getvalue(), name)
    assert b"written" not in everything(tmp_path).values()
    assert store.list_models() == []


async def test_cve_2025_44779_a_link_in_the_store_goes_and_what_it_leads_to_stays(
    models: Models, store: ModelStore, tmp_path: Path
) -> None:
    await make(models, TINY)
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    stored = store.find(ModelName.parse("m"))
    manifest = store.paths.manifest(stored.name)
    for link in (stored.model_path, manifest):
        link.unlink()
        link.symlink_to(outside)
    await models.delete("m")
    assert not manifest.is_symlink()
    assert outside.read_bytes() == b"precious"


@pytest.mark.parametrize("data", [b"", b"GGUF", b"GGUF\x03\x00\x00\x00", TINY[:40]])
async def test_cve_2024_39720_a_file_of_a_few_bytes_is_no_model(
    models: Models, store: ModelStore, data: bytes
) -> None:
    with pytest.raises(OllaError):
        await make(models, data)
    assert store.list_models() == []


@pytest.mark.parametrize("quantize", ["", "q4_K_M"])
async def test_cve_2026_7482_tensors_beyond_the_end_of_the_file_are_refused(
    models: Models, store: ModelStore, quantize: str
) -> None:
    with pytest.raises(BadModelFile):
        await make(models, TINY[:-100], quantize=quantize)
    assert store.list_models() == []


KEYS = (
    "block_count",
    "attention.head_count",
    "attention.head_count_kv",
    "embedding_length",
    "context_length",
    "attention.key_length",
    "full_attention_interval",
    "expert_count",
    "ssm.group_count",
)


@pytest.mark.parametrize("key", KEYS)
def test_cve_2025_0317_nothing_is_divided_by_a_zero_of_a_header(tmp_path: Path, key: str) -> None:
    fields: dict[str, Any] = {"general.architecture": "llama", "general.file_type": 1}
    usual = {"block_count": 2, "embedding_length": 8, "attention.head_count": 2, "context_length": 16}
    fields |= {f"llama.{name}": value for name, value in {**usual, key: 0}.items()}
    file = tmp_path / "m.gguf"
    file.write_bytes(gguf_bytes(fields))
    metadata = GgufMetadata(read_header(file))
    assert memory_shape(metadata, "f16").kv_bytes_per_token >= 0
    assert metadata.kv_bytes_per_token("f16") >= 0


def test_cve_2024_8063_an_alignment_of_zero_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(gguf_bytes({"general.architecture": "llama", "general.alignment": 0}))
    with pytest.raises(BadModelFile):
        read_header(file)
