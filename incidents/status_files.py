"""The static copy of a public page: written whole at each publish, and what readers are served, without a look into the
database. Any web server can serve the folder."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse

from incidents.models import StatusPage

LOCK = 0x57A7
"""The first half of the key of the lock under which a page is written; the second is the page's."""
STYLESHEET = Path(settings.BASE_DIR) / "static" / "status.css"
FRESH = "public, max-age=5, stale-while-revalidate=60"
LISTS = ("incidents", "incidents/unresolved", "scheduled-maintenances", "scheduled-maintenances/upcoming",
         "scheduled-maintenances/active")  # fmt: skip
JSON_FILES = tuple(f"api/v2/{name}.json" for name in ("summary", "status", "components", *LISTS))
KINDS = {
    "index.html": "text/html; charset=utf-8",
    "feed.atom": "application/atom+xml; charset=utf-8",
    "status.css": "text/css; charset=utf-8",
} | dict.fromkeys(JSON_FILES, "application/json")
"""The files of a page, by the path under its address, and what each is."""
PLACE = re.compile(r"/status/([-\w]+)/([\w/.-]*)", re.ASCII)


@dataclass(frozen=True)
class Written:
    """A file as it was read; it is read again when another took its place."""

    stamp: tuple[int, int, int]
    body: bytes
    etag: str


_read: dict[Path, Written] = {}


def directory(slug: str) -> Path:
    """Where the static copy of a page lies."""
    return Path(settings.LASTGOOD_VAR) / "status" / slug


def publish_page(*, page_id: int) -> bool:
    """Write the static copy of what a public page says now, each file whole or not at all. A page for signed-in people
    has no copy: nobody could ask who reads it. One at a time reads and writes: an older picture never replaces a
    newer one. False when the page was changed meanwhile; then it is due again."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [LOCK, page_id])
        return _publish(StatusPage.objects.get(pk=page_id))


def _publish(page: StatusPage) -> bool:
    from incidents.status_json import bodies
    from incidents.status_render import Picture, feed, page_html

    if page.public:
        picture, target = Picture(page), directory(page.slug)
        _write(target / STYLESHEET.name, STYLESHEET.read_bytes())
        for name, answer in bodies(picture).items():
            _write(target / name, json.dumps(answer, indent=1).encode())
        _write(target / "feed.atom", feed(picture).encode())
        _write(target / "index.html", page_html(picture).encode())
    same = StatusPage.objects.filter(pk=page.pk, version=page.version)
    done = same.update(published_at=Now(), publish_due_at=None)
    if not done:
        StatusPage.objects.filter(pk=page.pk).update(publish_due_at=Now())
    if not StatusPage.objects.filter(pk=page.pk, public=True).exists():
        withdraw(page.slug)
    return bool(done)


def withdraw(slug: str) -> None:
    """Take the copy of a page away that is not for everybody any more."""
    shutil.rmtree(directory(slug), ignore_errors=True)


def _write(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}")
    with os.fdopen(handle, "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    Path(name).chmod(0o644)
    Path(name).replace(path)


def read(slug: str, name: str) -> Written | None:
    """The file of a page's copy; None where there is none."""
    path = directory(slug) / name
    try:
        found = path.stat()
        stamp = found.st_mtime_ns, found.st_ino, found.st_size
        known = _read.get(path)
        if known is None or known.stamp != stamp:
            body = path.read_bytes()
            known = _read[path] = Written(stamp, body, etag_of(body))
        return known
    except OSError:
        _read.pop(path, None)
        return None


def copy_at(path: str) -> tuple[str, Written] | None:
    """The file of a page's copy that an address such as `/status/services/` leads to, with its name."""
    place = PLACE.fullmatch(path)
    name = place[2] or "index.html" if place else ""
    found = read(place[1], name) if place and name in KINDS else None
    return None if found is None else (name, found)


def etag_of(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def answer(request: HttpRequest, name: str, body: bytes, etag: str, cache: str = FRESH) -> HttpResponse:
    """The file, or 304 to whoever has it (RFC 9110, 13.1.2: a weak comparison, any of several, or `*`)."""
    headers = {"ETag": etag, "Cache-Control": cache}
    had = request.META.get("HTTP_IF_NONE_MATCH", "")
    if had and (had.strip() == "*" or etag in (one.strip().removeprefix("W/") for one in had.split(","))):
        return HttpResponse(status=304, headers=headers)
    response = HttpResponse(body, content_type=KINDS[name], headers=headers | {"Content-Length": str(len(body))})
    if request.method == "HEAD":
        response.content = b""
        response["Content-Length"] = str(len(body))
    if name != "index.html":
        # Whoever shows a page's state on a page of their own reads these from a browser.
        response["Access-Control-Allow-Origin"] = "*"
        response["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response


GetResponse = Callable[[HttpRequest], HttpResponse]


def written_pages(get_response: GetResponse) -> GetResponse:
    """Answers requests for public status pages from their copies, before anything asks for a session or a database.
    What has no copy goes on to the views."""

    def serve(request: HttpRequest) -> HttpResponse:
        if request.path_info.startswith("/status/") and request.method in ("GET", "HEAD"):
            found = copy_at(request.path_info)
            if found is not None:
                name, file = found
                return answer(request, name, file.body, file.etag)
        return get_response(request)

    return serve
