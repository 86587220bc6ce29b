"""What the pages do: pay a session, visit a link, buy something with an issuing card."""

from plugins.payments.simulator import pages
from plugins.payments.simulator.api import Account
from plugins.payments.simulator.cards import BY_NUMBER
from plugins.payments.simulator.errors import ApiError
from plugins.payments.simulator.http import Request, Response, html_response, redirect
from plugins.payments.simulator.resources import disputes, links, payments
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
    raise NotImplementedError
