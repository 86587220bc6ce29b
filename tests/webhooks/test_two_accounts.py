"""Two accounts in one database: every tool and every page of one, asked with every id of the other.

The tools, their arguments and the pages come from the catalogue and the routes, so a new one is tried by
itself. What may not show is every text of the other account's rows that the asking account has not got too.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import re
import secrets
import sqlite3
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, cast

import httpx
import pytest
from litestar import Litestar
from msgspec import Struct, structs, to_builtins

from ledger.records import CallState
from plugins.conformance.samples import sample
from plugins.payments.simulator.simulator import Simulator
from policy.money import enc_hook
from tests.plugins.payments.desk import Stage, StripeDesk, desk_on
from tests.webhooks.conftest import ORIGIN, session_of
from tool_server.envelope import CallMeta, CallResult
from tool_server.hosts import Bind
from webhooks.security import Doorway
from webhooks.stripe_side import Simulated, stripe_side
from webhooks.web import web_app

TOLD: Final = 10  # Shorter texts are states and words, which accounts share.
ECHOED: Final = 40  # Characters of a value that a refusal repeats at most.
REFERENCES: Final = re.compile(r"(^|_)(id|after|text|references|offer)$")
ID: Final = re.compile(r"^([a-z]{2,8})_(?:sim_)?(?=[a-zA-Z]*\d)[0-9a-zA-Z]{8,}$")


# The kinds of id that an argument or a page's parameter takes; a name that is not here is tried with all.
KINDS: Final = {
    "call_id": ("call",),
    "approval_id": ("apr",),
    "lead_id": ("lead",),
    "deal_id": ("deal",),
    "run_id": ("run",),
    "order_id": ("ord",),
    "review_id": ("rev",),
    "draft_id": ("draft",),
    "sale_id": ("chk", "lnk"),
    "purchase_id": ("prc",),
    "event_id": ("evt",),
    "digest": ("sha256",),
}


# Arguments of tools for which none can be made up.
BY_HAND: Final[dict[str, dict[str, Any]]] = {
    "request_card_purchase": {
        "vendor": "vendor.example",
        "url": "https://vendor.example/x",
        "category": "software",
        "purpose": "what for",
        "amount": "3.00 USD",
    },
}


class Theirs(Struct, frozen=True):
    """What the other account has: its rows, its ids by kind, and the texts that are its own."""

    ids: dict[str, list[str]]
    texts: frozenset[str]


def rows_of(database: Path, account: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of an account, by table."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        tables = [name for (name,) in found]
        owned = [
            name
            for name in tables
            if any(row[1] == "account_id" for row in connection.execute(f'PRAGMA table_info("{name}")'))
        ]
        return {
            name: connection.execute(
                f'SELECT * FROM "{name}" WHERE account_id = ?',  # noqa: S608 -- names come from the database
                (account,),
            ).fetchall()
            for name in owned
        }


def texts_of(rows: dict[str, list[tuple[Any, ...]]]) -> Iterator[str]:
    """Yield every word of an account's rows that is long enough to be its own."""
    for row in itertools.chain.from_iterable(rows.values()):
        for value in row:
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
            if isinstance(text, str):
                yield from re.findall(rf"[\w.@-]{{{TOLD},}}", text)


