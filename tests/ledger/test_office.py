"""Who and what may: people, agents, projects, policies, postures, processes; and the pages that show them."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs

from ledger.people import NewSession
from ledger.reads import CallFilter
from ledger.records import Outcome, Role
from ledger.times import to_us
from policy.errors import ConfigurationError, InvalidArguments, PolicyDenied, PolicyError, RecordMissing
from policy.language import Kind, Posture
from tests.ledger.till import ALLOW_ALL, ASK_ALL, Till, with_caps

LIVE = with_caps(ALLOW_ALL, '{id: month, per: account, window: month, limit: "10.00 USD"}')
LIVE += "live_spend: {enabled: true, providers: [stripe]}\n"


async def test_names_are_given_once_for_ever(till: Till) -> None:
    """Keys, caps and verdicts are kept by them."""
    await till.person("ada")
    for again in (
        till.person("ada"),
        till.ledger.add_project("shop", by="system:test", at=till.now),
        till.ledger.add_agent(
            name="scout", project="shop", kits=(), token_sha256="other", by="opr", at=till.now
        ),
    ):
        with pytest.raises(ConfigurationError):
            await again
    with pytest.raises(RecordMissing):
        await till.ledger.add_agent(
            name="new", project="nowhere", kits=(), token_sha256="other", by="opr", at=till.now
        )
    with pytest.raises(RecordMissing):
        await till.ledger.revoke_agent("nobody", by="opr", at=till.now)


async def test_agents_and_enforcers_are_found_by_their_tokens(till: Till) -> None:
    """Also revoked ones: whoever asks says why they are refused."""
    agent = await till.ledger.agent_by_token("token-scout")
    assert agent is not None
    assert (agent.name, agent.active, agent.kits, agent.owner) == ("scout", True, ("buy",), "opr_maker")
    await till.ledger.seen({"scout": till.later(seconds=5)})
    await till.ledger.touch("scout", till.later(seconds=5))
    assert [each.last_seen_at for each in await till.ledger.agents()] == [till.now]
    made = await till.ledger.add_enforcer(
        name="other-server", project="shop", token_sha256="token-enf", by="opr", at=till.now
    )
    assert await till.ledger.enforcer_by_token("token-enf") == made
    await till.ledger.revoke_enforcer("other-server", by="opr", at=till.now)
    assert [each.active for each in await till.ledger.enforcers()] == [False]
    assert await till.ledger.enforcer_by_token("nothing") is None
    with pytest.raises(RecordMissing):
        await till.ledger.revoke_enforcer("nobody", by="opr", at=till.now)


async def test_the_last_active_owner_stays(till: Till) -> None:
    """Nobody could loosen, accept or close anything any more."""
    olga = await till.person("olga", Role.OWNER)
    with pytest.raises(ConfigurationError):
        await till.ledger.disable_operator(olga.name, by="opr", at=till.now)
    with pytest.raises(ConfigurationError):
        await till.ledger.change_operator("olga", by="opr", at=till.now, role=Role.VIEWER)
    await till.person("oscar", Role.OWNER)
    assert not (await till.ledger.disable_operator("olga", by="opr", at=till.now)).active
    assert (await till.ledger.change_operator("olga", by="opr", at=till.now, active=True)).active
    assert (await till.ledger.operator("olga")).operator_id == olga.operator_id
    with pytest.raises(RecordMissing):
        await till.ledger.operator("nobody")


async def test_a_link_opens_once_and_in_time(till: Till) -> None:
    """Mail scanners open links, too; the second one finds nothing."""
    ada = await till.person("ada")
    ends = till.now + timedelta(minutes=15)
    for link in ("one", "two"):
        await till.ledger.make_link("ada", link_sha256=link, by="opr", at=till.now, expires_at=ends)
    assert await till.ledger.use_link("one", till.now) == (ada, "hash")
    assert await till.ledger.use_link("one", till.now) is None
    assert await till.ledger.use_link("two", ends) is None
    assert await till.ledger.use_link("three", till.now) is None
    await till.ledger.set_password_hash("ada", "new", by=ada.operator_id, at=till.now)
    found = await till.ledger.password_hash("ada")
    assert found is not None
    assert found[1] == "new"
    assert await till.ledger.password_hash("nobody") is None


async def test_sessions_end(till: Till) -> None:
    """By sign-out, by time, and all at once; what ended is never stored again."""
    ends = till.now + timedelta(hours=1)
    ada = await till.person("ada")
    first = NewSession(
        key="s1", data=b"one", operator_id=ada.operator_id, password_hash="hash", expires_at_us=to_us(ends)
    )
    assert await till.ledger.session_open(first)
    assert await till.ledger.session_keep("s1", b"two", expires_at=ends)
    assert await till.ledger.session_get("s1", till.now) == b"two"
    assert await till.ledger.session_get("s1", ends) is None
    await till.ledger.session_delete("s1")
    assert await till.ledger.session_get("s1", till.now) is None
    assert not await till.ledger.session_keep("s1", b"three", expires_at=ends)
    assert await till.ledger.session_get("s1", till.now) is None
    assert await till.ledger.session_open(structs.replace(first, key="s2", data=b""))
    await till.ledger.sessions_delete(before=ends)
    assert await till.ledger.session_get("s2", till.now) == b""
    await till.ledger.sessions_delete()
    assert await till.ledger.session_get("s2", till.now) is None
    await till.ledger.signed_in("signed in", till.now, operator_id="opr", address="127.0.0.1", session="hash")


async def test_guessing_passwords_gets_slow(till: Till) -> None:
    """Pauses double from the fifth failure on, up to a quarter of an hour, and a success forgets them."""
    pauses = []
    for _ in range(16):
        throttle = await till.ledger.count_login("ada", till.now, ok=False)
        pauses.append(max(0, throttle.blocked_until_us // 1_000_000 - int(till.now.timestamp())))
    assert pauses == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]
    assert (await till.ledger.login_throttle("ada")).failures == 16
    assert (await till.ledger.count_login("ada", till.later(days=2), ok=False)).failures == 1
    await till.ledger.count_login("ada", till.now, ok=True)
    assert (await till.ledger.login_throttle("ada")).failures == 0


async def test_only_an_owner_loosens_a_posture_and_says_why(till: Till) -> None:
    """Anybody may press the stop button; it lists what is in flight."""
    await till.law(ALLOW_ALL)
    olga, ada = await till.person("olga", Role.OWNER), await till.person("ada")
    claimed = await till.claim((await till.admit()).call.call_id)
    account = till.ledger.account_id
    flying = await till.ledger.set_posture(
        "account", account, Posture.READ_ONLY, because="", by=ada.operator_id, at=till.now
    )
    assert [call.call_id for call in flying] == [claimed.call.call_id]
    for by, because in ((ada.operator_id, "fine"), (olga.operator_id, " ")):
        with pytest.raises(PolicyDenied):
            await till.ledger.set_posture(
                "account", account, Posture.NO_SPEND, because=because, by=by, at=till.now
            )
    await till.ledger.set_posture(
        "account", account, Posture.NORMAL, because="looked", by=olga.operator_id, at=till.now
    )
    assert (await till.admit()).call.state == "queued"
    assert [each.because for each in await till.ledger.postures()] == ["looked"]


@pytest.mark.parametrize(("scope", "key"), [("project", "shop"), ("agent", "scout"), ("provider", "stripe")])
async def test_the_strictest_posture_of_all_scopes_wins(till: Till, scope: str, key: str) -> None:
    """Each can close by itself; another's stays open."""
    await till.law(ALLOW_ALL)
    await till.ledger.set_posture(scope, key, Posture.NO_SPEND, because="x", by="opr", at=till.now)
    await till.ledger.add_project("another", by="system:test", at=till.now)
    await till.ledger.add_agent(
        name="another",
        project="another",
        kits=(),
        token_sha256="f" * 64,
        by="system:test",
        at=till.now,
    )
    await till.ledger.set_posture(scope, "another", Posture.READ_ONLY, because="x", by="opr", at=till.now)
    assert (await till.admit()).call.code == "posture_closed"
    assert (await till.admit(None, kind=Kind.DRAFT, key=None)).call.state == "queued"


