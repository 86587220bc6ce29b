"""Slips of the finger in a policy file, and whether one opened a hole.

A slip deletes, inserts or swaps one character. Its file is refused, equal, nowhere looser, or looser on some
probe. Looser is allowed only inside a quantity or a name, where it is plainly another wish.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from msgspec import Struct

from policy.decide import decide, needs
from policy.errors import PolicyError
from policy.language import Answer, Desk, Mark, Mode, PayeeBasis, Policy, Posture
from policy.model import Call, Decision, Effect, Facts, Needs, Recurrence, Reserve, Twin, Usage
from policy.money import Money
from policy.tools import Tools
from policy.yaml_marks import Items, Node, Problems, Scalar, Table, read_yaml

Load = Callable[[str], Policy]

# What YAML or a shell reads as more than a letter, what looks like a space, two digits and a letter.
ALPHABET: Final = " #-:,\"*01a\n[]{}?~!&|>\\'`\u00a0"
LONGEST_USAGE: Final = 60_000  # Minor units: above every limit of the shipped policy.
_STRENGTH: Final = {Answer.ALLOW: 0, Answer.REQUIRE_APPROVAL: 1, Answer.DENY: 2}
_NOWHERE: Final = Mark("", 0)

# Where a value is a quantity or a name, so that another value is plainly another wish.
WISHES: Final = frozenset(
    {
        "limit", "window", "up_to", "above", "amount", "count", "expires_in", "run_within", "quorum",
        "passkey_above", "type_amount_above", "equals", "vendors", "timezone", "per", "who", "operation",
    }
)  # fmt: skip


class Slip(Struct, frozen=True):
    """One slip: what was done where (offset in the original), and the text it leaves."""

    what: str
    at: int
    text: str


class Probe(Struct, frozen=True):
    """One call and everything that could be asked about it, whatever ids a policy gives to its parts."""

    call: Call
    now: datetime
    posture: Posture
    live_spend: bool
    payee_known: bool
    twin: Twin | None
    used: dict[str, int]  # By scope.
    summed: int
    counted: int


def every_slip(text: str, alphabet: str = ALPHABET) -> Iterator[Slip]:
    """Yield every deletion, insertion and swap of neighbours."""
    for at in range(len(text)):
        yield Slip("delete", at, text[:at] + text[at + 1 :])
        if at + 1 < len(text) and text[at] != text[at + 1]:
            yield Slip("swap", at, text[:at] + text[at + 1] + text[at] + text[at + 2 :])
        for char in alphabet:
            yield Slip(f"insert {char!r}", at, text[:at] + char + text[at:])


def some_slips(text: str, *, count: int, seed: int) -> list[Slip]:
    """Return so many different slips, a third of each sort."""
    chance = random.Random(seed)
    found: dict[str, Slip] = {}
    while len(found) < count:
        at = chance.randrange(len(text) - 1)
        sort = len(found) % 3
        if sort == 0:
            slip = Slip("delete", at, text[:at] + text[at + 1 :])
        elif sort == 1:
            slip = Slip("swap", at, text[:at] + text[at + 1] + text[at] + text[at + 2 :])
        else:
            char = chance.choice(ALPHABET)
            slip = Slip(f"insert {char!r}", at, text[:at] + char + text[at:])
        if slip.text != text:
            found.setdefault(slip.text, slip)
    return list(found.values())


def probes(tools: Tools, *, count: int, seed: int) -> list[Probe]:
    """Return calls of every tool, with facts on both sides of what the shipped policy asks for."""
    chance = random.Random(seed)
    names = [name for name, tool in sorted(tools.items()) if not tool.core]
    return [_probe(tools, names[index % len(names)], chance) for index in range(count)]


def _probe(tools: Tools, name: str, chance: random.Random) -> Probe:
    tool = tools[name]
    amount = Money(
        chance.choice([1, 100, 199, 200, 201, 500, 501, 1_000, 1_106, 2_500, 9_000, 30_000]), "USD"
    )
    if chance.random() < 0.1:
        amount = Money(amount.minor_units, "EUR")
    recurring = Recurrence("year", amount, amount) if chance.random() < 0.2 else None
    effect = Effect(
        kind=tool.kind,
        operation=tool.operation,
        provider=tool.provider,
        mode=chance.choice(list(Mode)),
        payee=chance.choice(["porkbun.com", "cloud.hetzner.com", "evilporkbun.com", "stranger.example"]),
        payee_basis=chance.choice(list(PayeeBasis)),
        amount=amount,
        recurring=recurring,
    )
    call = Call(
        tool=name,
        effect=effect,
        account="acc",
        project="main",
        run="run",
        agent=chance.choice(["scout", "maker"]),
        args={"offer": chance.choice(["snapshot", "audit"])},
    )
    return Probe(
        call=call,
        now=datetime(2026, 11, 1, tzinfo=UTC) + timedelta(minutes=chance.randrange(30 * 1_440)),
        posture=chance.choice([Posture.NORMAL] * 6 + list(Posture)),
        live_spend=chance.random() < 0.5,
        payee_known=chance.random() < 0.5,
        twin=Twin("call_1", "unknown") if chance.random() < 0.1 else None,
        used={scope: _used(chance) for scope in ("account", "project", "run", "agent")},
        summed=chance.choice([0, 0, 500, 799, 800, 999, 5_000]),
        counted=chance.choice([0, 1, 5]),
    )


def _used(chance: random.Random) -> int:
    return chance.choice([0, 0, 0, 1, 2, 30, 59, 60, 1_394, 2_399, 2_500, 9_800, 49_900, LONGEST_USAGE])


def answer(policy: Policy, probe: Probe) -> Decision:
    """Put a probe to a policy; what stands against a cap goes by its scope, whatever the cap is called."""
    return decide(policy, probe.call, _facts(needs(policy, probe.call), probe))


def _facts(wanted: Needs, probe: Probe) -> Facts:
    return Facts(
        now=probe.now,
        posture=probe.posture,
        live_spend=probe.live_spend,
        ready=True,
        usage={need.cap_id: Usage(posted=probe.used.get(need.scope, 0)) for need in wanted.usage},
        sums={need.rule_id: probe.summed for need in wanted.sums},
        counts={need.rule_id: probe.counted for need in wanted.counts},
        payee_known=probe.payee_known,
        twin=probe.twin,
        twin_checked=True,
        open_requests=0,
    )


def looser(before: Decision, after: Decision) -> bool:
    """Say whether the second answer lets through what the first would not, or asks or holds less for it."""
    if _STRENGTH[after.answer] != _STRENGTH[before.answer]:
        return _STRENGTH[after.answer] < _STRENGTH[before.answer]
    if before.answer is Answer.DENY:
        return False
    unasked = any(not any(_as_strict(asked.desk, due.desk) for asked in after.asks) for due in before.asks)
    unheld = any(not any(_holds(held, due) for held in after.reserves) for due in before.reserves)
    return unasked or unheld


def _as_strict(desk: Desk, due: Desk) -> bool:
    """Say whether a desk asks at least what another asked, whatever it is called."""
    return msgspec.structs.replace(desk, id="", at=_NOWHERE) == msgspec.structs.replace(
        due, id="", at=_NOWHERE
    )


def _holds(held: Reserve, due: Reserve) -> bool:
    same = (held.scope, held.scope_key, held.unit, held.mode, held.window, held.amount)
    return (
        same == (due.scope, due.scope_key, due.unit, due.mode, due.window, due.amount)
        and held.limit <= due.limit
    )


def plain(policy: Policy) -> Policy:
    """Return the policy without its addresses and its hash, to compare what it says."""
    replace = msgspec.structs.replace
    return replace(
        policy,
        sha256="",
        rules=tuple(replace(rule, at=_NOWHERE) for rule in policy.rules),
        caps=tuple(replace(cap, at=_NOWHERE) for cap in policy.caps),
        desks=tuple(replace(desk, at=_NOWHERE) for desk in policy.desks),
    )


class Verdicts(Struct):
    """What became of many slips."""

    refused: int = 0
    equal: int = 0
    nowhere_looser: int = 0
    other_wishes: list[str] = []
    holes: list[str] = []

    @property
    def all(self) -> int:
        """How many slips were tried."""
        told = len(self.other_wishes) + len(self.holes)
        return self.refused + self.equal + self.nowhere_looser + told


def judge(
    text: str, slips: Iterable[Slip], *, load: Load, asked: list[Probe], one_hole_is_enough: bool = False
) -> Verdicts:
    """Try every slip and say what became of it."""
    original = load(text)
    said = plain(original)
    before = [answer(original, probe) for probe in asked]
    wishes = wish_spans(text)
    verdicts = Verdicts()
    for slip in slips:
        try:
            slipped = load(slip.text)
        except PolicyError:
            verdicts.refused += 1
            continue
        if plain(slipped) == said:
            verdicts.equal += 1
        elif not any(looser(old, answer(slipped, probe)) for old, probe in zip(before, asked, strict=True)):
            verdicts.nowhere_looser += 1
        elif any(start <= slip.at < end for start, end in wishes):
            verdicts.other_wishes.append(shown(text, slip))
        else:
            verdicts.holes.append(shown(text, slip))
            if one_hole_is_enough:
                break
    return verdicts


def shown(text: str, slip: Slip) -> str:
    """Say what was done where, with the line it leaves."""
    number = text.count("\n", 0, slip.at) + 1
    line = slip.text.split("\n")[number - 1]
    return f"line {number}: {slip.what} -> {line.strip()}"


def wish_spans(text: str) -> list[tuple[int, int]]:
    """Return the stretches of the text that are quantities or names."""
    problems = Problems("policies.yaml")
    root = read_yaml(text, problems)
    assert root is not None
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    return [
        (start := starts[scalar.line - 1] + scalar.column - 1, start + len(scalar.text) + 2)
        for scalar in _wishes(root, wished=False)
    ]


def _wishes(node: Node, *, wished: bool) -> Iterator[Scalar]:
    if isinstance(node, Scalar):
        if wished:
            yield node
    elif isinstance(node, Items):
        for item in node.items:
            yield from _wishes(item, wished=wished)
    elif isinstance(node, Table):
        for name, (_, value) in node.entries.items():
            yield from _wishes(value, wished=name in WISHES)
