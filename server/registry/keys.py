"""The key by which registries know a user: Ollama's own, made when there is none."""

from __future__ import annotations

import base64
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from server.errors import TransferFailed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class Signer:
    """Signs with the ed25519 key of a file in OpenSSH's form.

    The library that does it is imported for the first signature, because most transfers need none.
    """

    def __init__(self, path: Path | None) -> None:
        """Nothing is read yet; without a path nothing can be signed."""
        self._path = path
        self._lock = threading.Lock()
        self._key: Ed25519PrivateKey | None = None

    def authorization(self, text: bytes) -> str:
        """The header of a signed request: public key and signature, in base64. Raises: TransferFailed."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        if self._path is None:
            raise TransferFailed("the registry wants a key, and there is no place for one")
        with self._lock:
            if self._key is None:
                self._key = self._load(self._path)
        public = self._key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        signature = base64.b64encode(self._key.sign(text))
        return b":".join([public.split(b" ")[1], signature]).decode("ascii")

    def _load(self, path: Path) -> Ed25519PrivateKey:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_ssh_private_key

        try:
            _make(path)
            key = load_ssh_private_key(path.read_bytes(), password=None)
        except OSError as error:
            raise TransferFailed(f"the key {path} cannot be read: {error.strerror}") from error
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise TransferFailed(
                f"{path} is not a key in OpenSSH's form without a passphrase",
                hint="Move it away; a new one is made.",
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise TransferFailed(f"{path} is not an ed25519 key")
        return key


def _make(path: Path) -> None:
    """Make a key where there is none, for its owner alone. Raises: OSError."""
    if path.exists():
        return
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(private)
        # A link, because it fails when somebody else has made a key meanwhile; then theirs counts.
        os.link(temporary, path)
        path.with_name(path.name + ".pub").write_bytes(public + b"\n")
    except FileExistsError:
        return
    finally:
        temporary.unlink(missing_ok=True)
