"""Each kind of damage is found and named; what is whole is not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from server.storage.check import check_store
from server.storage.config import ModelConfig
from server.storage.manifests import Layer
from server.storage.store import ModelStore
from server.types.names import ModelName
from server.types.upkeep import Fault
from tests.support.stores import digest_of, put
from tests.support.tiny_gguf import tiny_llama_bytes

WEIGHTS = tiny_llama_bytes()
SYSTEM = b"hello"
PARAMS = b'{"stop":["x"]}\n'
DIGITS = "a" * 64


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """A store with a model of five layers, and a second that shares its weights."""
    store = ModelStore(tmp_path)
    weights = Layer("model", put(store, WEIGHTS), len(WEIGHTS))
    system = Layer("system", put(store, SYSTEM), len(SYSTEM))
    params = Layer("params", put(store, PARAMS), len(PARAMS))
    template = Layer("template", put(store, b"{{ .Prompt }}"), len(b"{{ .Prompt }}"))
    config = ModelConfig(model_format="gguf", model_family="llama")
    store.write_model(ModelName.parse("a"), config, [weights, template, system, params])
    store.write_model(ModelName.parse("b"), config, [weights])
    return store


def faults(store: ModelStore, *, quick: bool = False) -> list[Fault]:
    return [step.fault for step in check_store(store.paths, quick=quick) if step.fault is not None]


def test_a_whole_store_has_no_faults_and_all_of_it_is_read(store: ModelStore) -> None:
    steps = list(check_store(store.paths))
    assert [step.fault for step in steps if step.fault] == []
    done = [step.completed_bytes for step in steps if step.total_bytes]
    assert done == sorted(done)
    assert done[-1] == steps[-1].total_bytes == sum(p.stat().st_size for p in store.paths.blobs.iterdir())


def test_an_empty_store_is_whole(tmp_path: Path) -> None:
    assert faults(ModelStore(tmp_path / "none")) == []


def overwrite(store: ModelStore, data: bytes, new: bytes) -> None:
    store.blob_path(digest_of(data)).write_bytes(new)


DAMAGE: dict[str, tuple[Callable[[ModelStore], object], str, tuple[str, ...]]] = {
    "missing": (lambda s: s.blob_path(digest_of(SYSTEM)).unlink(), "is missing", ("a:latest",)),
    "short": (lambda s: overwrite(s, SYSTEM, b"hell"), "has 4 bytes instead of 5", ("a:latest",)),
    "weights": (
        lambda s: overwrite(s, WEIGHTS, bytes(len(WEIGHTS))),
        "is not a GGUF file",
        ("a:latest",),
    ),
    "params": (
        lambda s: overwrite(s, PARAMS, b'{"stop":"xxxx"}'),
        "does not read",
        ("a:latest",),
    ),
    "template": (lambda s: overwrite(s, b"{{ .Prompt }}", b"{{ .Prompt  }"), "does not read", ("a:latest",)),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_to_a_layer_is_named_with_its_model_and_what_to_do(store: ModelStore, kind: str) -> None:
    damage, what, models = DAMAGE[kind]
    damage(store)
    found = [fault for fault in faults(store, quick=True) if fault.models[:1] == models]
    assert len(found) == 1
    assert what in found[0].what
    assert found[0].severity == "error"
    assert found[0].place.startswith("manifests/")
    assert "olla rm a:latest" in found[0].advice


def test_bytes_that_changed_in_place_are_found_when_blobs_are_read(store: ModelStore) -> None:
    data = bytearray(WEIGHTS)
    data[-5] ^= 1
    overwrite(store, WEIGHTS, bytes(data))
    assert faults(store, quick=True) == []
    (fault,) = faults(store)
    assert fault.what == "its bytes are not those of its name"
    assert sorted(fault.models) == ["a:latest", "b:latest"]
    assert fault.place == f"blobs/{digest_of(WEIGHTS).replace(':', '-')}"


def test_a_blob_of_no_model_is_checked_too(store: ModelStore) -> None:
    digest = put(store, b"orphan")
    store.blob_path(digest).write_bytes(b"orphaN")
    (fault,) = faults(store)
    assert fault.models == ()
    assert "no model needs it" in fault.advice


def test_an_empty_manifest_is_found(store: ModelStore) -> None:
    store.paths.manifest(ModelName.parse("a")).write_bytes(b"")
    (fault,) = faults(store)
    assert "the manifest cannot be read" in fault.what
    assert fault.models == ("a:latest",)


def test_a_file_that_keeps_ollama_from_cleaning_up_is_a_warning(store: ModelStore) -> None:
    folder = store.paths.manifest(ModelName.parse("a")).parent
    (folder / ".latest.tmp").write_bytes(b"")
    (fault,) = faults(store)
    assert fault.severity == "warning"
    assert "keeps Ollama from cleaning up" in fault.what


def test_a_dangling_link_among_the_manifests_is_an_error(store: ModelStore) -> None:
    link = store.paths.manifest(ModelName.parse("c"))
    link.parent.mkdir()
    link.symlink_to("nowhere")
    (fault,) = faults(store)
    assert (fault.severity, fault.what) == ("error", "is a link to nothing")


def test_links_folders_and_old_names_among_the_blobs(store: ModelStore, tmp_path: Path) -> None:
    (store.paths.blobs / f"sha256-{DIGITS}").symlink_to(tmp_path)
    (store.paths.blobs / f"sha256-{'b' * 64}").mkdir()
    (store.paths.blobs / f"sha256:{'c' * 64}").write_bytes(b"")
    assert [fault.what for fault in faults(store)] == [
        "is no file of its own",
        "is no file",
        "has the name of an old version",
    ]
    assert {fault.severity for fault in faults(store)} == {"warning"}


def test_a_model_that_is_removed_meanwhile_is_no_fault(store: ModelStore) -> None:
    steps = check_store(store.paths)
    next(steps)
    store.delete(ModelName.parse("a"))
    shutil.rmtree(store.paths.manifests)
    assert [step.fault for step in steps if step.fault] == []
