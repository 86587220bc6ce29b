"""The caps as people see them: each limit with what stands against it in its window of now."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

from sqlalchemy import or_, select

from ledger.engines.tx import Tx
from ledger.meters import FLOATING, reading_start
from ledger.records import CapView
from ledger.rows import UsageRow
from ledger.schema import cap_usage
from ledger.times import from_us, to_us
from ledger.world import World
from policy.language import Cap, Mode, Policy, Scope, WindowKind


def cap_views(tx: Tx, world: World, at: datetime) -> tuple[CapView, ...]:
    """Return each cap wherever anything stands against it now, and once where nothing does."""
    if world.law is None:
        return ()
    out: list[CapView] = []
    for cap in world.law.policy.caps:
        found = _views(tx, world, cap, world.law.policy, to_us(at))
        out += found or [_empty(cap, world.law.policy, at)]
    return tuple(out)


def _views(tx: Tx, world: World, cap: Cap, policy: Policy, at_us: int) -> list[CapView]:
    if world.law is None or cap.window.kind is WindowKind.CALL:
        return []
    first = reading_start(cap.window, at_us, policy.timezone)
    u = cap_usage.c
    prefix = f"{cap.id}:{world.law.cap_digests[cap.id]}/"
    window = (
        u.window_start_us >= first if cap.window.kind is WindowKind.ROLLING else u.window_start_us == first
    )
    asked = select(cap_usage).where(
        u.account_id == world.account_id,
        u.meter >= prefix,
        u.meter < prefix[:-1] + "0",  # "0" follows "/": the range holds this cap's meters and no others.
        or_(window, u.window_start_us == FLOATING),
    )
    sums: dict[str, tuple[UsageRow, list[int]]] = {}
    totals: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for row in (UsageRow(*each) for each in tx.connection.execute(asked)):
        totals[row.meter][0] += row.posted
        totals[row.meter][1] += row.held + row.committed
        sums[row.meter] = (row, totals[row.meter])
    start = None if cap.window.kind is WindowKind.RUN else from_us(first)
    return [_view(cap, row, start, posted, held) for row, (posted, held) in sums.values() if posted or held]


def _view(cap: Cap, row: UsageRow, start: datetime | None, posted: int, held: int) -> CapView:
    return CapView(
        cap_id=cap.id,
        scope=Scope(row.scope),
        scope_key=row.scope_key,
        unit=row.unit,
        mode=Mode(row.mode),
        window=str(cap.window),
        window_start=start,
        limit=_limit(cap, row.unit),
        posted=posted,
        held=held,
    )


def _empty(cap: Cap, policy: Policy, at: datetime) -> CapView:
    kind = cap.window.kind
    whole = kind in {WindowKind.RUN, WindowKind.CALL}
    unit = cap.limit.money.currency if cap.limit.money is not None else cap.limit.currency or "calls"
    return CapView(
        cap_id=cap.id,
        scope=cap.per,
        scope_key="",
        unit=unit,
        mode=Mode.LIVE,
        window=str(cap.window),
        window_start=None if whole else from_us(reading_start(cap.window, to_us(at), policy.timezone)),
        limit=_limit(cap, unit),
        posted=0,
        held=0,
    )


def _limit(cap: Cap, unit: str) -> int | None:
    """Return the limit in the unit; None where it is a share of what was earned."""
    if cap.limit.money is not None and cap.limit.money.currency == unit:
        return cap.limit.money.minor_units
    return cap.limit.calls
