"""How people get in, and how nobody else does."""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from ledger.ledger import Ledger
from ledger.people import FREE_IN_ALL
from tests.provider.house import Desk
from tests.webhooks.conftest import ORIGIN, PASSWORD, Browser, browsing, session_of
from webhooks.sessions import SessionLedger, Sessions, hashed_cookie


async def test_every_page_asks_for_a_sign_in_and_leads_back(browser: Browser) -> None:
    """A link to a request in a message must end at that request, whoever opens it."""
    response = await browser.open("/approvals/apr_1?x=1")
    assert (response.status_code, response.headers["location"]) == (
        303,
        "/login?next=%2Fapprovals%2Fapr_1%3Fx%3D1",
    )


async def test_a_right_password_opens_a_session_and_a_wrong_one_does_not(browser: Browser) -> None:
    """The two answers differ in nothing that tells whether the name exists."""
    wrong = await browser.sign_in("olga", "not the password")
    unknown = await browser.sign_in("nobody", "not the password")
    assert (wrong.status_code, unknown.status_code) == (401, 401)
    assert "do not belong together" in wrong.text
    assert "do not belong together" in unknown.text
    assert (await browser.sign_in("olga")).headers["location"] == "/"
    assert (await browser.open("/")).status_code == 200


async def test_a_cookie_that_a_stranger_planted_opens_nothing_and_is_never_adopted(browser: Browser) -> None:
    """Session fixation: signing in mints a new id, and the planted one stays worthless."""
    browser.client.cookies.set("bursar", "planted-by-somebody", domain="127.0.0.1")
    assert (await browser.open("/")).status_code == 303
    browser.client.cookies.clear()
    await browser.sign_in("olga")
    minted = browser.client.cookies["bursar"]
    assert minted != "planted-by-somebody"
    browser.client.cookies.set("bursar", "planted-by-somebody", domain="127.0.0.1")
    assert len(minted) >= 43


async def test_the_session_cookie_is_strict_and_out_of_scripts_reach(browser: Browser) -> None:
    """HttpOnly and SameSite=Strict on every sign-in; Secure where the address is https."""
    response = await browser.sign_in("olga")
    cookie = next(line for line in response.headers.get_list("set-cookie") if line.startswith("bursar="))
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie


async def test_signing_out_ends_the_session_on_the_server(browser: Browser) -> None:
    """A copied cookie must be worthless once its owner has left."""
    await browser.sign_in("olga")
    kept = browser.client.cookies["bursar"]
    await browser.open("/")
    await browser.send("/logout")
    browser.client.cookies.set("bursar", kept, domain="127.0.0.1")
    assert (await browser.open("/")).status_code == 303


async def test_a_form_without_its_token_or_from_another_page_does_nothing(
    browser: Browser, desk: Desk
) -> None:
    """CSRF: neither a missing token nor a foreign Origin nor a cross-site fetch may move anything."""
    await browser.sign_in("olga")
    await browser.open("/posture")
    page = browser.page
    bare = await browser.client.post("/posture", data={"posture": "no_spend"}, headers={"origin": ORIGIN})
    assert bare.status_code == 403
    for headers in ({"origin": "http://evil.example"}, {"origin": ORIGIN, "sec-fetch-site": "cross-site"}):
        browser.page = page
        token = page.split('name="_csrf_token" value="')[1].split('"')[0]
        answer = await browser.client.post(
            "/posture", data={"posture": "no_spend", "_csrf_token": token}, headers=headers
        )
        assert answer.status_code == 403
    assert await desk.house.ledger.postures() == ()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8401", ""])
async def test_another_name_than_ours_is_not_answered_to(browser: Browser, host: str) -> None:
    """DNS rebinding: a page whose name was pointed here sends its own Host."""
    response = await browser.client.get("/login", headers={"host": host})
    assert response.status_code == 421


async def test_a_one_time_link_works_once_and_looking_at_it_spends_nothing(
    browser: Browser, desk: Desk
) -> None:
    """Mail scanners open links; only the button spends one, and then it is spent for everybody."""
    await linked(desk.house.ledger, "anton", desk.house.now())
    for _ in range(3):
        assert (await browser.open("/link/the-link")).status_code == 200
    assert (await browser.send("/link", token="the-link")).status_code == 303
    async with browsing(desk) as another:
        await another.open("/link/the-link")
        assert (await another.send("/link", token="the-link")).status_code == 401


