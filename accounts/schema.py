"""How the OpenAPI description tells of our tokens, scopes, operations and problems.

Imported when the apps are ready, as drf-spectacular asks.
"""

import re
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema

from accounts.authentication import HasScope, scope_of
from accounts.problems import MEDIA_TYPE

ORDINARY = frozenset({"list", "retrieve", "create", "update", "partial_update", "destroy"})
METHODS = frozenset({"get", "post", "put", "patch", "delete", "head"})
PROBLEM = {
    "type": "object",
    "description": "RFC 9457. `type` is one of those in docs/problems.md; some carry further members.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "examples": ["/problems/step-up-needed"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "A sentence for people: what is wrong, and what to do next."},
        "instance": {"type": "string", "format": "uri-reference"},
        "errors": {
            "type": "array",
            "description": "With /problems/invalid: what is wrong with each field.",
            "items": {
                "type": "object",
                "required": ["field", "detail"],
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
SAID = {
    "401": "No token or session, or one that is unknown, expired or revoked.",
    "403": "The person or the token may not.",
    "404": "There is nothing of that name.",
    "default": "Any other refusal, as a problem.",
}


class TokenScheme(OpenApiAuthenticationExtension):
    target_class = "accounts.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "lg_<prefix>_<secret>"}


class OperationSchema(AutoSchema):
    """Operations are called `<resource>_<verb>`, and each says which scope it needs."""

    def get_operation_id(self) -> str:
        verb = getattr(self.view, "action", None)
        if verb is None or verb in ORDINARY:
            return str(super().get_operation_id())
        # Another method of an action's address has no address of its own; it has one part, as its name has.
        address = getattr(getattr(self.view, verb), "url_path", verb)
        literal = re.sub(r"\(\?P<[^/]*", "", address)
        own = [part for part in literal.split("/") if part]
        resource = self._tokenize_path()
        return "_".join([*resource[: len(resource) - len(own)], verb]).replace("-", "_")

    def get_description(self) -> str:
        said = str(super().get_description() or "")
        if HasScope not in [type(permission) for permission in self.view.get_permissions()]:
            return said
        return f"{said}\n\nScope: `{scope_of(self.view)}`.".strip()


def document_problems(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """A hook of drf-spectacular: every operation can answer with a problem; what it said itself of one is kept. And a
    text in the query that is empty (`?state=`) counts as not given."""
    components = result.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = PROBLEM
    for path, item in result["paths"].items():
        for method in METHODS & item.keys():
            _allow_nothing(item[method].get("parameters", []))
            responses = item[method]["responses"]
            own = {code: answer.get("description", "") for code, answer in responses.items() if code[0] in "45"}
            codes = {"401", "403", "default", *own, *({"404"} if "{" in path else set())}
            for code in sorted(codes):
                responses[code] = _problem(own.get(code) or SAID.get(code, ""))
    return result


def _allow_nothing(parameters: list[dict[str, Any]]) -> None:
    for parameter in parameters:
        schema = parameter.get("schema", {})
        if parameter["in"] == "query" and not parameter.get("required") and schema.get("type") == "string":
            schema.pop("minLength", None)
            if "enum" in schema and "" not in schema["enum"]:
                schema["enum"] = [*schema["enum"], ""]
            if "format" in schema:
                texts = [{"type": "string", "format": schema.pop("format")}, {"type": "string", "maxLength": 0}]
                parameter["schema"] = schema | {"anyOf": texts}


def _problem(description: str) -> dict[str, Any]:
    return {"description": description, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
