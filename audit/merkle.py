"""The Merkle tree of RFC 6962, the making side: roots, inclusion proofs and consistency proofs.

Hashes are 32 bytes. The checking side is in ``audit.verify``, which auditors get as one file.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence

EMPTY_ROOT = hashlib.sha256(b"").digest()

RangeHash = Callable[[int, int], bytes]
"""``f(low, high)``: the hash of the subtree over leaves low..high-1, where high > low."""


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 || entry), RFC 6962 section 2.1."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right), RFC 6962 section 2.1."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The complete subtrees at the right edge of a tree, largest first: all that appending needs (a compact range)."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        carry, size = leaf, self.size
        while size & 1:
            carry = node_hash(self._peaks.pop(), carry)
            size >>= 1
        self._peaks.append(carry)
        self.size += 1

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaf hashes in order."""
        for leaf in leaves:
            self.append(leaf)

    def root(self) -> bytes:
        """The root of the tree so far; SHA-256 of nothing when it is empty."""
        if not self._peaks:
            return EMPTY_ROOT
        result = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            result = node_hash(peak, result)
        return result

    def copy(self) -> "Frontier":
        twin = Frontier()
        twin.size, twin._peaks = self.size, list(self._peaks)
        return twin


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root over leaf hashes."""
    frontier = Frontier()
    frontier.extend(leaves)
    return frontier.root()


def range_hash_of(leaves: Sequence[bytes]) -> RangeHash:
    """Subtree hashes computed from leaf hashes in memory."""
    return lambda low, high: root_of(leaves[low:high])


def inclusion_proof(index: int, size: int, range_hash: RangeHash) -> list[bytes]:
    """PATH(index, D[size]) of RFC 6962 section 2.1.1, lowest sibling first. Raises ValueError outside the tree."""
    if not 0 <= index < size:
        raise ValueError(f"Leaf {index} is not in a tree of {size}.")
    proof = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            proof.append(range_hash(middle, high))
            high = middle
        else:
            proof.append(range_hash(low, middle))
            low = middle
    return proof[::-1]


def consistency_proof(old: int, new: int, range_hash: RangeHash) -> list[bytes]:
    """PROOF(old, D[new]) of RFC 6962 section 2.1.2; empty for equal sizes and for the empty tree.

    Raises ValueError unless 0 <= old <= new.
    """
    if not 0 <= old <= new:
        raise ValueError(f"A tree of {new} cannot extend one of {old}.")
    if old in (0, new):
        return []
    proof = []
    low, high, whole = 0, new, True
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            proof.append(range_hash(middle, high))
            high = middle
        else:
            proof.append(range_hash(low, middle))
            low, whole = middle, False
    if not whole:
        proof.append(range_hash(low, high))
    return proof[::-1]


def _split(width: int) -> int:
    """The largest power of two smaller than width (width > 1)."""
    return 1 << ((width - 1).bit_length() - 1)