@pytest.mark.parametrize(
    "next_path", ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:1"]
)
async def test_signing_in_leads_nowhere_but_here(browser: Browser, next_path: str) -> None:
    """An open redirect after sign-in would lend our name to somebody else's page."""
    await browser.open("/login")
    response = await browser.send("/login", name="olga", password=PASSWORD, next=next_path)
    assert response.headers["location"] == "/"


async def test_guessing_is_slowed_down_for_a_name_and_an_address(browser: Browser) -> None:
    """After a handful of failures even the right password has to wait."""
    answers = [(await browser.sign_in("olga", f"guess {number}")).status_code for number in range(12)]
    assert 429 in answers
    assert (await browser.sign_in("olga")).status_code == 429


async def test_every_answer_carries_the_strict_headers(browser: Browser) -> None:
    """A page that can be framed, sniffed or scripted by others is a page that approves for others."""
    await browser.sign_in("olga")
    for path in ("/", "/login", "/posture", "/static/bursar.css", "/approvals/apr_none"):
        headers = (await browser.open(path)).headers
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert "frame-ancestors 'none'" in headers["content-security-policy"], path
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["cache-control"] == "no-store", path


async def test_guessing_the_present_password_counts_as_well(browser: Browser, desk: Desk) -> None:
    """A stolen cookie approves no live money; it must not find the password that does either."""
    await browser.sign_in("olga")
    await browser.open("/password")
    wanted = "quiet lantern meadow fox"
    for number in range(5):
        wrong = await browser.send("/password", current=f"guess {number}", password=wanted, again=wanted)
        assert wrong.status_code == 401
    assert (await desk.house.ledger.login_throttle("session:olga")).blocked_until_us > 0


async def test_guesses_that_arrive_together_wait_for_each_other(browser: Browser) -> None:
    """A brake that is asked before the slow hash and counted after it lets a whole burst through."""
    await browser.open("/login")
    page = browser.page

    async def guess(number: int) -> int:
        token = page.split('name="_csrf_token" value="')[1].split('"')[0]
        given = {"_csrf_token": token, "name": "olga", "password": f"guess {number}", "next": "/"}
        return (await browser.client.post("/login", data=given, headers={"origin": ORIGIN})).status_code

    answers = await asyncio.gather(*(guess(number) for number in range(12)))
    assert sorted(answers) == [401] * 5 + [429] * 7


async def test_a_stranger_who_guesses_keeps_nobody_else_out(browser: Browser, desk: Desk) -> None:
    """Whoever knows a name could otherwise lock its owner out for as long as they like."""
    async with browsing(desk, address="203.0.113.9") as stranger:
        for number in range(12):
            await stranger.sign_in("olga", f"guess {number}")
        assert (await stranger.sign_in("olga")).status_code == 429
    assert (await browser.sign_in("olga")).headers["location"] == "/"


async def test_guessing_from_many_addresses_is_slowed_down_too(browser: Browser, desk: Desk) -> None:
    """One name has fifty free failures in all; the brake of each address alone would never be felt."""
    # Counted a little ahead of time, so that the first pause, a second, is not over on a busy machine.
    brakes, ahead = {"operator:olga": FREE_IN_ALL}, desk.house.now() + timedelta(minutes=10)
    for _ in range(FREE_IN_ALL):
        assert await desk.house.ledger.begin_login(brakes, ahead)
    assert (await browser.sign_in("olga")).status_code == 429


async def test_a_new_password_ends_every_other_session(browser: Browser, desk: Desk) -> None:
    """It is what an operator does who fears that somebody else is signed in."""
    await browser.sign_in("olga")
    async with browsing(desk) as thief:
        await thief.sign_in("olga")
        assert (await thief.open("/")).status_code == 200
        await browser.open("/password")
        wanted = "quiet lantern meadow fox"
        changed = await browser.send("/password", current=PASSWORD, password=wanted, again=wanted)
        assert changed.headers["location"] == "/"
        assert (await browser.open("/")).status_code == 200
        assert (await thief.open("/")).status_code == 303


async def test_letting_somebody_in_again_revives_no_old_session(browser: Browser, desk: Desk) -> None:
    """A cookie of the time before must not wake up with its operator."""
    await browser.sign_in("anton")
    ledger, now = desk.house.ledger, desk.house.now()
    await ledger.disable_operator("anton", by="operator:olga", at=now)
    await ledger.change_operator("anton", by="operator:olga", at=now, active=True)
    assert (await browser.open("/")).status_code == 303


