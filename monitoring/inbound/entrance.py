"""The API's entrance for alerts: authenticated, small enough, stored and committed, then answered.

While the database is away, a sender that sends again is told to (503), and what any other sends is kept on disk (202).
"""

import hashlib
import logging
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import APIException, AuthenticationFailed, NotAuthenticated, ParseError, Throttled
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import token_digest
from accounts.api import HasScope, TokenAuthentication
from accounts.parsers import declared_length, limited_body
from accounts.problems import Problem
from accounts.throttles import count_failure
from audit import strictjson
from monitoring import intake, sources, webhooks
from monitoring.inbound import formats, known, ledger, plainly, spool
from monitoring.ingest import RESPONSES, IngestView, answer
from monitoring.models import Delivery
from monitoring.reading import Unreadable
from monitoring.webhooks import Message, SignatureRefused

logger = logging.getLogger(__name__)
AWAY = (OperationalError, InterfaceError)
MOST_SENDER = 40


def body_of(request: HttpRequest) -> bytes:
    """The body, read once: the one who checks the signature and the one who stores it need the same."""
    kept: bytes | None = getattr(request, "lastgood_body", None)
    if kept is None:
        kept = request.lastgood_body = limited_body(request)  # type: ignore[attr-defined]
    return kept


def check_of(request: Request, source: str) -> sources.Check | None:
    """How what vouches for the message is compared with secrets; None where the message carries nothing of the kind."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    if "webhook-signature" in headers:
        body = body_of(request._request)
        return lambda secrets, now: webhooks.verify(headers, body, secrets, now=now)
    if webhooks.GRAFANA_SIGNATURE in headers:
        body = body_of(request._request)
        return lambda secrets, now: webhooks.verify_grafana(headers, body, secrets, now=now)
    if source == formats.PAGERDUTY and declared_length(request):
        body = body_of(request._request)
        key = _routing_key(body)
        return None if key is None else lambda secrets, now: webhooks.verify_routing_key(key, body, secrets)
    return None


def _routing_key(body: bytes) -> object:
    try:
        message = strictjson.parse(body)
    except strictjson.NotStrictJson:
        return None
    return message.get("routing_key") if isinstance(message, dict) else None


class SignatureAuthentication(BaseAuthentication):
    """A webhook's signature or routing key, where it carries one; `request.auth` is the message. See
    monitoring/webhooks.py."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, Message] | None:
        check = check_of(request, request.parser_context["view"].source)
        if check is None:
            return None
        try:
            message = sources.verified(request.parser_context["kwargs"]["sender"], check)
        except SignatureRefused as refused:
            count_failure(request)
            raise AuthenticationFailed(str(refused)) from refused
        return AnonymousUser(), message

    def authenticate_header(self, request: Request) -> str:
        return TokenAuthentication.keyword


class SignatureScheme(OpenApiAuthenticationExtension):
    """How the OpenAPI description tells of it."""

    target_class = "monitoring.inbound.entrance.SignatureAuthentication"
    name = "signature"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        described = "Standard Webhooks, with webhook-id and webhook-timestamp; or Grafana's. See docs/intake.md."
        return {"type": "apiKey", "in": "header", "name": "webhook-signature", "description": described}


