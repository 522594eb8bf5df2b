"""What every answer carries, page or problem, and what no page holds."""

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.converters import IntConverter, UUIDConverter
from django.urls.resolvers import RegexPattern

from accounts.models import Role
from config.middleware import PERMISSIONS_POLICY
from incidents.models import Incident
from incidents.rollback.models import Plan
from tests.accounts.people import person
from tests.incidents.world import World
from tests.pages.test_query_counts import world

POLICY = {
    "default-src": ["'self'"],
    "script-src": ["'self'"],
    "style-src": ["'self'"],
    "img-src": ["'self'", "data:"],
    "object-src": ["'none'"],
    "base-uri": ["'none'"],
    "form-action": ["'self'"],
    "frame-ancestors": ["'none'"],
}
__all__ = ["world"]

EXPECTED = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": PERMISSIONS_POLICY,
}
SHOWN_ELSEWHERE = re.compile(r"^/status/[\w-]+/.*\.(json|atom|css)$")
"""What a status page's readers may show on a page of their own."""
INLINE = re.compile(
    r"""<[^>]*\s(?:style|on[a-z]+)\s*=\s*["']|<style\b|<script(?![^>]*\bsrc=)(?![^>]*application/json)|javascript:"""
)


def addresses(names: dict[str, str]) -> list[str]:
    """Every address that the program has, with the name of something that is there wherever `names` knows one."""
    found = []

    def walk(patterns: list[Any], before: str) -> None:
        for entry in patterns:
            if isinstance(entry, URLResolver):
                walk(entry.url_patterns, before + _written(entry, names))
            elif isinstance(entry, URLPattern):
                found.append(before + _written(entry, names))

    walk(get_resolver().url_patterns, "/")
    return sorted(set(found))


def _written(entry: Any, names: dict[str, str]) -> str:
    pattern = entry.pattern
    if isinstance(pattern, RegexPattern):
        text = re.sub(r"\(\?P<(\w+)>(?:[^()]|\([^)]*\))*\)", lambda part: names.get(part[1], "nobody"), str(pattern))
        return re.sub(r"\[/?[^\]]*\]\+?|[\^$\\]|/\?", "", text)
    converters = pattern.converters

    def name(part: re.Match[str]) -> str:
        converter = converters[part[2]]
        if isinstance(converter, UUIDConverter):
            return names.get(part[2], "00000000-0000-4000-8000-000000000000")
        return "1" if isinstance(converter, IntConverter) else names.get(part[2], "nobody")

    return re.sub(r"<(?:(\w+):)?(\w+)>", name, str(pattern))


def parsed(policy: str) -> dict[str, list[str]]:
    return {part.split()[0]: part.split()[1:] for part in policy.split(";") if part.strip()}


def assert_safe(answer: Any, where: str) -> None:
    shared = answer.status_code == 200 and SHOWN_ELSEWHERE.search(where)
    expected = EXPECTED | ({"Cross-Origin-Resource-Policy": "cross-origin"} if shared else {})
    assert {name: answer.headers.get(name) for name in EXPECTED} == expected, where
    assert parsed(answer.headers["Content-Security-Policy"]) == POLICY, where
    kept = answer.headers["Cache-Control"]
    assert kept == "private, no-store" or kept.startswith("public"), (where, kept)
    if answer.headers.get("Content-Type", "").startswith("text/html"):
        assert not INLINE.search(answer.content.decode()), (where, INLINE.search(answer.content.decode()))


@pytest.mark.django_db
def test_abuse_14_19_67_every_answer_of_every_address_is_framed_by_nobody_runs_nothing_inline_and_is_not_kept(
    world: World,
) -> None:
    incident = Incident.objects.earliest("pk")
    names = {
        "slug": world.endpoint.slug,
        "ref": incident.ref,
        "name": "h1",
        "username": "rosa",
        "endpoint": world.endpoint.slug,
        "pk": str(Plan.objects.get(incident_ref=incident.ref).request_id),
    }
    signed_in, stranger = Client(raise_request_exception=False), Client(enforce_csrf_checks=True)
    everybody = person("everybody", *Role.values)
    signed_in.force_login(everybody, backend="django.contrib.auth.backends.ModelBackend")
    pages = 0

    for address in addresses(names):
        for who in (stranger, signed_in):
            answer = who.get(address)
            assert answer.status_code < 500 or address == "/readyz", (address, answer.status_code)
            assert_safe(answer, address)
            pages += answer.status_code == 200 and "text/html" in answer.headers["Content-Type"]
        if "_auth_user_id" not in signed_in.session:
            signed_in.force_login(everybody, backend="django.contrib.auth.backends.ModelBackend")
        if not address.startswith("/api/"):
            assert_safe(stranger.post(address), f"POST {address}")

    assert pages > 30


def test_abuse_67_static_files_may_be_kept_and_carry_the_policy_too(client: Client) -> None:
    answer = client.get("/static/icons.svg")
    assert parsed(answer.headers["Content-Security-Policy"]) == POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "no-store" not in answer.headers.get("Cache-Control", "")


@pytest.mark.django_db
def test_abuse_67_a_page_of_somebody_who_signed_out_is_asked_for_anew(client: Client) -> None:
    client.force_login(person("idris", "auditor"), backend="django.contrib.auth.backends.ModelBackend")
    assert client.get("/audit/").headers["Cache-Control"] == "private, no-store"
    client.post("/accounts/logout/")
    assert client.get("/audit/").url == "/accounts/login/?next=/audit/"


@pytest.mark.parametrize("path", ["/incidents/%00/", "/incidents/a%0d%0aSet-Cookie:x=1/", "/audit/?person=%00"])
def test_abuse_30_an_address_with_control_characters_is_refused_before_anything_reads_it(
    client: Client, path: str
) -> None:
    answer = client.generic("GET", path)
    assert answer.status_code == 400
    assert_safe(answer, path)
    assert "Set-Cookie" not in answer.headers


def test_abuse_30_a_program_gets_a_problem_for_such_an_address(client: Client) -> None:
    answer = client.get("/api/v1/incidents/%00/")
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/invalid")
