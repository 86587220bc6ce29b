"""Broken copies of the planners, each of which the interleavings must catch within a few hundred
histories.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from ledger import caps
from ledger.commands import Admission, Claim, Settlement
from ledger.meters import FLOATING
from ledger.rows import ReservationRow
from ledger.world import World
from tests.ledger.memory import Planners


class ForgetsKeys(World):
    """M24: a key that is not kept lets the same intention through twice."""

    def claim_key(self, *named: str) -> None:
        """Forget it."""


class ServesLastFirst(World):
    """M12: holds admitted after a call count against it."""

    def hold(self, row: ReservationRow) -> None:
        """Count every waiting hold as an earlier one."""
        super().hold(row)
        if row.window_start_us == FLOATING:
            self.floating[row.meter][row.call_id] = (0, row.amount)


def _settles(change: Callable[[World, Settlement], object]) -> Callable[[World, object], object]:
    def before(world: World, command: object) -> object:
        return change(world, command) if isinstance(command, Settlement) else command

    return before


def _claims(change: Callable[[World, Claim], object]) -> Callable[[World, object], object]:
    def before(world: World, command: object) -> object:
        return change(world, command) if isinstance(command, Claim) else command

    return before


def _lets_go_of_unknown(world: World, command: object) -> None:
    """Release what an unknown call holds: the hold that must outlive every doubt."""
    if isinstance(command, Settlement) and world.calls[command.call_id].state == "unknown":
        caps.release(world, world.calls[command.call_id])
        world.moves.clear()


def _holds_nothing(world: World, command: object) -> None:
    """Let holds that wait count for nothing (M11)."""
    if isinstance(command, Admission):
        for rows in world.usage.values():
            if FLOATING in rows:
                rows[FLOATING].held = 0


def _forgets_twins(world: World, _command: object) -> None:
    world.twins.clear()


def _forgets_doubt(world: World, command: Settlement) -> object:
    """Take every earlier attempt for unsent (M1, M2)."""
    for attempt in world.attempts[command.call_id].values():
        attempt.maybe_sent = int(attempt.number == command.attempt)
    return command


def _takes_any_token(world: World, command: Settlement) -> object:
    row = world.calls[command.call_id]
    for attempt in world.attempts[command.call_id].values():
        attempt.ended_at_us = None
    return msgspec.structs.replace(command, lease_token=row.lease_token)


def _clips_overruns(world: World, command: Settlement) -> object:
    approved = world.calls[command.call_id].amount_minor
    over = command.actual is not None and approved is not None and command.actual.minor_units > approved
    return msgspec.structs.replace(command, actual=None) if over else command


def _opens_everything(world: World, command: Claim) -> object:
    """Claim as if no posture had moved (M5)."""
    world.house = msgspec.structs.replace(world.house, postures={})
    return command


def _counts_everybody(world: World, command: Claim) -> object:
    """Count verdicts of people who are disabled or demoted (M27)."""
    people = world.house.operators.items()
    raised = {name: msgspec.structs.replace(each, active=True) for name, each in people}
    world.house = msgspec.structs.replace(world.house, operators=raised)
    return command


def _stops_the_clock(world: World, command: Claim) -> object:
    """Let a queued call run after its time (M7)."""
    world.calls[command.call_id].run_by_us = None
    return command


def _any_instance(world: World, command: Claim) -> object:
    """Let a restarted simulator answer for what it never saw (M4)."""
    for attempt in world.attempts[command.call_id].values():
        attempt.instance = next(iter(command.process.identities.values())).instance
    return command


TWINS: Final = {
    "keys are forgotten": Planners(world=ForgetsKeys),
    "later holds come first": Planners(world=ServesLastFirst),
    "an unknown call lets go": Planners(after=_lets_go_of_unknown),
    "waiting holds count for nothing": Planners(after=_holds_nothing),
    "twins are forgotten": Planners(after=_forgets_twins),
    "a doubt is forgotten": Planners(before=_settles(_forgets_doubt)),
    "any lease token settles": Planners(before=_settles(_takes_any_token)),
    "an overrun is clipped": Planners(before=_settles(_clips_overruns)),
    "a claim sees no posture": Planners(before=_claims(_opens_everything)),
    "everybody's verdict counts": Planners(before=_claims(_counts_everybody)),
    "run-by never comes": Planners(before=_claims(_stops_the_clock)),
    "another simulator answers": Planners(before=_claims(_any_instance)),
}
