"""One push: blobs, manifest."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from server.errors import BadModelFile, InvalidModelName
from server.registry.client import RegistryClient
from server.registry.rate import RateLimit
from server.registry.upload import USUAL, BlobUpload, UploadPolicy, put_manifest
from server.services.blob_downloads import TICK_S
from server.services.threads import in_thread
from server.services.transfer import Transfer
from server.storage.manifests import CONFIG_TYPE, Layer
from server.storage.store import ModelStore
from server.types.names import ModelName


class BlobFile:
    """A blob of the store that is being sent. Closed at the end."""

    def __init__(self, digest: str, total_bytes: int, path: Path) -> None:
        """Raises: BadModelFile when the file is gone, or not as long as the manifest says."""
        self.digest = digest
        self.total_bytes = total_bytes
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise BadModelFile(f"blob {digest} cannot be read: {error.strerror}") from error
        if os.fstat(self._descriptor).st_size != total_bytes:
            self.close()
            raise BadModelFile(f"blob {digest} does not have the {total_bytes} bytes of its manifest")

    def read_at(self, n_bytes: int, offset: int) -> bytes:
        """Some of its bytes. Raises: BadModelFile."""
        try:
            return os.pread(self._descriptor, n_bytes, offset)
        except OSError as error:
            raise BadModelFile(f"blob {self.digest} cannot be read: {error.strerror}") from error

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


class Push:
    """Sends one model."""

    def __init__(
        self,
        transfer: Transfer,
        store: ModelStore,
        client: RegistryClient,
        limits: Sequence[RateLimit],
        policy: UploadPolicy = USUAL,
    ) -> None:
        self._transfer = transfer
        self._store = store
        self._client = client
        self._limits = limits
        self._policy = policy

    async def run(self) -> None:
        """Do it. Raises: ModelNotFound, TransferFailed and its kinds, StoreError and its kinds."""
        transfer, client = self._transfer, self._client
        try:
            transfer.tell("retrieving manifest")
            model = await asyncio.to_thread(self._store.find, transfer.name)
            raw = await asyncio.to_thread(self._store.paths.manifest(model.name).read_bytes)
            manifest = model.manifest
            config = Layer(CONFIG_TYPE, manifest.config_digest, manifest.config_size_bytes)
            layers = {layer.digest: layer for layer in (*manifest.layers, config)}
            transfer.total_bytes = sum(layer.size_bytes for layer in layers.values())
            for layer in layers.values():
                await self._send(layer)
            transfer.tell("pushing manifest")
            # Ollama writes it anew, without the newline at its end: thus the digest is the same.
            await in_thread(
                lambda: put_manifest(client, transfer.name.tag, raw.rstrip(b"\n")), client.connections.abort
            )
            transfer.tell("success")
        finally:
            client.connections.close()

    async def _send(self, layer: Layer) -> None:
        path = self._store.blob_path(layer.digest)
        source = await asyncio.to_thread(BlobFile, layer.digest, layer.size_bytes, path)
        upload = BlobUpload(
            self._client,
            source,
            mount_from=_repository(layer.source),
            policy=self._policy,
            limits=self._limits,
        )
        sending = asyncio.create_task(in_thread(upload.run, upload.stop), name="send")
        try:
            while not sending.done():
                await asyncio.wait({sending}, timeout=TICK_S)
                if not sending.done() and upload.completed_bytes:
                    self._tell(layer, upload.completed_bytes)
            sending.result()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            source.close()
        self._tell(layer, layer.size_bytes)

    def _tell(self, layer: Layer, completed_bytes: int) -> None:
        self._transfer.tell_bytes("pushing", layer.digest, layer.size_bytes, completed_bytes)


def _repository(source: str) -> str:
    """The repository of the model that a layer came from, "" when it came from a file."""
    if not source:
        return ""
    try:
        name = ModelName.parse(source)
    except InvalidModelName:
        return ""
    return f"{name.namespace}/{name.model}"
