"""What people outside see: the request form, the page a buyer returns to, and the delivery by a signed link.

None of it has a session, an account or a script, and none of it leads anywhere but here. What a stranger
writes is kept as data and reaches no agent before the owner released it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect, Template

from ledger.records import ProjectRecord, ReviewState
from ledger.records_crm import Artifact, Lead, Submission
from ledger.records_revenue import Deal, DealStage, Order
from policy.errors import RecordMissing
from webhooks.console.sign_in import Form
from webhooks.deps import Deps
from webhooks.security import PUBLIC
from webhooks.signed_links import delivery_path, may_read
from webhooks.strangers import Strangers
from webhooks.visible import visible_lines

FIELDS: Final[Mapping[str, int]] = {"name": 200, "email": 200, "company": 200, "website": 200, "wish": 4_000}
_NEEDED: Final = {
    "name": "Say who you are.",
    "email": "Say where we can answer you.",
    "wish": "Say what you want.",
}
HONEYPOT: Final = "nickname"  # People do not see it; programs that fill in everything do.
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s.]+(?:\.[^@\s.]+)+")
_UNKEEPABLE: Final = re.compile(r"[\x00\ud800-\udfff]")  # What a database of texts cannot hold.
_STRANGER: Final = {PUBLIC: True, "exclude_from_csrf": True}  # No session, so no forgery: see `Doorway`.
_NOT_TAKEN: Final = "Too many requests arrived just now. Please try again in ten minutes."
_CLOSED: Final = "No requests are taken here at the moment."
_NOTHING: Final = "There is nothing here. Was the address copied as a whole?"

Visit = Request[Any, Any, Any]


class Intake:
    """The public pages of one house."""

    def __init__(self, deps: Deps, strangers: Strangers | None = None) -> None:
        self._deps = deps
        self._strangers = strangers or Strangers(time.monotonic, proxied=deps.secure)

    def routes(self) -> list[HTTPRouteHandler]:
        """Return the handlers."""

        @get("/request", opt=_STRANGER)
        async def form() -> Template:
            if requests_to(self._deps.requests_to, await self._deps.ledger.projects()):
                return _form({}, {})
            return _message(_CLOSED, 503)  # Nobody should write a page that cannot be sent.

        @post("/request", opt=_STRANGER, status_code=303)
        async def send(request: Visit, data: Form) -> Template | Redirect:
            return await self._take(request, data)

        @get("/request/received", opt=_STRANGER)
        async def received() -> Template:
            return Template(template_name="public_received.html")

        @get("/paid/{deal_id:str}", opt=_STRANGER)
        async def paid(deal_id: FromPath[str], session: FromQuery[str] = "") -> Template:
            return await self._paid(deal_id, session)

        @get("/delivery/{run_id:str}/{signature:str}", opt=_STRANGER)
        async def delivery(run_id: FromPath[str], signature: FromPath[str]) -> Template:
            return await self._delivery(run_id, signature)

        @get("/delivery/{run_id:str}/{signature:str}/{digest:str}", opt=_STRANGER)
        async def file(
            run_id: FromPath[str], signature: FromPath[str], digest: FromPath[str]
        ) -> Response[bytes] | Template:
            return await self._file(run_id, signature, digest)

        return [form, send, received, paid, delivery, file]

    # --- a request ---------------------------------------------------------------------------------------

    async def _take(self, request: Visit, data: Mapping[str, str]) -> Template | Redirect:
        received = Redirect(path="/request/received", status_code=303)
        if data.get(HONEYPOT, ""):
            return received  # A program that is told it failed tries again.
        said = {name: data.get(name, "").replace("\r\n", "\n").strip() for name in FIELDS}
        problems = check(said)
        if problems:
            return _form(said, problems, status=400)
        address = request.client.host if request.client else ""
        if not self._strangers.may_ask(address):
            return _form(said, {"": _NOT_TAKEN}, status=429)
        project = requests_to(self._deps.requests_to, await self._deps.ledger.projects())
        if not project:
            return _form(said, {"": _CLOSED}, status=503)
        if not self._strangers.is_again(said):
            await self._keep(project, said)
        return received

    async def _keep(self, project: str, said: Mapping[str, str]) -> None:
        now = self._deps.now()
        lead = Lead(
            lead_id=self._deps.new_id("lead"),
            project=project,
            origin="public_form",
            name=said["name"],
            email=said["email"],
            company=said["company"],
            website=said["website"],
            wish=said["wish"],
            created_by="public form",
            created_at=now,
            updated_at=now,
        )
        await self._deps.ledger.add_lead(lead, at=now)

    # --- a buyer who comes back --------------------------------------------------------------------------

    async def _paid(self, deal_id: str, session: str) -> Template:
        """Show how a purchase stands. The page reads and changes nothing; only signed events book money."""
        try:
            deal = await self._deps.ledger.deal(deal_id)
        except RecordMissing:
            return _message(_NOTHING, 404)
        orders = (await self._deps.ledger.orders(deal_id=deal_id)).items
        mine = next((order for order in orders if session and order.session_ref == session), None)
        shown = mine or (orders[0] if orders else None)
        context = {
            "words": _standing(deal, shown),
            "order": shown,
            "delivery": await self._link(mine) if mine else "",
        }
        return Template(template_name="public_paid.html", context=context)

    async def _link(self, order: Order) -> str:
        """Return the path of what was delivered, empty until a delivery is approved."""
        if order.run_id is None or await self._delivered(order.run_id) is None:
            return ""
        return delivery_path(self._deps.csrf_secret, order.run_id)

    # --- what was delivered ------------------------------------------------------------------------------

    async def _delivered(self, run_id: str) -> Submission | None:
        """Return the approved delivery of a run whose order is not on hold."""
        order = await self._deps.ledger.order_of_run(run_id)
        if order is not None and order.on_hold:
            return None
        work = await self._deps.ledger.submissions(run_id)
        done = [each for each in work if each.kind == "delivery" and each.review is ReviewState.APPROVED]
        return done[-1] if done else None

    async def _opened(self, run_id: str, signature: str) -> Submission | None:
        if not may_read(self._deps.csrf_secret, run_id, signature):
            return None
        return await self._delivered(run_id)

    async def _delivery(self, run_id: str, signature: str) -> Template:
        work = await self._opened(run_id, signature)
        if work is None:
            return _message(_NOTHING, 404)
        context = {
            "title": work.title,
            "lines": visible_lines(work.text),
            "files": work.artifacts,
            "path": f"/delivery/{run_id}/{signature}",
        }
        return Template(template_name="public_delivery.html", context=context)

    async def _file(self, run_id: str, signature: str, digest: str) -> Response[bytes] | Template:
        """Give one file to be saved, never shown: its bytes are an agent's."""
        work = await self._opened(run_id, signature)
        named = next((each for each in work.artifacts if each.sha256 == digest), None) if work else None
        if named is None:
            return _message(_NOTHING, 404)
        _, content = await self._deps.ledger.artifact_bytes(run_id, digest)
        return attachment(named, content)


