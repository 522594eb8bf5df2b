import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    range_hash_of,
    root_of,
)
from audit.verify import Root, check_consistency, check_inclusion

# transparency-dev/merkle, testonly/constants.go
ENTRIES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
FIRST = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
SECOND = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
RIGHT = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
FOUR = "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"
LAST_TWO = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
FIFTH = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
FIFTH_SIXTH = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
SEVENTH = "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f"

LEAVES = [leaf_hash(bytes.fromhex(entry)) for entry in ENTRIES]
EIGHT = range_hash_of(LEAVES)


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return node_hash(naive_root(leaves[:half]), naive_root(leaves[half:]))


def made(size: int) -> list[bytes]:
    return [leaf_hash(b"%d" % number) for number in range(size)]


@pytest.mark.parametrize("size", range(9))
def test_the_published_roots_come_out(size: int) -> None:
    assert root_of(LEAVES[:size]).hex() == ROOTS[size]


def test_the_published_hashes_of_a_leaf_and_a_node_come_out() -> None:
    assert leaf_hash(b"L123456").hex() == "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"
    assert node_hash(b"N123", b"N456").hex() == "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb"
    assert EMPTY_ROOT.hex() == ROOTS[0]


@pytest.mark.parametrize(("index", "proof"), [(0, [FIRST, SECOND, RIGHT]), (5, [FIFTH, LAST_TWO, FOUR])])
def test_the_published_inclusion_proofs_come_out(index: int, proof: list[str]) -> None:
    assert [one.hex() for one in inclusion_proof(index, 8, EIGHT)] == proof


@pytest.mark.parametrize(
    ("old", "new", "proof"),
    [
        (1, 8, [FIRST, SECOND, RIGHT]),
        (6, 8, [FIFTH_SIXTH, LAST_TWO, FOUR]),
        (2, 5, [SECOND, FIFTH]),
        (6, 7, [FIFTH_SIXTH, SEVENTH, FOUR]),
    ],
)
def test_the_published_consistency_proofs_come_out(old: int, new: int, proof: list[str]) -> None:
    assert [one.hex() for one in consistency_proof(old, new, EIGHT)] == proof


@given(st.lists(st.binary(max_size=40), max_size=200))
def test_the_growing_root_equals_the_definition(entries: list[bytes]) -> None:
    leaves = [leaf_hash(entry) for entry in entries]
    checker = Root()
    for leaf in leaves:
        checker.add(leaf)
    assert root_of(leaves) == naive_root(leaves) == checker.value()


def test_every_inclusion_proof_up_to_64_leaves_holds_and_no_other_leaf_passes() -> None:
    leaves = made(65)
    for size in range(1, 65):
        of, root = range_hash_of(leaves[:size]), naive_root(leaves[:size])
        for index in range(size):
            proof = inclusion_proof(index, size, of)
            assert check_inclusion(leaves[index], index, size, proof, root)
            assert not check_inclusion(leaves[64], index, size, proof, root)
            assert not check_inclusion(leaves[index], (index + 1) % size, size, proof, root) or size == 1
            assert not check_inclusion(leaves[index], index, size, [*proof, root], root)
            assert not proof or not check_inclusion(leaves[index], index, size, proof[:-1], root)


def test_every_consistency_proof_up_to_64_leaves_holds_and_no_other_root_passes() -> None:
    leaves = made(64)
    roots = [naive_root(leaves[:size]) for size in range(65)]
    for new in range(65):
        of = range_hash_of(leaves[:new])
        for old in range(new + 1):
            proof = consistency_proof(old, new, of)
            assert check_consistency(old, new, roots[old], roots[new], proof)
            assert not check_consistency(old, new, roots[old], roots[(new + 1) % 65], proof) or old == 0
            assert not check_consistency(old, new, roots[old][::-1], roots[new], proof)
            assert not check_consistency(old, new, roots[old], roots[new], [*proof, roots[1]])


@pytest.mark.parametrize(("index", "size"), [(-1, 4), (4, 4), (0, 0)])
def test_no_proof_is_made_outside_the_tree(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="not in a tree"):
        inclusion_proof(index, size, EIGHT)


def test_no_proof_is_made_that_a_smaller_tree_extends_a_larger() -> None:
    with pytest.raises(ValueError, match="cannot extend"):
        consistency_proof(5, 4, EIGHT)


def test_a_copy_of_the_frontier_grows_alone() -> None:
    frontier = Frontier()
    frontier.extend(LEAVES[:5])
    twin = frontier.copy()
    twin.extend(LEAVES[5:])
    assert (frontier.size, frontier.root().hex()) == (5, ROOTS[5])
    assert (twin.size, twin.root().hex()) == (8, ROOTS[8])
