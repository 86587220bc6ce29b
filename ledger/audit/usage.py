"""Verify usage: what counts against caps must be what the log moved, and the sum of what it is made of."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

import msgspec

from ledger.audit.bad_row import BadRow
from ledger.audit.source import Row, Source

Amounts = defaultdict[str, list[int]]
"""Held, committed and posted, by usage (`meter@window_start_us`)."""

# Tables that usage is checked with, and the columns it takes.
USAGE_TABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "reservations": ("call_id", "meter", "window_start_us", "amount", "posted", "state"),
    "cap_usage": ("meter", "window_start_us", "held", "committed", "posted"),
}
# How meters begin that count outcomes: they are moved by calls that hold no reservation on them.
OUTCOMES: Final = ("succeeded.", "failed.", "unknown.", "denied.", "cancelled.", "expired.")
# Of calls in which states a reservation can be in its state; what is void may be of any call.
_OPEN: Final = frozenset({"awaiting_approval", "queued", "executing", "unknown"})
_CALLS: Final = {"held": _OPEN, "committed": frozenset({"succeeded"}), "posted": frozenset({"succeeded"})}
_MOVES: Final = msgspec.json.Decoder(list[tuple[str, int, int, int, int]])


def compare_usage(source: Source, account: str, moved: Amounts, calls: Mapping[str, str]) -> None:
    """Compare usage with what the log `moved`, and with reservations and adjustments.

    `calls` are the states of all calls, by id. Raises BadRow for the first row that does not fit.
    """
    parts = _parts(source, account, calls)
    left = {usage for usage, amounts in [*moved.items(), *parts.items()] if any(amounts)}
    for row in source.rows(account, "cap_usage"):
        usage = f"{row['meter']}@{row['window_start_us']}"
        found = [row["held"], row["committed"], row["posted"]]
        left.discard(usage)
        if found != moved[usage]:
            wrong = f"held, committed and posted are {found}, the log moved {moved[usage]}"
            raise BadRow("cap_usage", usage, wrong)
        if found != parts[usage] and not usage.startswith(OUTCOMES):
            wrong = f"held, committed and posted are {found}, their parts add up to {parts[usage]}"
            raise BadRow("cap_usage", usage, wrong)
    if left:
        raise BadRow("cap_usage", min(left), "it is missing, but moves or reservations are on it")


def _parts(source: Source, account: str, calls: Mapping[str, str]) -> Amounts:
    """Add up what reservations and adjustments make of each usage."""
    parts: Amounts = defaultdict(lambda: [0, 0, 0])
    for row in source.rows(account, "reservations"):
        amount, posted = _reserved(row, calls)
        total = parts[f"{row['meter']}@{row['window_start_us']}"]
        if row["state"] == "held":
            total[0] += amount
        elif row["state"] == "committed":
            total[1] += amount - posted
        total[2] += posted
    for row in source.rows(account, "adjustments"):
        for meter, start, *amounts in _adjusted(row):
            total = parts[f"{meter}@{start}"]
            total[:] = [so_far + more for so_far, more in zip(total, amounts, strict=True)]
    return parts


def _reserved(row: Row, calls: Mapping[str, str]) -> tuple[int, int]:
    """Return a reservation's amounts, once its state is one that its call can have."""
    amount, posted, state = row["amount"], row["posted"], row["state"]
    call = calls.get(str(row["call_id"]), "unheard of")
    key = f"{row['call_id']} {row['meter']}"
    if not (isinstance(amount, int) and isinstance(posted, int)):
        raise BadRow("reservations", key, "its amounts are no integers")
    if state == "void":
        if posted:
            raise BadRow("reservations", key, f"it is void, but {posted} were posted on it")
    elif call not in _CALLS.get(str(state), ()):
        raise BadRow("reservations", key, f"it is {state}, its call is {call}")
    return amount, posted


def _adjusted(row: Row) -> list[tuple[str, int, int, int, int]]:
    try:
        return _MOVES.decode(str(row["moves"]))
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRow("adjustments", str(row["adjustment_id"]), "its moves cannot be read") from None
