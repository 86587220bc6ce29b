"""Every guard of an admission and of a claim, one by one: what each is for, and that it stands by itself.

The gate looks at most of this before; here the ledger is asked directly, as by two requests at once.
"""

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from ledger.commands import Changed, Local, ProcessFacts
from ledger.offers import OfferSet
from ledger.records import RecordRef, Role
from ledger.records_revenue import OfferByName
from policy.errors import KeyMissing, RecordChanged, RecordMissing, RunClosed, ScopeMismatch
from policy.language import Kind, Mode
from policy.money import Money
from tests.ledger.till import ALLOW_ALL, ASK_ALL, NOON, Till

OFFER = OfferByName("snapshot")


async def on_sale(till: Till, cents: int) -> None:
    """Put the snapshot on sale for so much."""
    if not await till.ledger.operators():
        await till.person("olga", Role.OWNER)
    wanted = OfferSet(
        offer="snapshot",
        name="Snapshot",
        price=Money(cents, "USD"),
        product_ref="prod_1",
        price_ref=f"price_{cents}",
        mode=Mode.SIMULATED,
        provider_account="acct_sim",
    )
    await till.ledger.set_offer(wanted, by="olga", at=till.now)


# --- admission ---------------------------------------------------------------------------------------------


async def test_a_run_that_is_none_or_another_projects_admits_nothing(till: Till) -> None:
    """A run's budget is only worth something where nobody else can name it."""
    await till.law(ALLOW_ALL)
    await till.ledger.add_project("other", by="system:test", at=NOON)
    foreign = await till.ledger.open_run("other", "theirs", by="system:test", at=NOON)
    for run in ("run_nowhere", foreign.run_id):
        with pytest.raises(ScopeMismatch, match="run"):
            await till.admit(run=run)


async def test_a_closed_run_admits_nothing_even_where_the_gate_saw_it_open(till: Till) -> None:
    """Between the gate's look and the lock somebody closed it."""
    await till.law(ALLOW_ALL)
    run = await till.ledger.open_run("shop", "work", by="system:test", at=NOON)
    assert (await till.admit(run=run.run_id)).call.state == "queued"
    await till.ledger.close_run(run.run_id, by="system:test", at=NOON)
    with pytest.raises(RunClosed):
        await till.admit(run=run.run_id)


async def test_an_agent_that_is_none_revoked_or_of_another_project_admits_nothing(till: Till) -> None:
    """Its token opened the door a moment ago; the lock has the last word."""
    await till.law(ALLOW_ALL)
    ledger = till.ledger
    await ledger.add_project("other", by="system:test", at=NOON)
    for name, project in (("gone", "shop"), ("stranger", "other")):
        token = f"token-{name}"
        await ledger.add_agent(
            name=name, project=project, kits=("buy",), token_sha256=token, by="opr_maker", at=NOON
        )
    await ledger.revoke_agent("gone", by="system:test", at=NOON)
    for agent in ("nobody", "gone", "stranger"):
        with pytest.raises(ScopeMismatch, match="agent"):
            await till.admit(agent=agent)


async def test_a_record_that_changed_since_it_was_described_admits_nothing(till: Till) -> None:
    """What would be approved is not what was read."""
    await till.law(ALLOW_ALL)
    await on_sale(till, 100)
    (offer,) = await till.ledger.read((OFFER,), reader(till))
    await on_sale(till, 200)
    with pytest.raises(RecordChanged):
        await till.admit(references=(OFFER,), records_sha256=(offer.sha256,))
    (offer,) = await till.ledger.read((OFFER,), reader(till))
    assert (await till.admit(references=(OFFER,), records_sha256=(offer.sha256,))).call.state == "queued"


async def test_a_call_that_needs_a_key_and_has_none_is_refused_whatever_its_kind(till: Till) -> None:
    """M24: without a name of its own an intention could be taken for another."""
    await till.law(ALLOW_ALL)
    with pytest.raises(KeyMissing):
        await till.admit(key=None, kind=Kind.EARN, key_required=True)
    assert (await till.admit(None, key=None, kind=Kind.EARN, key_required=False)).call.state == "queued"


async def test_a_local_tool_does_nothing_before_a_person_said_yes(till: Till) -> None:
    """An admission that only asks must change nothing; what it would do is done at the claim."""
    done: list[datetime] = []

    def apply(_records: tuple[RecordRef, ...], at: datetime) -> Changed:
        done.append(at)
        return Changed({}, ())

    await till.law(ASK_ALL)
    asked = await till.admit(None, kind=Kind.DRAFT, local=Local(apply=apply))
    assert (asked.call.state, done) == ("awaiting_approval", [])
    await till.law(ALLOW_ALL)
    at_once = await till.admit(None, kind=Kind.DRAFT, local=Local(apply=apply))
    assert (at_once.call.state, len(done)) == ("succeeded", 1)


# --- claim -------------------------------------------------------------------------------------------------


