"""Random policies, calls and facts, drawn from few words and numbers so that edges and clashes are common.

Everything comes from one seeded `random.Random`; the same seed draws the same world on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TypeVar

from policy.model import (
    Answer,
    ArgTest,
    Call,
    Cap,
    CountAbove,
    Desk,
    Effect,
    Facts,
    Hours,
    Kind,
    Limit,
    Limits,
    LiveSpend,
    Mark,
    Match,
    Mode,
    PayeeBasis,
    Policy,
    Posture,
    Recurrence,
    Rule,
    Scope,
    SumAbove,
    Twin,
    Usage,
    Window,
    WindowKind,
)
from policy.money import Money

T = TypeVar("T")

TOOLS = (
    "request_card_purchase",
    "domain_register",
    "crm_create_lead",
    "stripe_close_offer",
    "refund_payment",
)
OPERATIONS = ("card_purchase", "domain_register", "note", "close", "refund", "credential_change")
PROVIDERS = ("stripe", "porkbun", "bursar")
PAYEES = (
    "porkbun.com",
    "Shop.Hetzner.com",
    "example.com",
    "EXAMPLE.com",
    "evil.example",
    "",
    "evil.example/shop.hetzner.com",  # No host, and it ends like one.
    "Gro\u00df.example",  # Folds to gross.example, which is another domain.
)
PAYEE_GLOBS = (
    "porkbun.com",
    "*.hetzner.com",
    "example.*",
    "Evil.*",
    "*",
    "?xample.com",
    "*e*.c*",
    "gross.example",
    "*ross.example",
)
CURRENCIES = ("USD", "USD", "USD", "EUR", "JPY")
UNITS = (0, 1, 100, 150, 199, 200, 201, 500, 1_000)
LIMITS = (0, 150, 200, 500, 1_000, 2_000)
ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu")
DESKS = ("spend-desk", "owner-desk", "refund-desk")
MOST_KINDS = (Kind.SPEND, Kind.SPEND, Kind.SPEND, Kind.PROVISION, *Kind)
HOUR = Window(WindowKind.ROLLING, 3_600)
WINDOWS = (
    Window(WindowKind.CALL),
    Window(WindowKind.RUN),
    Window(WindowKind.DAY),
    Window(WindowKind.MONTH),
    HOUR,
    Window(WindowKind.ROLLING, 86_400),
)
WIN = WINDOWS[1:]


class Draw:
    """A seeded source of parts of a world."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def chance(self, share: float) -> bool:
        """Say yes so often."""
        return self.random.random() < share

    def one(self, values: tuple[T, ...]) -> T:
        """Draw one."""
        return self.random.choice(values)

    def some(self, values: tuple[T, ...], share: float) -> tuple[T, ...]:
        """Draw one or two of them so often, else none."""
        if not self.chance(share):
            return ()
        return tuple(dict.fromkeys(self.random.choices(values, k=self.random.choice((1, 2)))))

    def maybe(self, share: float, make: Callable[[], T]) -> T | None:
        """Make one so often, else nothing."""
        return make() if self.chance(share) else None

    def money(self, values: tuple[int, ...] = UNITS) -> Money:
        """Draw an amount near the bounds that rules and caps draw."""
        return Money(self.one(values), self.one(CURRENCIES))

    def bounds(self, share: float) -> tuple[Money, ...]:
        """Draw bounds, one per currency."""
        if not self.chance(share):
            return ()
        drawn = [self.money(LIMITS) for _ in range(self.one((1, 1, 2)))]
        return tuple({bound.currency: bound for bound in drawn}.values())


def match(draw: Draw, *, dense: float = 1.0, lookups: bool = True) -> Match:
    """Draw a match; `dense` scales how many of its fields are set."""
    return Match(
        kind=draw.some(MOST_KINDS, 0.6 * dense),
        tool=draw.some((*TOOLS, "*", "domain_*", "?rm_create_lead"), 0.2 * dense),
        operation=draw.some((*OPERATIONS, "*register"), 0.12 * dense),
        provider=draw.some((*PROVIDERS, "p*"), 0.12 * dense),
        payee=draw.some(PAYEE_GLOBS, 0.15 * dense),
        payee_in=draw.maybe(0.12 * dense, lambda: draw.one(("vendors", "partners", "nowhere"))),
        payee_known=draw.maybe(0.15 * dense, lambda: draw.chance(0.7)),
        payee_basis=draw.some(tuple(PayeeBasis), 0.06 * dense),
        up_to=draw.bounds(0.2 * dense),
        above=draw.bounds(0.12 * dense),
        currency=draw.some(CURRENCIES, 0.06 * dense),
        mode=draw.some(tuple(Mode), 0.15 * dense),
        project=draw.some(("shop", "lab"), 0.06 * dense),
        agent=draw.some(("scout", "maker"), 0.08 * dense),
        recurring=draw.maybe(0.05 * dense, lambda: draw.chance(0.5)),
        reversible=draw.maybe(0.05 * dense, lambda: draw.chance(0.5)),
        args=tuple(arguments(draw)) if draw.chance(0.1 * dense) else (),
        hours=draw.maybe(0.1 * dense, lambda: hours(draw)),
        sum_above=draw.maybe(0.12 * dense if lookups else 0, lambda: sum_above(draw)),
        count_above=draw.maybe(0.08 * dense if lookups else 0, lambda: count_above(draw)),
    )


