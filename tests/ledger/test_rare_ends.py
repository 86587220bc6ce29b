"""Rare ends of the planners, each of which can happen: caps that come and go, records that went."""

from collections.abc import Callable

import pytest
from sqlalchemy import update

from ledger import answering, edges
from ledger.commands import NotClaimed, Settlement
from ledger.engines.tx import Tx
from ledger.judge import MOST_POLICIES, PolicyBook
from ledger.meters import scope_key
from ledger.records import Outcome, Proof, ProofBy, ProofLevel, Role
from ledger.records_revenue import OfferByName
from ledger.schema_house import accounts
from policy.compiled import SCOPE_KEYS
from policy.errors import ConfigurationError, RecordMissing
from policy.language import Kind, Mode, Scope
from policy.matching import Question
from policy.model import Call, Effect, Facts
from policy.money import Money
from tests.ledger.memory import Memory, Planners
from tests.ledger.model import OURS, SECOND, PlainCall, PlainCap, PlainPolicy
from tests.ledger.till import ALLOW_ALL, JUDGE, NOON, SIMULATOR, Till, with_caps

DAY = with_caps(ALLOW_ALL, '{id: day, per: account, window: month, limit: "10.00 USD"}')
HOURS = 'match: {hours: {from: "09:00", to: "17:00"}}'
OFFICE_HOURS = with_caps(ALLOW_ALL, f'{{id: open, per: account, window: month, limit: "10.00 USD", {HOURS}}}')
PLAIN = PlainPolicy(
    caps=(PlainCap("day", "account", "day", "USD", 1_000),),
    ask_above=10_000,
    boss_above=10_000,
    sum_above=None,
    quorum=1,
    open_requests=20,
    held_share=100,
)


def one_in_memory() -> Memory:
    """Return the planners with one queued call."""
    memory = Memory(PLAIN, Planners())
    memory.agent("scout", "shop")
    memory.run("run-a", "shop")
    at = int(NOON.timestamp()) * SECOND
    call = PlainCall(
        call_id="call-1", ordinal=1, agent="scout", project="shop", run="run-a", kind="spend", tool="buy",
        amount=100, currency="USD", mode="simulated", payee="one.example", key="key", fingerprint="f",
        op_hash="op", at=at,
    )  # fmt: skip
    assert memory.admit(call, at) == "queued"
    return memory


async def test_a_cap_that_went_stays_gone_when_the_call_goes_back_to_the_queue(till: Till) -> None:
    """Its reservation was let go at the claim; neither the queue nor the end finds anything to give back."""
    await till.law(DAY)
    call = (await till.admit()).call.call_id
    await till.law(ALLOW_ALL)
    claimed = await till.claim(call)
    assert (await till.settle(claimed, Outcome.NOT_SENT)).call.state == "queued"
    assert (await till.settle(await till.claim(call), Outcome.FAILED)).call.state == "failed"
    await till.law(DAY)
    assert await till.used("day") == (0, 0)


async def test_a_cap_that_binds_by_the_hour_is_held_as_the_hour_of_the_claim_says(till: Till) -> None:
    """M5, M10: let go outside its hours, taken up again within them, and taken where admission had none."""
    await till.law(OFFICE_HOURS)
    within = (await till.admit("1.00 USD", run_by_s=200_000)).call.call_id
    assert await till.used("open") == (0, 100)
    till.later(hours=6)
    claimed = await till.claim(within)
    assert await till.used("open") == (0, 0)
    await till.settle(claimed, Outcome.NOT_SENT)
    outside = (await till.admit("2.00 USD", run_by_s=200_000)).call.call_id
    assert await till.used("open") == (0, 0)
    till.later(hours=18)
    await till.claim(within)
    assert await till.used("open") == (0, 100)
    await till.claim(outside)
    assert await till.used("open") == (0, 300)


async def test_what_only_a_person_runs_is_asked_for_anew_without_a_key(till: Till) -> None:
    """M25 speaks of drafts, earning and taking back; two equal refunds are two."""
    await till.law(ALLOW_ALL)
    first, second = [
        await till.admit(kind=Kind.HUMAN_ONLY, operation="refund", key=None, args={"payment": "pi_1"})
        for _ in range(2)
    ]
    assert first.call.state == second.call.state == "awaiting_approval"
    assert first.call.call_id != second.call.call_id


async def test_a_lookup_needs_no_record_that_went(till: Till) -> None:
    """None of what the claim re-reads blocks finding out (M5)."""
    await till.law(ALLOW_ALL)
    claimed = await till.unknown(key="key")
    gone = (OfferByName("no-longer-there"),)
    found = await till.claim(claimed.call.call_id, purpose="lookup", references=gone)
    assert found.records == ()


