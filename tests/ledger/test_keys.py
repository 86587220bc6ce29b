"""Intentions: idempotency keys, keyless calls, twins (M24 to M26)."""

import asyncio

import pytest

from ledger.commands import Changed, Local
from ledger.records import CallState, Outcome, Role
from policy.errors import KeyConflict, KeyMissing, RecordChanged, RunClosed, ScopeMismatch
from policy.language import Kind
from tests.ledger.till import ALLOW_ALL, ASK_ALL, Till, with_caps

CAPPED = with_caps(ALLOW_ALL, '{id: day, per: account, window: day, limit: "10.00 USD"}')


async def test_m24_the_same_key_and_intention_is_the_same_call_for_ever(till: Till) -> None:
    """A caller whose answer was lost asks again and buys nothing."""
    await till.law(CAPPED)
    first = await till.admit("4.00 USD", key="mine", args={"n": 1}, payee="a.example")
    again = await till.admit("4.00 USD", key="mine", args={"n": 1}, payee="a.example")
    assert (again.replayed, again.call.call_id) == (True, first.call.call_id)
    await till.settle(await till.claim(first.call.call_id), result=b'{"bought":1}')
    till.later(days=400)
    later = await till.admit("4.00 USD", key="mine", args={"n": 1}, payee="a.example")
    assert (later.replayed, later.call.state, later.call.result) == (True, "succeeded", b'{"bought":1}')
    stored = await till.ledger.stored(
        "scout", "buy", "mine", till.admission(key="x", args={"n": 1}).fingerprint
    )
    assert stored is not None
    assert stored.call_id == first.call.call_id


async def test_m24_the_same_key_with_another_intention_is_a_conflict(till: Till) -> None:
    """A key without the hash of its arguments turns a bug into a wrong answer."""
    await till.law(CAPPED)
    await till.admit(key="mine", args={"n": 1})
    with pytest.raises(KeyConflict):
        await till.admit(key="mine", args={"n": 2})
    run = await till.ledger.open_run("shop", "other", by="opr", at=till.now)
    with pytest.raises(KeyConflict):
        await till.admit(key="mine", args={"n": 1}, run=run.run_id)
    with pytest.raises(KeyConflict):
        await till.ledger.stored("scout", "buy", "mine", "another intention")
    assert await till.ledger.stored("scout", "buy", "no such key", "x") is None


async def test_m24_keys_belong_to_one_agent_and_one_tool(till: Till) -> None:
    """Two agents may choose the same words."""
    await till.law(CAPPED)
    await till.ledger.add_agent(
        name="maker", project="shop", kits=("buy",), token_sha256="token-maker", by="opr", at=till.now
    )
    first = await till.admit(key="mine", args={"n": 1}, payee="a.example")
    second = await till.admit(key="mine", args={"n": 2}, agent="maker", payee="b.example")
    third = await till.admit(key="mine", args={"n": 3}, tool="pay", payee="c.example")
    assert len({each.call.call_id for each in (first, second, third)}) == 3


async def test_m24_a_key_survives_the_rotation_of_its_agent_s_token(till: Till) -> None:
    """The name is the agent, not its token."""
    await till.law(CAPPED)
    first = await till.admit(key="mine", args={"n": 1})
    await till.ledger.rotate_agent("scout", token_sha256="token-new", by="opr", at=till.now)
    assert await till.ledger.agent_by_token("token-scout") is None
    assert (await till.ledger.agent_by_token("token-new")) is not None
    assert (await till.admit(key="mine", args={"n": 1})).call.call_id == first.call.call_id


async def test_m24_what_costs_needs_a_key(till: Till) -> None:
    """Without a name of its own an intention cannot be asked for twice."""
    await till.law(CAPPED)
    with pytest.raises(KeyMissing):
        await till.admit(key=None)


async def test_m24_what_was_never_admitted_claims_no_key(till: Till) -> None:
    """The corrected call comes under the same key."""
    await till.law(CAPPED)
    with pytest.raises(ScopeMismatch):
        await till.admit(key="mine", args={"n": 1}, run="run_nowhere")
    run = await till.ledger.open_run("shop", "short", by="opr", at=till.now)
    await till.ledger.close_run(run.run_id, by="opr", at=till.now)
    with pytest.raises(RunClosed):
        await till.admit(key="mine", args={"n": 1}, run=run.run_id)
    with pytest.raises(RecordChanged):
        await till.admit(key="mine", args={"n": 1}, records_sha256=("stale",))
    with pytest.raises(ScopeMismatch):
        await till.admit(key="mine", args={"n": 1}, agent="nobody")
    assert (await till.admit(key="mine", args={"n": 1})).call.state == "queued"


