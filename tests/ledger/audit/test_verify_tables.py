"""What `verify` finds in the tables that a log tells: states, amounts, usage, people's answers."""

from typing import Any

import pytest

from ledger.audit import call_kinds as calls
from ledger.audit.fact import Move
from ledger.audit.house_kinds import ProcessStopped
from tests.ledger.audit.logs import Scribe, found, history, verified


@pytest.mark.parametrize(
    ("table", "change", "named"),
    [
        ("tool_calls", {"state": "succeeded!"}, "state is 'succeeded!', the log says"),
        ("tool_calls", {"amount_minor": 1}, "amount_minor is 1, the log says"),
        ("tool_calls", {"op_hash": "ff"}, "op_hash is 'ff', the log says"),
        ("tool_calls", {"payee": "evil.example"}, "payee is 'evil.example', the log says"),
        ("tool_calls", {"call_id": "call_x"}, "call_x: the log never spoke of it"),
        ("cap_usage", {"posted": 1}, "the log moved"),
        ("cap_usage", {"meter": "other"}, "the log moved"),
        ("reservations", {"state": "void", "amount": 0, "posted": 0}, "their parts add up to"),
        ("reservations", {"state": "void"}, "it is void, but"),
        ("reservations", {"state": "held"}, "it is held, its call is succeeded"),
        ("reservations", {"call_id": "call_x"}, "its call is unheard of"),
        ("postures", {"posture": "loose"}, "posture is 'loose'"),
        ("postures", {"because": "all is well"}, "because is 'all is well'"),
        ("postures", {"at_us": 1}, "at_us is 1, the log says"),
        ("attempts", {"maybe_sent": 0}, "maybe_sent is 0, the log says 1"),
        ("attempts", {"lease_token": 9}, "lease_token is 9, the log says 1"),
        ("attempts", {"lease_until_us": 9}, "lease_until_us is 9, the log says"),
        ("attempts", {"purpose": "lookup"}, "purpose is 'lookup', the log says"),
        ("attempts", {"number": 2}, "the log never spoke of it"),
    ],
)
def test_tables_that_the_log_does_not_say_are_found(table: str, change: dict[str, Any], named: str) -> None:
    """I7: states derived from the log equal the tables, and usage equals reservations plus adjustments."""
    scribe = history()
    rows = scribe.log.tables[table]
    place = next((at for at, row in enumerate(rows) if row.get("state") == "posted"), 0)
    rows[place] = {**rows[place], **change}
    assert named in found(scribe)


@pytest.mark.parametrize("table", ["tool_calls", "attempts", "cap_usage", "reservations", "postures"])
def test_a_row_deleted_from_a_table_is_found(table: str) -> None:
    """A call that vanished from the table is still in the log."""
    scribe = history()
    rows = scribe.log.tables[table]
    del rows[next((at for at, row in enumerate(rows) if row.get("state") == "posted"), 0)]
    assert any(word in found(scribe) for word in ("it is missing", "their parts add up to"))


def test_adjustments_are_parts_of_usage() -> None:
    """M14: refunds and overruns are booked on usage without a reservation, and must add up too."""
    scribe = history()
    fact = calls.AdjustmentBooked(reason_code="overrun", amount_minor=7, currency="USD", mode="test")
    scribe.write(fact, "adj_1", moves=(Move("run-total@9", 0, 0, 7),))
    scribe.book("run-total", 9, held=0, posted=7)
    assert "adjustments adj_1: it is missing" in found(scribe)
    row = {
        "adjustment_id": "adj_1",
        "reason_code": "overrun",
        "amount_minor": 7,
        "currency": "USD",
        "mode": "test",
    }
    scribe.log.tables["adjustments"].append({**row, "moves": '[["run-total",9,0,0,7]]'})
    assert verified(scribe).bad is None
    scribe.log.tables["adjustments"][0]["moves"] = "[]"
    assert "their parts add up to" in found(scribe)


def test_verdicts_are_told_by_entries_about_their_request() -> None:
    """A person's answer is a row of its own; changing who gave it, or what it was, must not pass."""
    scribe = history()
    scribe.write(
        calls.ApprovalRequested(call_id="call_1", expires_at_us=1), "apr_1", payload={"op_hash": "aa"}
    )
    given = calls.VerdictGiven(verdict_id="ver_1", operator="ada", verdict="approve", state="approved")
    scribe.write(given, "apr_1", payload={"op_hash": "aa", "comment": "fine"})
    tables = scribe.log.tables
    request = {"approval_id": "apr_1", "call_id": "call_1", "state": "approved", "op_hash": "aa"}
    tables["approvals"].append({**request, "approved_at_us": scribe.at_us})
    tables["verdicts"].append(
        {
            "verdict_id": "ver_1",
            "approval_id": "apr_1",
            "call_id": "call_1",
            "operator": "ada",
            "verdict": "approve",
            "op_hash": "aa",
            "comment": "fine",
            "at_us": scribe.at_us,
            "revoked_at_us": None,
        }
    )
    assert verified(scribe).bad is None
    tables["verdicts"][0]["operator"] = "eve"
    assert "verdicts ver_1: operator is 'eve'" in found(scribe)


