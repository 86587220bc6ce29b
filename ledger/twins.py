"""Equal calls: twins of a purchase (M26), and keyless calls that are the same call (M25). Pure."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import Final

from ledger.rows import CallRow
from ledger.times import NEVER_US, SECOND_US, from_us
from ledger.world import TwinRow, World
from policy.language import Kind
from policy.model import Call, Twin
from policy.money import Money

TWIN_S: Final = 86_400  # M26: how long a succeeded purchase makes an equal one its twin.
SAME_S: Final = 600  # M25: how long a succeeded keyless call absorbs an equal one.
PURCHASES: Final = frozenset({Kind.SPEND, Kind.PROVISION})
KEYLESS: Final = frozenset({Kind.DRAFT, Kind.EARN, Kind.WITHDRAW})
OPEN: Final = frozenset({"awaiting_approval", "queued", "executing", "unknown"})


def twin_key(call: Call) -> str | None:
    """Return what makes two purchases equal: tool, payee, amount and currency; None for anything else."""
    effect = call.effect
    if effect.kind not in PURCHASES:
        return None
    return _purchase(call.tool, (effect.payee or "").casefold(), effect.amount)


@lru_cache(maxsize=4_096)  # Asked for at admission, at the claim, and while loading for each.
def _purchase(tool: str, payee: str, amount: Money | None) -> str:
    return sha256("\x00".join((tool, payee, str(amount or ""))).encode()).hexdigest()[:32]


def twin_of(world: World, call: Call, at_us: int, own: CallRow | None) -> Twin | None:
    """Return an equal purchase of the account admitted before this one.

    An unknown one first, else the latest.
    """
    key = own.twin_key if own is not None else twin_key(call)
    twins = world.twins.get(key) if key is not None else None
    if not twins:
        return None
    before = own.ordinal if own is not None else NEVER_US
    found = [twin for twin in twins.values() if twin.ordinal < before and _binds(world, twin, at_us)]
    if not found:
        return None
    twin = max(found, key=lambda each: (_state(world, each) == "unknown", each.ordinal))
    return Twin(twin.call_id, _state(world, twin), from_us(twin.at_us))


def same_call(world: World, fingerprint: str, agent: str, at_us: int) -> str | None:
    """Return the keyless call that an equal one is (M25), or None."""
    found = [
        twin
        for twin in world.same[fingerprint].values()
        if twin.agent == agent and _binds(world, twin, at_us, same=True)
    ]
    return max(found, key=lambda each: each.ordinal).call_id if found else None


def remember(world: World, row: CallRow) -> None:
    """Let later calls of the same batch see this one."""
    twin = TwinRow(row.call_id, row.ordinal, row.state, row.agent, row.twin_until_us, row.admitted_at_us)
    if row.twin_key is not None:
        world.twins[row.twin_key][row.call_id] = twin
    if row.idempotency_key is None:
        world.same[row.fingerprint][row.call_id] = twin


def mark(row: CallRow, at_us: int) -> None:
    """Set until when a call is a twin or absorbs equal ones, after its state changed."""
    if row.state in OPEN:
        row.twin_until_us = NEVER_US if row.twin_key is not None else 0
        row.same_until_us = NEVER_US if row.idempotency_key is None else 0
    elif row.state == "succeeded":
        row.twin_until_us = at_us + TWIN_S * SECOND_US if row.twin_key is not None else 0
        row.same_until_us = at_us + SAME_S * SECOND_US if row.idempotency_key is None else 0
    else:
        row.twin_until_us = row.same_until_us = 0


def _state(world: World, twin: TwinRow) -> str:
    row = world.calls.get(twin.call_id)
    return twin.state if row is None else row.state


def _binds(world: World, twin: TwinRow, at_us: int, *, same: bool = False) -> bool:
    row = world.calls.get(twin.call_id)
    if row is None:
        return twin.until_us > at_us
    return (row.same_until_us if same else row.twin_until_us) > at_us