Bound = Money | int
Plain = str | int | bool


def arguments(draw: Draw) -> Iterator[tuple[str, ArgTest]]:
    """Draw a test of one argument."""
    plain: tuple[Plain, ...] = ("snapshot", 1, True, "1.50 USD")
    bounds: tuple[Bound, ...] = (1, 2, Money(150, "USD"))
    yield (
        draw.one(("offer", "years", "price", "flag")),
        ArgTest(
            equals=draw.maybe(0.4, lambda: draw.one(plain)),
            one_of=draw.some(("snapshot", "other", 1, 2, True), 0.4),
            up_to=draw.maybe(0.3, lambda: draw.one(bounds)),
            above=draw.maybe(0.3, lambda: draw.one(bounds)),
        ),
    )


def hours(draw: Draw) -> Hours:
    """Draw hours of the week, some of which span midnight."""
    days = tuple(sorted(draw.random.sample(range(7), draw.one((1, 2, 5)))))
    edges = draw.random.sample((0, 60, 540, 1_080, 1_320, 1_440), 2)
    return Hours(days=days, from_minute=edges[0] % 1_440, to_minute=edges[1])


def sum_above(draw: Draw) -> SumAbove:
    """Draw a sum with its bounds."""
    return SumAbove(draw.bounds(1.0), draw.one(tuple(Scope)), draw.one(WIN))


def count_above(draw: Draw) -> CountAbove:
    """Draw a count, with or without an outcome."""
    return CountAbove(
        draw.one((0, 1, 2)), draw.one(tuple(Scope)), draw.one(WIN), draw.maybe(0.4, lambda: "failed")
    )


def rule(draw: Draw, index: int) -> Rule:
    """Draw a rule; allows are the most common, or everything would be denied."""
    effect = draw.one((Answer.ALLOW, Answer.ALLOW, Answer.ALLOW, Answer.REQUIRE_APPROVAL, Answer.DENY))
    dense = 1.6 if effect is Answer.DENY else 1.0
    return Rule(
        id=f"rule-{index:02}",
        match=match(draw, dense=dense),
        unless=draw.maybe(0.25, lambda: match(draw, dense=0.8)),
        effect=effect,
        at=Mark("policies.yaml", 10 + index),
        approval=draw.one((*DESKS, DESKS[0], "no-such-desk")) if effect is Answer.REQUIRE_APPROVAL else None,
        shadow=draw.chance(0.1),
        because=draw.one(("", "for a reason")),
    )


def cap(draw: Draw, index: int) -> Cap:
    """Draw a cap in money, calls, or a share of what was earned."""
    sort = draw.one(("money", "money", "calls", "earned"))
    limit = {
        "money": lambda: Limit(money=draw.money((500, 1_000, 2_000))),
        "calls": lambda: Limit(calls=draw.one((1, 2, 5))),
        "earned": lambda: Limit(
            percent_of_earned=draw.one((10, 50, 100)), currency=draw.maybe(0.5, lambda: "USD")
        ),
    }[sort]()
    return Cap(
        id=f"cap-{index:02}",
        per=draw.one((Scope.ACCOUNT, Scope.ACCOUNT, *Scope)),
        window=draw.one((*WINDOWS, HOUR, HOUR)),  # Which is all but cover for live money.
        limit=limit,
        at=Mark("policies.yaml", 100 + index),
        match=draw.maybe(0.3, lambda: match(draw, dense=0.7, lookups=draw.chance(0.1))),
    )


def policy(draw: Draw) -> Policy:
    """Draw a policy of up to a dozen rules and five caps, in no order."""
    rules = [rule(draw, index) for index in range(draw.random.randrange(1, 12))]
    caps = [cap(draw, index) for index in range(draw.random.randrange(6))]
    draw.random.shuffle(rules)
    draw.random.shuffle(caps)
    return Policy(
        sha256="0" * 64,
        file="policies.yaml",
        timezone=draw.one((*ZONES, "No/Such_Zone") if draw.chance(0.05) else ZONES),
        live_spend=LiveSpend(enabled=draw.chance(0.7), providers=("stripe",)),
        lists={"vendors": ("porkbun.com", "*.Hetzner.com"), "partners": ("example.com", "GROSS.example")},
        caps=tuple(caps),
        desks=tuple(Desk(id=name, who=("role:approver",), at=Mark("policies.yaml", 5)) for name in DESKS),
        rules=tuple(rules),
        limits=Limits(open_requests=draw.one((3, 20)), held_share_percent=draw.one((25, 50))),
    )


