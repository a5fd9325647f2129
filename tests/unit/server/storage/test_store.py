"""The model store: what Ollama wrote reads, what is needed stays, and both can use it at once."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path, PurePosixPath

import pytest

from server.errors import BlobNotFound, DiskFull, ModelNotFound, StoreError
from server.storage.manifests import Layer
from server.storage.store import ModelStore
from server.types.names import ModelName
from tests.support.store_models import CONFIG, WEIGHTS, blobs, make, name, names
from tests.support.stores import copy_of_ollama_store, digest_of, put


def test_a_new_store(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    assert store.is_new()
    assert store.list_models() == []
    with pytest.raises(ModelNotFound, match=r"^model 'spark:latest' not found$"):
        store.find(name("spark"))
    assert store.is_new()
    make(store, "m")
    assert not store.is_new()


def test_reads_a_store_that_ollama_wrote(tmp_path: Path) -> None:
    store = ModelStore(copy_of_ollama_store(tmp_path))
    by_name = {model.name.display(): model for model in store.list_models()}
    assert set(by_name) == {"spark:latest", "plain:latest", "native:latest", "minilm:latest"}
    spark = by_name["spark:latest"]
    assert spark.digest == "6524526634ed8a46e939a758270b93b0e667603d811f5176bf2d4c226521202e"
    assert spark.size_bytes == 6272538
    assert spark.params == {"stop": ["<|im_end|>"]}
    assert spark.template is not None
    assert spark.template.startswith("{{- if .Suffix }}")
    details = spark.details()
    assert (details.family, details.families, details.parameter_size) == ("llama", ("llama",), "5.77M")
    assert (details.quantization_level, details.parent_model) == ("Q8_0", "")


def test_a_model_without_its_weights_is_not_found(tmp_path: Path) -> None:
    store = ModelStore(copy_of_ollama_store(tmp_path))
    with pytest.raises(ModelNotFound, match="not found") as caught:
        store.find(name("spark"))
    assert "missing" in caught.value.hint


@pytest.mark.parametrize("kind", ["config", "system"])
def test_a_model_without_a_small_blob_is_not_found_nor_listed(tmp_path: Path, kind: str) -> None:
    store = ModelStore(tmp_path)
    make(store, "m", system="hi")
    model = store.find(name("m"))
    digests = {layer.kind: layer.digest for layer in model.manifest.layers} | {
        "config": model.manifest.config_digest
    }
    store.blob_path(digests[kind]).unlink()
    fresh = ModelStore(tmp_path)
    with pytest.raises(ModelNotFound):
        fresh.find(name("m"))
    assert fresh.list_models() == []


def test_broken_manifests_are_left_out_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = ModelStore(tmp_path)
    make(store, "good")
    path = store.paths.manifest(name("bad"))
    path.parent.mkdir(parents=True)
    path.write_text('{"layers":')
    with caplog.at_level(logging.WARNING, "olla"):
        assert names(store) == ["good:latest"]
    assert "bad:latest" in caplog.text
    with pytest.raises(StoreError, match="bad:latest cannot be read"):
        store.find(name("bad"))


def test_newest_first(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    for i, text in enumerate(["old", "middle", "new"]):
        make(store, text)
        os.utime(store.paths.manifest(name(text)), (1000 + i, 1000 + i))
    assert names(store) == ["new:latest", "middle:latest", "old:latest"]


def test_find_sees_what_another_program_changes(tmp_path: Path) -> None:
    store, other = ModelStore(tmp_path), ModelStore(tmp_path)
    make(store, "m", system="one")
    assert store.find(name("m")).system == "one"
    make(other, "m", system="two")
    assert store.find(name("m")).system == "two"
    other.delete(name("m"))
    with pytest.raises(ModelNotFound):
        store.find(name("m"))


def test_a_known_model_is_one_that_was_found_and_is_as_it_was(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    assert store.known(name("m")) is None
    make(store, "m")
    fresh = ModelStore(tmp_path)
    assert fresh.known(name("m")) is None
    found = fresh.find(name("m"))
    assert fresh.known(name("m")) is found
    assert fresh.find(name("M")) is found
    assert fresh.known(name("M")) is None  # which spelling is there takes a look at folders
    make(store, "m", system="new")
    assert fresh.known(name("m")) is None
    again = fresh.find(name("m"))
    assert (again.system, fresh.known(name("m"))) == ("new", again)
    weights = again.weights_path
    assert weights is not None
    weights.unlink()
    assert fresh.known(name("m")) is None
    with pytest.raises(ModelNotFound):
        fresh.find(name("m"))


def test_names_are_one_without_regard_to_case(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    make(store, "Alice/Foo:Tag")
    assert store.find(name("alice/foo:tag")).name.display() == "Alice/Foo:Tag"
    assert store.canonical(name("ALICE/FOO:new")).display() == "Alice/Foo:new"
    assert store.canonical(name("alice/other")).display() == "Alice/other:latest"
    assert store.canonical(name("bob/foo")).display() == "bob/foo:latest"
    assert make(store, "alice/FOO:TAG", system="again") == name("Alice/Foo:Tag")
    assert names(store) == ["Alice/Foo:Tag"]


def test_an_exact_name_comes_before_one_of_other_case(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    make(store, "foo", system="lower")
    target = store.paths.manifests / "registry.ollama.ai/library/Foo"
    target.mkdir()
    (target / "latest").write_bytes(store.paths.manifest(name("foo")).read_bytes())
    assert store.canonical(name("foo")) == name("foo")
    assert store.canonical(name("Foo")) == name("Foo")


def test_copy_keeps_the_digest(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    make(store, "a", system="a")
    assert store.copy(name("a"), name("b")) is None
    assert store.find(name("a")).digest == store.find(name("b")).digest
    assert store.copy(name("a"), name("A")) is None
    with pytest.raises(ModelNotFound):
        store.copy(name("nope"), name("c"))


def test_copy_over_a_model_removes_what_only_that_needed(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    make(store, "a", system="a")
    make(store, "b", system="b")
    assert store.copy(name("a"), name("B")) == name("b")
    assert store.find(name("b")).system == "a"
    assert not store.has_blob(digest_of(b"b"))


def test_delete_keeps_shared_blobs_and_leaves_no_folders(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    make(store, "a", system="only a")
    make(store, "b")
    store.delete(name("A"))
    assert not store.has_blob(digest_of(b"only a"))
    assert store.find(name("b")).metadata().architecture == "llama"
    store.delete(name("b"))
    assert blobs(store) == set()
    assert list(store.paths.manifests.iterdir()) == []
    with pytest.raises(ModelNotFound):
        store.delete(name("b"))


def test_replacing_removes_what_only_the_old_model_needed(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    assert make(store, "m", system="one") is None
    assert make(store, "m", system="two") == name("m")
    assert not store.has_blob(digest_of(b"one"))
    assert store.find(name("m")).system == "two"
    keeping = ModelStore(tmp_path, noprune=True)
    make(keeping, "m", system="three")
    assert keeping.has_blob(digest_of(b"two"))


def test_nothing_is_removed_while_a_manifest_is_unreadable(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    make(store, "a", system="a")
    broken = store.paths.manifest(name("broken"))
    broken.parent.mkdir(parents=True)
    broken.write_text("")
    before = blobs(store)
    store.delete(name("a"))
    assert blobs(store) == before
    broken.unlink()
    assert store.prune(time.time() + 7200) == len(before)


@pytest.mark.parametrize(
    "place", ["manifests/.hidden", "manifests/h/n/m/.tmp", "manifest-v2/deep/er/down/x", "manifests-v2/x"]
)
def test_digests_in_unknown_files_are_respected(tmp_path: Path, place: str) -> None:
    store = ModelStore(tmp_path)
    make(store, "a", system="kept")
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"\x00 unknown form {digest_of(b'kept').replace(':', '-').upper().replace('SHA', 'sha')}")
    store.delete(name("a"))
    assert blobs(store) == {digest_of(b"kept").replace(":", "-")}


def test_a_manifest_appears_last_and_needs_its_blobs(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    with pytest.raises(BlobNotFound):
        store.write_model(name("m"), CONFIG, [Layer("model", "sha256:" + "0" * 64, 5)])
    assert store.list_models() == []


def test_a_full_disk_keeps_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ModelStore(tmp_path)
    make(store, "m", system="old")

    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    digest = put(store, b"new")
    with monkeypatch.context() as patch:
        patch.setattr("server.storage.disk.os.replace", full)
        with pytest.raises(DiskFull):
            store.write_model(name("m"), CONFIG, [Layer("system", digest, 3)])
    assert store.find(name("m")).system == "old"
    assert list(store.paths.temporary.iterdir()) == []


def test_ollama_sees_only_valid_files(tmp_path: Path) -> None:
    """Ollama does not prune when anything else lies four folders deep, and deletes unknown blobs."""
    store = ModelStore(tmp_path)
    make(store, "m", system="x")
    make(store, "hf.co/u/r:Q4_K_M")
    deep = [p for p in store.paths.manifests.rglob("*") if p.is_file()]
    for path in deep:
        ModelName.from_path(PurePosixPath(path.relative_to(store.paths.manifests)))
        manifest = json.loads(path.read_bytes())
        for layer in (manifest["config"], *manifest["layers"]):
            assert layer["digest"].startswith("sha256:")
            assert store.blob_path(layer["digest"]).stat().st_size == layer["size"]
        assert path.stat().st_mode & 0o777 == 0o644
    assert len(deep) == 2
    assert all(blob.startswith("sha256-") and len(blob) == 71 for blob in blobs(store))


def test_a_store_that_cannot_be_looked_at_says_so(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / ("x" * 300))
    with pytest.raises(StoreError, match="file name too long"):
        store.is_new()
    with pytest.raises(StoreError, match="file name too long"):
        store.prune()


def test_folders_and_files_have_ollamas_permissions_under_any_umask(tmp_path: Path) -> None:
    for umask in (0o000, 0o002):
        store = ModelStore(tmp_path / f"{umask:o}" / "models")
        before = os.umask(umask)
        try:
            make(store, "m")
        finally:
            os.umask(before)
        made = [store.root.parent, *store.root.parent.rglob("*")]
        assert {path.stat().st_mode & 0o777 for path in made if path.is_dir()} == {0o755}
        assert {path.stat().st_mode & 0o777 for path in made if path.is_file()} == {0o644}


def test_details_without_a_quantisation_take_the_weights_own(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    make(store, "m")
    model = store.find(name("m"))
    assert model.config.file_type == ""
    assert model.details().quantization_level == "F32"
    assert model.details().context_length == 256


def test_layers_of_unknown_kinds_are_kept_and_ignored(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    odd = Layer("application/x-other", put(store, b"odd"), 3)
    store.write_model(name("m"), CONFIG, [Layer("model", put(store, WEIGHTS), len(WEIGHTS)), odd])
    assert odd in store.find(name("m")).manifest.layers
    store.delete(name("m"))
    assert blobs(store) == set()
