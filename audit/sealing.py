"""Personal data at rest: AES-256-GCM under a key per person, which the seal key, a file outside the database, wraps.

A sealed value is a nonce of 12 bytes and the ciphertext with its tag, bound to its place ``table:column:pk``: it opens
nowhere else. A wrapped key is preceded by the four bytes that name the seal key. Whoever has the database alone, or a
copy of it, has neither names nor texts; destroying a person's wrapped key makes all that stands under it unreadable.
"""

import base64
import hashlib
import os
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

NONCE_BYTES = 12
KEY_BYTES = 32
ID_BYTES = 4
PREFIX = "lastgood-seal-key"
MOST_REMEMBERED = 1024
REMEMBERED_SECONDS = 300.0


class SealBroken(ValueError):
    """A sealed value can't be opened: another key sealed it, it was changed, or it stands in another place."""


class SealKeyError(Exception):
    """The seal key's file can't be used; the message says what to do."""


def encrypt(key: bytes, plain: bytes, place: str) -> bytes:
    """Nonce and ciphertext of the bytes, which open under the same key at the same place alone."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, place.encode())


def decrypt(key: bytes, sealed: bytes, place: str) -> bytes:
    """The sealed bytes. Raises SealBroken."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place.encode())
    except (InvalidTag, ValueError) as error:
        raise SealBroken(
            f"What is sealed in {place} does not open: another key sealed it, or it was changed."
        ) from error


@dataclass(frozen=True)
class KeyRing:
    """The seal keys of this installation by their id. The first wraps; the others only open what they wrapped."""

    keys: dict[bytes, bytes]

    @property
    def current(self) -> bytes:
        return next(iter(self.keys))

    def wrap(self, data_key: bytes, subject: str) -> bytes:
        """A person's data key, for the database."""
        return self.current + encrypt(self.keys[self.current], data_key, place_of_key(subject))

    def unwrap(self, wrapped: bytes, subject: str) -> bytes:
        """A person's data key again. Raises SealBroken where no key of the ring wrapped it."""
        key = self.keys.get(wrapped[:ID_BYTES])
        if key is None:
            raise SealBroken(
                f"The key of {subject} was wrapped by the seal key {wrapped[:ID_BYTES].hex()}, which is not in "
                f"{settings.LASTGOOD_SEAL_KEY_FILE}. Put the file back that belongs to this database."
            )
        return decrypt(key, wrapped[ID_BYTES:], place_of_key(subject))


def place_of_key(subject: str) -> str:
    return f"audit_subject_key:wrapped:{subject}"


def place_of_text(event_id: int) -> str:
    return f"audit_private:sealed:{event_id}"


def create_key_file(path: Path) -> KeyRing:
    """Make a seal key and write it with mode 0400. Raises SealKeyError where the file is there already."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    except FileExistsError as error:
        raise SealKeyError(f"{path} exists; change the key with: manage.py sealkey --rotate.") from error
    key = secrets.token_bytes(KEY_BYTES)
    made = KeyRing({key_id(key): key})
    _write(handle, made)
    return made


def add_key(path: Path) -> KeyRing:
    """Put a new key first in the file and keep the one that was first: what it wrapped must open until it is wrapped
    anew. Older ones go. Replaces the file in one step. Raises SealKeyError."""
    before = read_key_file(path)
    key = secrets.token_bytes(KEY_BYTES)
    made = KeyRing({key_id(key): key, before.current: before.keys[before.current]})
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    _write(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), made)
    draft.replace(path)
    return made


def read_key_file(path: Path) -> KeyRing:
    """The keys in a file. Raises SealKeyError when it is missing, open to others, or damaged."""
    try:
        mode, content = path.stat().st_mode, path.read_text()
    except OSError as error:
        raise SealKeyError(
            f"The seal key {path} cannot be read ({error.strerror}). Make one with: manage.py sealkey; "
            "a database that has texts needs the key that they were sealed under."
        ) from error
    if mode & 0o077:
        raise SealKeyError(f"{path} can be read by other users. Close it: chmod 400.")
    keys = {}
    for line in content.splitlines():
        prefix, _, encoded = line.rpartition(" ")
        try:
            key = base64.b64decode(encoded, validate=True)
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES or prefix != f"{PREFIX} {key_id(key).hex()}":
            raise SealKeyError(f"{path} is not a file of seal keys, or it is damaged.")
        keys[key_id(key)] = key
    if not keys:
        raise SealKeyError(f"{path} holds no key.")
    return KeyRing(keys)


def key_id(key: bytes) -> bytes:
    """The first four bytes of SHA-256(key)."""
    return hashlib.sha256(key).digest()[:ID_BYTES]


def _write(handle: int, ring: KeyRing) -> None:
    with os.fdopen(handle, "w") as file:
        for identity, key in ring.keys.items():
            file.write(f"{PREFIX} {identity.hex()} {base64.b64encode(key).decode()}\n")
        file.flush()
        os.fsync(file.fileno())


class _Memory:
    """What this process knows for a while: the key file as long as it is the same, and unwrapped data keys, at most
    MOST_REMEMBERED for REMEMBERED_SECONDS. They are found by the wrapped bytes, which the database must give first:
    once those are destroyed, no process opens anything with what it remembers."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.file: tuple[str, int, int] = ("", 0, 0)
        self.ring = KeyRing({})
        self.data_keys: OrderedDict[tuple[str, bytes], tuple[float, bytes]] = OrderedDict()

    def key_ring(self) -> KeyRing:
        path = Path(settings.LASTGOOD_SEAL_KEY_FILE)
        try:
            status = path.stat()
        except OSError:
            return read_key_file(path)
        state = (str(path), status.st_ino, status.st_mtime_ns)
        with self.lock:
            if state != self.file:
                self.ring, self.file = read_key_file(path), state
                self.data_keys.clear()
            return self.ring

    def data_key(self, subject: str, wrapped: bytes) -> bytes:
        ring, now = self.key_ring(), time.monotonic()
        with self.lock:
            while self.data_keys and now - next(iter(self.data_keys.values()))[0] > REMEMBERED_SECONDS:
                self.data_keys.popitem(last=False)
            known = self.data_keys.get((subject, wrapped))
        if known:
            return known[1]
        key = ring.unwrap(wrapped, subject)
        with self.lock:
            self.data_keys[subject, wrapped] = (now, key)
            while len(self.data_keys) > MOST_REMEMBERED:
                self.data_keys.popitem(last=False)
        return key


_memory = _Memory()


def key_ring() -> KeyRing:
    """The seal keys of setting LASTGOOD_SEAL_KEY_FILE, read again when the file has changed. Raises SealKeyError."""
    return _memory.key_ring()


def new_wrapped_key(subject: str) -> bytes:
    """A fresh data key for a person, wrapped."""
    return key_ring().wrap(secrets.token_bytes(KEY_BYTES), subject)


def seal_text(*, event_id: int, subject: str, wrapped: bytes, key: bytes, text: str) -> bytes:
    """The text of an event with the key of its commitment, 32 bytes, sealed under the subject's data key."""
    return encrypt(_memory.data_key(subject, wrapped), key + text.encode(), place_of_text(event_id))


def open_text(*, event_id: int, subject: str, wrapped: bytes | None, sealed: bytes) -> tuple[bytes, str] | None:
    """Key of the commitment and text; None once the subject's data key has been destroyed. Raises SealBroken."""
    if wrapped is None:
        return None
    plain = decrypt(_memory.data_key(subject, bytes(wrapped)), bytes(sealed), place_of_text(event_id))
    return plain[:KEY_BYTES], plain[KEY_BYTES:].decode()
