"""Every route of the API, and which of the roles may use it.

The table is written by hand, letter by letter, beside the code's own: a route that is missing here, or that is open to
more or fewer roles than it says, fails a test.
"""

from dataclasses import dataclass

from rest_framework.schemas.generators import EndpointEnumerator

from accounts.models import Role

LETTERS = {
    "V": Role.VIEWER,
    "R": Role.RESPONDER,
    "C": Role.COMMANDER,
    "P": Role.APPROVER,
    "N": Role.ANALYST,
    "U": Role.AUDITOR,
    "A": Role.ADMINISTRATOR,
}
EVERYBODY = "VRCPNUA"
READABLE = [
    "models/", "models/{slug}/", "versions/", "versions/{pk}/", "endpoints/", "endpoints/{slug}/", "hosts/",
    "hosts/{name}/", "placements/", "placements/{pk}/", "deployments/", "deployments/{pk}/", "monitors/",
    "monitors/{endpoint}/", "deliveries/", "deliveries/{pk}/", "windows/", "windows/{pk}/", "findings/",
    "findings/{pk}/", "alerts/", "alerts/{pk}/", "rules/", "rules/{pk}/", "metrics/", "incidents/",
    "incidents/{ref}/", "incidents/{ref}/diagnosis/", "incidents/{ref}/evidence/", "incidents/{ref}/timeline/",
    "updates/", "updates/{pk}/", "evidence/", "evidence/{pk}/", "status-pages/", "status-pages/{slug}/",
    "status-pages/{slug}/summary/", "reviews/", "reviews/{ref}/", "reviews/{ref}/markdown/",
    "reviews/{ref}/html/", "plans/", "plans/{pk}/",
    "runs/", "runs/{pk}/", "candidates/", "candidates/{pk}/", "me/", "tokens/", "tokens/{pk}/", "approvals/",
    "approvals/{pk}/", "policies/", "policies/{pk}/", "delegations/", "delegations/{pk}/",
]  # fmt: skip
MAY: dict[str, str] = dict.fromkeys((f"GET {path}" for path in READABLE), EVERYBODY) | {
    "GET users/": "A",
    "GET users/{username}/": "A",
    "POST users/{username}/erase/": "A",
    "GET audit/events/": "U",
    "GET audit/events/{id}/": "U",
    "GET audit/events/{id}/inclusion/": "U",
    "POST audit/events/{id}/reveal/": "U",
    "GET audit/holds/": "U",
    "GET audit/holds/{pk}/": "U",
    "POST audit/holds/": "A",
    "POST audit/holds/{pk}/lift/": "A",
    "GET audit/checkpoints/": "U",
    "GET audit/checkpoints/consistency/": "U",
    "GET audit/checkpoints/latest/": "U",
    "GET audit/checkpoints/{pk}/": "U",
    "GET audit/log/": "U",
    "POST audit/log/export/": "U",
    "POST models/": "A",
    "POST models/{slug}/aliases/": "A",
    "POST versions/": "A",
    "POST versions/{pk}/lift-quarantine/": "A",
    "POST versions/{pk}/quarantine/": "A",
    "PUT blobs/{sha256}/": "A",
    "HEAD blobs/{sha256}/": "A",
    "POST endpoints/": "A",
    "POST endpoints/{slug}/freeze/": "C",
    "POST endpoints/{slug}/lift/": "C",
    "POST hosts/": "A",
    "POST hosts/{name}/bring-back/": "C",
    "POST hosts/{name}/drain/": "C",
    "POST hosts/{name}/hold/": "C",
    "POST hosts/{name}/release/": "C",
    "POST hosts/{name}/token/": "A",
    "POST placements/": "A",
    "POST monitors/": "A",
    "POST predictions/read/": "N",
    "POST monitors/{endpoint}/stop/": "A",
    "PATCH rules/{pk}/": "A",
    "POST incidents/{ref}/acknowledge/": "RC",
    "POST incidents/{ref}/move/": "C",
    "POST incidents/{ref}/updates/": "RC",
    "POST incidents/{ref}/propose/": "RCA",
    "POST incidents/{ref}/resolve/": "C",
    "POST incidents/{ref}/roles/": "RC",
    "POST incidents/{ref}/severity/": "RC",
    "POST incidents/{ref}/triage/": "RC",
    "POST status-pages/": "A",
    "POST status-pages/{slug}/components/": "A",
    "POST status-pages/{slug}/posts/": "CA",
    "POST reviews/{ref}/action-items/": "RC",
    "POST reviews/{ref}/action-items/{item}/done/": "RC",
    "POST reviews/{ref}/edit/": "RC",
    "POST reviews/{ref}/publish/": "C",
    "POST plans/": "RCA",
    "POST plans/dry-run/": "RCA",
    "POST plans/{pk}/preflight/": "RCA",
    "POST plans/{pk}/start/": "C",
    "POST plans/{pk}/submit/": "RCA",
    "POST plans/{pk}/void/": "RCA",
    "POST runs/{pk}/compensate/": "C",
    "POST runs/{pk}/pass-gate/": "C",
    "POST runs/{pk}/reject/": "C",
    "POST runs/{pk}/resume/": "C",
    "POST runs/{pk}/sign-off/": "C",
    "POST runs/{pk}/stop/": "CP",
    "GET role-proposals/": "A",
    "GET role-proposals/{pk}/": "A",
    "POST role-proposals/{pk}/confirm/": "A",
    "POST role-proposals/{pk}/refuse/": "A",
    "POST delegations/": "RCPA",
    "DELETE delegations/{pk}/": "RCPA",
    "POST users/{username}/deactivate/": "A",
    "POST users/{username}/reactivate/": "A",
    "POST users/": "A",
    "POST users/{username}/roles/": "A",
    "DELETE users/{username}/roles/{role}/": "A",
    "POST tokens/": EVERYBODY,
    "DELETE tokens/{pk}/": EVERYBODY,
    "POST approvals/{pk}/decide/": "CP",
    "POST policies/": "A",
    # Sending data in is no role's, but that of a program: an administrator gives it a token with that scope.
    "POST audit/cosignatures/": "",
    "POST ingest/predictions/": "",
    "POST ingest/labels/": "",
    "POST ingest/metrics/": "",
    "POST ingest/alertmanager/{sender}/": "",
}
NOBODYS = {
    "pk": "00000000-0000-4000-8000-000000000000",
    "id": "00000000-0000-4000-8000-000000000000",
    "item": "999999",
    "role": "viewer",
    "sha256": "ab" * 32,
}


@dataclass(frozen=True)
class Route:
    """One method of one address below /api/v1/."""

    method: str
    template: str

    def __str__(self) -> str:
        return f"{self.method} {self.template}"

    @property
    def parameters(self) -> list[str]:
        return [part.partition("}")[0] for part in self.template.split("{")[1:]]

    def path(self, **names: object) -> str:
        """The address; what is not named is the name of nothing."""
        known = {name: str(names.get(name, NOBODYS.get(name, "nobody"))) for name in self.parameters}
        if "checkpoints" in self.template:
            known = dict.fromkeys(known, "999999")
        return "/api/v1/" + self.template.format(**known)


def served() -> set[str]:
    """What the program really serves, asked of its URL configuration; HEAD is not listed there."""
    prefix = "/api/v1/"
    endpoints = EndpointEnumerator(urlconf="config.urls").get_api_endpoints()
    return {f"{method} {path.removeprefix(prefix)}" for path, method, _ in endpoints if path.startswith(prefix)}


ROUTES = [Route(*entry.split(" ")) for entry in MAY]