async def test_a_policy_is_active_at_once_until_live_spending_is_at_stake(till: Till) -> None:
    """Then an owner who has seen its cases accepts it, or it stays a candidate."""
    olga, ada = await till.person("olga", Role.OWNER), await till.person("ada")
    first = await till.ledger.activate(ALLOW_ALL, "policies.yaml", by="system:test", at=till.now)
    assert first.state == "active"
    again = await till.ledger.activate(ALLOW_ALL, "policies.yaml", by="system:test", at=till.now)
    assert (again.state, again.replaces) == ("active", None)
    live = await till.ledger.activate(LIVE, "policies.yaml", by="system:test", at=till.now)
    assert live.state == "candidate"
    active = await till.ledger.active()
    assert active is not None
    assert active[0] == first.sha256
    with pytest.raises(PolicyDenied):
        await till.ledger.accept_candidate(live.sha256, by=ada.operator_id, at=till.now)
    with pytest.raises(RecordMissing):
        await till.ledger.accept_candidate("ffff", by=olga.operator_id, at=till.now)
    accepted = await till.ledger.accept_candidate(live.sha256[:12], by=olga.name, at=till.now)
    assert (accepted.state, accepted.replaces) == ("active", first.sha256)
    assert (await till.ledger.activate(ASK_ALL, "p.yaml", by="system:test", at=till.now)).state == "candidate"
    assert {each["state"] for each in await till.ledger.policies()} == {"active", "candidate", "retired"}
    assert [each["sha256"] for each in await till.ledger.policies("active")] == [live.sha256]
    assert (await till.ledger.policy_text(first.sha256))[0] == ALLOW_ALL


