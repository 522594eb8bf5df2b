import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit.merkle import Frontier, consistency_proof, inclusion_proof, leaf_hash, range_hash_of
from audit.tree import StoredTree
from audit.verify import check_consistency, check_inclusion
from tests.conftest import CommittedDatabase

SIZE = 70_000
HASHES = [leaf_hash(str(number).encode()) for number in range(SIZE)]


@pytest.fixture(scope="module")
def frontier() -> Frontier:
    frontier = Frontier()
    frontier.extend(HASHES)
    return frontier


@pytest.fixture
def stored(committed_db: CommittedDatabase, frontier: Frontier) -> StoredTree:
    """A tree of 70,000 leaves, as the sequencer stores it, without events."""
    import psycopg

    with psycopg.connect(committed_db.services.cluster.url("lastgood_super", committed_db.name)) as by_hand:
        for (name,) in by_hand.execute(
            "SELECT conname FROM pg_constraint WHERE conrelid = 'audit_leaf'::regclass AND contype = 'f'"
        ).fetchall():
            by_hand.execute(f'ALTER TABLE audit_leaf DROP CONSTRAINT "{name}"')
        with by_hand.cursor().copy("COPY audit_leaf (leaf_index, event_id, leaf_hash) FROM STDIN") as copy:
            for index, value in enumerate(HASHES):
                copy.write_row((index, index, value))
        with by_hand.cursor().copy("COPY audit_node (level, position, hash) FROM STDIN") as copy:
            for node in frontier.completed:
                copy.write_row(node)
    return StoredTree()


def test_nodes_of_every_eighth_height_come_to_be_as_leaves_are_appended(frontier: Frontier) -> None:
    of = range_hash_of(HASHES)
    assert [(node.level, node.position) for node in frontier.completed if node.level == 2] == [(2, 0)]
    assert len(frontier.completed) == SIZE // 256 + SIZE // 65_536
    for node in (frontier.completed[0], frontier.completed[100], frontier.completed[-1]):
        width = 256**node.level
        assert node.hash == of(node.position * width, (node.position + 1) * width)


def test_a_frontier_goes_on_from_its_peaks() -> None:
    whole, first = Frontier(), Frontier()
    whole.extend(HASHES[:1000])
    first.extend(HASHES[:333])
    rest = Frontier(first.size, first.peaks)
    rest.extend(HASHES[333:1000])
    assert (rest.size, rest.root(), rest.peaks) == (1000, whole.root(), whole.peaks)
    with pytest.raises(ValueError, match="has 5 peaks, not 4"):
        Frontier(333, first.peaks[32:])


def test_proofs_from_the_stored_tree_hold_and_read_few_rows(stored: StoredTree, frontier: Frontier) -> None:
    root = frontier.root()
    for index in (0, 255, 256, 65_535, 65_536, 69_887, 69_888, SIZE - 1):
        with CaptureQueriesContext(connection) as asked:
            proof = inclusion_proof(index, SIZE, StoredTree().range_hash)
        assert check_inclusion(HASHES[index], index, SIZE, proof, root)
        assert len(asked) <= 6
    of = range_hash_of(HASHES)
    for old in (1, 300, 65_536, 69_999):
        proof = consistency_proof(old, SIZE, stored.range_hash)
        assert check_consistency(old, SIZE, of(0, old), root, proof)


def test_a_tree_whose_nodes_are_not_stored_yet_gives_the_same_hashes(
    stored: StoredTree, committed_db: CommittedDatabase
) -> None:
    expected = stored.range_hash(0, 1024)
    committed_db.execute("ALTER TABLE audit_node DISABLE TRIGGER USER")
    committed_db.execute("DELETE FROM audit_node")
    assert StoredTree().range_hash(0, 1024) == expected == range_hash_of(HASHES)(0, 1024)


def test_a_missing_leaf_is_named(stored: StoredTree) -> None:
    with pytest.raises(ValueError, match=f"Leaf {SIZE} is missing"):
        stored.range_hash(SIZE, SIZE + 1)
