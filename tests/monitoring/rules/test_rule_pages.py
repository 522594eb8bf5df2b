import csv
import re
from datetime import timedelta
from urllib.parse import unquote

import pytest
from django.test import Client

from accounts.actions import create_user
from audit.actions import service_actor
from audit.models import AuditEvent
from incidents.intake import take_alert
from monitoring import alerts
from monitoring.models import Alert, Finding, Rule, Window
from monitoring.rules.models import AlertRule, Silence
from registry.models import Model, Placement
from tests.monitoring.rules.world import ask, now, points, rule
from tests.monitoring.world import make_endpoint, make_hosts

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)
STATIC = {
    "kind": "static", "name": "p95 of latency", "metric": "latency_p95_ms", "scope": "endpoint", "reduce": "mean",
    "direction": "above", "limit": "10", "window": "1", "hold": "2", "clear_after": "0", "no_data": "show",
    "no_data_after": "15", "severity": "2",
}  # fmt: skip


def person(username, *roles):
    return create_user(
        username=username, email=f"{username}@example.org", full_name=username.title(),
        password="a long enough secret 4711", roles=roles, actor=service_actor("test"),
    )  # fmt: skip


def client_of(user):
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def admin():
    return client_of(person("ada", "administrator"))


@pytest.fixture
def responder():
    return client_of(person("rita", "responder"))


@pytest.fixture
def endpoint(monkeypatch):
    monkeypatch.setattr(alerts, "gather_on_commit", lambda *_, **__: None)
    return make_endpoint()


def test_a_rule_shows_what_it_would_have_done_before_it_is_saved(admin, endpoint):
    points(endpoint, [5, 12, 12, 12, 12, 5, 5], until=now() - 10 * MINUTE)

    page = admin.post("/monitoring/rules/new/", {**STATIC, "endpoint": endpoint.slug, "preview": ""}).content.decode()

    assert "It would have fired once from " in page
    assert "2 min in all" in page
    assert 'data-plot="rule-chart-figure"' in page
    [numbers] = re.findall(r'href="data:text/csv;charset=utf-8,([^"]+)" download="rule-chart.csv"', page)
    taken = list(csv.DictReader(unquote(numbers).splitlines()))
    assert [row["y"] for row in taken if row["line"] == "fired" and row["y"]] == ["12.0"] * 2
    assert AlertRule.objects.count() == 0


def test_a_rule_that_cannot_be_is_refused_with_a_sentence_and_not_saved(admin, endpoint):
    points(endpoint, [5], until=now())
    wrong = {**STATIC, "endpoint": endpoint.slug, "clear": "11", "save": ""}

    page = admin.post("/monitoring/rules/new/", wrong).content.decode()

    assert "The clear limit must not lie beyond the limit: 11 is above 10." in page
    assert AlertRule.objects.count() == 0


def test_a_rule_is_saved_changed_with_a_reason_and_retired_and_each_is_on_record(admin, endpoint):
    points(endpoint, [5], until=now())
    made = admin.post("/monitoring/rules/new/", {**STATIC, "endpoint": endpoint.slug, "save": ""})
    saved = AlertRule.objects.get()
    assert made.url == f"/monitoring/rules/{saved.pk}/"
    assert (saved.params, saved.for_seconds) == ({"direction": "above", "limit": 10.0, "clear": 10.0}, 120)

    without = admin.post(f"{made.url}edit/", {**STATIC, "limit": "20", "save": ""})
    assert "This field is required" in without.content.decode()
    admin.post(f"{made.url}edit/", {**STATIC, "limit": "20", "clear": "", "save": "", "reason": "The model grew."})
    saved.refresh_from_db()
    assert (saved.params["limit"], saved.revision) == (20.0, 2)

    admin.post(f"{made.url}retire/", {"reason": "We watch the mean now."})
    saved.refresh_from_db()
    assert saved.retired_at is not None
    assert "is asked no more" in admin.get(made.url).content.decode()
    told = AuditEvent.objects.filter(target_kind="alert_rule").order_by("pk").values_list("action", flat=True)
    assert list(told) == ["alert_rule.make", "alert_rule.change", "alert_rule.retire"]