async def queued(till: Till, **parts: Any) -> str:  # noqa: ANN401 -- any part of an admission
    """Admit a call that may run, and return its id."""
    await till.law(ALLOW_ALL)
    admitted = await till.admit(**parts)
    assert admitted.call.state == "queued"
    return admitted.call.call_id


def reader(till: Till) -> Any:  # noqa: ANN401 -- a Reader
    """Return on whose behalf records are read."""
    from ledger.records import Reader

    return Reader(till.ledger.account_id, "shop", "scout", till.run)


@pytest.mark.parametrize(("after_s", "state"), [(-1, "executing"), (0, "cancelled"), (1, "cancelled")])
async def test_m5_an_agent_whose_time_is_over_claims_nothing(till: Till, after_s: int, state: str) -> None:
    """An expired token is a revoked one, from the very instant that it names."""
    expires_at = NOON + timedelta(seconds=60)
    await till.ledger.add_agent(
        name="brief",
        project="shop",
        kits=("buy",),
        token_sha256="token-brief",
        by="opr_maker",
        at=NOON,
        expires_at=expires_at,
    )
    call_id = await queued(till, agent="brief")
    till.later(seconds=60 + after_s)
    found = await till.ledger.claim(till.claiming(call_id))
    stands = await till.ledger.call(call_id)
    assert stands.state == state
    if state == "cancelled":
        assert getattr(found, "code", "") == "agent_revoked"


async def test_m5_an_agent_without_the_tools_kit_claims_nothing(till: Till) -> None:
    """Its kits were taken while the call waited."""
    call_id = await queued(till)
    found = await till.refused(call_id, allowed=lambda _agent: False)
    assert (found.state, found.code) == ("cancelled", "agent_revoked")
    assert (await till.claim(await queued(till), allowed=lambda _agent: True)).attempt == 1


async def test_m5_a_closed_run_claims_nothing_and_a_standing_one_still_does(till: Till) -> None:
    """A standing run closes at midnight, and what was admitted before keeps it."""
    run = await till.ledger.open_run("shop", "work", by="system:test", at=NOON)
    call_id = await queued(till, run=run.run_id)
    await till.ledger.close_run(run.run_id, by="system:test", at=NOON)
    found = await till.refused(call_id)
    assert (found.state, found.code) == ("cancelled", "run_closed")
    before = await queued(till)
    await till.ledger.close_run(till.run, by="system:test", at=NOON)
    assert (await till.claim(before)).attempt == 1


async def test_m5_a_record_that_changed_or_went_cancels_the_call(till: Till) -> None:
    """The price that a person saw is not the one that would be charged."""
    await on_sale(till, 100)
    (offer,) = await till.ledger.read((OFFER,), reader(till))
    given = {"references": (OFFER,), "records_sha256": (offer.sha256,)}
    same, other, none = [await queued(till, **given) for _ in range(3)]
    assert (await till.claim(same, references=(OFFER,))).records[0].record_id == offer.record_id
    await on_sale(till, 200)
    found = await till.refused(other, references=(OFFER,))
    assert (found.state, found.code) == ("cancelled", "record_changed")
    assert "changed" in found.message
    gone = OfferByName("no-longer-there")
    found = await till.refused(none, references=(gone,))
    assert (found.state, found.code) == ("cancelled", "record_changed")
    assert "no-longer-there" in found.message


async def test_a_call_that_is_none_is_claimed_by_nobody(till: Till) -> None:
    """A name from another ledger opens nothing here."""
    with pytest.raises(RecordMissing):
        await till.ledger.claim(till.claiming("call_nowhere"))


async def test_m4_a_call_of_no_provider_needs_none(till: Till) -> None:
    """A local tool that a person allowed has no account to be measured; another has."""
    away = ProcessFacts(live_spend=False, ready={"stripe": True}, identities={})
    call_id = await queued(till, amount=None, kind=Kind.DRAFT, provider_account="")
    assert (await till.claim(call_id, process=away)).call.state == "executing"
    bound = await queued(till)
    found = await till.refused(bound, process=away)
    assert (found.state, found.code) == ("queued", "provider_account_changed")


async def test_m4_another_account_mode_or_instance_holds_the_call(till: Till) -> None:
    """Each part of an identity counts: the account, the mode, and which simulator it is."""
    process = till.process
    identity = process.identities["stripe"]
    for other in (
        msgspec.structs.replace(identity, account="acct_other"),
        msgspec.structs.replace(identity, mode=Mode.TEST),
    ):
        call_id = await queued(till)
        now = msgspec.structs.replace(process, identities={"stripe": other})
        found = await till.refused(call_id, process=now)
        assert (found.state, found.code) == ("queued", "provider_account_changed")
    doubtful = await till.unknown()
    restarted = msgspec.structs.replace(identity, instance="another")
    now = msgspec.structs.replace(process, identities={"stripe": restarted})
    found = await till.refused(doubtful.call.call_id, process=now, purpose="lookup", at=till.later(minutes=5))
    assert (found.state, found.code) == ("unknown", "provider_account_changed")
