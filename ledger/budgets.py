"""What a run may still use: the caps that count per run, in the window of now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import structs

from ledger.cap_views import cap_views
from ledger.engines.tx import Tx
from ledger.records import CapView
from ledger.world import World
from policy.language import Scope
from policy.money import written


def run_budget(tx: Tx, world: World, run_id: str, at: datetime) -> tuple[CapView, ...]:
    """Return each cap per run as it stands for one run; one that it has not touched shows its whole limit."""
    per_run = [cap for cap in cap_views(tx, world, at) if cap.scope is Scope.RUN]
    own = [cap for cap in per_run if cap.scope_key == run_id]
    touched = {cap.cap_id for cap in own}
    fresh = {cap.cap_id: cap for cap in per_run if cap.cap_id not in touched}
    return (*own, *(structs.replace(cap, scope_key="", posted=0, held=0) for cap in fresh.values()))


def budget_lines(caps: Sequence[CapView]) -> list[dict[str, str]]:
    """Return caps as agents and people read them: what is left of how much, and in which mode it was used."""
    lines = []
    for cap in caps:
        line = {"cap": cap.cap_id, "window": cap.window}
        if cap.limit is not None:
            left = max(0, cap.limit - cap.posted - cap.held)
            line |= {"left": _amount(left, cap.unit), "limit": _amount(cap.limit, cap.unit)}
        lines.append(line | ({"mode": cap.mode.value} if cap.scope_key else {}))
    return lines


def _amount(units: int, unit: str) -> str:
    return f"{units} calls" if unit == "calls" else written(units, unit)
