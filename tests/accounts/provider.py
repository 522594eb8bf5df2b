"""A small OpenID Connect provider on a port of its own: codes are good once, for the client, and with PKCE's proof."""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.ports import free_port

CLIENT, SECRET = "lastgood", "a secret of the test's client"


class Provider:
    """`person` is who sits at the provider's sign-in page and agrees."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.person: dict[str, str] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.tokens: dict[str, dict[str, str]] = {}
        self.leads_to = ""
        self.asked_elsewhere = 0

    def configuration(self) -> dict[str, Any]:
        places = {name: f"{self.url}/{name}" for name in ("authorize", "token", "userinfo", "jwks")}
        return {
            "issuer": self.url,
            "authorization_endpoint": places["authorize"],
            "token_endpoint": places["token"],
            "userinfo_endpoint": places["userinfo"],
            "jwks_uri": places["jwks"],
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        }

    def jwks(self) -> dict[str, Any]:
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [public | {"kid": "k1", "use": "sig", "alg": "RS256"}]}

    def authorize(self, asked: dict[str, str]) -> str:
        """Where the browser is sent when the person has agreed."""
        assert asked["client_id"] == CLIENT
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe()
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self, asked: dict[str, str]) -> dict[str, Any] | None:
        granted = self.codes.pop(asked.get("code", ""), None)
        digest = hashlib.sha256(asked.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if granted is None or granted["code_challenge"] != challenge or asked.get("client_secret") != SECRET:
            return None
        now = int(time.time())
        claims = self.person | {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 300}
        access = secrets.token_urlsafe()
        self.tokens[access] = self.person
        signed = jwt.encode(claims, self.key, "RS256", headers={"kid": "k1"})
        return {"access_token": access, "token_type": "Bearer", "expires_in": 300, "id_token": signed}


@contextmanager
def running() -> Iterator[Provider]:
    port = free_port()
    provider = Provider(f"http://127.0.0.1:{port}")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place = urlsplit(self.path)
            if place.path == "/token2":
                provider.asked_elsewhere += 1
            if place.path == "/authorize":
                self.send_response(302)
                asked = {name: values[0] for name, values in parse_qs(place.query).items()}
                self.send_header("Location", provider.authorize(asked))
                self.end_headers()
                return
            bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
            self._answer(
                {
                    "/.well-known/openid-configuration": provider.configuration(),
                    "/jwks": provider.jwks(),
                    "/userinfo": provider.tokens.get(bearer),
                }.get(place.path)
            )

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            if self.path != "/token":
                provider.asked_elsewhere += 1
            elif provider.leads_to:
                self.send_response(307)
                self.send_header("Location", provider.leads_to)
                self.end_headers()
                return
            self._answer(provider.token({name: values[0] for name, values in parse_qs(body).items()}))

        def _answer(self, body: dict[str, Any] | None) -> None:
            self.send_response(200 if body is not None else 400)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body or {"error": "invalid_grant"}).encode())

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield provider
    server.shutdown()
    server.server_close()
    thread.join()
