"""The web application: the console's pages, and whatever routes the rooms beside it bring.

Everything needs a session unless its route says it is public; every write needs a token of this session's
page and comes from a page of this server, but for paths that programs post to, which prove themselves by
signature.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Litestar, Request, Response
from litestar.config.csrf import CSRFConfig
from litestar.exceptions import HTTPException
from litestar.middleware import DefineMiddleware
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.response import Redirect, Template
from litestar.static_files import create_static_files_router
from litestar.template import TemplateConfig
from litestar.types import ASGIApp, ControllerRouterHandler

from ledger.records import CallRecord
from policy.errors import RecordMissing
from policy.model import Effect
from policy.money import dec_hook
from webhooks.console.card import headline
from webhooks.console.house import HousePages
from webhooks.console.requests import Requests
from webhooks.console.sign_in import SignIn
from webhooks.deps import Deps
from webhooks.refusals import Refusals
from webhooks.security import PUBLIC, Doorway, SignedIn, sign_in_path
from webhooks.sessions import Sessions
from webhooks.visible import visible

_HERE: Final = Path(__file__).parent
_LARGEST_FORM: Final = 262_144  # Bytes; the longest form is a comment, the longest webhook this long.
_GONE: Final = 404
_REFUSED: Final = 401
_KEPT_OUT: Final = frozenset({401, 403})
_WORDS: Final = {
    400: "That could not be read.",
    401: "Sign in first.",
    403: "This is not yours to do, or the page was too old. Open it again.",
    404: "There is no such page.",
    405: "That page takes no such request.",
    413: "That is too large.",
    429: "Too many requests. Wait a little.",
}


def create_app(
    deps: Deps,
    *,
    more: Sequence[ControllerRouterHandler] = (),
    programs: Sequence[str] = (),
    pages: Sequence[tuple[str, str]] = (),
) -> ASGIApp:
    """Build the application.

    `more`: routes of other rooms; `programs`: paths that programs post to; `pages`: what the menu lists
    beside the queue, as (path, word).
    """
    sessions, refusals = Sessions(deps.ledger, deps.now), Refusals(deps.ledger, deps.now)
    routes: list[ControllerRouterHandler] = [
        *SignIn(deps, sessions).routes(),
        *Requests(deps, sessions).routes(),
        *HousePages(deps).routes(),
        create_static_files_router("/static", [_HERE / "static"], opt={PUBLIC: True}),
        *more,
    ]
    app = Litestar(
        routes,
        openapi_config=None,  # Its pages load scripts from elsewhere, and this is no API.
        middleware=[DefineMiddleware(SignedIn, sessions=sessions, cookie=deps.cookie)],
        csrf_config=CSRFConfig(
            secret=deps.csrf_secret,
            cookie_name="__Host-csrf" if deps.secure else "csrf",
            cookie_secure=deps.secure,
            cookie_httponly=True,
            cookie_samesite="strict",
        ),
        template_config=TemplateConfig(instance=_engine(pages)),
        exception_handlers={
            HTTPException: _http_refusal(refusals),
            RecordMissing: _missing,
            Exception: _broke,
        },
        request_max_body_size=_LARGEST_FORM,
        debug=False,  # Its error pages show values of variables.
        logging_config=None,  # structlog speaks for the whole process.
    )
    return Doorway(app, deps.names, tuple(programs), refusals)


def _engine(pages: Sequence[tuple[str, str]]) -> JinjaTemplateEngine:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["visible"] = visible
    environment.filters["headline"] = _headline
    environment.filters["pretty"] = lambda value: json.dumps(value, indent=2, ensure_ascii=True)
    environment.globals["pages"] = tuple(pages)
    return JinjaTemplateEngine.from_environment(environment)


def _headline(call: CallRecord) -> str:
    return visible(headline(msgspec.json.decode(call.effect, type=Effect, dec_hook=dec_hook)))


def _http_refusal(
    refusals: Refusals,
) -> Callable[[Request[Any, Any, Any], HTTPException], Response[Any]]:
    """Return the handler that notes who was kept out, and says so in a sentence."""

    def handle(request: Request[Any, Any, Any], refusal: HTTPException) -> Response[Any]:
        if refusal.status_code in _KEPT_OUT:
            refusals.note(request.scope, "form_token" if "CSRF" in refusal.detail else refusal.detail)
        if refusal.status_code == _REFUSED and request.method == "GET":
            return Redirect(path=sign_in_path(request.url.path, request.url.query or ""), status_code=303)
        return _message(_WORDS.get(refusal.status_code, "That did not work."), refusal.status_code)

    return handle


def _missing(_request: Request[Any, Any, Any], _error: RecordMissing) -> Response[Any]:
    return _message("There is no such record.", _GONE)


def _broke(_request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    import structlog

    # The page says nothing of it: what broke is for the log, which is redacted.
    structlog.get_logger("bursar.web").error("page_broke", problem=type(error).__name__, exc_info=error)
    return _message("Something broke here. It is in the log.", 500)


def _message(words: str, status: int) -> Template:
    return Template(template_name="message.html", context={"message": words}, status_code=status)
