"""Instruments without a purchase: somebody else's, told of too early, left behind, or evidence (M9)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ledger.booking import Booking, Verdict, part, strange
from ledger.commands import Settlement
from ledger.discrepancies import contradict
from ledger.load import load_calls
from ledger.rare_rows import one
from ledger.records import Outcome
from ledger.rows import CallRow
from ledger.schema import discrepancies

_ENDED: Final = frozenset({"failed", "denied", "cancelled", "expired"})  # With nothing done, says the ledger.
_DEAD: Final = frozenset({"canceled", "failed"})  # No money can move on it any more.


def stray(
    booking: Booking, ref: str, instrument: Mapping[str, Any], load: Callable[[Booking, str], CallRow]
) -> Verdict:
    """Say what an instrument without a purchase is; `load` brings a call with all that booking touches."""
    marks = part(instrument, "metadata")
    if marks.get("bursar_account") != booking.account:
        return Verdict("ignored", "not_ours", "the instrument carries no mark of this account")
    call_id = str(marks.get("bursar_call") or "")
    load_calls(booking.tx, booking.world, [call_id], deep=True)
    row = booking.world.calls.get(call_id)
    if row is None or row.state not in _ENDED:
        return Verdict("unmatched", "no_purchase", f"there is no purchase with {ref or 'that card'} yet")
    if instrument.get("status") in _DEAD:
        return Verdict("ignored", "call_ended", f"its call is {row.state}, and nothing can move on it")
    wrong = strange(booking, {"provider_account": row.provider_account, "mode": row.mode})
    return wrong or _against(booking, load(booking, call_id), ref)


def _against(booking: Booking, row: CallRow, ref: str) -> Verdict:
    """Book what a call did that had ended with nothing done: once, whatever tells of it (M9)."""
    code = f"succeeded_after_{row.state}"
    if not _is_found(booking, row.call_id, code):
        seen = Settlement(
            call_id=row.call_id,
            at=booking.at,
            attempt=0,
            lease_token=0,
            outcome=Outcome.SUCCEEDED,
            identity=booking.shown.identity,
            proof=booking.shown.proof,
            evidence=ref,
        )
        contradict(booking.world, row, seen, code, booking.at_us)
    return Verdict("quarantined", code, f"{ref} exists, its call {row.call_id} is {row.state}")


def _is_found(booking: Booking, call_id: str, code: str) -> bool:
    """Say whether it is written down already, or is about to be with the rest of this transaction."""
    planned = [each for table, each in booking.world.other_rows if table == "discrepancies"]
    if any((each["call_id"], each["code"]) == (call_id, code) for each in planned):
        return True
    return one(booking.tx, discrepancies, booking.account, call_id=call_id, code=code) is not None
