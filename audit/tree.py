"""The stored tree, for proofs: subtree hashes from leaves and interior nodes, in a few hundred rows.

Nodes of every eighth height are stored (``AuditNode``), as in C2SP tlog-tiles: a tile is up to 256 neighbours.
"""

from typing import Any

from django.db import connections

from audit.merkle import TILE_HEIGHT, TILE_WIDTH, node_hash, root_of

LEAVES = """
    SELECT l.leaf_hash FROM audit_leaf AS l WHERE l.leaf_index >= %s AND l.leaf_index < %s ORDER BY l.leaf_index
"""
NODES = """
    SELECT n.hash FROM audit_node AS n WHERE n.level = %s AND n.position >= %s AND n.position < %s ORDER BY n.position
"""


class StoredTree:
    """Reads each tile once; make a new one for each proof or batch of proofs."""

    def __init__(self, alias: str = "default") -> None:
        self.alias = alias
        self._tiles: dict[tuple[int, int], list[bytes]] = {}

    def tile(self, level: int, number: int) -> list[bytes]:
        """Hashes of the tile, as many as there are: at most 256. Level 0 are the leaves."""
        key = (level, number)
        if key not in self._tiles:
            span: list[Any] = [number * TILE_WIDTH, (number + 1) * TILE_WIDTH]
            with connections[self.alias].cursor() as cursor:
                cursor.execute(*((NODES, [level, *span]) if level else (LEAVES, span)))
                self._tiles[key] = [bytes(row[0]) for row in cursor.fetchall()]
        return self._tiles[key]

    def range_hash(self, low: int, high: int) -> bytes:
        """The hash of the tree over leaves low..high-1 (``audit.merkle.RangeHash``). Raises ValueError where one of
        them is missing."""
        width = high - low
        half = 1 << ((width - 1).bit_length() - 1) if width > 1 else 0
        if width == 2 * half or width == 1:
            known = self._complete(low, width)
            if known is not None:
                return known
        if width <= 1:
            raise ValueError(f"Leaf {low} is missing from the database. Run: audit verify.")
        return node_hash(self.range_hash(low, low + half), self.range_hash(low + half, high))

    def _complete(self, low: int, width: int) -> bytes | None:
        """The hash of a complete subtree from the highest level under it; None where that has not been stored."""
        level = (width.bit_length() - 1) // TILE_HEIGHT
        first, count = low >> (TILE_HEIGHT * level), width >> (TILE_HEIGHT * level)
        if low % width:
            return None
        entries = self.tile(level, first // TILE_WIDTH)[first % TILE_WIDTH : first % TILE_WIDTH + count]
        return root_of(entries) if len(entries) == count else None