def call(draw: Draw) -> Call:
    """Draw a call, with now and then an amount or a commitment that makes no sense."""
    kind = draw.one(MOST_KINDS)
    amount = draw.maybe(0.92 if kind in (Kind.SPEND, Kind.PROVISION, Kind.EARN) else 0.2, draw.money)
    if amount is not None and draw.chance(0.02):
        amount = Money(-5, amount.currency)
    recurring = None
    if amount is not None and draw.chance(0.1):
        recurring = Recurrence("year", amount, amount if draw.chance(0.8) else Money(7, amount.currency))
    payee = draw.maybe(0.85, lambda: draw.one(PAYEES))
    human = kind is Kind.HUMAN_ONLY
    operations = ("refund", "credential_change", "dispute_answer") if human else OPERATIONS[:4]
    if kind is Kind.WITHDRAW:
        operations = (*operations, "refund")  # It calls itself a withdrawal and is none.
    return Call(
        tool=draw.one(TOOLS),
        effect=Effect(
            kind=kind,
            operation=draw.one(OPERATIONS) if draw.chance(0.05) else draw.one(operations),
            provider=draw.one(PROVIDERS),
            mode=draw.one((*Mode, Mode.SIMULATED)),
            payee=payee,
            payee_basis=draw.maybe(0.8, lambda: draw.one(tuple(PayeeBasis))),
            amount=amount,
            recurring=recurring,
            reversible=draw.chance(0.5),
        ),
        account="acme",
        project=draw.one(("shop", "lab")),
        run="run-1",
        agent=draw.one(("scout", "maker")),
        args=call_arguments(draw),
        core=draw.chance(0.02),
        own=draw.chance(0.5),
    )


def call_arguments(draw: Draw) -> dict[str, object]:
    """Draw arguments of every type a test may meet."""
    values: tuple[object, ...] = (
        "snapshot",
        "other",
        1,
        2,
        3,
        True,
        False,
        None,
        Money(150, "USD"),
        Money(200, "EUR"),
        "1.50 USD",
        "1.51 USD",
        "nonsense",
        Kind.SPEND,
        ["snapshot"],
    )
    wanted = ("offer", "years", "price", "flag")
    return {name: draw.one(values) for name in wanted if draw.chance(0.6)}


def facts(draw: Draw, of: Policy) -> Facts:
    """Draw what was found, with a hole here and there."""
    return Facts(
        now=datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=draw.random.randrange(400 * 1_440)),
        posture=draw.one((Posture.NORMAL,) * 24 + (*Posture, None)),
        live_spend=draw.one((True, True, True, False, None)),
        ready=draw.one((True, True, True, False, None)),
        missing=("a key",),
        claiming=draw.chance(0.1),
        usage={
            each.id: Usage(
                posted=draw.one((0, 0, 0, 0, 1, 300, 350, 500)),
                held=draw.one((0, 0, 0, 1, 100, 150)),
                agent_waiting=draw.one((0, 0, 150, 450)),
            )
            for each in of.caps
            if draw.chance(0.98)
        },
        earned={each.id: draw.one((-1, 0, 199, 1_000, 5_000)) for each in of.caps if draw.chance(0.97)},
        sums={
            name: draw.one((0, 49, 50, 300))
            for each in of.rules
            for name in (each.id, f"{each.id}:unless")
            if draw.chance(0.9)
        },
        counts={
            name: draw.one((0, 1, 2))
            for each in of.rules
            for name in (each.id, f"{each.id}:unless")
            if draw.chance(0.9)
        },
        payee_known=draw.one((True, False, None)),
        twin=draw.maybe(0.15, lambda: Twin("call_other", draw.one(("unknown", "queued")))),
        twin_checked=draw.chance(0.95),
        open_requests=draw.one((0, 0, 1, 1, 2, 2, 2, 3, 20, None)),
    )


def worlds(seed: int, count: int, calls_each: int = 10) -> Iterator[tuple[Policy, Call, Facts]]:
    """Draw so many judgeable triples."""
    draw = Draw(seed)
    for _ in range(count // calls_each):
        drawn = policy(draw)
        for _ in range(calls_each):
            yield drawn, call(draw), facts(draw, drawn)


def alike(drawn: Iterable[tuple[Policy, Call, Facts]]) -> Iterator[tuple[Policy, Call, Facts]]:
    """Put each policy's first call again, with the facts of its others.

    What a judge remembers of earlier calls of one sort must not colour its later answers.
    """
    last: Policy | None = None
    first: Call | None = None
    for policy_, call_, facts_ in drawn:
        if policy_ is not last or first is None:
            last, first = policy_, call_
        yield policy_, first, facts_