def requests_to(named: str, projects: Sequence[ProjectRecord]) -> str:
    """Return the project that strangers' requests go to: the one named, else the only one; empty for none.

    With several and none named nobody can know whose lead a request is, and guessing would show it to the
    wrong people.
    """
    names = {project.name for project in projects}
    if named:
        return named if named in names else ""
    return names.pop() if len(names) == 1 else ""


def check(said: Mapping[str, str]) -> dict[str, str]:
    """Return what is wrong with a request, by field."""
    problems = {name: words for name, words in _NEEDED.items() if not said[name]}
    for name, most in FIELDS.items():
        if len(said[name]) > most:
            problems[name] = f"At most {most} characters, please; these are {len(said[name])}."
        elif _UNKEEPABLE.search(said[name]):
            problems[name] = "This has a character that cannot be kept. Please type it again."
    if "email" not in problems and not _EMAIL.fullmatch(said["email"]):
        problems["email"] = "This does not look like an e-mail address."
    return problems


def attachment(artifact: Artifact, content: bytes) -> Response[bytes]:
    """Return a file as a download; its name was checked when it was stored."""
    headers = {"content-disposition": f'attachment; filename="{artifact.name}"'}
    return Response(content, media_type=artifact.media_type, headers=headers)


def _standing(deal: Deal, order: Order | None) -> str:
    """Return what a buyer may know of a deal."""
    if order is not None and order.on_hold:
        return f"This order is {order.state.value.replace('_', ' ')}."
    if order is not None:
        return "Thank you. Your payment has arrived."
    if deal.stage is DealStage.PAYMENT_PENDING:
        return "Your payment is on its way. Some methods take days; you need not do anything."
    return "No payment has arrived yet. If you have just paid, open this page again in a minute."


def _form(said: Mapping[str, str], problems: Mapping[str, str], *, status: int = 200) -> Template:
    context = {
        "said": {name: said.get(name, "") for name in FIELDS},
        "most": FIELDS,
        "problems": problems,
        "honeypot": HONEYPOT,
    }
    return Template(template_name="public_request.html", context=context, status_code=status)


def _message(words: str, status: int) -> Template:
    return Template(template_name="public_message.html", context={"words": words}, status_code=status)