async def test_m24_a_denied_call_is_stored_with_its_key(till: Till) -> None:
    """Asking a denied thing again gives the stored answer: a new attempt is a new key."""
    await till.law(CAPPED)
    denied = await till.admit("11.00 USD", key="mine", args={"n": 1})
    assert denied.call.state == "denied"
    again = await till.admit("11.00 USD", key="mine", args={"n": 1})
    assert (again.replayed, again.call.code, again.call.call_id) == (
        True,
        "cap_exceeded",
        denied.call.call_id,
    )


async def test_m24_one_key_asked_for_by_many_at_once_is_one_call(till: Till) -> None:
    """Inside one batch as well as across them."""
    await till.law(CAPPED)
    wanted = [till.admission("4.00 USD", key="mine", args={"n": 1}, payee="a.example") for _ in range(20)]
    answers = await asyncio.gather(*(till.ledger.admit(each) for each in wanted))
    assert len({each.call.call_id for each in answers}) == 1
    assert sorted(each.replayed for each in answers) == [False] + [True] * 19
    assert await till.used("day") == (0, 400)


async def test_a_refusal_inside_a_batch_does_not_disturb_its_neighbours(till: Till) -> None:
    """Ten fit, ten do not, five are nobody's: each gets its own answer."""
    await till.law(CAPPED)
    wanted = [till.admission("1.00 USD") for _ in range(20)]
    strangers = [till.admission("1.00 USD", agent="nobody") for _ in range(5)]
    mixed = [each for pair in zip(wanted[:5], strangers, strict=True) for each in pair] + wanted[5:]
    answers = await asyncio.gather(*(till.ledger.admit(each) for each in mixed), return_exceptions=True)
    assert sum(isinstance(each, ScopeMismatch) for each in answers) == 5
    states = [str(each.call.state) for each in answers if not isinstance(each, BaseException)]
    assert (states.count(CallState.QUEUED), states.count(CallState.DENIED)) == (10, 10)
    assert await till.used("day") == (0, 1_000)


async def test_m25_an_equal_keyless_call_is_the_same_call_while_open_and_for_ten_minutes(till: Till) -> None:
    """A draft sent twice is one draft."""
    await till.law(ALLOW_ALL)
    parts = {"kind": Kind.DRAFT, "key": None, "args": {"text": "hi"}, "payee": ""}
    first = await till.admit(None, **parts)
    assert (await till.admit(None, **parts)).call.call_id == first.call.call_id
    await till.settle(await till.claim(first.call.call_id))
    till.later(minutes=9)
    assert (await till.admit(None, **parts)).replayed
    till.later(minutes=1)
    assert not (await till.admit(None, **parts)).replayed


async def test_m25_what_failed_was_cancelled_or_denied_absorbs_nothing(till: Till) -> None:
    """Asking again is the way to try again."""
    await till.law(ALLOW_ALL)
    parts = {"kind": Kind.EARN, "key": None, "args": {"offer": "x"}, "payee": ""}
    first = await till.admit(None, **parts)
    await till.ledger.cancel(first.call.call_id, by="agent:scout", at=till.now)
    second = await till.admit(None, **parts)
    assert second.call.call_id != first.call.call_id
    await till.settle(await till.claim(second.call.call_id), Outcome.FAILED, code="declined")
    assert not (await till.admit(None, **parts)).replayed


async def test_m25_another_agent_s_equal_call_is_another_call(till: Till) -> None:
    """Two agents never see each other's drafts."""
    await till.law(ALLOW_ALL)
    await till.ledger.add_agent(
        name="maker", project="shop", kits=("buy",), token_sha256="token-maker", by="opr", at=till.now
    )
    parts = {"kind": Kind.DRAFT, "key": None, "args": {"text": "hi"}, "payee": ""}
    await till.admit(None, **parts)
    assert not (await till.admit(None, agent="maker", **parts)).replayed


