"""M35: what was said beside a call, and who a lead is, can be forgotten; the log still proves the rest."""

from hashlib import sha256

import pytest
from sqlalchemy import text

from ledger.commands import Changed, Local
from ledger.engines.tx import Tx
from ledger.records import Change, Outcome, ReviewState, Role
from ledger.records_crm import (
    Artifact,
    CreateLead,
    DraftOutreach,
    Lead,
    OutreachDraft,
    StoreArtifact,
    Submission,
    Submit,
    UpdateLead,
)
from ledger.records_revenue import Purchase, PurchaseState, RecordPurchase
from ledger.schema import METADATA
from policy.errors import PolicyDenied, RecordChanged, RecordMissing
from policy.language import Kind, Mode
from policy.money import Money
from tests.ledger.till import ALLOW_ALL, Till

SECRET = "ada.lovelace"
FILE = f"drawn for {SECRET}".encode()


async def drafted(till: Till, *changes: Change) -> str:
    """Run one local call that makes changes, and return its id."""
    local = Local(lambda _records, _at: Changed({"said": SECRET}, changes))
    told = await till.admit(
        None, kind=Kind.DRAFT, key=None, args={"note": SECRET, "n": till.ids("n")}, local=local
    )
    assert told.call.state == "succeeded", told.decision
    return told.call.call_id


async def judged(till: Till, review_id: str) -> None:
    """Let the owner approve a review, with words."""
    words = f"good for {SECRET}"
    await till.ledger.answer_review(review_id, "olga", ReviewState.APPROVED, words=words, at=till.now)


async def holding(till: Till, secret: str) -> list[str]:
    """Return every table that still holds a text."""

    def look(tx: Tx) -> list[str]:
        found = []
        for table in METADATA.sorted_tables:
            rows = tx.connection.execute(text(f"SELECT * FROM {table.name}")).all()  # noqa: S608 -- our own tables
            if secret in repr(rows):
                found.append(table.name)
        return found

    return await till.ledger._core.read(look)  # noqa: SLF001 -- what is left in the tables is what this is about


async def a_lead(till: Till) -> str:
    """Write a lead, an update, a draft to it, and let the owner judge all."""
    lead = Lead(
        lead_id=till.ids("lead"), project="shop", origin="agent", name=SECRET, email=f"{SECRET}@example.com",
        company=SECRET, website=f"https://{SECRET}.example", wish=f"I am {SECRET}", created_by="scout",
        created_at=till.now, updated_at=till.now,
    )  # fmt: skip
    await drafted(till, CreateLead(lead=lead, review_id="rev_lead"))
    await judged(till, "rev_lead")
    await till.ledger.assign_lead(lead.lead_id, "scout", by="olga", at=till.now)
    update = UpdateLead(
        lead_id=lead.lead_id, fields={"likes": SECRET}, note=SECRET, actor="scout", at=till.now,
        activity_id=till.ids("act"),
    )  # fmt: skip
    await drafted(till, update)
    draft = OutreachDraft(
        draft_id=till.ids("drf"), lead_id=lead.lead_id, deal_id=None, agent="scout", subject=f"Dear {SECRET}",
        body=f"Dear {SECRET}", review=ReviewState.WAITING, created_at=till.now,
    )  # fmt: skip
    await drafted(till, DraftOutreach(draft=draft, review_id="rev_draft"))
    return lead.lead_id


async def test_m35_a_lead_is_forgotten_with_all_that_was_written_to_and_of_it(till: Till) -> None:
    """Calls, reviews, notes and drafts name the person; none may stay where one is erased."""
    await till.person("olga", Role.OWNER)
    await till.law(ALLOW_ALL)
    lead_id = await a_lead(till)
    with pytest.raises(RecordChanged, match="judge"):
        await till.ledger.erase_lead(lead_id, because="asked", by="olga", at=till.now)
    await judged(till, "rev_draft")
    for by, because in (("olga", " "), ("scout", "asked")):
        with pytest.raises(PolicyDenied):
            await till.ledger.erase_lead(lead_id, because=because, by=by, at=till.now)
    with pytest.raises(RecordMissing):
        await till.ledger.erase_lead("lead_nobody", because="asked", by="olga", at=till.now)
    assert await till.ledger.erase_lead(lead_id, because="asked", by="olga", at=till.now) == 7
    assert await holding(till, SECRET) == []
    assert (await till.ledger.checked()).bad is None
    assert (await till.ledger.lead(lead_id)).name == ""
    assert await till.ledger.erase_lead(lead_id, because="asked", by="olga", at=till.now) == 0


