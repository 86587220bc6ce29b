"""How an operator gets in: a password, or a one-time link for the first time; and out again."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Final

from litestar import Request, get, post
from litestar.datastructures import Cookie
from litestar.enums import RequestEncodingType
from litestar.handlers import HTTPRouteHandler
from litestar.params import Body, FromPath, FromQuery
from litestar.response import Redirect, Template

from ledger.records import OperatorRecord
from policy.errors import ConfigurationError
from tool_server import passwords
from webhooks.console.frame import PageRequest
from webhooks.deps import Deps
from webhooks.security import PUBLIC, local_path
from webhooks.sessions import Session, Sessions

Form = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]
_WRONG: Final = "That name and password do not belong together."
_WAIT: Final = "Too many tries. Wait a little, then try again."
_DEAD_LINK: Final = "This link was used, has expired, or never was. Ask an owner for another one."


class SignIn:
    """The pages that open and end sessions."""

    def __init__(self, deps: Deps, sessions: Sessions) -> None:
        self._deps = deps
        self._sessions = sessions

    def routes(self) -> list[HTTPRouteHandler]:
        """Return the handlers."""

        @get("/login", opt={PUBLIC: True})
        async def login_page(next: FromQuery[str] = "/") -> Template:  # noqa: A002 -- the query's own name
            return _login(local_path(next))

        @post("/login", opt={PUBLIC: True}, status_code=303)
        async def login(request: Request[Any, Any, Any], data: Form) -> Template | Redirect:
            return await self._login(request, data)

        @get("/link/{token:str}", opt={PUBLIC: True})
        async def link_page(token: FromPath[str]) -> Template:
            # Mail scanners open links, so looking at one spends nothing: the button does.
            return Template(template_name="link.html", context={"token": token})

        @post("/link", opt={PUBLIC: True}, status_code=303)
        async def link(request: Request[Any, Any, Any], data: Form) -> Template | Redirect:
            return await self._redeem(data.get("token", ""), request.client.host if request.client else "")

        @get("/password")
        async def password_page(request: PageRequest) -> Template:
            return _password(request.user, "")

        @post("/password", status_code=303)
        async def password(request: PageRequest, data: Form) -> Template | Redirect:
            return await self._set_password(request, data)

        @post("/logout", status_code=303)
        async def logout(request: PageRequest) -> Redirect:
            await self._sessions.end(request.auth)
            gone = Cookie(key=self._deps.cookie, max_age=0, path="/", secure=self._deps.secure)
            return Redirect(path="/login", status_code=303, cookies=[gone])

        return [login_page, login, link_page, link, password_page, password, logout]

    async def _login(self, request: Request[Any, Any, Any], data: Form) -> Template | Redirect:
        name, wanted = data.get("name", "")[:100], local_path(data.get("next", "/"))
        address = request.client.host if request.client else ""
        subjects = (f"operator:{name}", f"address:{address}")
        if await self._blocked(subjects):
            return _login(wanted, _WAIT, status=429)
        found = await self._deps.ledger.password_hash(name)
        stored = found[1] if found and found[0].active else None
        right = await passwords.matches(data.get("password", ""), stored)
        now = self._deps.now()
        for subject in subjects:
            await self._deps.ledger.count_login(subject, now, ok=right)
        if not right or found is None:
            await self._deps.ledger.signed_in("refused", now, address=address)
            return _login(wanted, _WRONG, status=401)
        return await self._let_in(found[0], by="password", to=wanted, address=address)

    async def _blocked(self, subjects: tuple[str, ...]) -> bool:
        now_us = int(self._deps.now().timestamp() * 1_000_000)
        throttles = [await self._deps.ledger.login_throttle(subject) for subject in subjects]
        return any(throttle.blocked_until_us > now_us for throttle in throttles)

    async def _redeem(self, token: str, address: str) -> Template | Redirect:
        subject = f"address:{address}"
        if await self._blocked((subject,)):
            return _message(_WAIT, 429)
        now, spent = self._deps.now(), hashlib.sha256(token.encode()).hexdigest()
        operator = await self._deps.ledger.use_link(spent, now)
        await self._deps.ledger.count_login(subject, now, ok=operator is not None)
        if operator is None:
            await self._deps.ledger.signed_in("refused", now, address=address)
            return _message(_DEAD_LINK, 401)
        to = "/" if operator.has_password else "/password"
        return await self._let_in(operator, by="link", to=to, address=address)

    async def _let_in(self, operator: OperatorRecord, *, by: str, to: str, address: str) -> Redirect:
        cookie, session = await self._sessions.mint(operator, by=by)
        await self._deps.ledger.signed_in(
            by, self._deps.now(), operator_id=operator.operator_id, address=address, session=session.key
        )
        return Redirect(path=to, status_code=303, cookies=[self._cookie(cookie)])

    def _cookie(self, value: str) -> Cookie:
        return Cookie(
            key=self._deps.cookie,
            value=value,
            path="/",
            httponly=True,
            secure=self._deps.secure,
            samesite="strict",
        )

    async def _set_password(self, request: PageRequest, data: Form) -> Template | Redirect:
        operator, session = request.user, request.auth
        if not await self._may_set(operator, session, data.get("current", "")):
            return _password(operator, "That is not your present password.", status=401)
        chosen = data.get("password", "")
        if chosen != data.get("again", ""):
            return _password(operator, "The two differ; type the same twice.", status=400)
        try:
            passwords.check_choice(chosen, operator.name)
        except ConfigurationError as refused:
            return _password(operator, str(refused), status=400)
        stored = await passwords.hashed(chosen)
        now = self._deps.now()
        await self._deps.ledger.set_password_hash(operator.operator_id, stored, by=operator.name, at=now)
        # A new password is a change of privilege: the old session ends and another begins.
        await self._sessions.end(session)
        return await self._let_in(operator, by="password", to="/", address="")

    async def _may_set(self, operator: OperatorRecord, session: Session, current: str) -> bool:
        """Say whether this session may choose a password: by a one-time link, or with the present one."""
        if session.by == "link":
            return True
        # Guesses count here as they do at the front door: a stolen cookie must not open the way to them.
        subject = f"operator:{operator.name}"
        if await self._blocked((subject,)):
            return False
        found = await self._deps.ledger.password_hash(operator.operator_id)
        right = found is not None and await passwords.matches(current, found[1])
        await self._deps.ledger.count_login(subject, self._deps.now(), ok=right)
        return right


def _message(words: str, status: int) -> Template:
    return Template(template_name="message.html", context={"message": words}, status_code=status)


def _login(wanted: str, problem: str = "", *, status: int = 200) -> Template:
    return Template(
        template_name="login.html", context={"next": wanted, "problem": problem}, status_code=status
    )


def _password(operator: OperatorRecord, problem: str, *, status: int = 200) -> Template:
    context = {"operator": operator, "problem": problem}
    return Template(template_name="password.html", context=context, status_code=status)
