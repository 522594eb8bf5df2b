"""Re-hashing the whole log, piece by piece, from the stored records: a bit that fell over is found within a day."""

import time
from typing import Any

from audit.merkle import Frontier, leaf_hash
from audit.note import Signer
from audit.refusal import RefusesToSign
from audit.verify import open_note, parse_checkpoint

ROUND_SECONDS = 43_200
REST_SECONDS = 3_600
LEAST, MOST = 200, 5_000

STATE = "SELECT s.rehash_peaks, s.rehash_next, s.rehash_size FROM audit_sequencer AS s WHERE s.id = 1"
RESTED = """
    SELECT coalesce(s.rehashed_at < clock_timestamp() - make_interval(secs => %s), true)
    FROM audit_sequencer AS s WHERE s.id = 1
"""
RECORDS = """
    SELECT l.leaf_index, l.leaf_hash, e.canon FROM audit_leaf AS l LEFT JOIN audit_event AS e ON e.id = l.event_id
    WHERE l.leaf_index >= %s AND l.leaf_index < %s ORDER BY l.leaf_index
"""
SIGNED = "SELECT c.note FROM audit_checkpoint AS c WHERE c.size = %s"
KEEP = "UPDATE audit_sequencer SET rehash_peaks = %s, rehash_next = %s, rehash_size = %s WHERE id = 1"
DONE = """
    UPDATE audit_sequencer SET rehash_peaks = '', rehash_next = 0, rehash_size = 0,
           rehashed_size = %s, rehashed_at = clock_timestamp() WHERE id = 1
"""


class Rehash:
    """One pass after the other over the leaves that had been signed when the pass began, with a rest between them.

    Where the pass stands is a row of ``audit_sequencer``, so that a restart goes on there.
    """

    def __init__(self, signer: Signer, rest_seconds: float = REST_SECONDS) -> None:
        self.signer, self.rest_seconds = signer, rest_seconds
        self.frontier = Frontier()
        self.target = 0
        self.last_piece = 0.0

    def load(self, cursor: Any) -> None:
        """Go on where the stored position says; from the beginning where it makes no sense."""
        cursor.execute(STATE)
        peaks, position, target = cursor.fetchone() or (b"", 0, 0)
        try:
            self.frontier, self.target = Frontier(position, bytes(peaks)), target
        except ValueError:
            self.frontier, self.target = Frontier(), 0

    def due(self, now: float) -> bool:
        """Whether a second has gone by since the last piece (``time.monotonic()``)."""
        return now - self.last_piece >= 1.0

    def piece(self, cursor: Any, size: int) -> int:
        """Re-hash the next leaves of a tree of ``size``; returns their number. Raises RefusesToSign at a bad one."""
        self.last_piece = time.monotonic()
        if not self.target and not self._begin(cursor, size):
            return 0
        most = min(MOST, max(LEAST, size // ROUND_SECONDS + 1))
        begun, end = self.frontier.size, min(self.frontier.size + most, self.target)
        cursor.execute(RECORDS, [begun, end])
        for index, stored, canon in cursor.fetchall():
            self._check(index, bytes(stored), canon)
        if self.frontier.size != end:
            raise RefusesToSign(f"Leaf {self.frontier.size} is missing from the database. Run: audit verify.")
        if end == self.target:
            self._compare(cursor)
            cursor.execute(DONE, [self.target])
            self.frontier, self.target = Frontier(), 0
        else:
            cursor.execute(KEEP, [self.frontier.peaks, end, self.target])
        return end - begun

    def _begin(self, cursor: Any, size: int) -> bool:
        cursor.execute(RESTED, [self.rest_seconds])
        row = cursor.fetchone()
        if not size or not row or not row[0]:
            return False
        self.frontier, self.target = Frontier(), size
        return True

    def _check(self, index: int, stored: bytes, canon: Any) -> None:
        if index != self.frontier.size:
            raise RefusesToSign(f"Leaf {self.frontier.size} is missing from the database. Run: audit verify.")
        if canon is None:
            raise RefusesToSign(f"Leaf {index} has lost its event. Run: audit verify.")
        if leaf_hash(bytes(canon)) != stored:
            raise RefusesToSign(
                f"Leaf {index}: the stored record is not the one that the leaf was made from. Run: audit verify."
            )
        self.frontier.append(stored)
        self.frontier.completed.clear()

    def _compare(self, cursor: Any) -> None:
        """The pass must end at the root that was signed for that size, by our own key."""
        cursor.execute(SIGNED, [self.target])
        row = cursor.fetchone()
        try:
            signed = parse_checkpoint(open_note(row[0] if row else "", self.signer.vkey))
        except ValueError as error:
            raise RefusesToSign(f"The checkpoint at {self.target} is not as this key signed it: {error}") from error
        if (signed.size, signed.root) != (self.target, self.frontier.root()):
            raise RefusesToSign(
                f"The first {self.target} leaves, hashed again, miss the root that was signed for them. "
                "Run: audit verify."
            )
