"""Broken copies of the planners, each of which the interleavings must catch within a few hundred
histories.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final

import msgspec

from ledger import caps
from ledger.commands import Admission, Claim, Settlement
from ledger.meters import FLOATING, Reading
from ledger.records import Outcome
from ledger.rows import CallRow, ReservationRow
from ledger.world import World
from policy.model import Reserve, UsageNeed
from tests.ledger.memory import Earning, Planners
from tests.ledger.model import PlainPolicy


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


class MixesModes(World):
    """M10: test money uses up a cap's room for simulated and live money, too."""

    def cap_reading(self, need: UsageNeed | Reserve) -> Reading:
        """Keep one meter for all modes."""
        found = super().cap_reading(need)
        return msgspec.structs.replace(found, meter=found.meter.rsplit("/", 1)[0])


class ForgetsEditors(World):
    """M28: nobody remembers that the editor asked, too."""

    def admit(self, row: CallRow) -> None:
        """Take the agent for the only one who asked."""
        row.requested_by = ""
        super().admit(row)


class KeepsEditedHolds(World):
    """M28: the edited call's hold does not move, both stand."""

    def change_reservation(self, row: ReservationRow) -> None:
        """Leave a hold that was let go in its usage."""
        super().change_reservation(row)
        if row.state == "void":
            self.book(self.usage[row.meter][row.window_start_us], held=row.amount)


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


def _believes_absent(_world: World, command: Settlement) -> object:
    """Believe a look-up that finds nothing before everything sent has had its time (M3)."""
    return msgspec.structs.replace(command, settle_after_s=-1e6)


def _forgets_late_news(world: World, command: Settlement) -> object:
    """Take no word of a success after the end (M9)."""
    ended = world.calls[command.call_id].state not in {"executing", "unknown"}
    late = ended and command.outcome is Outcome.SUCCEEDED
    return msgspec.structs.replace(command, outcome=Outcome.FAILED) if late else command


def _replays_whatever_the_posture(world: World, command: Claim) -> object:
    """Replay as if it could not be the first time (M8)."""
    return _opens_everything(world, command) if command.purpose == "replay" else command


def _asks_nobody_else(world: World, command: object) -> object:
    """Let one process's LIVE_SPEND be enough (M6)."""
    world.processes = ()
    return command


def _anybody_again(world: World, command: object) -> object:
    """Let a person's call be put back and sent again like any other (M29)."""
    if isinstance(command, Claim | Settlement):
        row = world.calls[command.call_id]
        row.kind = "earn" if row.kind == "human_only" else row.kind
    return command


def _young_gains(rows: list[Earning], project: str, _until: int) -> int:
    """Count what was earned a moment ago (M15)."""
    return sum(row["amount_minor"] for row in rows if not project or row["project"] == project)


def _no_losses(rows: list[Earning], project: str, until: int) -> int:
    """Count gains only (M15)."""
    mine = [row for row in rows if not project or row["project"] == project]
    return sum(max(0, row["amount_minor"]) for row in mine if row["booked_at_us"] <= until)


def _text(**parts: object) -> Planners:
    """Return planners that overlook a part of what the policy says."""

    def changed(policy: PlainPolicy) -> PlainPolicy:
        return dataclasses.replace(policy, **parts)  # type: ignore[arg-type]  # the parts are the policy's own

    return Planners(policy=changed)


def _all_restore(policy: PlainPolicy) -> PlainPolicy:
    """Let every refund make room (M14)."""
    return dataclasses.replace(
        policy, caps=tuple(dataclasses.replace(cap, restores=True) for cap in policy.caps)
    )


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
    "a look-up is believed at once": Planners(before=_settles(_believes_absent)),
    "a person is believed at once": Planners(person_waits_s=0.0),
    "one process's LIVE_SPEND is enough": Planners(before=_asks_nobody_else),
    "the policy's live_spend is not read": _text(live=True),
    "a replay is taken for a second time": Planners(before=_claims(_replays_whatever_the_posture)),
    "late news is no news": Planners(before=_settles(_forgets_late_news)),
    "modes share a cap": Planners(world=MixesModes),
    "every refund makes room": Planners(policy=_all_restore),
    "young gains count": Planners(earned=_young_gains),
    "losses count for nothing": Planners(earned=_no_losses),
    "waiting requests are not counted": _text(open_requests=1_000, held_share=100),
    "an agent's maker counts": _text(not_by_owner=False),
    "an editor's own yes is enough": Planners(world=ForgetsEditors),
    "an edited call keeps its hold": Planners(world=KeepsEditedHolds),
    "what only a person does is tried again": Planners(before=_anybody_again),
}