@pytest.mark.parametrize("kind", ["static", "seasonal", "burn", "control"])
def test_there_is_a_form_for_each_kind(admin, endpoint, kind):
    page = admin.get(f"/monitoring/rules/new/?endpoint={endpoint.slug}&kind={kind}")

    assert page.status_code == 200
    assert page.context["form"].kind == kind


def test_burn_and_control_rules_are_written_in_peoples_units(admin, endpoint):
    points(endpoint, [0.01, 0.02] * 30, until=now(), name="error_share")
    shared = {**STATIC, "metric": "error_share", "endpoint": endpoint.slug, "save": ""}
    burn = {**shared, "name": "budget", "kind": "burn", "objective": "99.9", "counts": "bad", "long": "60",
            "factor": "14.4", "window": "5"}  # fmt: skip
    since, until = now() - 59 * MINUTE, now()
    control = {**shared, "name": "chart", "kind": "control", "runs": "nelson", "numbers": "1, 2",
               "since": since.isoformat(), "until": until.isoformat()}  # fmt: skip

    admin.post("/monitoring/rules/new/", burn)
    admin.post("/monitoring/rules/new/", control)

    budget, chart = AlertRule.objects.get(name="budget"), AlertRule.objects.get(name="chart")
    assert budget.params == {
        "objective": 0.999, "long_seconds": 3600, "factor": 14.4, "clear_factor": 14.4, "counts": "bad",
    }  # fmt: skip
    assert (chart.params["numbers"], chart.params["points"]) == ([1, 2], 59)
    assert chart.params["centre"] == pytest.approx(0.015, abs=0.0002)
    assert chart.params["sigma"] == pytest.approx(0.01 / 1.128)


def test_a_control_chart_needs_a_stable_period_with_enough_points(admin, endpoint):
    points(endpoint, [0.01] * 5, until=now(), name="error_share")
    control = {**STATIC, "metric": "error_share", "endpoint": endpoint.slug, "save": "", "kind": "control",
               "runs": "nelson", "numbers": "1", "since": (now() - 5 * MINUTE).isoformat(),
               "until": now().isoformat()}  # fmt: skip

    page = admin.post("/monitoring/rules/new/", control).content.decode()

    assert "The stable period has 5 points of error_share; limits need 20. Name a longer one." in page


def test_the_list_says_what_fires_and_where_rules_stand_and_no_data_is_not_well(responder, endpoint):
    points(endpoint, [12], until=now())
    ask(rule(endpoint), since=now() - MINUTE)
    ask(rule(endpoint, name="unheard of", metric="nothing"), since=now() - MINUTE)

    page = responder.get("/monitoring/rules/").content.decode()

    assert "1 alert fires now. Of 1 rule it is not known whether all is well." in page
    assert "p95 of latency: latency_p95_ms is 12, above 10." in page
    assert page.index("No data") > 0
    assert "Write a rule" not in page


def test_the_alert_page_carries_value_limit_chart_what_moved_and_its_incident(responder, endpoint):
    points(endpoint, [5, 5, 12], until=now())
    ask(rule(endpoint), since=now() - 2 * MINUTE)
    alert = Alert.objects.get()
    alert.annotations["features"] = [{"column": "AGEP", "psi": 0.4, "sentence": "AGEP moved.", "drifted": True}]
    alert.save()
    incident = take_alert(alert_id=alert.pk)

    page = responder.get(f"/monitoring/alerts/{alert.pk}/").content.decode()

    assert "12, limit at most 10" in page
    assert "AGEP moved." in page
    assert incident.ref in page
    assert 'data-plot="rule-chart-figure"' in page
    assert "Silence it" in page


def test_the_charts_of_a_rule_and_of_an_alert_can_be_taken_away_as_numbers(responder, endpoint):
    points(endpoint, [5, 5, 12], until=now())
    asked = rule(endpoint)
    ask(asked, since=now() - 2 * MINUTE)
    addresses = (f"/monitoring/rules/{asked.pk}/?days=1&as=csv", f"/monitoring/alerts/{Alert.objects.get().pk}/?as=csv")

    for address in addresses:
        page = responder.get(address.partition("?")[0]).content.decode()
        taken = responder.get(address)
        assert address.replace("&", "&amp;") in page
        assert taken["Content-Type"] == "text/csv; charset=utf-8"
        head, *rows = csv.reader(taken.content.decode().splitlines())
        assert head == ["line", "x", "y"]
        # a long trace is thinned to its extremes
        drawn = [y for line, _x, y in rows if line == "latency_p95_ms" and y]
        assert (set(drawn), drawn[-1]) == ({"5.0", "12.0"}, "12.0")
    quiet = rule(endpoint, name="retired")
    AlertRule.objects.filter(pk=quiet.pk).update(retired_at=now())
    assert responder.get(f"/monitoring/rules/{quiet.pk}/?as=csv").status_code == 404


