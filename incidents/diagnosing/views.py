"""The page of a model's cost formula."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods

from accounts.actions import actor_for
from accounts.permissions import may_on, require_on, user_of
from incidents.diagnosing import costs
from incidents.diagnosing.forms import CostForm
from incidents.diagnosing.models import CostFormula
from registry.views import model_for


@login_required
@require_http_methods(["GET", "POST"])
def cost(request: HttpRequest, slug: str) -> HttpResponse:
    """What errors of the model cost, now and before; a POST sets other amounts."""
    model = model_for(request, slug)
    form = CostForm(request.POST or None)
    if request.method == "POST":
        require_on(request, "registry.write", model)
        if form.is_valid():
            try:
                costs.set_formula(
                    model=model, terms=form.terms, reason=form.cleaned_data["reason"], user=user_of(request),
                    actor=actor_for(request=request),
                )  # fmt: skip
            except costs.CostRefused as refused:
                form.add_error(None, str(refused))
            else:
                messages.success(
                    request, gettext("The amounts are set. Incidents that are examined from now on use them.")
                )
                return redirect("model-cost", slug=slug)
    context = {
        "model": model,
        "form": form,
        "formulas": list(CostFormula.objects.filter(model=model).select_related("set_by")[:20]),
        "may_set": may_on(request.user, "registry.write", model),
        "trail": [
            (reverse("model-list"), gettext("Models")),
            (reverse("model-detail", args=[slug]), slug),
            (reverse("model-cost", args=[slug]), gettext("cost of errors")),
        ],
    }
    return render(request, "diagnosing/cost.html", context, status=400 if form.errors else 200)
