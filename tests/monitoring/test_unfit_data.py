"""Data of another shape than a rule reckons with: it is judged as it is, and no rule keeps another from answering."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from monitoring.detectors import false_alarms
from monitoring.models import Answer, Finding, RuleKind, WindowState
from registry import store
from registry.models import Artifact
from tests.monitoring.stream import judge, play, watch
from tests.monitoring.test_pages import sign_in
from tests.monitoring.world import FEATURES, Answers, answers, log, make_endpoint, make_hosts, make_version, part

pytestmark = pytest.mark.django_db


def with_column(given: Answers, name: str, values: list) -> Answers:
    index = given.table.column_names.index(name)
    return replace(given, table=given.table.set_column(index, name, pa.array(values)))


def found() -> dict[str, Finding]:
    return {finding.rule.kind: finding for finding in Finding.objects.filter(host=None).select_related("rule")}


def test_a_host_that_sends_text_for_numbers_is_input_drift():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1", "gpu-2")
    make_version(endpoint, 1)
    watch(endpoint)
    log(endpoint, hosts[0], answers(part(2017, 0, 300)))
    log(endpoint, hosts[1], with_column(answers(part(2017, 300, 300), seed=1), "feature.AGEP", ["young"] * 300))

    window = judge(endpoint, 0)

    assert (window.state, window.rows) == (WindowState.JUDGED, 600)
    drift = found()["input_drift"]
    assert (drift.answer, drift.data["drifted"]) == (Answer.BREACH, ["AGEP"])
    assert found()["accuracy"].answer == Answer.OK


def test_the_page_of_a_window_names_inputs_that_are_not_those_of_the_signature(client):
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1")
    inputs = {**dict.fromkeys(FEATURES, "INT64"), "MAR": "BYTES", "JOB": "INT64"}
    make_version(endpoint, 1, profiled=False, inputs={name: kind for name, kind in inputs.items() if name != "SEX"})
    watch(endpoint)

    window = play(endpoint, hosts, 0)

    assert found()[RuleKind.INPUT_DRIFT].answer == Answer.NOT_ENOUGH
    page = sign_in(client, "viewer").get(f"/monitoring/windows/{window.pk}/").content.decode()
    assert "Not logged in this window, and counted as missing in every row: JOB." in page
    assert "Logged, and no input of the version: SEX." in page
    assert "signature says, text for numbers or numbers for text: MAR." in page


def test_a_column_of_lists_is_input_drift():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1")
    make_version(endpoint, 1)
    watch(endpoint)
    log(endpoint, hosts[0], with_column(answers(part(2017, 0, 300)), "feature.DIS", [[1, 2]] * 300))

    judge(endpoint, 0)

    assert found()["input_drift"].data["drifted"] == ["DIS"]


def test_a_profile_that_can_t_be_read_keeps_no_other_rule_from_answering():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1")
    version = make_version(endpoint, 1)
    sha256 = store.put_bytes(b'{"format":"lastgood-profile/1","rows":3,"columns":{"AGEP":{"kind":"odd"}}}')
    version.profile = Artifact.objects.create(sha256=sha256, size=1, media_type="application/json")
    version.save(update_fields=["profile"])
    watch(endpoint)

    window = play(endpoint, hosts, 0)

    assert window.state == WindowState.JUDGED
    assert found()["accuracy"].answer == Answer.OK
    drift = found()["input_drift"]
    assert drift.answer == Answer.NOT_ENOUGH
    assert drift.sentence.startswith("Version 1 can't be judged for input drift: ")
    assert drift.sentence.endswith("Column AGEP is of kind odd; a profile knows numeric and categorical.")


def test_false_alarms_that_can_t_be_measured_stop_no_judgement(monkeypatch):
    def fails(*args, **options):
        raise ValueError("too many rows")

    monkeypatch.setattr(false_alarms.calibration, "false_alarms", fails)
    false_alarms._of_profile.cache_clear()
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1")
    make_version(endpoint, 1)
    watch(endpoint)

    play(endpoint, hosts, 0)

    assert found()[RuleKind.INPUT_DRIFT].answer == Answer.OK
    assert found()[RuleKind.INPUT_DRIFT].data["false_alarms"] == ""
    assert np.isfinite(found()[RuleKind.OUTPUT_DRIFT].value)