def test_a_yes_that_was_taken_back_stays_taken_back() -> None:
    """M27: a column that is emptied would let the yes count again, and no state shows it."""
    scribe = history(2)
    asked = calls.ApprovalRequested(call_id="call_1", expires_at_us=1)
    scribe.write(asked, "apr_1", payload={"op_hash": "aa"})
    verdict = {"call_id": "call_1", "approval_id": "apr_1", "operator": "ada", "verdict": "approve"}
    rows = scribe.log.tables["verdicts"]
    for number, state in ((1, "pending"), (2, "approved")):
        given = calls.VerdictGiven(verdict_id=f"ver_{number}", operator="ada", verdict="approve", state=state)
        scribe.write(given, "apr_1", payload={"op_hash": "aa"})
        rows.append({**verdict, "verdict_id": f"ver_{number}", "op_hash": "aa", "revoked_at_us": None})
    request = {"approval_id": "apr_1", "call_id": "call_1", "op_hash": "aa", "state": "revoked"}
    scribe.log.tables["approvals"].append(request)
    rows[0]["revoked_at_us"] = scribe.at_us
    scribe.write(calls.VerdictRevoked(operator="ada", state="revoked"), "apr_1")
    assert "verdicts ver_2: revoked_at_us is None, the log says" in found(scribe)
    rows[1]["revoked_at_us"] = scribe.at_us
    assert verified(scribe).bad is None
    rows[0]["revoked_at_us"] = None
    assert "verdicts ver_1: revoked_at_us is None, the log says" in found(scribe)


@pytest.mark.parametrize(
    ("table", "row", "named"),
    [
        ("adjustments", {"adjustment_id": "adj_1", "moves": "no list"}, "adj_1: its moves cannot be read"),
        ("reservations", {"amount": "1"}, "no integers"),
        ("reservations", {"amount": 5, "posted": 5, "state": "posted"}, "its call is unheard of"),
    ],
)
def test_rows_that_cannot_be_read_are_named_too(table: str, row: dict[str, Any], named: str) -> None:
    """A verifier that crashes on rubbish can be stopped by rubbish."""
    scribe = Scribe()
    if table == "adjustments":
        fact = calls.AdjustmentBooked(reason_code="overrun", amount_minor=7, currency="USD", mode="test")
        scribe.write(fact, "adj_1")
    scribe.store_head()
    hold = {"call_id": "c", "meter": "m", "window_start_us": 0, "posted": 0, "state": "held"}
    scribe.log.tables[table].append({**hold, **row})
    assert named in found(scribe)


def test_a_commitment_is_held_until_it_is_posted() -> None:
    """M19: an armed purchase stays on the cap, part captured or not."""
    scribe = history(3)
    call = next(row["call_id"] for row in scribe.log.tables["tool_calls"] if row["state"] == "succeeded")
    scribe.write(ProcessStopped(), "proc_1", moves=(Move("m@0", 0, 600, 400),))
    usage = {"meter": "m", "window_start_us": 0, "held": 0, "committed": 600, "posted": 400}
    scribe.log.tables["cap_usage"].append(usage)
    hold = {
        "call_id": call,
        "meter": "m",
        "window_start_us": 0,
        "amount": 1000,
        "posted": 400,
        "state": "committed",
    }
    scribe.log.tables["reservations"].append(hold)
    assert verified(scribe).bad is None


def test_bytes_in_a_table_are_compared_as_the_texts_they_are() -> None:
    """Arguments are stored as bytes, and the log says them as text: the very bytes an approver saw."""
    scribe = Scribe()
    admitted = calls.CallAdmitted(state="queued", tool="t", kind="spend", agent="a", project="p")
    scribe.write(admitted, "call_1", payload={"arguments": '{"n":1}'})
    scribe.log.tables["tool_calls"].append({"call_id": "call_1", "args": b'{"n":1}', "state": "queued"})
    assert verified(scribe).bad is None
    scribe.log.tables["tool_calls"][0]["args"] = b'{"n":2}'
    assert "args is" in found(scribe)


def test_a_payload_that_is_no_object_is_named() -> None:
    """Only a program that is not ours can have written it, with the right hash."""
    scribe = Scribe()
    admitted = calls.CallAdmitted(state="queued", tool="t", kind="spend", agent="a", project="p")
    wrong: Any = ["not", "an", "object"]
    scribe.write(admitted, "call_1", payload=wrong)
    assert "it is no object" in found(scribe)


def test_usage_that_was_moved_and_has_no_row_is_named() -> None:
    """A cap's row that vanished would give its whole room away again."""
    scribe = Scribe()
    scribe.write(ProcessStopped(), "proc_1", moves=(Move("m@0", 5, 0, 0),))
    assert "cap_usage m@0: it is missing" in found(scribe)


def test_counters_of_outcomes_have_no_reservations() -> None:
    """Rules that count failures book on meters which no call holds anything on."""
    scribe = Scribe()
    scribe.write(
        ProcessStopped(), "proc_1", moves=(Move("failed.all.day/agent/scout/calls/test@0", 0, 0, 1),)
    )
    meter = "failed.all.day/agent/scout/calls/test"
    row = {"meter": meter, "window_start_us": 0, "held": 0, "committed": 0, "posted": 1}
    scribe.log.tables["cap_usage"].append(row)
    assert verified(scribe).bad is None