class SignedOrScope(HasScope):
    """A right signature, or a token for a sender of whom no signature is expected."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if isinstance(request.auth, Message):
            return True
        if not super().has_permission(request, view):
            return False
        if not sources.signs(view.kwargs["sender"]):
            return True
        sources.refuse(name=view.kwargs["sender"], code="unsigned")
        self.message = "This sender signs its messages; one without a signature is not taken."
        return False


class WebhookView(IngestView):
    """Takes one message of a sender of alerts in the format `source`."""

    authentication_classes = [SignatureAuthentication, TokenAuthentication]
    permission_classes = [SignedOrScope]
    entered = False

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        self.begun = time.perf_counter()
        return self._at_once(request, kwargs["sender"]) or super().dispatch(request, *args, **kwargs)

    def _at_once(self, request: HttpRequest, sender: str) -> HttpResponse | None:
        """The answer to a message that a token vouches for, stored in one statement. None for any that is not plain, of
        which nothing is stored then: the whole way finds out what is to be said of it."""
        token = plainly.token_of(request, self.source)
        if not token or len(sender) > MOST_SENDER or sender == webhooks.SYNTHETIC:
            return None
        body = body_of(request)
        try:
            strictjson.parse(body)
            with plainly.without_asking():
                stored = intake.take_vouched(
                    token=token,
                    source=self.source,
                    sender=sender,
                    key=request.META.get("HTTP_IDEMPOTENCY_KEY", ""),
                    content_type=request.META.get("CONTENT_TYPE", ""),
                    body=body,
                    stored_ms=self._took(),
                )
        except (strictjson.NotStrictJson, DatabaseError, InterfaceError):
            return None
        if stored is None:
            return None
        known.refresh()
        return plainly.answer(stored, self.allowed_methods)

    def _took(self) -> int:
        return round((time.perf_counter() - self.begun) * 1000)

    def take_message(self, request: Request, sender: str) -> Response:
        """Store it and answer; what is not of the format at all is kept for people to see, and refused."""
        body = body_of(request._request)
        message = self._message(request, sender, body)
        self._must_be_readable(body, message)
        try:
            delivery, created = intake.take_webhook(**message, stored_ms=self._took())
        except intake.KeyReused as reused:
            raise Problem(status.HTTP_409_CONFLICT, "key-reused", str(reused)) from reused
        sent_at = message["sent_at"]
        if not created and sent_at is not None and not intake.is_sent_anew(delivery, sent_at):
            sources.refuse(name=delivery.sender, code="replayed")
            self.entered = True  # as the duplicate that it is
            raise AuthenticationFailed("This very message came before. Sign it anew to send it again.")
        known.refresh()
        return self.answered(delivery, created, body)

    def answered(self, delivery: Delivery, created: bool, body: bytes) -> Response:
        return answer(delivery, created)

    def _message(self, request: Request, sender: str, body: bytes) -> dict[str, Any]:
        signed = request.auth if isinstance(request.auth, Message) else None
        return {
            "source": self.source,
            "sender": self._named(sender),
            "key": signed.id if signed else self._given_key(request),
            "content_type": request.content_type or "",
            "body": body,
            "sent_at": signed.sent_at if signed else None,
        }

    @staticmethod
    def _named(sender: str) -> str:
        if len(sender) > MOST_SENDER:
            raise Problem(400, "sender-too-long", f"A sender's name has at most {MOST_SENDER} characters.")
        return sender

    @staticmethod
    def _given_key(request: Request) -> str:
        key = request.headers.get("Idempotency-Key", "")
        if len(key) > 100 or not key.isprintable():
            raise Problem(400, "key-too-long", "An Idempotency-Key has at most 100 printable characters.")
        return key

    def _must_be_readable(self, body: bytes, message: dict[str, Any]) -> None:
        try:
            strictjson.parse(body)
        except strictjson.NotStrictJson as error:
            self._refuse(message, f"The body is not JSON: {error}")
            raise ParseError(f"The body can't be read as JSON: {error}.") from None

    def _refuse(self, message: dict[str, Any], error: str) -> None:
        try:
            intake.refuse(**message, error=error)
        except intake.KeyReused as reused:
            raise Problem(status.HTTP_409_CONFLICT, "key-reused", str(reused)) from reused
        self.entered = True

    # --- what is not taken, and the time without a database ---------------------------------------------------------

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, AWAY):
            return self._without_database(exc)
        if isinstance(exc, NotAuthenticated):
            exc = self._counted(exc)
        response: Response = super().handle_exception(exc)
        if 400 <= response.status_code < 500 and response.status_code != 429 and not self.entered:
            self._enter_refusal(str(response.data.get("detail", "")))
        return response

    def _enter_refusal(self, why: str) -> None:
        body: bytes = getattr(self.request._request, "lastgood_body", b"")
        digest = hashlib.sha256(body).hexdigest() if body else ""
        try:
            sender = self._sender_of_refused()
            ledger.refused(source=self.source, sender=sender, sha256=digest, size=len(body), why=why)
        except AWAY as error:
            logger.warning("intake.refusal.not_entered error=%s", type(error).__name__)

    def _sender_of_refused(self) -> str:
        """The name in its address, where it proved who it is or such a sender is known; what is made up is not kept."""
        sender: str = self.kwargs["sender"]
        if getattr(self.request, "_authenticator", None) is not None or sources.signs(sender):
            return sender
        return sender if Delivery.objects.filter(source=self.source, sender=sender).exists() else ledger.STRANGER

    def _without_database(self, exc: Exception) -> Response:
        away: Response = super().handle_exception(OperationalError(str(exc)))
        if self.source in formats.SENDS_AGAIN or self.request.method not in ("POST", "PUT"):
            return away
        try:
            name = self._spool()
        except (spool.SpoolFull, known.NotVouched, OSError) as error:
            logger.warning("intake.spool.refused sender=%s error=%s", self.kwargs["sender"], error)
            return away
        except SignatureRefused as refused:
            return super().handle_exception(self._counted(AuthenticationFailed(str(refused))))
        except APIException as problem:
            return super().handle_exception(problem)
        logger.warning("intake.spooled sender=%s file=%s", self.kwargs["sender"], name)
        return Response({"delivery": None, "state": "spooled"}, status=status.HTTP_202_ACCEPTED)

    def _counted(self, refused: APIException) -> APIException:
        """The refusal, or that there were too many from there."""
        try:
            count_failure(self.request)
        except Throttled as throttled:
            return throttled
        return refused

    def _spool(self) -> str:
        """Vouch for the message by what is known on disk, and keep it there.

        A message of its own is named here and not when it is taken in: killed in between, it is taken in again.
        """
        sender, request = self._named(self.kwargs["sender"]), self.request
        body = body_of(request._request)
        check, token = check_of(request, self.source), ""
        signed: Message | None = None
        if check is not None:
            signed = check(known.secrets_of(sender), time.time())
        else:
            kind, _, secret = request.headers.get("Authorization", "").partition(" ")
            if kind.lower() != TokenAuthentication.keyword.lower() or not secret:
                raise known.NotVouched("It carries neither a signature nor a token.")
            token = token_digest(secret.strip())
            known.vouch_for_token(token, sender)
        key = signed.id if signed else self._given_key(request)
        received_at = datetime.now(UTC)
        about = spool.Spooled(
            source=self.source,
            sender=sender,
            key=key or ("" if self.source in formats.TELLS_ALL else uuid.uuid4().hex),
            content_type=request.content_type or "",
            token=token,
            sent_at=signed.sent_at.isoformat() if signed and signed.sent_at else "",
            received_at=received_at.isoformat(),
            sha256=hashlib.sha256(body).hexdigest(),
        )
        return spool.keep(about, body)


class AlertmanagerView(WebhookView):
    source = formats.ALERTMANAGER

    @extend_schema(request=OpenApiTypes.OBJECT, responses=RESPONSES)
    def post(self, request: Request, sender: str) -> Response:
        """A webhook of Alertmanager version 4, or of Grafana. `sender` names the one that sends. A sender with a secret
        of its own (see `webhook-sources`) signs as Standard Webhooks says, and needs no token.

        Scope: `ingest`."""
        return self.take_message(request, sender)


class GrafanaView(WebhookView):
    source = formats.GRAFANA

    @extend_schema(request=OpenApiTypes.OBJECT, responses=RESPONSES)
    def post(self, request: Request, sender: str) -> Response:
        """A webhook of Grafana's alerting, or of a rule of Grafana before version 9, with a token or signed as Grafana
        signs. Grafana sends once: while the database is away, the message is kept on disk.

        Scope: `ingest`."""
        return self.take_message(request, sender)

    @extend_schema(request=OpenApiTypes.OBJECT, responses=RESPONSES)
    def put(self, request: Request, sender: str) -> Response:
        """The same, where Grafana is set up to PUT.

        Scope: `ingest`."""
        return self.take_message(request, sender)


class JsonView(WebhookView):
    source = formats.JSON

    @extend_schema(request=OpenApiTypes.OBJECT, responses=RESPONSES)
    def post(self, request: Request, sender: str) -> Response:
        """An alert, or a list of alerts, as plain JSON; see docs/intake.md for the fields.

        Scope: `ingest`."""
        return self.take_message(request, sender)


class PagerDutyView(WebhookView):
    source = formats.PAGERDUTY

    @extend_schema(request=OpenApiTypes.OBJECT, responses=RESPONSES)
    def post(self, request: Request, sender: str) -> Response:
        """An event of PagerDuty's Events API v2. The routing key is the one that was shown with the sender's secret.

        Scope: `ingest`."""
        return self.take_message(request, sender)

    def _must_be_readable(self, body: bytes, message: dict[str, Any]) -> None:
        """Its senders expect an event that is no event to be refused at once."""
        super()._must_be_readable(body, message)
        try:
            formats.read(self.source, body, datetime.now(UTC), "key")
        except Unreadable as error:
            self._refuse(message, str(error))
            raise ParseError(str(error)) from error

    def answered(self, delivery: Delivery, created: bool, body: bytes) -> Response:
        key = strictjson.parse(body).get("dedup_key") or delivery.pk.hex
        told = {"status": "success", "message": "Event processed", "dedup_key": key}
        return Response(told, status=status.HTTP_202_ACCEPTED)
