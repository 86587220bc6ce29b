"""Outbound payments (v2): processing first, then posted, failed or canceled; posted may be returned."""

from typing import Any

from plugins.payments.simulator import paging
from plugins.payments.simulator.errors import ApiError, invalid
from plugins.payments.simulator.resources.common import changed, currency, merged, positive
from plugins.payments.simulator.routes import Call, Route
from plugins.payments.simulator.world import Obj, World

PAYMENT = "v2.money_management.outbound_payment"
_FINANCIAL_ACCOUNT = "v2.money_management.financial_account"
_RECIPIENT = "v2.core.account"
_DESCRIPTOR = (3, 22)  # Stripe's documented length of a statement descriptor.
_WHOLE = frozenset({"huf", "twd"})  # Stripe pays these out in whole units, in hundredths all the same.
_NEXT = {"processing": {"posted", "failed", "canceled"}, "posted": {"returned"}}
_REASONS = {"failed": "payout_method_declined", "returned": "payout_method_closed"}


def found(world: World) -> None:
    """Give a new account its financial account and one recipient."""
    world.financial_account = world.add(
        {
            "id": world.ids.new("fa"),
            "object": _FINANCIAL_ACCOUNT,
            "country": world.settings.country,
            "created": world.clock.iso(),
            "display_name": "SIMULATED balance",
            "livemode": False,
            "metadata": {},
            "other": None,
            "status": "open",
            "storage": {"holds_currencies": [world.settings.currency]},
            "type": "storage",
        }
    )["id"]
    world.recipient = _new_recipient(world, {"display_name": "SIMULATED vendor"})["id"]


def _new_recipient(world: World, params: dict[str, Any]) -> Obj:
    return world.add(
        {
            "id": world.ids.new("acct"),
            "object": _RECIPIENT,
            "applied_configurations": ["recipient"],
            "closed": None,
            "configuration": None,
            "contact_email": params.get("contact_email"),
            "created": world.clock.iso(),
            "dashboard": params.get("dashboard", "none"),
            "display_name": params.get("display_name"),
            "identity": None,
            "livemode": False,
            "metadata": merged({}, params.get("metadata")),
            "requirements": None,
        }
    )


def create_recipient(call: Call) -> Obj:
    """Create a recipient, ready to be paid at once."""
    if "recipient" not in call.params.get("configuration", {}):
        raise invalid(
            "This simulator has accounts with a recipient configuration only", param="configuration"
        )
    return call.world.render(_new_recipient(call.world, call.params))


def retrieve_recipient(call: Call) -> Obj:
    """Give a recipient."""
    return call.world.render(call.world.get(_RECIPIENT, call.id))


def list_recipients(call: Call) -> Obj:
    """List recipients."""
    return paging.page_v2(call.world, call.world.all(_RECIPIENT), call.params, call.path)


def _funds(world: World, code: str) -> tuple[int, int]:
    """Give what is available and what is on its way out, in minor units."""
    rows = [row for row in world.all(PAYMENT) if row["amount"]["currency"] == code]
    pending = sum(row["amount"]["value"] for row in rows if row["status"] == "processing")
    gone = sum(row["amount"]["value"] for row in rows if row["status"] == "posted")
    return world.settings.outbound_balance - pending - gone, pending


def _financial_account(world: World, account: Obj) -> Obj:
    code = world.settings.currency
    available, pending = _funds(world, code)
    answer = world.render(account)
    answer["balance"] = {
        "available": {code: {"value": available, "currency": code}},
        "inbound_pending": {code: {"value": 0, "currency": code}},
        "outbound_pending": {code: {"value": pending, "currency": code}},
    }
    return answer


def retrieve_financial_account(call: Call) -> Obj:
    """Give the financial account with its balance."""
    return _financial_account(call.world, call.world.get(_FINANCIAL_ACCOUNT, call.id))


def list_financial_accounts(call: Call) -> Obj:
    """List the account's one financial account."""
    rows = [_financial_account(call.world, row) for row in call.world.all(_FINANCIAL_ACCOUNT)]
    return paging.page_v2(call.world, rows, call.params, call.path)


