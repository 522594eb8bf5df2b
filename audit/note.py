"""C2SP signed notes and checkpoints, the making side (c2sp.org/signed-note, c2sp.org/tlog-checkpoint).

Ed25519 only; the byte 0x01 before a key names the algorithm. Checking is in ``audit.verify``.
"""

import base64
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.verify import ED25519, key_id

PREFIX = "PRIVATE+KEY"


class KeyFileError(Exception):
    """The signing key's file cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Signer:
    """A log's name and its private key."""

    name: str
    private_key: Ed25519PrivateKey

    @property
    def public_bytes(self) -> bytes:
        return self.private_key.public_key().public_bytes_raw()

    @property
    def key_id(self) -> bytes:
        """First four bytes of SHA-256(name || 0x0A || 0x01 || public key)."""
        return key_id(self.name, self.public_bytes)

    @property
    def vkey(self) -> str:
        """``<name>+<key id in hex>+<base64(0x01 || public key)>``: what auditors are given."""
        encoded = base64.b64encode(bytes([ED25519]) + self.public_bytes).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    def sign(self, text: str) -> str:
        """The signed note of a text. Raises ValueError unless the text ends with a newline."""
        if not text.endswith("\n"):
            raise ValueError("The text of a note ends with a newline.")
        signature = base64.b64encode(self.key_id + self.private_key.sign(text.encode())).decode()
        return f"{text}\n— {self.name} {signature}\n"


def checkpoint_text(origin: str, size: int, root: bytes) -> str:
    """Body of a checkpoint: origin, size and base64 root, a line each, no extension lines."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


def create_key_file(path: Path, name: str) -> Signer:
    """Make a new key and write it with mode 0600. Raises KeyFileError when the file is there already."""
    if not name or "+" in name or any(character.isspace() for character in name):
        raise KeyFileError(f"The log's name {name!r} may hold neither spaces nor plus signs.")
    seed = secrets.token_bytes(32)
    signer = Signer(name, Ed25519PrivateKey.from_private_bytes(seed))
    encoded = base64.b64encode(bytes([ED25519]) + seed).decode()
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise KeyFileError(f"{path} exists; a log keeps its key.") from error
    with os.fdopen(handle, "w") as file:
        file.write(f"{PREFIX}+{name}+{signer.key_id.hex()}+{encoded}\n")
        file.flush()
        os.fsync(file.fileno())
    return signer


def read_key_file(path: Path) -> Signer:
    """The signer in a key file. Raises KeyFileError when it is missing, readable by others, or damaged."""
    try:
        mode = path.stat().st_mode
        content = path.read_text()
    except OSError as error:
        raise KeyFileError(f"The signing key {path} cannot be read ({error.strerror}). Make one: audit key.") from error
    if mode & 0o077:
        raise KeyFileError(f"{path} can be read by other users. Close it: chmod 600.")
    try:
        prefix, rest = content.strip().split(f"{PREFIX}+", 1)
        name, identity, encoded = rest.split("+", 2)
        secret = base64.b64decode(encoded, validate=True)
        signer = Signer(name, Ed25519PrivateKey.from_private_bytes(secret[1:]))
    except ValueError as error:
        raise KeyFileError(f"{path} is not a signing key of a log.") from error
    if prefix or secret[0] != ED25519 or signer.key_id.hex() != identity:
        raise KeyFileError(f"{path} is damaged: its key does not have the identity {identity}.")
    return signer
