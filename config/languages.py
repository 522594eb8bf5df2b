"""Which languages pages can be read in, and which of them a request is answered in. docs/languages.md"""

import re
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.conf.locale import LANG_INFO
from django.http import HttpRequest, HttpResponse
from django.utils import translation
from django.utils.cache import patch_vary_headers
from django.utils.translation import to_language

from audit.english import ENGLISH

GetResponse = Callable[[HttpRequest], HttpResponse]
PROGRAMS = re.compile(r"/(api|metrics|healthz|readyz)(/|$)|/status/[^/]+/(api/|feed\.atom$)")
"""What programs read: it is the same whatever language they ask for."""
OUTSIDE = re.compile(r"/status/")
"""What readers outside are told, and the pages on which that is written: one language for all."""


def offered(folder: Path) -> list[tuple[str, str]]:
    """English, and each language that the folder holds a compiled catalogue of: its code, and what it calls itself."""
    codes = sorted(to_language(found.parent.parent.name) for found in folder.glob("*/LC_MESSAGES/django.mo"))
    named = [(code, LANG_INFO.get(code, {}).get("name_local", code)) for code in codes]
    return [(ENGLISH, "English"), *((code, name) for code, name in named if code != ENGLISH)]


def of_the_reader(get_response: GetResponse) -> GetResponse:
    """Answers a person in the language that their browser asks for, where a catalogue of it is there."""

    def answer(request: HttpRequest) -> HttpResponse:
        language, chosen = _language_of(request)
        with translation.override(language):
            response = get_response(request)
            if chosen:
                patch_vary_headers(response, ["Accept-Language"])
                response.setdefault("Content-Language", translation.get_language() or ENGLISH)
        return response

    return answer


def _language_of(request: HttpRequest) -> tuple[str, bool]:
    """What it is answered in, and whether its sender was asked."""
    if PROGRAMS.match(request.path):
        return ENGLISH, False
    if OUTSIDE.match(request.path) or len(settings.LANGUAGES) < 2:
        return settings.LANGUAGE_CODE, False
    return translation.get_language_from_request(request), True
