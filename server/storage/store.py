"""The model store: Ollama's own, read and written beside it.

Synchronous; services call it in threads. Any number of threads and processes may use one store at once: what
they read is whole, and a blob goes only when no manifest names it.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from server.errors import BlobNotFound, InvalidModelName, ModelNotFound, OllaError, StoreError
from server.gguf.metadata import GgufMetadata
from server.storage.blobs import BlobWriter, StoredBlob, is_blob, read_blob, touch, touch_if_there
from server.storage.config import ModelConfig, encode_config
from server.storage.disk import disk_errors, remove_empty_folders, write_atomically
from server.storage.garbage import Ages, find_garbage, remove, remove_temporaries
from server.storage.headers import HeaderCache
from server.storage.locks import StoreLock
from server.storage.manifests import (
    CONFIG_TYPE,
    Layer,
    Manifest,
    encode_manifest,
    manifest_entries,
    read_manifest,
)
from server.storage.new_file import NewFile
from server.storage.partials import list_partials
from server.storage.paths import StorePaths, normal_digest
from server.storage.pins import Pins
from server.storage.references import find_references
from server.storage.spelling import stored_spelling
from server.storage.stored_model import StoredModel, read_stored_model
from server.types.names import ModelName
from server.types.upkeep import GarbageItem, GarbageReport

__all__ = ["ModelStore", "StoredModel"]

_log = logging.getLogger("olla")


class _Known(NamedTuple):
    """A model that has been read, from which state of its manifest, and where its config is, "" for none."""

    key: tuple[int, int, int]
    model: StoredModel
    config: str


class ModelStore:
    """Models below a folder."""

    def __init__(self, root: Path, *, prefer_go: bool | None = None, noprune: bool = False) -> None:
        """Nothing is read or written yet.

        Args:
            prefer_go: OLLAMA_GO_TEMPLATE.
            noprune: OLLAMA_NOPRUNE: leave blobs of replaced models and orphans alone.
        """
        self.paths = StorePaths(root)
        self._prefer_go = prefer_go
        self._noprune = noprune
        self._lock = StoreLock(self.paths.lock)
        self._headers = HeaderCache()
        self._pins = Pins(self.paths.pins)
        self._cache_lock = threading.Lock()
        self._models: dict[str, _Known] = {}

    @property
    def root(self) -> Path:
        """Folder of the store."""
        return self.paths.root

    def is_new(self) -> bool:
        """Whether nobody has put anything into the store yet. Raises: StoreError when that cannot be told."""
        with disk_errors(self.root):
            return not self.paths.manifests.exists() and not self.paths.blobs.exists()

    def list_models(self) -> list[StoredModel]:
        """All models that read, newest first; what is broken is logged and left out."""
        models: list[StoredModel] = []
        seen: set[str] = set()
        for parts, entry in manifest_entries(self.paths):
            try:
                status = entry.stat()
                known = self._known_model(entry.path, status)
                if known is None:
                    if not stat.S_ISREG(status.st_mode):
                        continue
                    known = self._read(ModelName(*parts), Path(entry.path), status)
                models.append(known)
                seen.add(entry.path)
            except InvalidModelName:
                continue
            except (OSError, ValueError, OllaError) as error:
                name = f"{'/'.join(parts[:3])}:{parts[3]}"
                _log.warning("model %s is left out of the list: %s", name, error)
        with self._cache_lock:
            for path in self._models.keys() - seen:
                del self._models[path]
        return sorted(models, key=lambda model: (-int(model.modified_at), model.name.full()))

    def find(self, name: ModelName) -> StoredModel:
        """The model of that name in any spelling of upper and lower case.

        Raises: ModelNotFound, also when files that it needs are missing; StoreError when it does not read.
        """
        stored = self.canonical(name)
        missing = ModelNotFound(name.display())
        try:
            model = self._load(stored, self.paths.manifest(stored))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise missing from error
        except BlobNotFound as error:
            raise _incomplete(name) from error
        except (OSError, ValueError) as error:
            raise StoreError(
                f"model {name.display()} cannot be read: {error}", hint="Delete it, then create it again."
            ) from error
        if not model.is_complete:
            raise _incomplete(name)
        return model

    def known(self, name: ModelName) -> StoredModel | None:
        """As `find`, by the states of a few files; None unless found under this name and unchanged since."""
        path = self.paths.manifest(name)
        try:
            model = self._known_model(str(path), path.stat())
        except (OSError, ValueError):
            return None
        return model if model is not None and model.is_complete else None

    def canonical(self, name: ModelName) -> ModelName:
        """The name in the spelling in which it, or else its host, namespace or model, is stored already."""
        return stored_spelling(self.paths, name)

    def copy(self, source: ModelName, destination: ModelName) -> ModelName | None:
        """Give a model a second name, over any model that has it.

        Returns: the destination in its stored spelling when a model was replaced, else None.
        Raises: ModelNotFound, StoreError.
        """
        with self._writing():
            old_name, new_name = self.canonical(source), self.canonical(destination)
            if old_name == new_name:
                return None
            try:
                raw = self.paths.manifest(old_name).read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
                raise ModelNotFound(source.display()) from error
            replaced = self._manifest_or_none(new_name)
            self._write_manifest(new_name, raw)
            self._remove_unreferenced(replaced.digests if replaced else ())
            return new_name if replaced else None

    def delete(self, name: ModelName) -> ModelName:
        """Remove a model and the blobs that nothing else needs; returns the name in its stored spelling.

        Raises: ModelNotFound, StoreError.
        """
        with self._writing():
            stored = self.canonical(name)
            path = self.paths.manifest(stored)
            if not path.is_file() and not path.is_symlink():
                raise ModelNotFound(name.display())
            manifest = self._manifest_or_none(stored)
            try:
                path.unlink()
            except FileNotFoundError as error:
                raise ModelNotFound(name.display()) from error
            remove_empty_folders(path.parent, self.paths.manifests)
            self._remove_unreferenced(manifest.digests if manifest else (), always=True)
            return stored

    def write_model(self, name: ModelName, config: ModelConfig, layers: Iterable[Layer]) -> ModelName | None:
        """Make a model of blobs that are in the store; its manifest appears last and at once.

        Returns: the name in its stored spelling when a model was replaced, else None.
        Raises: BlobNotFound for a layer that is not in the store, DiskFull, StoreError.
        """
        layers = tuple(layers)
        with self._writing():
            stored = self.canonical(name)
            replaced = self._manifest_or_none(stored)
            for layer in layers:
                # Restarts the hour for which Ollama spares a blob that no manifest names.
                touch(self.blob_path(layer.digest))
            blob = self.put_bytes(encode_config(config))
            config_layer = Layer(CONFIG_TYPE, blob.digest, blob.size_bytes)
            self._write_manifest(stored, encode_manifest(config_layer, layers))
            self._remove_unreferenced(replaced.digests if replaced else ())
            return stored if replaced else None

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold off every other writer, so that blobs found meanwhile are still there for `write_model`.

        Raises: StoreError when the store cannot be written.
        """
        with self._writing():
            yield

    def has_blob(self, digest: str) -> bool:
        """Whether a blob is in the store. Raises: InvalidRequest for a digest of a wrong form."""
        return is_blob(self.paths.blob(digest))

    def hold_blob(self, digest: str) -> bool:
        """Whether a blob is in the store; one that is stays for the model that somebody is about to make.

        It is spared here as by `pin`, and its time is set anew, for other processes go by that.
        Raises: InvalidRequest for a digest of a wrong form.
        """
        path = self.paths.blob(digest)
        if not is_blob(path):
            return False
        # In a store that may only be read nothing of ours can go, and nothing be held.
        with disk_errors(self.root), suppress(PermissionError):
            self._pin(normal_digest(digest))
        return touch_if_there(path)

    def blob_path(self, digest: str) -> Path:
        """File of a blob that is there. Raises: BlobNotFound, InvalidRequest for a digest of a wrong form."""
        path = self.paths.blob(digest)
        if not is_blob(path):
            raise BlobNotFound(f'blob "{digest}" not found')
        return path

    def read_metadata(self, path: Path) -> GgufMetadata:
        """Metadata of a GGUF file; the last ones are kept. Raises: BadModelFile."""
        return self._headers.get(path)

    def read_bytes(self, digest: str, limit_bytes: int) -> bytes:
        """A small blob. Raises: as `blob_path`."""
        return read_blob(self.paths, digest, limit_bytes)

    def open_blob_writer(self) -> BlobWriter:
        """A writer for a blob of any size, to be used with `with`. Raises: DiskFull, StoreError on entry."""
        return BlobWriter(self.paths)

    def new_file(self, prefix: str) -> NewFile:
        """A file that is written by its path and becomes a blob, to be used with `with`."""
        return NewFile(self.paths, prefix)

    def put_bytes(self, data: bytes) -> StoredBlob:
        """Make a small blob. Raises: DiskFull, StoreError."""
        with self.open_blob_writer() as writer:
            writer.write(data)
            return writer.commit()

    def pin(self, digest: str, holder: str = "") -> None:
        """Spare a blob until a model is made of it, for an hour at most; it may come later.

        `holder`: a pull or a create, "" for one upload, each of which counts. Raises: StoreError.
        """
        with disk_errors(self.root):
            self._pin(normal_digest(digest), holder)

    def held(self) -> frozenset[str]:
        """Blobs that are spared though no model needs them yet; while a download runs, however long."""
        is_busy = any(partial.is_in_use for partial in list_partials(self.paths))
        return self._pins.held(is_busy=is_busy)

    def unpin(self, digests: Iterable[str] | None, holder: str = "") -> None:
        """Hold these blobs, or all that a holder has, no longer, or for one upload less.

        Raises: InvalidRequest for a digest of a wrong form.
        """
        self._pins.release(map(normal_digest, digests) if digests is not None else None, holder)

    def prune(self, now_s: float | None = None) -> int:
        """Remove blobs older than an hour that nothing needs, and what dead writers left; returns how many.

        As Ollama does when it starts, except that partial downloads stay, however old they are.
        Raises: StoreError.
        """
        now = time.time() if now_s is None else now_s
        remove_temporaries(self.paths, now)
        if self._noprune:
            return 0
        report = self.collect_garbage(now_s=now, blobs_only=True)
        return len(report.items)

    def collect_garbage(
        self,
        age_s: float | None = None,
        *,
        dry_run: bool = False,
        blobs_only: bool = False,
        now_s: float | None = None,
    ) -> GarbageReport:
        """Remove what no model needs: blobs, given-up downloads, files of programs that died.

        Args:
            age_s: how old it must be; None: an hour, and for downloads a week.
            dry_run: remove nothing and tell what would be.
            blobs_only: leave everything else alone and untold.
        Raises: StoreError when the store cannot be written.
        """
        now = time.time() if now_s is None else now_s
        # Without the folder of the manifests, a disk that is not mounted say, nobody knows what is needed.
        with disk_errors(self.root):
            if not self.paths.manifests.is_dir():
                return GarbageReport(is_dry_run=dry_run, note="the store has no manifests")
        with disk_errors(self.root) if dry_run else self._writing():
            references = find_references(self.paths)
            found = find_garbage(self.paths, references.digests, self.held(), now, Ages.of(age_s))
            note = ""
            if references.unreadable:
                note = f"{references.unreadable[0]} cannot be read and may need any blob"
                _log.warning("no blobs are removed: %s", note)
            items: list[GarbageItem] = []
            kept: list[GarbageItem] = []
            for candidate in found:
                is_blob_file = candidate.item.kind == "blob"
                if blobs_only and not is_blob_file:
                    continue
                spared = candidate.spared or (note if is_blob_file else "")
                if not spared and not dry_run:
                    spared = remove(self.paths, candidate)
                item = replace(candidate.item, reason=spared or candidate.item.reason)
                (kept if spared else items).append(item)
        return GarbageReport(items=tuple(items), kept=tuple(kept), is_dry_run=dry_run, note=note)

    def _pin(self, digest: str, holder: str = "") -> None:
        """Under the lock: one who removes blobs looks at the pins once and then removes."""
        with self._lock.held():
            self._pins.add(digest, holder)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with disk_errors(self.root), self._lock.held():
            yield

    def _load(self, name: ModelName, path: Path) -> StoredModel:
        status = path.stat()
        return self._known_model(str(path), status) or self._read(name, path, status)

    def _known_model(self, path: str, status: os.stat_result) -> StoredModel | None:
        """The model of a manifest that has been read, if neither it nor its config has changed."""
        with self._cache_lock:
            known = self._models.get(path)
        if known is None or known.key != (status.st_mtime_ns, status.st_size, status.st_ino):
            return None
        try:
            is_whole = not known.config or stat.S_ISREG(os.lstat(known.config).st_mode)
        except OSError:
            return None
        return known.model if is_whole else None

    def _read(self, name: ModelName, path: Path, status: os.stat_result) -> StoredModel:
        manifest = read_manifest(path)
        model = read_stored_model(self.paths, name, manifest, self._headers, prefer_go=self._prefer_go)
        key = (status.st_mtime_ns, status.st_size, status.st_ino)
        config = str(self.paths.blob(manifest.config_digest)) if manifest.config_digest else ""
        with self._cache_lock:
            self._models[str(path)] = _Known(key, model, config)
        return model

    def _manifest_or_none(self, name: ModelName) -> Manifest | None:
        try:
            return read_manifest(self.paths.manifest(name))
        except (OSError, ValueError):
            return None

    def _write_manifest(self, name: ModelName, raw: bytes) -> None:
        path = self.paths.manifest(name)
        if path.is_dir():
            raise StoreError(f"{path} is a folder, where the manifest of {name.display()} belongs")
        write_atomically(path, raw, self.paths.temporary)

    def _remove_unreferenced(self, digests: Iterable[str], *, always: bool = False) -> None:
        """Remove those of the blobs that nothing needs, the lock being held; `always` overrides `noprune`."""
        wanted = set(digests)
        if not wanted or (self._noprune and not always):
            return
        references = find_references(self.paths)
        if references.unreadable:
            _log.warning(
                "no blobs are removed: %s cannot be read and may need them", references.unreadable[0]
            )
            return
        removable = wanted - references.digests - self.held()
        for digest in removable:
            self.paths.blob(digest).unlink(missing_ok=True)


def _incomplete(name: ModelName) -> ModelNotFound:
    return ModelNotFound(name.display(), hint="Some of its files are missing; create or pull it again.")
