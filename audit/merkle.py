"""The Merkle tree of RFC 6962, the making side: roots, inclusion proofs and consistency proofs.

Hashes are 32 bytes. The checking side is in ``audit.verify``, which auditors get as one file.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
EMPTY_ROOT = hashlib.sha256(b"").digest()

RangeHash = Callable[[int, int], bytes]
"""``f(low, high)``: the hash of the subtree over leaves low..high-1, where high > low."""


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 || entry), RFC 6962 section 2.1."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right), RFC 6962 section 2.1."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Node(NamedTuple):
    """The hash of a complete subtree over 256**level leaves, the ``position``-th of its level (from 0)."""

    level: int
    position: int
    hash: bytes


class Frontier:
    """The complete subtrees at the right edge of a tree, largest first: all that appending needs (a compact range).

    ``completed`` gathers the nodes of every eighth height as they come to be; whoever stores them clears the list.
    """

    def __init__(self, size: int = 0, peaks: bytes = b"") -> None:
        """``peaks``: those of a tree of ``size`` leaves, one after the other. Raises ValueError unless they fit."""
        if len(peaks) != 32 * size.bit_count():
            raise ValueError(f"A tree of {size} leaves has {size.bit_count()} peaks, not {len(peaks) / 32:g}.")
        self.size = size
        self._peaks = [peaks[at : at + 32] for at in range(0, len(peaks), 32)]
        self.completed: list[Node] = []

    @property
    def peaks(self) -> bytes:
        return b"".join(self._peaks)

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        carry, position, height = leaf, self.size, 0
        while position & 1:
            carry = node_hash(self._peaks.pop(), carry)
            position >>= 1
            height += 1
            if height % TILE_HEIGHT == 0:
                self.completed.append(Node(height // TILE_HEIGHT, position, carry))
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
        return Frontier(self.size, self.peaks)


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
