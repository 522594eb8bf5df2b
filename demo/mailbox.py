"""A mail server on this machine that keeps every letter: what the demo's people are sent is read here, and goes nowhere
else. It takes what RFC 5321 needs of a receiver, without TLS and without a password."""

import email
import email.policy
import re
import socketserver
import threading
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

MOST_BYTES = 1_000_000
LINK = re.compile(r"https?://\S+")


@dataclass(frozen=True)
class Letter:
    to: tuple[str, ...]
    subject: str
    text: str

    def link(self, part: str) -> str:
        """The address in the letter that contains `part`; empty where there is none."""
        return next((found for found in LINK.findall(self.text) if part in found), "")


class _Receiver(socketserver.StreamRequestHandler):
    server: "_Server"

    def handle(self) -> None:
        self._say("220 lastgood demo")
        self._to: list[str] = []
        while line := self.rfile.readline(4096):
            verb, _, rest = line.decode("utf-8", "replace").strip().partition(" ")
            if verb.upper() == "QUIT":
                return self._say("221 Bye")
            if not self._answer(verb.upper(), rest):
                return None
        return None

    def _answer(self, verb: str, rest: str) -> bool:
        """False where the connection is of no use any more."""
        if verb == "DATA":
            self._say("354 End it with a dot")
            letter = self._letter()
            if letter is None:
                return False
            self.server.mailbox.keep(self._to, letter)
        elif verb in ("MAIL", "RSET"):
            self._to = []
        elif verb == "RCPT":
            self._to.append(rest.partition("<")[2].partition(">")[0])
        elif verb not in ("EHLO", "HELO", "NOOP"):
            self._say("502 Not known here")
            return True
        self._say("250 OK")
        return True

    def _letter(self) -> bytes | None:
        lines, size = [], 0
        while (line := self.rfile.readline()) not in (b"", b".\r\n"):
            size += len(line)
            if size > MOST_BYTES:
                self._say("552 Too long")
                return None
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = allow_reuse_address = True

    def __init__(self, port: int, mailbox: "Mailbox") -> None:
        super().__init__(("127.0.0.1", port), _Receiver)
        self.mailbox = mailbox


class Mailbox:
    """All letters, the oldest first; each also lies in `folder` as a file that a mail program opens."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port, self.folder = port, folder
        self._letters: list[Letter] = []
        self._lock = threading.Lock()
        self._server: _Server | None = None

    def open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._server = _Server(self.port, self)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def keep(self, to: list[str], raw: bytes) -> None:
        message = email.message_from_bytes(raw, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        body = message.get_body(("plain",))
        letter = Letter(tuple(to), str(message["subject"]), str(body.get_content()) if body else "")
        with self._lock:
            self._letters.append(letter)
            (self.folder / f"{len(self._letters):03}.eml").write_bytes(raw)

    def letters(self, to: str = "") -> list[Letter]:
        """Those to an address, or all."""
        with self._lock:
            return [letter for letter in self._letters if not to or to in letter.to]