class Meanwhile:
    """A ledger on which somebody else does something right after it first answered one question."""

    def __init__(self, ledger: Ledger, question: str, does: Callable[[], Awaitable[object]]) -> None:
        self._ledger = ledger
        self._question = question
        self._does: Callable[[], Awaitable[object]] | None = does

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever else a ledger does
        asked = getattr(self._ledger, name)
        if name != self._question or self._does is None:
            return asked
        does, self._does = self._does, None

        async def answered(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - as the question has them
            found = await asked(*arguments, **options)
            await does()
            return found

        return answered


async def test_a_page_that_is_on_its_way_does_not_undo_a_sign_out(desk: Desk) -> None:
    """Its renewal is written after the session was deleted, and must not make it anew."""
    ledger, later = desk.house.ledger, [desk.house.now()]
    cookie = await session_of(ledger, "olga", lambda: later[0])
    later[0] += timedelta(minutes=5)
    signs_out = Meanwhile(ledger, "session_get", lambda: ledger.session_delete(hashed_cookie(cookie)))
    racing = Sessions(cast("SessionLedger", signs_out), lambda: later[0])
    assert await racing.find(cookie) is None
    assert await Sessions(ledger, lambda: later[0]).find(cookie) is None


@pytest.mark.parametrize("how", ["another password", "disabled"])
@pytest.mark.parametrize(("question", "by"), [("password_hash", "password"), ("use_link", "link")])
async def test_a_sign_in_that_is_under_way_does_not_survive_what_ends_sessions(
    desk: Desk, question: str, by: str, how: str
) -> None:
    """Its password was right a moment ago; who changed it in that moment meant to keep the thief out."""
    ledger, now = desk.house.ledger, desk.house.now()

    async def shut_out() -> None:
        if how == "disabled":
            await ledger.disable_operator("anton", by="operator:olga", at=now)
        else:
            await ledger.set_password_hash("anton", "another", by="anton", at=now)

    racing = cast("Ledger", Meanwhile(ledger, question, shut_out))
    async with browsing(desk, ledger=racing) as thief:
        await linked(ledger, "anton", now)
        if by == "link":
            await thief.open("/link/the-link")
            answer = await thief.send("/link", token="the-link")
        else:
            answer = await thief.sign_in("anton")
        assert (answer.status_code, thief.client.cookies.get("bursar")) == (401, None)


async def test_a_thief_who_is_about_to_choose_a_password_comes_too_late(desk: Desk) -> None:
    """They know the old one and have a session; the owner's new password stands, whoever is quicker."""
    ledger, now = desk.house.ledger, desk.house.now()
    owner_does = functools.partial(ledger.set_password_hash, "anton", "the owner's", by="anton", at=now)
    async with browsing(desk) as anywhere:
        await anywhere.sign_in("anton")
        cookie = anywhere.client.cookies["bursar"]
    racing = cast("Ledger", Meanwhile(ledger, "password_hash", owner_does))
    async with browsing(desk, ledger=racing) as thief:
        thief.client.cookies.set("bursar", cookie, domain="127.0.0.1")
        await thief.open("/password")
        wanted = "quiet lantern meadow fox"
        answer = await thief.send("/password", current=PASSWORD, password=wanted, again=wanted)
        assert answer.headers["location"] == "/login"
    found = await ledger.password_hash("anton")
    assert found is not None
    assert found[1] == "the owner's"


async def test_a_new_password_ends_the_links_that_nobody_used(browser: Browser, desk: Desk) -> None:
    """A link opens the way to a password without the present one, so it must not outlive that."""
    ledger, now = desk.house.ledger, desk.house.now()
    await linked(ledger, "anton", now)
    await ledger.set_password_hash("anton", "another", by="anton", at=now)
    await browser.open("/link/the-link")
    assert (await browser.send("/link", token="the-link")).status_code == 401


async def linked(ledger: Ledger, name: str, now: datetime) -> None:
    """Make a one-time link of an operator's: `the-link`."""
    spent = hashlib.sha256(b"the-link").hexdigest()
    ends = now + timedelta(minutes=15)
    await ledger.make_link(name, link_sha256=spent, by="operator:olga", at=now, expires_at=ends)
