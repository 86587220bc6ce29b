"""What the pages do: pay a session, visit a link, buy something with an issuing card."""

from decimal import Decimal

from plugins.payments.simulator import pages
from plugins.payments.simulator.api import Account
from plugins.payments.simulator.cards import BY_NUMBER
from plugins.payments.simulator.errors import ApiError, invalid
from plugins.payments.simulator.http import Request, Response, html_response, redirect
from plugins.payments.simulator.resources import authorizations, disputes, links, payments
from plugins.payments.simulator.resources.common import ZERO_DECIMAL
from plugins.payments.simulator.world import Obj, World


async def answer(account: Account, request: Request) -> Response:
    """Answer a page request, with a page in every case."""
    account.world.run_due()
    _, area, object_id = (*request.path.split("/", 2), "")[:3]
    try:
        if area == "pay" and request.method in {"GET", "POST"}:
            return _pay(account.world, object_id, request)
        if area == "link" and request.method == "GET":
            return _visit(account.world, object_id, request)
        if area == "cards" and request.method in {"GET", "POST"}:
            return await _card(account, object_id, request)
    except ApiError as error:
        return html_response(error.status, pages.message("This is not possible", str(error)))
    return html_response(404, pages.message("Nothing here", "The simulator has no such page."))


def _pay(world: World, session_id: str, request: Request) -> Response:
    session = world.get("checkout.session", session_id)
    if session["status"] == "complete":
        return html_response(200, pages.paid(session))
    if session["status"] == "expired":
        return html_response(
            410, pages.message("Expired", "This Checkout Session has expired; nothing was paid.")
        )
    if request.method == "GET":
        return html_response(200, pages.pay(world, session))
    form = request.form()
    try:
        pay(world, session, form.get("card", ""), form.get("email") or None)
    except ApiError as error:
        words = str(error)
        if "decline_code" in error.fields:
            words = f"{words} ({error.fields['decline_code']})"
        return html_response(error.status, pages.pay(world, session, words))
    target = session["success_url"]
    if target is None:
        return html_response(200, pages.paid(session))
    return redirect(target.replace("{CHECKOUT_SESSION_ID}", session["id"]))


def pay(world: World, session: Obj, number: str, email: str | None) -> Obj:
    """Pay a session with a test card and let follow what follows from the card. Raises ApiError."""
    card = BY_NUMBER.get(number.replace(" ", ""))
    if card is None:
        raise ApiError(402, "card_error", "This is no test card of the simulator.", code="incorrect_number")
    payments.pay(world, session, card, email)
    if card.afterwards is not None:
        charge = world.get("charge", world.get("payment_intent", session["payment_intent"])["latest_charge"])
        if card.afterwards == "dispute":
            disputes.open_dispute(world, charge, reason="fraudulent")
        else:
            payments.warn(world, charge)
    return session


def _visit(world: World, link_id: str, request: Request) -> Response:
    link = world.get("payment_link", link_id)
    session = links.visit(world, link, request.fields())
    return redirect(session["url"])


async def _card(account: Account, card_id: str, request: Request) -> Response:
    world = account.world
    card = world.get("issuing.card", card_id)
    if request.method == "GET":
        return html_response(200, pages.issuing_card(card, _history(world, card)))
    form = request.form()
    try:
        done = await _buy(account, card, form)
    except ApiError as error:
        return html_response(
            error.status, pages.issuing_card(card, _history(world, card), problem=str(error))
        )
    problem = None if done["approved"] else f"Declined: {done['request_history'][-1]['reason']}."
    words = "Authorized, not yet captured." if form.get("hold") else "Paid."
    page = pages.issuing_card(card, _history(world, card), problem, None if problem else words)
    return html_response(200 if done["approved"] else 402, page)


async def _buy(account: Account, card: Obj, form: dict[str, str]) -> Obj:
    """Do at a merchant what the operator's form says: authorize, and capture unless it only holds."""
    amount = _minor_units(form.get("amount", ""), card["currency"])
    merchant = {"name": form.get("merchant", "").strip()[:100] or "Simulated Merchant"}
    params: Obj = {"card": card["id"], "amount": amount, "merchant_data": merchant}
    authorization = await authorizations.attempt(account.world, account.hooks, params)
    if authorization["approved"] and not form.get("hold"):
        authorizations.take(account.world, authorization["id"])
    return authorization


def _history(world: World, card: Obj) -> list[Obj]:
    return [row for row in world.all("issuing.authorization") if row["card"]["id"] == card["id"]]


def _minor_units(text: str, code: str) -> int:
    digits = 0 if code in ZERO_DECIMAL else 2
    try:
        scaled = Decimal(text.strip()).scaleb(digits)
    except ArithmeticError:
        scaled = Decimal("NaN")
    if not scaled.is_finite() or scaled != scaled.to_integral_value():
        raise invalid(f"'{text}' is not an amount; write it like 19.99", param="amount")
    return int(scaled)