async def test_what_is_not_there_is_refused_by_name(till: Till) -> None:
    """A call, a request: whoever asks for one that is none hears which."""
    await till.law(ALLOW_ALL)
    olga = await till.person("olga", Role.OWNER)
    with pytest.raises(RecordMissing, match="apr_nobody"):
        await till.ledger.answer("apr_nobody", olga.operator_id, op_hash="op", verdict="approve", at=till.now)
    settlement = Settlement(
        call_id="call_nobody",
        at=till.now,
        attempt=1,
        lease_token=1,
        outcome=Outcome.SUCCEEDED,
        identity=SIMULATOR,
    )
    with pytest.raises(RecordMissing, match="call_nobody"):
        await till.ledger.settle(settlement)


def test_without_an_active_policy_nothing_is_claimed() -> None:
    """A ledger whose policy is gone denies; it never runs what an old one allowed."""
    memory = one_in_memory()
    memory.world.law = None
    assert (
        memory.claim("call-1", "execute", OURS, 30 * SECOND, memory.world.calls["call-1"].admitted_at_us)
        == "not:denied"
    )
    assert memory.world.calls["call-1"].code == "no_active_policy"


def test_an_edge_that_is_none_is_refused_by_the_module_itself() -> None:
    """The database's trigger is the second guard, not the first."""
    memory = one_in_memory()
    row = memory.world.calls["call-1"]
    with pytest.raises(edges.IllegalEdge, match="queued cannot become succeeded"):
        edges.move(memory.world, row, "succeeded", row.admitted_at_us)
    assert row.state == "queued"


def test_loaded_policies_are_kept_but_not_without_end() -> None:
    """A house that tries many files does not keep them all in memory."""
    laws, read = PolicyBook(JUDGE), []

    def text(number: int) -> tuple[str, str]:
        read.append(number)
        return ALLOW_ALL, f"policies-{number}.yaml"

    for number in range(MOST_POLICIES + 1):
        laws.law(f"sha-{number}", lambda number=number: text(number))  # type: ignore[misc]  # mypy cannot infer a default
    laws.law("sha-1", lambda: text(-1))
    laws.law("sha-0", lambda: text(0))
    assert read == [*range(MOST_POLICIES + 1), 0]


@pytest.mark.parametrize("scope", Scope)
def test_a_meter_is_kept_for_what_the_judge_keeps_it_for(scope: Scope) -> None:
    """Else a cap would read one row and book on another."""
    effect = Effect(
        kind=Kind.SPEND,
        operation="card",
        provider="stripe",
        mode=Mode.TEST,
        payee="Shop.Example",
        amount=Money(1, "USD"),
    )
    call = Call(tool="buy", effect=effect, account="acct", project="shop", run="run-a", agent="scout")
    assert scope_key(scope, call) == SCOPE_KEYS[scope](Question(call, Facts(now=NOON), None))


async def test_a_replay_waits_for_its_provider(till: Till) -> None:
    """M8: it may start the effect, so it needs what a first attempt needs."""
    await till.law(ALLOW_ALL)
    claimed = await till.unknown(key="key")
    tired = type(till.process)(live_spend=False, ready={}, identities={"stripe": SIMULATOR})
    found = await till.ledger.claim(till.claiming(claimed.call.call_id, purpose="replay", process=tired))
    assert isinstance(found, NotClaimed)
    assert found.code == "not_ready"


async def test_an_enforcers_word_is_logged_as_its_own(till: Till) -> None:
    """Who said that money moved is part of what a stranger checks."""
    await till.law(ALLOW_ALL)
    made = await till.ledger.add_enforcer(
        name="outside", project="shop", token_sha256="token-enf", by="opr", at=till.now
    )
    claimed = await till.claim((await till.admit(enforcer_id=made.enforcer_id)).call.call_id)
    proof = Proof(ProofLevel.SIMULATED, ProofBy.ENFORCER, "stripe")
    await till.settle(claimed, Outcome.SUCCEEDED, proof=proof)
    entries = (await till.ledger.timeline(claimed.call.call_id)).entries
    assert entries[-1].actor == f"enforcer:{made.enforcer_id}"


def test_a_request_that_is_none_is_answered_by_nobody() -> None:
    """Also where the facade's own look has passed: two forms at once."""
    memory = one_in_memory()
    memory.operator("ann", "owner")
    ann = memory.world.house.operators["ann"]
    with pytest.raises(RecordMissing, match="apr_nobody"):
        answering.give(memory.world, "apr_nobody", ann, "op", "approve", comment="", at_us=1)


async def test_m34_a_ledger_that_moved_while_it_was_open_serves_no_more(till: Till) -> None:
    """The last act of a move is for whoever has the file open, too."""
    await till.law(ALLOW_ALL)
    admitted = await till.admit()

    def move(moved_to: str | None) -> Callable[[Tx], object]:
        return lambda tx: tx.connection.execute(update(accounts).values(moved_to=moved_to))

    core = till.ledger._core  # noqa: SLF001 -- what a move does last, done by hand
    await core.plain("move", move("postgresql://there"))
    for work in (till.admit(), till.claim(admitted.call.call_id)):
        with pytest.raises(ConfigurationError, match="has moved to"):
            await work
    await core.plain("move", move(None))
