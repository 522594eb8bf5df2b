"""The API of cost formulas."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import actor_for
from accounts.api import HasScope
from accounts.permissions import require, user_of
from accounts.problems import Problem
from incidents.diagnosing import costs
from incidents.diagnosing.models import CostFormula
from registry.models import Model


class CostFormulaSerializer(serializers.ModelSerializer[CostFormula]):
    model = serializers.CharField(source="model.slug")
    set_by = serializers.CharField(source="set_by.username")

    class Meta:
        model = CostFormula
        fields = [
            "id", "model", "number", "currency", "wrong_positive", "wrong_negative", "degraded_hour", "reason",
            "set_by", "set_at", "replaced_at",
        ]  # fmt: skip


class SetCostFormulaSerializer(serializers.Serializer[Any]):
    model = serializers.SlugRelatedField(slug_field="slug", queryset=Model.objects.all())
    currency = serializers.CharField(max_length=3, help_text="Three capital letters, such as EUR.")
    wrong_positive = serializers.DecimalField(max_digits=14, decimal_places=4, help_text="Of one answer.")
    wrong_negative = serializers.DecimalField(max_digits=14, decimal_places=4, help_text="Of one answer.")
    degraded_hour = serializers.DecimalField(max_digits=14, decimal_places=2, help_text="Whatever is answered.")
    reason = serializers.CharField(max_length=500, help_text="Where the amounts come from.")


class CostFormulaViewSet(viewsets.ReadOnlyModelViewSet[CostFormula]):
    """What errors of a model cost, by its owner. Formulas that were replaced are kept to be read."""

    queryset = CostFormula.objects.select_related("model", "set_by").order_by("model__slug", "-number")
    serializer_class = CostFormulaSerializer
    permission_classes = [HasScope]
    required_scope = {"create": "registry.write", "*": "view"}
    filterset_fields = ["model__slug"]

    @extend_schema(request=SetCostFormulaSerializer, responses={201: CostFormulaSerializer})
    def create(self, request: Request) -> Response:
        """Put a formula into force, in place of the one before."""
        asked = SetCostFormulaSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        wish = dict(asked.validated_data)
        model, reason = wish.pop("model"), wish.pop("reason")
        require(request, "registry.write", model=model.slug, team=model.team)
        try:
            formula = costs.set_formula(
                model=model, terms=costs.Terms(**wish), reason=reason, user=user_of(request),
                actor=actor_for(request=request),
            )  # fmt: skip
        except costs.CostRefused as refused:
            raise Problem(400, "bad-cost", str(refused)) from refused
        return Response(CostFormulaSerializer(formula).data, status=201)


router_entries = [("cost-formulas", CostFormulaViewSet, "cost-formula")]