async def test_a_policy_that_does_not_load_changes_nothing(till: Till) -> None:
    """The old one stays, and the mistakes are told."""
    await till.law(ALLOW_ALL)
    before = await till.ledger.active()
    with pytest.raises(PolicyError):
        await till.law("version: 1\nrules: [{id: x}]\n")
    assert await till.ledger.active() == before


async def test_a_tool_is_never_accepted_as_a_lesser_kind(till: Till) -> None:
    """M30: a tool that spent yesterday does not draft today."""
    await till.ledger.accept_tool("buy", "hash-1", "spend", by="opr", at=till.now, definition="{}")
    await till.ledger.accept_tool("buy", "hash-2", "spend", by="opr", at=till.now)
    with pytest.raises(ConfigurationError):
        await till.ledger.accept_tool("buy", "hash-3", "draft", by="opr", at=till.now)
    assert await till.ledger.accepted_tools() == {"buy": ("hash-2", "spend")}
    await till.law(ALLOW_ALL)
    admitted = await till.admit()
    assert (await till.refused(admitted.call.call_id)).code == "tool_changed"


async def test_m36_a_process_that_died_leaves_a_gap_in_the_log(till: Till) -> None:
    """Nothing is lost in silence: the sweep of whoever lives says so of one that fell silent."""
    await till.ledger.heartbeat("two", live_spend=True, policy_sha256=None, at=till.now)
    await till.ledger.stop_process("two", till.now)
    await till.ledger.heartbeat("one", live_spend=True, policy_sha256=None, at=till.now, version="1")
    assert [each["process_id"] for each in await till.ledger.processes()] == ["one"]
    assert (await till.ledger.sweep(till.later(seconds=29))).processes_lost == 0
    assert (await till.ledger.sweep(till.later(seconds=1))).processes_lost == 1
    assert (await till.ledger.sweep(till.now)).total == 0
    assert await gaps(till) == 1
    await till.ledger.heartbeat("one", live_spend=True, policy_sha256=None, at=till.now)
    assert len(await till.ledger.processes()) == 1


async def gaps(till: Till) -> int:
    """Count the entries that say what may be missing."""
    return sum(each.kind == "reads.lost" for each in (await till.ledger.entries()).items)


async def test_m36_the_next_start_says_what_a_crash_may_have_lost(till: Till, ledger_url: str) -> None:
    """On SQLite who starts knows that nobody else lives; on PostgreSQL, who has been silent."""
    await till.ledger.heartbeat("one", live_spend=True, policy_sha256=None, at=till.now)
    till.later(seconds=1 if ledger_url.startswith("sqlite") else 30)
    await till.ledger.heartbeat("two", live_spend=True, policy_sha256=None, at=till.now)
    assert await gaps(till) == 1
    assert [each["process_id"] for each in await till.ledger.processes()] == ["two"]
    await till.ledger.heartbeat("two", live_spend=True, policy_sha256=None, at=till.later(seconds=10))
    assert await gaps(till) == 1


async def test_m36_reads_are_written_together_and_in_order(till: Till) -> None:
    """Nobody waits for them, and closing waits for all."""
    before = await till.ledger.log_size()
    call = till.admission().call
    for _ in range(3):
        await till.ledger.note_read(call, till.now, b"{}")
    await till.ledger.note_invalid("scout", "buy", "invalid_arguments", "no amount", till.now)
    await till.ledger.read_log.flush()
    assert await till.ledger.log_size() == before + 4
    kinds = [each.kind for each in (await till.ledger.entries(limit=4)).items]
    assert kinds == ["call.invalid", "call.read", "call.read", "call.read"]


