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

from ledger.people import FREE_FAILURES, FREE_IN_ALL
from ledger.records import OperatorRecord
from policy.errors import ConfigurationError
from tool_server import passwords
from webhooks.console.frame import PageRequest
from webhooks.deps import Deps
from webhooks.security import PUBLIC, local_path
from webhooks.sessions import Session, Sessions
from webhooks.strangers import tells_apart

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
        brakes, ledger = self._brakes(name, address), self._deps.ledger
        if not await ledger.begin_login(brakes, self._deps.now()):
            return _login(wanted, _WAIT, status=429)
        found = await self._deps.ledger.password_hash(name)
        stored = found[1] if found and found[0].active else None
        right = await passwords.matches(data.get("password", ""), stored)
        now = self._deps.now()
        if not right or found is None:
            await ledger.signed_in("refused", now, address=address)
            return _login(wanted, _WRONG, status=401)
        for subject in brakes:
            await ledger.count_login(subject, now, ok=True)
        inside = await self._let_in(found, by="password", to=wanted, address=address)
        return inside or _login(wanted, _WRONG, status=401)

    def _brakes(self, name: str, address: str) -> dict[str, int]:
        """Return what a try at the front door is counted against, with the free failures of each.

        A name is braked where it is guessed from, so that a stranger who knows it cannot keep its owner out;
        over all addresses it has more free failures, for who guesses from many. Where every browser has the
        address of a proxy on this machine, an address says nothing and only the name is braked.
        """
        here = {f"address:{address}": FREE_FAILURES} if self._tells(address) else {}
        return {**here, f"door:{name}@{address}": FREE_FAILURES, f"operator:{name}": FREE_IN_ALL}

    def _tells(self, address: str) -> bool:
        return tells_apart(address, proxied=self._deps.secure)

    async def _redeem(self, token: str, address: str) -> Template | Redirect:
        brakes = {f"address:{address}": FREE_FAILURES} if self._tells(address) else {}
        now, spent = self._deps.now(), hashlib.sha256(token.encode()).hexdigest()
        if not await self._deps.ledger.begin_login(brakes, now):
            return _message(_WAIT, 429)
        found = await self._deps.ledger.use_link(spent, now)
        if found is None:
            await self._deps.ledger.signed_in("refused", now, address=address)
            return _message(_DEAD_LINK, 401)
        for subject in brakes:
            await self._deps.ledger.count_login(subject, now, ok=True)
        to = "/" if found[0].has_password else "/password"
        inside = await self._let_in(found, by="link", to=to, address=address)
        return inside or _message(_DEAD_LINK, 401)

    async def _let_in(
        self, found: tuple[OperatorRecord, str | None], *, by: str, to: str, address: str
    ) -> Redirect | None:
        """Open a session for who was found, by the password they had then; None where that changed."""
        operator, password_hash = found
        minted, now = (
            await self._sessions.mint(operator, by=by, password_hash=password_hash),
            self._deps.now(),
        )
        if minted is None:
            await self._deps.ledger.signed_in("refused", now, address=address)
            return None
        cookie, session = minted
        await self._deps.ledger.signed_in(
            by, now, operator_id=operator.operator_id, address=address, session=session.key
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
        done = await self._deps.ledger.set_password_hash(
            operator.operator_id, stored, by=operator.name, at=self._deps.now(), session=session.key
        )
        # A new password ended every session of this person, this one too; another begins.
        inside = await self._let_in((operator, stored), by="password", to="/", address="") if done else None
        return inside or Redirect(path="/login", status_code=303)

    async def _may_set(self, operator: OperatorRecord, session: Session, current: str) -> bool:
        """Say whether this session may choose a password: by a one-time link, or with the present one."""
        if session.by == "link":
            return True
        return await is_password_of(self._deps, operator, current)


def _message(words: str, status: int) -> Template:
    return Template(template_name="message.html", context={"message": words}, status_code=status)


async def is_password_of(deps: Deps, operator: OperatorRecord, password: str) -> bool:
    """Say whether somebody who is signed in knows the password; guesses are braked here as at the door.

    They count apart from those at the door, where strangers make them: a stolen cookie must not open the way
    to the password, and nobody outside can keep an operator from approving.
    """
    brakes, now = {f"session:{operator.name}": FREE_FAILURES}, deps.now()
    if not await deps.ledger.begin_login(brakes, now):
        return False
    found = await deps.ledger.password_hash(operator.operator_id)
    right = found is not None and await passwords.matches(password, found[1])
    for subject in brakes if right else ():
        await deps.ledger.count_login(subject, now, ok=True)
    return right


def _login(wanted: str, problem: str = "", *, status: int = 200) -> Template:
    return Template(
        template_name="login.html", context={"next": wanted, "problem": problem}, status_code=status
    )


def _password(operator: OperatorRecord, problem: str, *, status: int = 200) -> Template:
    context = {"operator": operator, "problem": problem}
    return Template(template_name="password.html", context=context, status_code=status)
