"""The pages people see: plainly SIMULATED, plain HTML forms, no script."""

from html import escape

from plugins.payments.simulator.cards import BY_NUMBER
from plugins.payments.simulator.resources import line_items
from plugins.payments.simulator.resources.common import ZERO_DECIMAL
from plugins.payments.simulator.world import Obj, World

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 34rem; margin: 0 auto; padding: 0 1rem 3rem }
.banner { background: #7a4b00; color: #fff; padding: .6rem 1rem; margin: 0 -1rem 1.5rem; font-weight: 600 }
table { width: 100%; border-collapse: collapse; } td { padding: .3rem 0; }
td:last-child { text-align: right; }
.total td { border-top: 1px solid; font-weight: 600; }
fieldset { border: 1px solid; border-radius: .4rem; margin: 1rem 0; }
label { display: block; padding: .15rem 0; }
input[type=text], input[type=email] { width: 100%; font: inherit; padding: .4rem; box-sizing: border-box; }
button { font: inherit; font-weight: 600; padding: .6rem 1.2rem; cursor: pointer; }
.problem { border-left: .3rem solid #b00020; padding: .4rem .8rem; }
code { overflow-wrap: anywhere; }
"""


def money(amount: int, code: str) -> str:
    """Write an amount in minor units as people read it: 1999 usd is "19.99 USD"."""
    if code in ZERO_DECIMAL:
        return f"{amount} {code.upper()}"
    sign = "-" if amount < 0 else ""
    return f"{sign}{abs(amount) // 100}.{abs(amount) % 100:02d} {code.upper()}"


def document(title: str, body: str) -> str:
    """Frame a page with the banner that no page of the simulator lacks."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>SIMULATED: {escape(title)}</title><style>{_STYLE}</style></head><body>"
        '<p class="banner" role="note">SIMULATED. This is not Stripe, no card is charged, no money moves.</p>'
        f"<main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )


def message(title: str, text: str) -> str:
    """Give a page that only says something."""
    return document(title, f"<p>{escape(text)}</p>")


def pay(world: World, session: Obj, problem: str | None = None) -> str:
    """Give the hosted page of an open session, with what went wrong the last time."""
    rows = "".join(
        f"<tr><td>{row['quantity']} &times; {escape(row['description'])}</td>"
        f"<td>{money(row['amount_total'], row['currency'])}</td></tr>"
        for row in line_items.of(world, session["id"])
    )
    total = money(session["amount_total"], session["currency"])
    failed = f'<p class="problem" role="alert">{escape(problem)}</p>' if problem else ""
    email = escape(session["customer_email"] or "")
    cancel = ""
    if session["cancel_url"]:
        cancel = f'<p><a href="{escape(session["cancel_url"])}">Go back without paying</a></p>'
    body = (
        f"<table>{rows}<tr class=total><td>Total</td><td>{total}</td></tr></table>{failed}"
        f'<form method="post"><label for="email">Email</label>'
        f'<input type="email" id="email" name="email" value="{email}" autocomplete="off">'
        f"<fieldset><legend>Pay with a test card that</legend>{_choices()}</fieldset>"
        f"<button>Pay {total}, SIMULATED</button></form>{cancel}<p><code>{escape(session['id'])}</code></p>"
    )
    return document("Checkout", body)


def _choices() -> str:
    rows = []
    for number, card in BY_NUMBER.items():
        checked = " checked" if number == "4242424242424242" else ""
        field = f'<input type="radio" name="card" value="{number}"{checked}>'
        rows.append(f"<label>{field} {escape(card.label)} <small>({number})</small></label>")
    return "".join(rows)


def paid(session: Obj) -> str:
    """Give the page of a complete session, for buyers who come back and links without a redirect."""
    total = money(session["amount_total"], session["currency"])
    words = "is paid" if session["payment_status"] == "paid" else "is on its way and settles later"
    text = f"<p>Your payment of {total} {words}.</p><p><code>{escape(session['id'])}</code></p>"
    return document("Thank you", text)


def _why_not(authorization: Obj) -> str:
    """Say why it is not approved; while the real-time question is open nobody has said anything yet."""
    asked = authorization["request_history"]
    return f"declined: {asked[-1]['reason']}" if asked else "being decided"


def issuing_card(card: Obj, history: list[Obj], problem: str | None = None, done: str | None = None) -> str:
    """Give the operator's page of one issuing card: buy something with it, see what was bought."""
    limits = card["spending_controls"]["spending_limits"] or []
    caps = ", ".join(f"{money(row['amount'], card['currency'])} {row['interval']}" for row in limits)
    notes = f'<p class="problem" role="alert">{escape(problem)}</p>' if problem else ""
    notes += f'<p role="status">{escape(done)}</p>' if done else ""
    rows = "".join(
        f"<tr><td>{escape(str(row['merchant_data']['name']))}, {escape(row['status'])}"
        f"{'' if row['approved'] else ', ' + escape(_why_not(row))}</td>"
        f"<td>{money(row['amount'], row['currency'])}</td></tr>"
        for row in history
    )
    body = (
        f"<p>Card ending in {card['last4']}, status <strong>{card['status']}</strong>, "
        f"limit {caps or 'none'}.</p>"
        f"{notes}"
        '<form method="post"><label for="merchant">Merchant</label>'
        '<input type="text" id="merchant" name="merchant" required maxlength="100">'
        f'<label for="amount">Amount in {card["currency"].upper()}</label>'
        '<input type="text" id="amount" name="amount" required inputmode="decimal" placeholder="19.99">'
        '<label><input type="checkbox" name="hold" value="1"> only authorize, capture later</label>'
        "<p><button>Complete checkout with card, SIMULATED</button></p></form>"
        f"<h2>Authorizations</h2><table>{rows or '<tr><td>None yet</td><td></td></tr>'}</table>"
        f"<p><code>{escape(card['id'])}</code></p>"
    )
    return document("Complete checkout with card", body)
