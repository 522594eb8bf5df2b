"""The log at a million leaves: how long a proof of inclusion takes, and how fast the whole log is verified.

``audit_inclusion_proof_ms`` is the 99th of 100 proofs of leaves drawn from all over the tree, read from the database
and checked against the signed root. ``audit_verify_leaves_per_second`` is ``manage.py audit verify``: every record
hashed again, every index column compared with its record, every checkpoint's root and signature. ``floor`` of the
second is hashing the same records alone, from memory. EVENTS=10000 makes the log smaller.
"""

import os
import random
import sys
import tempfile
import time
from pathlib import Path

from audit.note import read_key_file
from bench.audit_events_per_second import database
from bench.million import Built, Drawn, build
from bench.report import machine, report

EVENTS = int(os.environ.get("EVENTS", "1000000"))
PROOFS = 100
MOST_MS, LEAST_LEAVES = 50.0, 10_000.0


def proof_ms(built: Built) -> float:
    """The 99th centile over the proofs, each from a cold cache of ours."""
    from audit.models import AuditLeaf
    from audit.queries import inclusion
    from audit.verify import check_inclusion

    drawn, times = random.Random(7), []
    for index in (drawn.randrange(built.size) for _ in range(PROOFS)):
        event_id = AuditLeaf.objects.get(leaf_index=index).event_id
        begun = time.perf_counter()
        proof = inclusion(event_id)
        times.append((time.perf_counter() - begun) * 1000)
        if proof is None or not check_inclusion(
            bytes.fromhex(proof.leaf_hash), index, built.size, [bytes.fromhex(one) for one in proof.hashes], built.root
        ):
            raise SystemExit(f"The proof of leaf {index} does not hold.")
    return sorted(times)[int(PROOFS * 0.99) - 1]


def leaves_per_second(built: Built) -> float:
    from audit.integrity import verify_log

    begun = time.perf_counter()
    found = verify_log(built.vkey)
    taken = time.perf_counter() - begun
    if not found.ok or found.root != built.root:
        raise SystemExit(f"The log does not verify: {found.problems[:3]}")
    return built.size / taken


def hashes_per_second() -> float:
    from audit.merkle import Frontier, leaf_hash

    drawn = Drawn(20_000, "lastgood.local/log")
    records = [drawn.event(index)[0] for index in range(20_000)]
    frontier, begun = Frontier(), time.perf_counter()
    for record in records:
        frontier.append(leaf_hash(record))
    return len(records) / (time.perf_counter() - begun)


def main() -> int:
    on = machine()
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as name, database(Path(name)) as (_, env):
        built = build(env["OWNER_DATABASE_URL"], EVENTS, signer=read_key_file(Path(env["LASTGOOD_LOG_KEY_FILE"])))
        os.environ.update(env)
        import django

        django.setup()
        from django.db import connections

        slowest, rate = proof_ms(built), leaves_per_second(built)
        connections.close_all()
    met = report("audit_inclusion_proof_ms", slowest, "ms", MOST_MS, at_least=False, on=on)
    name, floor = "audit_verify_leaves_per_second", hashes_per_second()
    met &= report(name, rate, "leaves/s", LEAST_LEAVES, at_least=True, on=on, floor=floor)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
