"""What every page of the console is wrapped in: the right host, strict headers, a session, and roles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from ledger.records import Role
from tool_server.hosts import Names
from webhooks.refusals import Refusals
from webhooks.sessions import Sessions, may

if TYPE_CHECKING:
    from typing import Any

PUBLIC: Final = "public"  # The route option of pages that need no sign-in.
_WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})

# On every answer, refusals and files included: nothing here is framed, sniffed, cached or scripted by others.
HEADERS: Final = (
    (
        b"content-security-policy",
        (
            b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
            b"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        ),
    ),
    (b"x-content-type-options", b"nosniff"),
    # Not no-referrer: browsers then send `Origin: null` with our own forms, and those are refused here.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
    (b"cache-control", b"no-store"),
)


_NAMES: Final = frozenset(name for name, _ in HEADERS)


class SignedIn(AbstractAuthenticationMiddleware):
    """Let nobody past without a session, but for routes that say they are public."""

    def __init__(self, app: ASGIApp, sessions: Sessions, cookie: str) -> None:
        super().__init__(app, exclude_from_auth_key=PUBLIC, exclude_http_methods=[])
        self._sessions = sessions
        self._cookie = cookie

    async def authenticate_request(
        self, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> AuthenticationResult:
        """Return the operator and the session, as they are now."""
        found = await self._sessions.find(connection.cookies.get(self._cookie))
        if found is None:
            brought = self._cookie in connection.cookies
            raise NotAuthorizedException("session_closed" if brought else "session_missing")
        session, operator = found
        return AuthenticationResult(user=operator, auth=session)


def approver(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
    """Let only approvers and owners in."""
    _need(connection, Role.APPROVER)


def owner(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
    """Let only owners in."""
    _need(connection, Role.OWNER)


def _need(connection: ASGIConnection[Any, Any, Any, Any], role: Role) -> None:
    if not may(connection.user, role):
        raise PermissionDeniedException(f"role_{role.value}_needed")


class Doorway:
    """Answer only to our own names, take writes only from our own pages, and say so strictly.

    A page of somebody else's that resolves to us sends its own Host; a form on somebody else's page sends
    its own Origin, and browsers say in Sec-Fetch-Site where a request came from.
    """

    def __init__(self, app: ASGIApp, names: Names, programs: tuple[str, ...], refusals: Refusals) -> None:
        self._app = app
        self._refusals = refusals
        self._names = names
        self._programs = programs  # Paths that programs post to: they prove themselves by signature.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer why not."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        headers = {key: value.decode("latin-1") for key, value in scope["headers"]}
        send = _with_headers(send)
        if not self._names.host_ok(headers.get(b"host")):
            self._refusals.note(scope, "wrong_host")
            await _refuse(send, 421, b"this server does not answer to that name\n")
        elif scope.get("method") in _WRITES and not self._own(scope["path"], headers):
            self._refusals.note(scope, "wrong_origin")
            await _refuse(send, 403, b"this form was not sent from a page of this server\n")
        else:
            await self._app(scope, receive, send)

    def _own(self, path: str, headers: dict[bytes, str]) -> bool:
        if path in self._programs:
            return True
        site = headers.get(b"sec-fetch-site", "same-origin")
        return self._names.origin_ok(headers.get(b"origin")) and site in {"same-origin", "none"}


def _with_headers(send: Send) -> Send:
    """Return a `send` that adds the strict headers to whatever is answered."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = [pair for pair in message["headers"] if pair[0] not in _NAMES]
            message["headers"] = [*given, *HEADERS]
        await send(message)

    return sending


async def _refuse(send: Send, status: int, body: bytes) -> None:
    plain = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": plain})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def sign_in_path(path: str, query: str) -> str:
    """Return where to sign in so as to come back to this page."""
    wanted = path + (f"?{query}" if query else "")
    return f"/login?next={quote(wanted, safe='')}"


def local_path(wanted: str) -> str:
    """Return a path of this site, or the front page: never an address of somebody else's (open redirect)."""
    harmless = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and "\\" not in wanted
    return wanted if harmless and wanted.isprintable() and wanted.isascii() else "/"
