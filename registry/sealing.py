"""Secrets at rest: AES-256-GCM under a key that HKDF derives from SECRET_KEY, bound to the row that they belong to."""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

NONCE_BYTES = 12
INFO = b"lastgood sealed column 1"


class SealBroken(ValueError):
    """A sealed value can't be opened: another SECRET_KEY sealed it, or it stands in another row."""


def seal(secret: str, place: str) -> bytes:
    """Nonce and ciphertext of the text. `place` is `table:column:pk`; only there does it open again."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(_key(settings.SECRET_KEY)).encrypt(nonce, secret.encode(), place.encode())


def unseal(sealed: bytes, place: str) -> str:
    """The sealed text. Tries SECRET_KEY, then SECRET_KEY_FALLBACKS. Raises SealBroken."""
    for secret_key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        try:
            plain = AESGCM(_key(secret_key)).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place.encode())
        except (InvalidTag, ValueError):
            continue
        return plain.decode()
    raise SealBroken(
        f"The secret in {place} was sealed under another SECRET_KEY. "
        "Add that key to SECRET_KEY_FALLBACKS, or enter the secret again."
    )


def _key(secret_key: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=INFO).derive(secret_key.encode())
