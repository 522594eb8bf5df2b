from audit.merkle import inclusion_proof, leaf_hash, range_hash_of, root_of
from audit.queries import proof_steps
from audit.verify import node_hash


def test_the_steps_shown_lead_from_every_leaf_to_the_root() -> None:
    leaves = [leaf_hash(b"%d" % number) for number in range(40)]
    for size in range(1, 41):
        of, root = range_hash_of(leaves[:size]), root_of(leaves[:size])
        for index in range(size):
            value = leaves[index]
            for step in proof_steps(index, size, value, inclusion_proof(index, size, of)):
                sibling = bytes.fromhex(step.hash)
                value = node_hash(sibling, value) if step.side == "left" else node_hash(value, sibling)
                assert step.result == value.hex()
            assert value == root
