"""Pages that exist only for the tests of the parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from django import forms
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.safestring import mark_safe

from tests.pages.gallery import data


class TriageForm(forms.Form):
    severity = forms.ChoiceField(
        choices=[("1", "1: people are harmed"), ("2", "2: wrong for many"), ("3", "3: wrong for few")]
    )
    reason = forms.CharField(widget=forms.Textarea(attrs={"rows": 2}), help_text="What you saw, in a sentence or two.")
    impact = forms.IntegerField(label="People affected", required=False, max_value=1000)
    announce = forms.BooleanField(label="Publish on the status page", required=False)
    who = forms.ChoiceField(
        widget=forms.RadioSelect, choices=[("me", "I command"), ("other", "Somebody else commands")], label="Command"
    )


class SignInForm(forms.Form):
    login = forms.CharField(label="Username or e-mail")
    password = forms.CharField(
        widget=forms.PasswordInput, help_text=mark_safe('<a href="/accounts/password/reset/">Forgot your password?</a>')
    )


class NoProviders(DefaultSocialAccountAdapter):
    """Nobody else signs people in here; which providers there are would be asked of the database."""

    def list_providers(self, request: HttpRequest) -> list[Any]:
        return []


@dataclass
class LiveState:
    """What the live part answers; tests set it."""

    version: int = 1
    events: int = 2
    status: int = 200
    signed_out: bool = False
    requests: list[dict[str, Any]] = field(default_factory=list)


LIVE = LiveState()


def _parts() -> dict[str, Any]:
    return {
        "user": data.Person(),
        "waves": data.waves(),
        "evidence": data.evidence(),
        "checks": data.checks(),
        "figure": data.figure(),
        "bars": data.bars(),
        "latency": data.latency(),
        "diff": data.diff(),
        "approvals": data.approvals(),
        "timeline": data.timeline(),
        "uptime": data.uptime(),
        "hash": data.HEX,
        "tones": ["ok", "warn", "bad", "busy", "unknown", "quiet"],
        "words": ["operational", "degraded", "firing", "mitigating", "no such state", "closed"],
        "head_chips": [{"state": "mitigating", "label": ""}],
        "head_facts": [
            {"label": "commander", "value": "Mara Lindqvist"},
            {"label": "opened", "value": "02:17:04 UTC"},
            {"label": "affects", "value": "1 204 people"},
        ],
        "trail": [("/incidents/", "Incidents"), ("/incidents/INC-7/", "INC-7")],
        "table": {
            "columns": ["UTC", "accuracy", "answers"],
            "rows": [["02:00", "78.1 %", "412"], ["02:16", "70.9 %", "398"]],
        },
        "page": Paginator(range(1204), 50).page(2),
        "path": [
            {"side": "left", "hash": data.HEX, "result": data.HEX[::-1]},
            {"side": "right", "hash": data.HEX[4:] + "abcd", "result": data.HEX[2:] + "ff"},
        ],
    }


def gallery(request: HttpRequest) -> HttpResponse:
    bound = TriageForm({"severity": "2", "reason": "", "impact": "5000", "who": "me"})
    return render(request, "gallery.html", _parts() | {"form": TriageForm(), "bound": bound})


def incident(request: HttpRequest) -> HttpResponse:
    return render(request, "incident.html", _parts() | {"waves": data.waves()})


def public(request: HttpRequest) -> HttpResponse:
    return render(request, "public.html", {"uptime": data.uptime()})


def live_page(request: HttpRequest) -> HttpResponse:
    return render(request, "live.html", {"user": data.Person(), "live": LIVE})


def live_part(request: HttpRequest) -> HttpResponse:
    if LIVE.signed_out:
        return redirect("/accounts/login/?next=/live/part/")
    etag = f'"{LIVE.version}"'
    sent = request.headers.get("If-None-Match")
    status = LIVE.status if LIVE.status != 200 else 304 if sent == etag else 200
    LIVE.requests.append({"etag": sent, "status": status})
    if status == 304:
        return HttpResponse(status=304, headers={"ETag": etag})
    response = render(request, "live_part.html", {"live": LIVE}, status=status)
    response["ETag"] = etag
    return response


def forbidden(request: HttpRequest) -> HttpResponse:
    raise PermissionDenied("You may not export the log. Ask a person with the role auditor.")


def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("on purpose")


def sign_in(request: HttpRequest) -> HttpResponse:
    form = SignInForm(request.POST or None)
    if request.method == "POST":
        form.add_error(None, "The username or the password is wrong.")
    return render(request, "account/login.html", {"form": form, "redirect_field": ""})
