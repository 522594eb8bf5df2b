"""Secrets at rest: AES-256-GCM under a key that HKDF derives from SECRET_KEY, bound to the row that they belong to."""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from audit.sealing import SealBroken, decrypt, encrypt

__all__ = ["SealBroken", "seal", "unseal"]

INFO = b"lastgood sealed column 1"


def seal(secret: str, place: str) -> bytes:
    """Nonce and ciphertext of the text. `place` is `table:column:pk`; only there does it open again."""
    return encrypt(_key(settings.SECRET_KEY), secret.encode(), place)


def unseal(sealed: bytes, place: str) -> str:
    """The sealed text. Tries SECRET_KEY, then SECRET_KEY_FALLBACKS. Raises SealBroken."""
    for secret_key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        try:
            return decrypt(_key(secret_key), sealed, place).decode()
        except SealBroken:
            continue
    raise SealBroken(
        f"The secret in {place} was sealed under another SECRET_KEY. "
        "Add that key to SECRET_KEY_FALLBACKS, or enter the secret again."
    )


def _key(secret_key: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=INFO).derive(secret_key.encode())
