"""The facts a decision rests on: one function gathers them for admission, claim and preview alike."""

from __future__ import annotations

from typing import Final

from ledger.caps import usage_of
from ledger.commands import ProcessFacts
from ledger.meters import rule_reading, template_of
from ledger.rows import CallRow
from ledger.times import SECOND_US, from_us
from ledger.twins import twin_of
from ledger.world import House, World
from policy.language import Posture, Scope
from policy.model import Call, CountNeed, EarnedNeed, Facts, Needs, SumNeed, Usage

STRICTNESS: Final = {posture: place for place, posture in enumerate(Posture)}

# A process that said nothing for so long is taken for dead: three beats and a pause of the garbage collector.
BEAT_LIVES_US: Final = 30 * SECOND_US


def gather(
    world: World, call: Call, needs: Needs, process: ProcessFacts, at_us: int, *, own: CallRow | None
) -> Facts:
    """Return what `decide` must know at this instant; `own` is the call itself where it was admitted before.

    What the policy asks for and the ledger does not count stays out, and a missing fact denies.
    """
    posture, scope = posture_of(world.house, call)
    provider = call.effect.provider
    return Facts(
        now=from_us(at_us),
        posture=posture,
        posture_scope=scope,
        live_spend=process.live_spend and all_live(world, at_us),
        ready=process.ready.get(provider, False),
        missing=process.missing.get(provider, ()),
        claiming=own is not None,
        usage=_usage(world, call, needs, at_us, own),
        earned={need.cap_id: earned_of(world, need) for need in needs.earned},
        sums=_readings(world, needs.sums, at_us, own),
        counts=_readings(world, needs.counts, at_us, own),
        payee_known=_payee_known(world, call) if needs.payee_known else None,
        twin=twin_of(world, call, at_us, own) if needs.twin else None,
        twin_checked=needs.twin,
        open_requests=len(world.waiting[call.agent]) if needs.waiting else None,
    )


def posture_of(house: House, call: Call) -> tuple[Posture, str]:
    """Return the strictest posture that covers a call, and the scope it was set for."""
    if not house.postures:
        return Posture.NORMAL, "account"
    scopes = (
        ("account", call.account),
        ("project", call.project),
        ("agent", call.agent),
        ("provider", call.effect.provider),
    )
    strictest, where = Posture.NORMAL, "account"
    for scope in scopes:
        posture = house.postures.get(scope, Posture.NORMAL)
        if STRICTNESS[posture] > STRICTNESS[strictest]:
            strictest, where = posture, scope[0]
    return strictest, where


def all_live(world: World, at_us: int) -> bool:
    """Say whether every process that lives was started with LIVE_SPEND=1 (M6)."""
    return all(beat.live_spend for beat in world.processes if beat.beat_at_us > at_us - BEAT_LIVES_US)


def earned_of(world: World, need: EarnedNeed) -> int:
    """Return what was earned (M15): gains once they are old enough, losses at once."""
    project = "" if need.scope is Scope.ACCOUNT else need.scope_key
    return world.earned.get((project, need.currency, need.mode, need.after_s), 0)


def _usage(world: World, call: Call, needs: Needs, at_us: int, own: CallRow | None) -> dict[str, Usage]:
    waiting = world.waiting[call.agent] if needs.waiting and own is None else {}
    out = {}
    for need in needs.usage:
        reading = world.cap_reading(need)
        usage = usage_of(world, reading, at_us, own)
        mine = sum(held.get(reading.meter, 0) for held in waiting.values())
        out[need.cap_id] = Usage(usage.posted, usage.held, mine) if mine else usage
    return out


def _readings(
    world: World, needs: tuple[SumNeed, ...] | tuple[CountNeed, ...], at_us: int, own: CallRow | None
) -> dict[str, int]:
    out, counted = {}, () if world.law is None else world.law.rule_meters
    for need in needs:
        if template_of(need) in counted:
            usage = usage_of(world, rule_reading(need), at_us, own)
            out[need.rule_id] = usage.posted + usage.held
    return out


def _payee_known(world: World, call: Call) -> bool:
    return (
        call.effect.payee is not None
        and (call.effect.mode, call.effect.payee.casefold()) in world.known_payees
    )