async def test_the_standing_run_turns_at_midnight_in_the_policy_s_zone(till: Till) -> None:
    """Berlin's midnight is eleven in the evening in UTC."""
    await till.law(ALLOW_ALL + "timezone: Europe/Berlin\n")
    till.now = datetime(2026, 11, 20, 22, 59, tzinfo=UTC)
    before = await till.ledger.standing_run("shop", till.now)
    assert (await till.ledger.standing_run("shop", till.later(seconds=59))).run_id == before.run_id
    after = await till.ledger.standing_run("shop", till.later(seconds=1))
    assert after.run_id != before.run_id
    assert (await till.ledger.run(before.run_id)).state == "closed"
    both = await asyncio.gather(*(till.ledger.standing_run("shop", till.now) for _ in range(5)))
    assert {each.run_id for each in both} == {after.run_id}
    with pytest.raises(RecordMissing):
        await till.ledger.run("run_nowhere")
    page = await till.ledger.runs(project="shop", state="open")
    assert [each.run_id for each in page.items] == [after.run_id]


async def test_pages_of_calls_follow_their_filter_newest_first(till: Till) -> None:
    """A page's key is the place of its last row."""
    await till.law(ALLOW_ALL)
    made = [(await till.admit()).call.call_id for _ in range(5)]
    await till.claim(made[0])
    first = await till.ledger.calls(CallFilter(states=("queued",), agent="scout"), limit=3)
    rest = await till.ledger.calls(CallFilter(states=("queued",)), after=first.after, limit=3)
    assert [each.call_id for each in (*first.items, *rest.items)] == made[:0:-1]
    assert rest.after is None
    assert (await till.ledger.open_counts()) == {"queued": 4, "executing": 1}
    with pytest.raises(InvalidArguments):
        await till.ledger.calls(after="x")
    with pytest.raises(InvalidArguments):
        await till.ledger.calls(limit=0)
    assert (await till.ledger.calls(CallFilter(settled_after=till.now))).items == ()


async def test_the_timeline_tells_a_call_s_whole_life(till: Till) -> None:
    """Attempts, requests, verdicts, entries, oldest first."""
    await till.law(ASK_ALL)
    ada = await till.person("ada")
    admitted = await till.admit()
    await till.approve(admitted, ada)
    claimed = await till.claim(admitted.call.call_id)
    await till.settle(claimed, Outcome.UNKNOWN, identity=None)
    await till.settle(claimed, attempt=0, lease_token=0)
    told = await till.ledger.timeline(admitted.call.call_id)
    assert [each.kind for each in told.entries] == [
        "call.admitted",
        "approval.requested",
        "verdict.given",
        "call.approved",
        "approval.closed",
        "call.claimed",
        "call.unknown",
        "call.settled",
    ]
    assert [each.outcome for each in told.attempts] == [Outcome.UNKNOWN]
    assert (len(told.requests), len(told.verdicts)) == (1, 1)
    assert told.entries[0].payload is not None


async def test_waiting_for_changes_wakes_at_the_commit(till: Till) -> None:
    """Nobody polls for what happens here."""
    size = await till.ledger.log_size()
    assert await till.ledger.wait_changes(size, timeout_s=0.01) == size
    waiting = asyncio.create_task(till.ledger.wait_changes(size, timeout_s=30))
    await till.person("ada")
    assert await asyncio.wait_for(waiting, 10) > size


async def test_the_caps_view_names_every_cap(till: Till) -> None:
    """Used or not."""
    await till.law(
        with_caps(
            ALLOW_ALL,
            '{id: day, per: account, window: day, limit: "10.00 USD"}',
            '{id: each, per: account, window: call, limit: "5.00 USD"}',
            '{id: pace, per: agent, window: 1h, limit: "60 calls"}',
            '{id: run, per: account, window: month, limit: "50% of earned USD", match: {kind: provision}}',
        )
    )
    await till.bought("2.00 USD")
    views = {view.cap_id: view for view in await till.ledger.caps(till.now)}
    assert set(views) == {"day", "each", "pace", "run"}
    assert (views["day"].posted, views["day"].limit, views["day"].unit) == (200, 1_000, "USD")
    assert (views["pace"].posted, views["pace"].limit, views["pace"].unit) == (1, 60, "calls")
    assert views["run"].limit is None
