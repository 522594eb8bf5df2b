"""What a plan's document says of the change itself: which of which endpoint, from and to which version, for whom."""

import uuid
from decimal import Decimal
from typing import Any

from accounts.models import User
from incidents.rollback.models import PlanKind
from registry.models import Endpoint, Version


def who_and_what(
    identity: uuid.UUID,
    kind: str,
    endpoint: Endpoint,
    from_version: Version | None,
    to_version: Version,
    incident_ref: str,
    user: User,
) -> dict[str, Any]:
    """What every document begins with: which change of which endpoint, for whom."""
    return {
        "plan": str(identity),
        "kind": kind,
        "incident": incident_ref,
        "proposer": user.pseudonym,
        "endpoint": {
            "slug": endpoint.slug,
            "environment": endpoint.environment,
            "model": endpoint.model.slug,
            "risk_tier": endpoint.model.risk_tier,
        },
        "from": version_facts(from_version),
        "to": version_facts(to_version),
        "on_failure": "compensate" if kind == PlanKind.RELEASE and from_version else "halt",
    }


def version_facts(version: Version | None) -> dict[str, Any] | None:
    return None if version is None else {"number": version.number, "digest": version.digest}


def promised_accuracy(version: Version) -> Decimal | None:
    """The accuracy on the holdout set that the version was registered with."""
    holdout = version.metrics.get("holdout") if isinstance(version.metrics, dict) else None
    value = holdout.get("accuracy") if isinstance(holdout, dict) else None
    return None if value is None else Decimal(str(value))