async def settle_in(desk: StripeDesk) -> None:
    """Fill an account: something of every kind that has an id, each in words of its own."""
    word = f"private0{secrets.token_hex(6)}"

    async def call(tool: str, **arguments: Any) -> CallResult:  # noqa: ANN401 -- any JSON
        result = await desk.call(tool, **arguments)
        assert result.envelope.status in {"succeeded", "in_progress", "pending_approval"}, result.text
        return result

    await call("crm_update_lead", lead_id=desk.lead_id, note=f"a note, {word}")
    await call("crm_draft_outreach", lead_id=desk.lead_id, subject=f"Hello {word}", body=f"Words, {word}")
    await call("stripe_create_payment_link", deal_id=desk.deal_id, offer="snapshot", most_payments=3)
    order = await desk.sold()
    given: dict[str, Any] = {"run_id": order.run_id, "title": f"Title {word}", "text": f"Text {word}"}
    await call("run_submit_plan", **given)
    await call("run_submit_draft", **given)
    file = base64.b64encode(f"file {word}".encode()).decode()
    await call("run_submit_delivery", **given, artifacts=[f"a.txt|text/plain|{file}"])
    bought = await call(
        "request_card_purchase",
        vendor="vendor.example",
        url=f"https://vendor.example/{word}",
        category="software",
        purpose=f"what for: {word}",
        amount="3.00 USD",
    )
    await desk.until(bought, CallState.SUCCEEDED)
    asked = await call(
        "request_card_purchase",
        vendor="vendor.example",
        url=f"https://vendor.example/{word}/2",
        category="software",
        purpose=f"what else for: {word}",
        amount="60.00 USD",
    )
    assert asked.envelope.status == "pending_approval", asked.text
    refund = await call("refund_payment", order_id=order.order_id, amount="1.00 USD", why=f"sorry, {word}")
    assert refund.envelope.status == "pending_approval", refund.text


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[tuple[StripeDesk, Theirs, Path]]:
    """Give the house of one account, and what the other account in its database has."""
    database = tmp_path / "bursar.db"
    url = f"sqlite:///{database}"
    async with desk_on(tmp_path / "a", url, account="acct_theirs") as desk:
        await settle_in(desk)
    theirs = rows_of(database, "acct_theirs")
    # A provider of its own too: the same ids there would be nobody's secret.
    stage = Stage(sim=Simulator(8, time.time))
    async with desk_on(tmp_path / "b", url, account="acct_mine", stage=stage) as desk:
        mine = set(texts_of(rows_of(database, "acct_mine")))
        # A word without a figure is a state or a column of ours; ids, hashes and what was said here have one.
        texts = frozenset(text for text in texts_of(theirs) if any(map(str.isdigit, text))) - mine
        ids: dict[str, list[str]] = {}
        for text in sorted(texts):
            if kind := ID.match(text):
                ids.setdefault(kind[1], []).append(text)
        # Digests name files and runs' proofs, and a sequence number a receipt.
        ids["sha256"] = sorted(text for text in texts if re.fullmatch(r"[0-9a-f]{64}", text))[:3]
        yield desk, Theirs(ids, texts), database


def unlike(theirs: Theirs, said: str, sent: Iterable[str]) -> None:
    """Fail where an answer has a text that is only theirs, but for what was sent."""
    echoed = " ".join(sent)
    told = {word for word in re.findall(rf"[\w.@-]{{{TOLD},}}", said) if word in theirs.texts}
    assert {word for word in told if word not in echoed} == set()


def nobodys(sent: str) -> str:
    """Return an id of the same shape that nobody has."""
    head, line, tail = sent.rpartition("_")
    return head + line + re.sub("[a-z]", "a", re.sub("[A-Z]", "A", re.sub("[0-9]", "0", tail)))


def chosen(theirs: Theirs, name: str, *, deep: bool) -> list[str]:
    """Return the ids to try for an argument: those of its own kind, and one of each other."""
    firsts = {kind: found[0] for kind, found in theirs.ids.items() if found}
    own = [theirs.ids[kind] for kind in KINDS.get(name, ())]
    every = [*itertools.chain(*own), *(firsts.values() if deep or not own else ())]
    return list(dict.fromkeys(every))[: 99 if deep or not own else 4]


async def test_no_tool_tells_or_does_anything_with_another_accounts_ids(
    house: tuple[StripeDesk, Theirs, Path], *, deep: bool
) -> None:
    """Each answer is that of an id which nobody has, and the other's rows stay as they are, to the byte."""
    desk, theirs, database = house
    before, tried = rows_of(database, "acct_theirs"), 0
    assert {kind for kinds in KINDS.values() for kind in kinds} <= set(theirs.ids), sorted(theirs.ids)
    for name, arguments in _tools(desk):
        asked = ((field, sent) for field in arguments["fields"] for sent in chosen(theirs, field, deep=deep))
        for field, sent in asked:
            tried += 1
            answers = [
                await _swapped(desk, theirs, (name, field, value, sent), arguments["sample"])
                for value in (sent, nobodys(sent))
            ]
            assert answers[0] == answers[1], (name, field, sent)
    assert tried > 50
    for headers in (CallMeta(run_header=theirs.ids["run"][0]),):
        result = await desk.house.gate.call(desk.agent, "crm_find_leads", b"{}", headers)
        assert result.envelope.status == "invalid"
    assert rows_of(database, "acct_theirs") == before


async def _swapped(
    desk: StripeDesk, theirs: Theirs, asked: tuple[str, str, str, str], sample_of: dict[str, Any]
) -> str:
    """Ask a tool with one argument swapped; return its answer without the value and what is fresh in it."""
    name, field, value, sent = asked
    given = {**sample_of, field: [value] if field == "references" else value}
    said = await _asked(desk, name, given)
    unlike(theirs, said, [sent])
    return _plain(said.replace(value, "ID").replace(value[:ECHOED], "ID"))


