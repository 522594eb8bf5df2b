"""What an installation has before anything goes wrong: people, model, hosts, endpoint, monitor, status page."""

import secrets
from dataclasses import dataclass
from typing import Any

from demo.artifacts import MODEL, Package
from demo.stage import ENDPOINT, ENDPOINT_SECONDS, MONITOR, Stage

PEOPLE: dict[str, tuple[str, tuple[str, ...], str]] = {
    "rosa": ("Rosa Marini", ("responder", "approver"), "responder: triages, proposes the plan"),
    "kofi": ("Kofi Mensah", ("commander",), "incident commander: approves, resolves"),
    "ana": ("Ana Duarte", ("approver",), "approver: the second approval"),
    "idris": ("Idris Khan", ("auditor",), "auditor: reads and exports the log"),
    "vera": ("Vera Lund", ("viewer",), "viewer"),
    "ada": ("Ada Okafor", ("administrator",), "administrator: registers models, hosts and people"),
}
STATUS_PAGE = "employment-services"
COMPONENT = "Letters offering job support"
TEAM = "Labour services"


@dataclass(frozen=True)
class Installation:
    """What the scenario needs to know of it."""

    ingest_token: str


def draw_password() -> str:
    """One password for all of the demo's people, new in each run."""
    return f"demo-{secrets.token_hex(4)}"


def register_people(password: str) -> Installation:
    """The people, and a token with which hosts and labels are sent in."""
    from accounts.actions import create_user, issue_token
    from audit.actions import service_actor

    actor = service_actor("demo")
    users = {}
    for username, (name, roles, _) in PEOPLE.items():
        users[username] = create_user(
            username=username,
            email=f"{username}@example.org",
            full_name=name,
            password=password,
            roles=roles,
            actor=actor,
        )
    _, secret = issue_token(owner=users["ada"], name="serving hosts", scopes=["ingest"], expires_at=None, actor=actor)
    return Installation(secret)


def register_service(stage: Stage) -> None:
    """Model, endpoint, three hosts, monitor and status page, by the administrator."""
    from accounts.actions import actor_for
    from accounts.models import User
    from incidents.status import add_component, create_page
    from monitoring.actions import watch_endpoint
    from registry import actions as registry

    actor = actor_for(user=User.objects.get(username="ada"))
    model = registry.register_model(
        slug=MODEL,
        name="Employment",
        team=TEAM,
        risk_tier="high",
        description="Predicts who is employed; who is not gets a letter that offers job support.",
        subject_noun="person",
        subject_noun_plural="persons",
        error_meaning="a person wrongly written to, or wrongly passed over",
        group_columns=["DIS", "SEX", "RAC1P", "AGEP"],
        actor=actor,
    )
    endpoint = registry.register_endpoint(
        slug=ENDPOINT, name="Employment, production", model=model, actor=actor, **ENDPOINT_SECONDS
    )
    for name, (address, token) in stage.hosts.items():
        host = registry.register_host(
            name=name, engine="bundled", address=address, control_token=token, labels={"rack": name[-1]}, actor=actor
        )
        registry.place(endpoint=endpoint, host=host, actor=actor)
    watch_endpoint(endpoint=endpoint, actor=actor, **MONITOR)
    page = create_page(
        slug=STATUS_PAGE,
        name="Employment services",
        description="Whether the services of the employment office work as they should.",
        public=True,
        actor=actor,
    )
    add_component(page=page, name=COMPONENT, endpoint=endpoint, actor=actor)


def register_version(made: Package, parent: Any = None) -> Any:
    """One version with everything that came with it. `parent` is the version that it was retrained from."""
    from accounts.actions import actor_for
    from accounts.models import User
    from registry import actions as registry
    from registry.models import Model

    return registry.register_version(
        model=Model.objects.get(slug=MODEL),
        manifest=made.manifest,
        files=made.files,
        profile=made.profile,
        golden=made.golden,
        holdout=made.holdout,
        metrics=made.metrics,
        documentation=made.documentation,
        training_data_digest=made.training_data_digest,
        hyperparameters=made.hyperparameters,
        environment={"framework": "torch", "runtime": "python"},
        parents=[(parent, "retrained")] if parent is not None else [],
        actor=actor_for(user=User.objects.get(username="ada")),
    )