async def test_m35_submitted_work_is_forgotten_with_its_call_and_its_files(till: Till) -> None:
    """A file that other work names stays; hashes and sizes of the rest say that it was there."""
    await till.person("olga", Role.OWNER)
    await till.law(ALLOW_ALL)
    calls = []
    for number, content in enumerate((FILE, b"for somebody else")):
        file = Artifact(
            sha256=sha256(content).hexdigest(), run_id=till.run, name=f"plan-{number}.txt",
            media_type="text/plain", size=len(content), created_at=till.now,
        )  # fmt: skip
        other = Artifact(
            sha256=sha256(b"shared").hexdigest(), run_id=till.run, name="shared.txt", media_type="text/plain",
            size=6, created_at=till.now,
        )  # fmt: skip
        work = Submission(
            submission_id=till.ids("sub"), run_id=till.run, kind="draft", agent="scout",
            title="Work", text=f"Dear {SECRET}" if number == 0 else "Hello",
            artifacts=(file, other), review_id=f"rev_{number}", review=ReviewState.WAITING, at=till.now,
        )  # fmt: skip
        files = (
            StoreArtifact(artifact=file, content=content),
            StoreArtifact(artifact=other, content=b"shared"),
        )
        calls.append(await drafted(till, *files, Submit(submission=work)))
    with pytest.raises(RecordChanged, match="judge"):
        await till.ledger.erase_call(calls[0], because="asked", by="olga", at=till.now)
    await judged(till, "rev_0")
    assert await till.ledger.erase_call(calls[0], because="asked", by="olga", at=till.now) == 3
    await till.ledger.erase_call(calls[0], because="asked", by="olga", at=till.now)
    assert "submissions" not in await holding(till, SECRET)
    assert await holding(till, f"Dear {SECRET}") == []
    assert await holding(till, FILE.decode()) == []
    assert "artifacts" in await holding(till, "shared")
    assert "artifacts" in await holding(till, "somebody else")
    assert (await till.ledger.checked()).bad is None


async def test_m35_a_purchase_is_forgotten_once_no_money_can_move(till: Till) -> None:
    """An open card's payee is what its captures are held against."""
    await till.person("olga", Role.OWNER)
    await till.law(ALLOW_ALL)
    calls = []
    for state in (PurchaseState.ARMED, PurchaseState.CAPTURED):
        claimed = await till.claim((await till.admit(payee=SECRET, tool=f"buy-{state}")).call.call_id)
        calls.append(claimed.call.call_id)
        money = Money(100, "USD")
        bought = Purchase(
            purchase_id=till.ids("pur"), call_id=calls[-1], instrument="card", instrument_ref=f"ic_{state}",
            payee=SECRET, approved=money, posted=Money(0, "USD"), authorized=Money(0, "USD"),
            mode=Mode.SIMULATED, provider_account="acct_sim", state=state, armed_at=till.now,
        )  # fmt: skip
        await till.settle(
            claimed, Outcome.SUCCEEDED, committed=True, changes=(RecordPurchase(purchase=bought),)
        )
    with pytest.raises(RecordChanged, match="still open"):
        await till.ledger.erase_call(calls[0], because="asked", by="olga", at=till.now)
    assert await till.ledger.erase_call(calls[1], because="asked", by="olga", at=till.now) == 2
    assert "purchases" in await holding(till, SECRET)
    assert (await till.ledger.checked()).bad is None