def _tools(desk: StripeDesk) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each tool with arguments that fit, and which of its arguments can name a record."""
    registry, core = desk.house.registry, desk.house.catalogue.core
    structs_of = {name: loaded.tool.arguments for name, loaded in registry.tools.items()}
    structs_of |= {name: tool.arguments for name, tool in core.items()}
    for name, arguments in structs_of.items():
        made = sample(arguments)
        assert made is not None or name in BY_HAND, f"{name}: put arguments that fit into BY_HAND"
        plain = BY_HAND[name] if made is None else to_builtins(made, enc_hook=enc_hook)
        needed = {each.name: plain[each.name] for each in structs.fields(arguments) if each.required}
        fields = [each.name for each in structs.fields(arguments) if REFERENCES.search(each.name)]
        fields += ["run_id"] if "run_id" not in fields and name not in core else []
        yield name, {"fields": fields, "sample": needed}


async def _asked(desk: StripeDesk, tool: str, arguments: dict[str, Any]) -> str:
    loaded = desk.house.registry.tools.get(tool)
    if loaded is not None and loaded.key_required:
        desk.keys += 1
        arguments["idempotency_key"] = f"key-{desk.keys:06}"
    result = await desk.house.gate.call(desk.agent, tool, json.dumps(arguments).encode(), CallMeta())
    return f"{result.structured()} {result.text}"


def _plain(said: str) -> str:
    """Leave out what is fresh in every answer: ids, instants and keys."""
    said = re.sub(r"\b[a-z]{2,8}_[0-9a-zA-Z]{8,}\b", "ID", said)
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.+Z]+|key-\d+", "AT", said)


async def test_no_page_shows_or_does_anything_with_another_accounts_ids(
    house: tuple[StripeDesk, Theirs, Path], *, deep: bool
) -> None:
    """An owner of one account is a stranger in the other: each page says what it says of no record at all."""
    desk, theirs, database = house
    before, tried = rows_of(database, "acct_theirs"), 0
    async with _signed_in(desk) as (http, routes):
        asked = (
            (path, method, sent)
            for path, methods in routes
            for sent in _sent(theirs, re.findall(r"\{(\w+):(\w+)\}", path), deep=deep)
            for method in sorted({"GET", "POST"} & methods)
        )
        for path, method, sent in asked:
            answers = [
                await http.request(method, _filled(path, values), data={"verdict": "approve"})
                for values in (sent, [nobodys(each) for each in sent])
            ]
            tried += 1
            unlike(theirs, answers[0].text, sent)
            assert answers[0].status_code == answers[1].status_code, (method, path, sent)
            assert answers[0].status_code >= 400 or not sent, (method, path, sent)
    assert tried > 30
    assert rows_of(database, "acct_theirs") == before


def _sent(theirs: Theirs, names: list[tuple[str, str]], *, deep: bool) -> list[list[str]]:
    """Return values for a path's parameters: the other account's ids of that kind."""
    if not names:
        return [[]]
    choices = [chosen(theirs, name, deep=deep) for name, _ in names]
    return [list(values) for values in itertools.islice(itertools.product(*choices), 60 if deep else 4)]


def _filled(path: str, values: list[str]) -> str:
    left = iter(values)
    return re.sub(r"\{(\w+):\w+\}", lambda _named: next(left), path)


@contextlib.asynccontextmanager
async def _signed_in(desk: StripeDesk) -> AsyncIterator[tuple[httpx.AsyncClient, list[tuple[str, set[str]]]]]:
    """Give a browser of this account's owner, and every route it may ask."""
    house = desk.house
    house.settings.keys.mkdir(parents=True, exist_ok=True)
    app = web_app(house, Bind("127.0.0.1", 8401), stripe_side(house, Simulated()))
    assert isinstance(app, Doorway)
    inner = cast("Litestar", app._app)  # noqa: SLF001 -- what it wraps is what has routes
    # What ends the session, or takes no id of a record. Receipts are of one's own log, by number.
    away = {"/logout", "/password", "/login", "/link", "/link/{token:str}", "/static/{file_path:path}"}
    away.add("/receipts/{seq:int}")
    routes = [(route.path, set(getattr(route, "methods", ()))) for route in inner.routes]
    cookie = await session_of(house.ledger, desk.owner, house.now)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(cast("Any", app)), base_url=ORIGIN) as http:
        await http.get("/login")
        http.cookies.set("bursar", cookie, domain="127.0.0.1")
        http.headers.update({"origin": ORIGIN, "x-csrftoken": http.cookies["csrf"]})
        yield http, [(path, methods) for path, methods in routes if path not in away]


async def test_the_harness_sees_a_text_that_leaks(house: tuple[StripeDesk, Theirs, Path]) -> None:
    """A broken twin: an answer with one word of the other account's in it."""
    _, theirs, _ = house
    private = next(text for text in theirs.texts if text.startswith("private"))
    with pytest.raises(AssertionError):
        unlike(theirs, f"there is no lead; did you mean {private}?", ["lead_x"])
    unlike(theirs, f"there is no {private}", [private])
