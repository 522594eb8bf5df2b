"""The page on which an analyst reads single predictions: a deliberate act with a reason, on record."""

import re
from datetime import timedelta

from django import forms
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.actions import actor_for
from accounts.permissions import require
from monitoring.rows import MOST_ROWS, ReadingRefused, Rows, read_rows
from monitoring.store import StoreDamaged
from registry.models import Endpoint

MOMENT = forms.DateTimeInput(attrs={"type": "datetime-local", "step": "1"}, format="%Y-%m-%dT%H:%M:%S")

MOMENT_TEXT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?\+00:00")


class RowsForm(forms.Form):
    since = forms.DateTimeField(label=gettext_lazy("From (UTC)"), widget=MOMENT)
    until = forms.DateTimeField(label=gettext_lazy("Before (UTC)"), widget=MOMENT)
    version = forms.CharField(label=gettext_lazy("Version"), max_length=40, required=False)
    host = forms.CharField(label=gettext_lazy("Host"), max_length=50, required=False)
    limit = forms.IntegerField(label=gettext_lazy("At most"), min_value=1, max_value=MOST_ROWS, initial=50)
    reason = forms.CharField(label=gettext_lazy("Why?"), max_length=2000, widget=forms.Textarea(attrs={"rows": 2}))


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def prediction_rows(request: HttpRequest, slug: str) -> HttpResponse:
    """Asks for span and reason; answers a post with the rows, once."""
    require(request, "predictions.read")
    endpoint = get_object_or_404(Endpoint.objects.select_related("model"), slug=slug)
    now = timezone.now().replace(microsecond=0)
    form = RowsForm(request.POST or None, initial={"since": now - timedelta(hours=1), "until": now})
    found: Rows | None = None
    if request.method == "POST" and form.is_valid():
        try:
            found = read_rows(endpoint=endpoint, actor=actor_for(request=request), **form.cleaned_data)
        except (ReadingRefused, StoreDamaged) as error:
            form.add_error(None, str(error))
    columns = [name for name in found.columns if name != "digest"] if found else []
    context = {
        "endpoint": endpoint,
        "form": form,
        "columns": [name.removeprefix("feature.") for name in columns],
        "rows": [[_cell(row.get(name)) for name in columns] for row in found.rows] if found else [],
        "sentence": _sentence(endpoint, found),
    }
    return render(request, "monitoring/prediction_rows.html", context)


def _cell(value: object) -> object:
    """A moment without its letters, for a narrow column; anything else as it is."""
    moment = MOMENT_TEXT.fullmatch(value) if isinstance(value, str) else None
    return f"{moment[1]} {moment[2]}" if moment else value


def _sentence(endpoint: Endpoint, found: Rows | None) -> str:
    if found is None:
        return gettext("Each prediction of %(name)s is about a %(subject_noun)s: reading them is recorded.") % {
            "name": endpoint.name,
            "subject_noun": endpoint.model.subject_noun,
        }
    shown = len(found.rows)
    if not shown:
        return gettext("No prediction lies in that span. That you looked is on record.")
    return gettext("%(shown)s of %(found)s predictions, the oldest first. That you read them is on record.") % {
        "shown": shown,
        "found": found.found,
    }