@pytest.mark.parametrize("state", ["queued", "executing", "unknown", "succeeded"])
async def test_m26_an_equal_purchase_asks_a_person_even_where_rules_allow(till: Till, state: str) -> None:
    """The second of two equal purchases under two keys is more often a slip than a wish."""
    await till.law(ALLOW_ALL)
    await till.person("olga", Role.OWNER)
    first = await till.admit("3.00 USD", payee="a.example")
    if state != "queued":
        claimed = await till.claim(first.call.call_id)
        if state != "executing":
            await till.settle(claimed, Outcome(state))
    second = await till.admit("3.00 USD", payee="A.example")
    assert (second.call.state, second.call.similar_to) == ("awaiting_approval", first.call.call_id)
    assert (await till.admit("3.01 USD", payee="a.example")).call.state == "queued"
    assert (await till.admit("3.00 USD", payee="b.example")).call.state == "queued"


async def test_m26_a_purchase_is_no_twin_of_one_that_failed_or_is_a_day_old(till: Till) -> None:
    """What did not happen, or long ago, is no reason to ask."""
    await till.law(ALLOW_ALL)
    first = await till.admit("3.00 USD", payee="a.example")
    await till.settle(await till.claim(first.call.call_id), Outcome.FAILED, code="declined")
    second = await till.bought("3.00 USD", payee="a.example")
    assert second.applied
    till.later(hours=24)
    till.run = (await till.ledger.standing_run("shop", till.now)).run_id
    assert (await till.admit("3.00 USD", payee="a.example")).call.state == "queued"


async def test_m26_two_equal_purchases_in_one_batch_see_each_other(till: Till) -> None:
    """A twin needs no commit in between."""
    await till.law(ALLOW_ALL)
    wanted = [till.admission("3.00 USD", payee="a.example") for _ in range(6)]
    answers = await asyncio.gather(*(till.ledger.admit(each) for each in wanted))
    assert sorted(each.call.state for each in answers) == ["awaiting_approval"] * 5 + ["queued"]


async def test_a_payee_is_known_once_a_purchase_was_posted(till: Till) -> None:
    """An armed card has paid nobody yet (M21)."""
    rule = "  - {id: known, match: {kind: [spend], payee_known: true}, effect: allow}\n"
    await till.law(ASK_ALL.replace("rules:\n", "rules:\n" + rule).replace(", spend, provision", ""))
    ada = await till.person("ada")
    assert (await till.admit("1.00 USD", payee="a.example")).call.code == "no_rule"
    await till.law(ALLOW_ALL)
    await till.settle(await till.claim((await till.admit(payee="c.example")).call.call_id), committed=True)
    await till.bought("1.00 USD", payee="a.example")
    await till.law(ASK_ALL.replace("rules:\n", "rules:\n" + rule).replace(", spend, provision", ""))
    assert (await till.admit("2.00 USD", payee="A.example")).call.state == "queued"
    assert (await till.admit("2.00 USD", payee="c.example")).call.code == "no_rule"
    assert ada.active


async def test_a_local_tool_is_admitted_applied_and_settled_at_once(till: Till) -> None:
    """It is never unknown: it touches nothing but the ledger."""
    await till.law(with_caps(ALLOW_ALL, '{id: pace, per: agent, window: 1h, limit: "1 calls"}'))
    local = Local(lambda _records, _at: Changed({"made": 1}))
    done = await till.admit(None, kind=Kind.DRAFT, key=None, local=local, provider_account="")
    assert (done.call.state, done.call.result) == ("succeeded", b'{"made":1}')
    assert await till.used("pace") == (1, 0)
    denied = await till.admit(None, kind=Kind.DRAFT, key=None, local=local, provider_account="")
    assert denied.call.state == "denied"


async def test_without_an_active_policy_every_call_is_denied(till: Till) -> None:
    """Silence is a denial."""
    assert (await till.admit()).call.code == "no_active_policy"
    assert (
        await till.ledger.preview(till.admission().call, till.process, till.now)
    ).code == "no_active_policy"
    assert await till.ledger.caps(till.now) == ()
    assert await till.ledger.active() is None


async def test_a_preview_says_what_admission_would_and_leaves_nothing_behind(till: Till) -> None:
    """One gather function serves both."""
    await till.law(CAPPED)
    await till.bought("8.00 USD")
    asked = till.admission("3.00 USD")
    before = await till.ledger.log_size()
    preview = await till.ledger.preview(asked.call, till.process, till.now)
    assert await till.ledger.log_size() == before
    admitted = await till.ledger.admit(asked)
    assert admitted.decision is not None
    assert (preview.code, preview.caps) == (admitted.decision.code, admitted.decision.caps)
