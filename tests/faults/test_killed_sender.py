"""Kill -9 of a worker while it sends a file, to a host or to the bucket: what came is gone on with or begun again, and
nothing half is ever taken for the file."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from incidents.rollback.models import PlanState
from registry import store
from tests.faults.conftest import House, wait_until
from tests.faults.proxy import Proxy
from tests.host.fixtures import ROOT
from tests.incidents.rollback.fleet import Fleet
from tests.registry.buckets import BUCKET, Holder, client_of, s3_server, use

pytestmark = pytest.mark.faults
MIB = 2**20
STORE = (
    "import sys, pathlib, django; django.setup(); from registry import store; store.put_file(pathlib.Path(sys.argv[1]))"
)


def test_what_a_killed_worker_had_sent_to_a_host_is_gone_on_with(
    fleet: Fleet, house: House, proxied: Callable[[int], Proxy]
) -> None:
    proxy, process = proxied(1), fleet.processes[1]
    version = fleet.add_version(3, bias=2.0)
    weights = version.files.get(component="weights").artifact
    proxy.halve = f"/blobs/{weights.pk}"
    proposed = fleet.propose(version)
    first = house.worker("first")
    house.clock()
    assert proxy.held.wait(60), house.log("first")
    half = weights.size // 2
    wait_until(lambda: _standing(process, weights.pk)["offset"] == half, 30, "half of the file has come")

    first.kill()
    first.wait()
    assert _standing(process, weights.pk) == {"whole": False, "offset": half}
    assert process.http.head(f"/lastgood/v1/blobs/{weights.pk}").status_code == 404
    proxy.halve = ""
    proxy.let_go.set()
    house.worker("second")

    def passed() -> bool:
        proposed.refresh_from_db()
        return proposed.state == PlanState.AWAITING

    wait_until(passed, 90, "the preflight has passed")
    sent = [call for call in proxy.calls if call.startswith("PUT") and weights.pk in call]
    assert sent == [f"PUT /lastgood/v1/blobs/{weights.pk}", f"PUT /lastgood/v1/blobs/{weights.pk}/from/{half}"]
    assert process.view(fleet.slug)["versions"]["3"]["digest"] == version.digest


def _standing(process: Any, sha256: str) -> dict[str, Any]:
    found = process.http.get(f"/lastgood/v1/blobs/{sha256}/upload").json()
    return {"whole": found["whole"], "offset": found["offset"]}


def test_what_a_killed_worker_had_sent_to_the_bucket_is_no_object_and_is_sent_again(
    services: Any, settings: Any, tmp_path: Path
) -> None:
    data = os.urandom(34 * MIB)
    (tmp_path / "weights").write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    settings.LASTGOOD_VAR = tmp_path / "var"
    with s3_server() as url, Holder(url, "partNumber=2") as holder:
        client = client_of(url)
        client.create_bucket(Bucket=BUCKET)
        use(settings, holder.url, "here")
        sender = subprocess.Popen(
            [sys.executable, "-c", STORE, str(tmp_path / "weights")], cwd=ROOT, env=_env(settings)
        )
        assert holder.held.wait(60)

        sender.kill()
        sender.wait()
        holder.let_go.set()

        assert client.list_objects_v2(Bucket=BUCKET).get("Contents", []) == []
        assert not store.holds(sha256)
        assert not [path for path in store.root().rglob(sha256) if path.is_file()]
        left = list((store.root() / "drafts").glob("*"))
        assert [path.stat().st_size for path in left] == [len(data)]

        assert store.put_file(tmp_path / "weights") == sha256
        head = client.get_object(Bucket=BUCKET, Key=f"here/{sha256[:2]}/{sha256}")
        assert hashlib.sha256(head["Body"].read()).hexdigest() == sha256
        assert store.holds(sha256)


def _env(settings: Any) -> dict[str, str]:
    names = [f"LASTGOOD_ARTIFACTS_{name}" for name in ("URL", "ENDPOINT", "REGION", "KEY_ID", "SECRET")]
    kept = {name: str(getattr(settings, name)) for name in names}
    return os.environ | kept | {"LASTGOOD_VAR": str(settings.LASTGOOD_VAR), "DJANGO_SETTINGS_MODULE": "config.settings"}
