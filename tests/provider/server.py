"""A provider that is a process of its own: it keeps the truth, and it can be told to misbehave.

    python tests/provider/server.py [--account acct_shop] [--mode simulated]      prints its address, then
    serves

What it did is what it did, whatever the answer said: `GET /truth` tells. Faults are queued by `POST
/control` and each is used up by one order:

    lose         do it, then drop the connection without an answer
    lose_before  drop the connection, having done nothing
    slow         do it, and answer well `seconds` later
    hang         do it, then answer nothing for `seconds`
    hang_before  answer nothing for `seconds`, having done nothing
    late         answer nothing; do it `seconds` later
    refuse       a definite no (402), stored under the key as real providers do
    unauthorized 401: says nothing about what happened before
    break        500 after doing it
    garbage      200 with a body that is no JSON, after doing it
    other        answer as another account than the one bound
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

LONGEST_BODY = 65_536


class Truth:
    """What this provider did, and what it was told to do wrong."""

    def __init__(self, account: str, mode: str) -> None:
        self.lock = threading.Lock()
        self.account = account
        self.mode = mode
        self.instance = f"shop-{time.time_ns()}"
        self.ready = True
        self.orders: list[dict[str, Any]] = []
        self.answers: dict[str, tuple[int, dict[str, Any]]] = {}
        self.faults: list[dict[str, Any]] = []
        self.requests = 0

    def identity(self) -> dict[str, str]:
        """Say who answers."""
        return {"account": self.account, "mode": self.mode, "instance": self.instance}

    def fault(self) -> dict[str, Any]:
        """Use up the next fault."""
        with self.lock:
            return self.faults.pop(0) if self.faults else {"fault": "none"}

    def execute(self, key: str, order: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Do an order once per key, and remember the answer under it."""
        with self.lock:
            if key in self.answers:
                status, answer = self.answers[key]
                return status, {**answer, "replayed": True}
            done = {**order, "id": f"ord_{len(self.orders) + 1}", "key": key}
            self.orders.append(done)
            self.answers[key] = (200, {**done, **self.identity()})
            return self.answers[key]

    def refuse(self, key: str) -> tuple[int, dict[str, Any]]:
        """Say a definite no, once and for all under this key."""
        with self.lock:
            if key in self.answers:
                status, answer = self.answers[key]
                return status, {**answer, "replayed": True}
            self.answers[key] = (402, {"declined": "the card was declined", **self.identity()})
            return self.answers[key]

    def find(self, ref: str) -> list[dict[str, Any]]:
        """Return the orders under one reference."""
        with self.lock:
            return [order for order in self.orders if order["ref"] == ref]


class Handler(BaseHTTPRequestHandler):
    """One request; HTTP/1.1 so that connections are kept."""

    protocol_version = "HTTP/1.1"
    truth: ClassVar[Truth]

    def log_message(self, *_anything: object) -> None:
        """Say nothing: the truth is asked for, not read from a log."""

    def do_GET(self) -> None:
        """Answer questions."""
        parts = urlsplit(self.path)
        truth = self.truth
        if parts.path == "/account":
            self._answer(200 if truth.ready else 503, truth.identity())
        elif parts.path == "/orders":
            found = truth.find(parse_qs(parts.query).get("ref", [""])[0])
            self._answer(200, {"orders": found, **truth.identity()})
        elif parts.path == "/truth":
            self._answer(200, {"orders": truth.orders, "requests": truth.requests, **truth.identity()})
        else:
            self._answer(404, {})

    def do_POST(self) -> None:
        """Take orders, and orders how to take them."""
        size = min(int(self.headers.get("Content-Length", "0")), LONGEST_BODY)
        sent = self.rfile.read(size)
        if len(sent) < size:
            self._hang_up()  # Its sender left in the middle: half an order is none.
            return
        body = json.loads(sent or b"{}")
        if self.path == "/control":
            self._control(body)
        elif self.path == "/orders":
            self._order(self.headers.get("Idempotency-Key", ""), body)
        else:
            self._answer(404, {})

    def _control(self, body: dict[str, Any]) -> None:
        truth = self.truth
        with truth.lock:
            truth.faults.extend(body.get("faults", []))
            truth.account = body.get("account", truth.account)
            truth.mode = body.get("mode", truth.mode)
            truth.ready = body.get("ready", truth.ready)
            if body.get("forget"):
                truth.faults = list(body.get("faults", []))
                truth.requests = 0
                truth.instance = f"shop-{time.time_ns()}"
                truth.orders.clear()
                truth.answers.clear()
        self._answer(200, truth.identity())

    def _order(self, key: str, order: dict[str, Any]) -> None:
        self.truth.requests += 1
        fault = self.truth.fault()
        name, seconds = fault["fault"], float(fault.get("seconds", 1.0))
        if name == "lose_before":
            self._hang_up()
        elif name == "hang_before":
            time.sleep(seconds)  # The fault itself: an answer that comes late.
            self._hang_up()
        elif name == "late":
            threading.Timer(seconds, self.truth.execute, (key, order)).start()
            self._hang_up()
        elif name == "unauthorized":
            self._answer(401, {})
        elif name == "refuse":
            self._answer(*self.truth.refuse(key))
        else:
            self._after(name, seconds, self.truth.execute(key, order))

    def _after(self, name: str, seconds: float, done: tuple[int, dict[str, Any]]) -> None:
        """Answer, or fail to, once the order is done."""
        if name == "slow":
            time.sleep(seconds)  # The fault itself: an answer that comes late.
            self._answer(*done)
        elif name == "lose":
            self._hang_up()
        elif name == "hang":
            time.sleep(seconds)  # The fault itself: an answer that comes late.
            self._hang_up()
        elif name == "break":
            self._answer(500, {})
        elif name == "garbage":
            self._raw(200, b"<html>all is well</html>")
        elif name == "other":
            self._answer(done[0], {**done[1], "account": "acct_somebody_else"})
        else:
            self._answer(*done)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.close()

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        self._raw(status, json.dumps(body).encode())

    def _raw(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Quiet(ThreadingHTTPServer):
    """A server whose broken connections are part of its job."""

    daemon_threads = True

    def handle_error(self, *_anything: object) -> None:
        """Say nothing about a connection that was closed on purpose."""


def main() -> None:
    """Serve until killed; the first line printed is the address."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--account", default="acct_shop")
    parser.add_argument("--mode", default="simulated")
    chosen = parser.parse_args()
    Handler.truth = Truth(chosen.account, chosen.mode)
    server = Quiet(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"http://127.0.0.1:{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