def create(call: Call) -> Obj:
    """Send money to a recipient; it is processing until it posts, fails or is canceled."""
    world, params = call.world, call.params
    value, code = positive(params["amount"]["value"], "amount.value"), currency(params["amount"]["currency"])
    if code in _WHOLE and value % 100:
        raise invalid(f"Amounts in {code} must be whole: divisible by 100", param="amount.value")
    world.get(_FINANCIAL_ACCOUNT, params["from"]["financial_account"], "from.financial_account")
    recipient = world.get(_RECIPIENT, params["to"]["recipient"], "to.recipient")
    for side in ("from", "to"):
        if params[side].get("currency", code).lower() != code:
            raise invalid("This simulator converts no currencies", param=f"{side}.currency")
    descriptor = params.get("statement_descriptor", "SIMULATED")
    if not _DESCRIPTOR[0] <= len(descriptor) <= _DESCRIPTOR[1]:
        raise invalid("statement_descriptor must have 3 to 22 characters", param="statement_descriptor")
    if value > _funds(world, code)[0]:
        message = "The financial account does not have the funds for this payment."
        raise ApiError(400, "insufficient_funds", message, code="outbound_payment_insufficient_funds")
    amount = {"value": value, "currency": code}
    payment: Obj = {
        "id": world.ids.new("obp"),
        "object": PAYMENT,
        "amount": amount,
        "cancelable": True,
        "created": world.clock.iso(),
        "description": params.get("description"),
        "expected_arrival_date": None,
        "from": {"financial_account": params["from"]["financial_account"], "debited": dict(amount)},
        "livemode": False,
        "metadata": merged({}, params.get("metadata")),
        "payout_intent": None,
        "recipient_notification": {"setting": "none"},
        "recipient_verification": params.get("recipient_verification"),
        "statement_descriptor": descriptor,
        "status": "processing",
        "status_details": None,
        "status_transitions": dict.fromkeys(("canceled_at", "failed_at", "posted_at", "returned_at")),
        "to": {
            "recipient": recipient["id"],
            "credited": dict(amount),
            "payout_method": params["to"].get("payout_method"),
        },
        "tracking_details": None,
    }
    world.add(payment)
    _emit(world, "created", payment)
    _arm(world, payment)
    return world.render(payment)


def rearm(world: World) -> None:
    """Let payments of a restored world post after their time."""
    for payment in world.all(PAYMENT):
        if payment["status"] == "processing":
            _arm(world, payment)


def _arm(world: World, payment: Obj) -> None:
    if world.settings.post_after_s is not None:
        world.after(world.settings.post_after_s, lambda: _post_if_processing(world, payment))


def _post_if_processing(world: World, payment: Obj) -> None:
    if payment["status"] == "processing":
        move(world, payment, "posted")


def move(world: World, payment: Obj, status: str) -> Obj:
    """Take a payment to its next status. Raises ApiError (400) for a step that no payment takes."""
    if status not in _NEXT.get(payment["status"], set()):
        raise invalid(f"An outbound payment that is {payment['status']} cannot become {status}.")
    transitions = {**payment["status_transitions"], f"{status}_at": world.clock.iso()}
    details = {status: {"reason": _REASONS[status]}} if status in _REASONS else None
    changed(payment, status=status, cancelable=False, status_transitions=transitions, status_details=details)
    _emit(world, status, payment)
    return payment


def cancel(call: Call) -> Obj:
    """Cancel a payment that is still processing."""
    payment = call.world.get(PAYMENT, call.id)
    if payment["status"] != "processing":
        message = f"The outbound payment is {payment['status']} and cannot be canceled."
        raise ApiError(400, "not_cancelable", message, code="outbound_payment_not_cancelable")
    return call.world.render(move(call.world, payment, "canceled"))


def retrieve(call: Call) -> Obj:
    """Give a payment."""
    return call.world.render(call.world.get(PAYMENT, call.id))


def list_payments(call: Call) -> Obj:
    """List payments, by recipient, status or creation."""
    rows = call.world.all(PAYMENT)
    if "recipient" in call.params:
        rows = [row for row in rows if row["to"]["recipient"] == call.params["recipient"]]
    if "status" in call.params:
        rows = [row for row in rows if row["status"] in call.params["status"]]
    rows = [row for row in rows if paging.in_iso_range(row["created"], call.params.get("created"))]
    return paging.page_v2(call.world, rows, call.params, call.path)


def _emit(world: World, what: str, payment: Obj) -> None:
    url = f"/v2/money_management/outbound_payments/{payment['id']}"
    world.emit_v2(f"{PAYMENT}.{what}", {"id": payment["id"], "type": PAYMENT, "url": url})


_PAYMENTS, _ACCOUNTS = "/v2/money_management/outbound_payments", "/v2/money_management/financial_accounts"
_SPEC = "v2.money_management"
ROUTES = (
    Route(f"POST {_PAYMENTS}", create, scope="outbound", spec=f"{_SPEC}.OutboundPaymentCreateParams"),
    Route(f"GET {_PAYMENTS}", list_payments, scope="outbound", spec=f"{_SPEC}.OutboundPaymentListParams"),
    Route(
        f"GET {_PAYMENTS}/{{id}}", retrieve, scope="outbound", spec=f"{_SPEC}.OutboundPaymentRetrieveParams"
    ),
    Route(
        f"POST {_PAYMENTS}/{{id}}/cancel",
        cancel,
        scope="outbound",
        spec=f"{_SPEC}.OutboundPaymentCancelParams",
    ),
    Route(
        f"GET {_ACCOUNTS}",
        list_financial_accounts,
        scope="outbound",
        spec=f"{_SPEC}.FinancialAccountListParams",
    ),
    Route(
        f"GET {_ACCOUNTS}/{{id}}",
        retrieve_financial_account,
        scope="outbound",
        spec=f"{_SPEC}.FinancialAccountRetrieveParams",
    ),
    Route("POST /v2/core/accounts", create_recipient, scope="outbound", spec="v2.core.AccountCreateParams"),
    Route("GET /v2/core/accounts", list_recipients, scope="outbound", spec="v2.core.AccountListParams"),
    Route(
        "GET /v2/core/accounts/{id}",
        retrieve_recipient,
        scope="outbound",
        spec="v2.core.AccountRetrieveParams",
    ),
)
