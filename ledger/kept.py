"""What the writer remembers between two batches: the World that its last one left.

Most commands speak of calls, holds and usage that this very writer wrote a moment ago; reading them back
would cost more than planning. A World may be taken up again while its *seal* is the account's own: whatever
is written under the account's lock makes the log longer or, where the log does not speak of it, moves the
house's version (`ledger.flush`), on either engine and from any process. On SQLite the file's own count of
foreign commits belongs to the seal as well. A transaction that fails takes its World with it.

Kept are calls on their way (queued, executing) with all that belongs to them, usage, what floats, runs and
twins. `seen_*` of a World say what was looked up, so that absence is known, too. What rests on an instant or
on a plugin's tables (earnings, records, keys, equal keyless calls) is never kept.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

from ledger.rows import CallRow, indexed_of
from ledger.world import TwinRow, World

ON_THE_WAY: Final = frozenset({"queued", "executing"})
MOST_CALLS: Final = 4_096  # Calls on their way that are remembered, some 30 MB; beyond it all is forgotten.
MOST_ROWS: Final = 16_384  # And rows of usage, payees and runs, which only grow.

Seal = tuple[int, ...]
"""House version, epoch and size of the log, and the engine's own mark: equal while nobody else wrote."""


class Kept(Struct):
    """The Worlds a writer left, by account; what a transaction leaves counts once it has committed."""

    worlds: dict[str, tuple[Seal, World]] = field(default_factory=dict)
    left: dict[str, tuple[Seal, World]] = field(default_factory=dict)

    def take(self, account: str, seal: Seal) -> World | None:
        """Return the World of an account where it is still true, for one transaction."""
        found = self.worlds.pop(account, None)
        return found[1] if found is not None and found[0] == seal else None

    def leave(self, world: World, seal: Seal) -> None:
        """Give a World back at a transaction's end."""
        if len(world.calls) <= MOST_CALLS and _rows(world) <= MOST_ROWS:
            self.left[world.account_id] = (seal, world)

    def committed(self) -> None:
        """Remember what was left: it is what the database holds now."""
        self.worlds.update(self.left)
        self.left.clear()

    def forget(self) -> None:
        """Remember nothing: something went wrong, or somebody writes who plans without a World."""
        self.worlds.clear()
        self.left.clear()


def _rows(world: World) -> int:
    rows = len(world.known_payees) + len(world.runs) + len(world.readings)
    return rows + sum(map(len, world.seen_usage.values()))


def tidy(world: World) -> None:
    """Make a flushed World ready to be taken up again: nothing left to write, and only what may be kept."""
    for call_id in world.met:
        row = world.calls.get(call_id)
        if row is None:
            continue
        if row.state in ON_THE_WAY and call_id in world.whole:
            world.indexed[call_id] = indexed_of(row)
        else:
            _forget(world, row)
    world.met.clear()
    for request in [*world.new_approvals.values(), *world.dirty_approvals.values()]:
        if request.call_id not in world.calls:
            world.approvals.pop(request.approval_id, None)
    for usage in world.new_usage:
        if not world.has_seen(usage.meter, usage.window_start_us):
            # Booked on without being looked up: what the table holds now is not known here.
            world.usage[usage.meter].pop(usage.window_start_us, None)
    world.keys.clear()
    world.same.clear()
    world.earned.clear()
    world.records.clear()
    world.written()


def _forget(world: World, row: CallRow) -> None:
    call_id = row.call_id
    del world.calls[call_id]
    world.whole.discard(call_id)
    for by_call in (world.attempts, world.reservations, world.verdicts, world.policy_calls, world.asked):
        by_call.pop(call_id, None)
    world.readings_by_call.pop(call_id, None)
    world.indexed.pop(call_id, None)
    world.approvals.pop(row.approval_id or "", None)
    twins = world.twins.get(row.twin_key or "")
    if row.twin_key is None or twins is None:
        return
    if call_id in twins:
        twins[call_id] = TwinRow(
            call_id, row.ordinal, row.state, row.agent, row.twin_until_us, row.admitted_at_us
        )
    if not any(each in world.calls for each in twins):
        del world.twins[row.twin_key]
        world.seen_twins.pop(row.twin_key, None)
