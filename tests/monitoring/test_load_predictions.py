from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pytest

from monitoring import store
from monitoring.models import Label, PredictionBatch
from monitoring.windows import load_predictions, numpy_column
from tests.monitoring.world import (
    START,
    WINDOW,
    answers,
    label_lines,
    log,
    make_endpoint,
    make_hosts,
    part,
    send,
    stream,
)

pytestmark = pytest.mark.django_db


def test_the_rows_of_a_span_come_back_in_time_order_with_host_and_label():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1", "gpu-2")
    given = [answers(part(2017, 100 * i, 60), seed=i) for i in range(2)]
    for host, one in zip(hosts, given, strict=True):
        log(endpoint, host, one)

    table = load_predictions(endpoint, START, START + WINDOW)

    assert len(table) == 120
    stamps = table.column("ts").to_pylist()
    assert stamps == sorted(stamps)
    by_id = dict(zip(table.column("id").to_pylist(), table.select(["host", "label"]).to_pylist(), strict=True))
    assert by_id[given[1].ids[7]] == {"host": "gpu-2", "label": float(given[1].label[7])}


def test_the_span_is_half_open():
    endpoint, [host] = make_endpoint(), make_hosts("gpu-1")
    log(endpoint, host, answers(part(2017, 0, 60)), labelled=False)

    seconds = [START + timedelta(seconds=s) for s in (10, 20)]
    table = load_predictions(endpoint, *seconds)

    assert table.column("ts").to_pylist() == [START + timedelta(seconds=s) for s in range(10, 20)]


def test_versions_hosts_and_columns_can_be_picked():
    endpoint, [one, two] = make_endpoint(), make_hosts("gpu-1", "gpu-2")
    log(endpoint, one, answers(part(2017, 0, 10), version=1))
    log(endpoint, two, answers(part(2017, 10, 20), version=1, seed=1))
    log(endpoint, two, answers(part(2017, 30, 40), version=2))

    first = load_predictions(endpoint, START, START + WINDOW, versions=["1"], columns=["output", "label"])
    on_two = load_predictions(endpoint, START, START + WINDOW, hosts=[two], columns=["host", "feature.DIS"])

    assert (len(first), first.column_names) == (30, ["output", "label"])
    assert first.column("label").null_count == 0
    assert (len(on_two), on_two.column_names) == (60, ["host", "feature.DIS"])
    assert set(on_two.column("host").to_pylist()) == {"gpu-2"}


def test_a_label_that_has_not_come_is_null_and_a_late_one_is_there_on_the_next_read():
    endpoint, [host] = make_endpoint(), make_hosts("gpu-1")
    given = answers(part(2017, 0, 60))
    log(endpoint, host, given, labelled=False)
    before = load_predictions(endpoint, START, START + WINDOW)

    send("labels", label_lines(given), endpoint)

    after = load_predictions(endpoint, START, START + WINDOW)
    assert before.column("label").null_count == 60
    assert after.column("label").to_pylist() == given.label.astype(float).tolist()


def test_ids_of_any_characters_find_their_labels_and_one_with_a_nul_has_none():
    endpoint, [host] = make_endpoint(), make_hosts("gpu-1")
    given = answers(part(2017, 0, 5))
    ids = ["a'b", 'c"d\\', "é\u2028{}", "%s", "nul\0"]
    given = replace(given, table=given.table.set_column(0, "id", pa.array(ids)))
    send("predictions", stream(given.table), endpoint, host)
    for one, label in zip(ids[:4], range(4), strict=True):
        Label.objects.create(endpoint=endpoint, prediction_id=one, label=label, at=START)

    table = load_predictions(endpoint, START, START + WINDOW)

    found = dict(zip(table.column("id").to_pylist(), table.column("label").to_pylist(), strict=True))
    assert found == {"a'b": 0.0, 'c"d\\': 1.0, "é\u2028{}": 2.0, "%s": 3.0, "nul\0": None}


def test_a_span_without_traffic_is_an_empty_table_with_its_columns():
    table = load_predictions(make_endpoint(), START, START + WINDOW)

    assert len(table) == 0
    assert {"id", "ts", "version", "host", "output", "label"} <= set(table.column_names)


def test_batches_with_different_columns_make_one_table_with_nulls():
    endpoint, [host] = make_endpoint(), make_hosts("gpu-1")
    log(endpoint, host, answers(part(2017, 0, 10)))
    without = {name: column for name, column in part(2017, 10, 10).items() if name != "DIS"}
    log(endpoint, host, answers(without, seed=1))

    table = load_predictions(endpoint, START, START + WINDOW)

    assert table.column("feature.DIS").null_count == 10


def test_a_file_that_was_changed_is_refused_by_name():
    endpoint, [host] = make_endpoint(), make_hosts("gpu-1")
    log(endpoint, host, answers(part(2017, 0, 10)))
    batch = PredictionBatch.objects.get()
    (store.root() / batch.path).write_bytes(b"something else")

    with pytest.raises(store.StoreDamaged, match=batch.path):
        load_predictions(endpoint, START, START + WINDOW)


def test_the_predictions_of_another_endpoint_stay_there():
    endpoint, other = make_endpoint(), make_endpoint("employment-staging")
    [host] = make_hosts("gpu-1")
    log(other, host, answers(part(2017, 0, 10)))

    assert len(load_predictions(endpoint, START, START + WINDOW)) == 0


@pytest.mark.parametrize(
    ("first", "second", "values"),
    [
        ([1, 2], ["one", None], [1, 2, "one", None]),
        ([True, False], [1, 2], [True, False, 1, 2]),
        ([0.5, None], ["1", "x"], [0.5, None, "1", "x"]),
        ([[1], [1, 2]], ["a", "b"], [[1], [1, 2], "a", "b"]),
        (["a", "b"], pa.array(["a", None]).dictionary_encode(), ["a", "b", "a", None]),
    ],
)
def test_deliveries_that_disagree_about_a_type_make_one_column(first, second, values):
    endpoint, [host] = make_endpoint(), make_hosts("gpu-1")
    for index, column in enumerate((first, second)):
        given = answers(part(2017, 10 * index, 2), start=START + index * WINDOW / 2, length=WINDOW / 2, seed=index)
        with_it = given.table.append_column("feature.odd", column if isinstance(column, pa.Array) else pa.array(column))
        send("predictions", stream(with_it), endpoint, host)

    table = load_predictions(endpoint, START, START + WINDOW)

    assert table.column("feature.odd").to_pylist() == values
    assert numpy_column(table, "feature.odd").tolist() == values