def test_a_rules_page_says_what_its_alerts_came_to(responder, endpoint):
    points(endpoint, [12], until=now())
    asked = rule(endpoint)
    ask(asked, since=now() - MINUTE)
    incident = take_alert(alert_id=Alert.objects.get().pk)

    page = responder.get(f"/monitoring/rules/{asked.pk}/").content.decode()

    assert "It has raised 1 alert." in page
    assert incident.ref in page
    assert "None has been judged in a review yet" in page


def test_the_detectors_of_an_endpoint_stand_with_what_their_alerts_came_to_and_their_measured_false_alarms(
    responder, endpoint
):
    latency, _ = Rule.objects.update_or_create(endpoint=endpoint, kind="latency", defaults={"enabled": True})
    window = Window.objects.create(endpoint=endpoint, start=now() - 5 * MINUTE, end=now(), due_at=now())
    said = "Split against itself 400 times, the reference raised 0 alarms."
    Finding.objects.create(
        window=window,
        rule=latency,
        version="1",
        answer="ok",
        sentence="As fast as it was.",
        data={"false_alarms": said},
    )
    alert = Alert.objects.create(
        fingerprint="l", source="detector", rule=latency, endpoint=endpoint, severity=2, summary="It is slow.",
        started_at=now(), fired_at=now(),
    )  # fmt: skip
    take_alert(alert_id=alert.pk)

    one = responder.get(f"/monitoring/rules/?endpoint={endpoint.slug}").content.decode()
    everything = responder.get("/monitoring/rules/").content.decode()

    assert "It has raised 1 alert. It came within " in one
    assert "None has been judged in a review yet" in one
    assert said in one
    assert 'id="detectors"' not in everything


def test_a_responder_silences_alerts_and_ends_that(responder, endpoint):
    form = {"endpoint": endpoint.slug, "label": "", "hours": "2", "reason": "We replace its disks."}

    assert responder.post("/monitoring/silences/", form).status_code == 302
    made = Silence.objects.get()
    page = responder.get("/monitoring/silences/").content.decode()
    responder.post(f"/monitoring/silences/{made.pk}/end/")

    assert made.matchers == {"endpoint": endpoint.slug}
    assert "1 silence holds back 0 alerts now." in page
    assert "We replace its disks." in page
    assert "Nothing is silenced." in responder.get("/monitoring/silences/").content.decode()


def test_a_label_that_is_none_is_refused_with_a_sentence(responder, endpoint):
    page = responder.post("/monitoring/silences/", {"label": "DiskFull", "hours": "2", "reason": "why"})

    assert "Write a label as its name, an equals sign and its value" in page.content.decode()
    assert Silence.objects.count() == 0


def test_a_silence_is_about_the_models_that_it_names_and_about_all_where_it_names_none(endpoint):
    [host] = make_hosts("gpu-1")

    assert Silence(matchers={"endpoint": endpoint.slug}).concerned_models() == [endpoint.model]
    # what leads to no model may be a sender's label, at alerts of any of them
    other = Model.objects.create(slug="theirs", name="Theirs", team="others")
    for named in ({"model": "unknown"}, {"host": "gpu-1"}):
        assert set(Silence(matchers=named).concerned_models()) == {endpoint.model, other}
    assert Silence(matchers={"model": "theirs", "host": "gpu-1"}).concerned_models() == [other]
    Placement.objects.create(endpoint=endpoint, host=host)
    assert Silence(matchers={"host": "gpu-1"}).concerned_models() == [endpoint.model]
    assert set(Silence(matchers={"model": "theirs", "host": "gpu-1"}).concerned_models()) == {endpoint.model, other}
    assert set(Silence(matchers={"rule": "latency"}).concerned_models()) == {endpoint.model, other}
