"""Read *.cases.yaml: the form of a case, and what makes it a call with facts and an expected answer.

What a case leaves out of its call comes from tools.json; a mode it does not name is live, since what is not
proved test is live (M30).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal

from msgspec import UNSET, Meta, UnsetType

from policy import notation
from policy.cases import Case, Expect, Given
from policy.compiled import HUMAN_ONLY_DESK, OWNERS_DESK
from policy.document import Form, MoneyText, Plain, Sentence
from policy.errors import PolicyError, codes
from policy.forms import Names
from policy.language import Answer, Kind, Limit, Mark, Mode, PayeeBasis, Policy, Posture
from policy.load_match import value_at, value_or
from policy.model import Call, Effect, Recurrence
from policy.money import Money
from policy.shape import read_form
from policy.tools import OUTSIDE, ToolInfo, Tools, outside_tools
from policy.yaml_marks import (
    Items,
    Node,
    Problems,
    Table,
    TooManyMistakesError,
    did_you_mean,
    quoted,
    read_yaml,
)

ACCOUNT: Final = "acc_case"
RUN: Final = "run_case"
MAIN: Final = "main"  # The project and the agent of a case that names none.
_PERIODS: Final = {"month": 12, "year": 1}
_TRUE_TWIN: Final = "succeeded"  # What `twin: true` means: an equal purchase that went through.

CapId = Annotated[str, Meta(extra={"form": "cap"})]
EarnedCapId = Annotated[str, Meta(extra={"form": "earned_cap"})]
SumRuleId = Annotated[str, Meta(extra={"form": "sum_rule"})]
CountRuleId = Annotated[str, Meta(extra={"form": "count_rule"})]
RuleId = Annotated[str, Meta(extra={"form": "rule"})]
DeskId = Annotated[str, Meta(extra={"form": "desk"})]
ExactTool = Annotated[str, Meta(extra={"form": "exact_tool"})]
Name = Annotated[str, Meta(extra={"form": "name"})]
Word = Annotated[str, Meta(extra={"form": "word"})]
Instant = Annotated[str, Meta(extra={"form": "instant"})]
CodeWord = Annotated[str, Meta(extra={"form": "code"})]
QuantityText = Annotated[str, Meta(extra={"form": "quantity"})]
EarnedText = Annotated[str, Meta(extra={"form": "earned"})]
OnOff = bool | Literal["on", "off"]  # In YAML 1.2 `off` is a word.
TwinWord = Literal["awaiting_approval", "queued", "executing", "unknown", "succeeded"]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]


class CallForm(Form, frozen=True):
    """The call: its tool and what the tool's `describe` would say of it."""

    called: ClassVar[str] = "a call"
    tool: ExactTool
    agent: Name | UnsetType = UNSET
    project: Name | UnsetType = UNSET
    kind: Kind | UnsetType = UNSET
    operation: Word | UnsetType = UNSET
    provider: Word | UnsetType = UNSET
    payee: Sentence | UnsetType = UNSET
    payee_basis: PayeeBasis | UnsetType = UNSET
    amount: MoneyText | UnsetType = UNSET
    recurring: bool | Literal["month", "year"] | UnsetType = UNSET
    reversible: bool | UnsetType = UNSET
    mode: Mode | UnsetType = UNSET
    own: bool | UnsetType = UNSET
    args: dict[str, Plain | list[Plain]] | UnsetType = UNSET


class GivenForm(Form, frozen=True):
    """The facts at that moment, by the id of the cap or rule that asks for them, without this call."""

    called: ClassVar[str] = "given"
    now: Instant | UnsetType = UNSET
    posture: Posture | UnsetType = UNSET
    live_spend: OnOff | UnsetType = UNSET
    payee_known: bool | UnsetType = UNSET
    twin: bool | TwinWord | UnsetType = UNSET
    ready: bool | UnsetType = UNSET
    spent: dict[CapId, QuantityText] | UnsetType = UNSET
    held: dict[CapId, QuantityText] | UnsetType = UNSET
    counts: dict[CountRuleId, Count] | UnsetType = UNSET
    sums: dict[SumRuleId, MoneyText] | UnsetType = UNSET
    earned: dict[EarnedCapId, EarnedText] | UnsetType = UNSET


class ExpectForm(Form, frozen=True):
    """The answer that is due; what is left out may be anything."""

    called: ClassVar[str] = "expect"
    effect: Answer
    rules: list[RuleId] | UnsetType = UNSET
    desks: list[DeskId] | UnsetType = UNSET
    code: CodeWord | UnsetType = UNSET
    cap: CapId | UnsetType = UNSET
    retry_at: Instant | UnsetType = UNSET


class CaseForm(Form, frozen=True):
    """One case."""

    called: ClassVar[str] = "a case"
    why: Sentence
    call: CallForm
    expect: ExpectForm
    given: GivenForm | UnsetType = UNSET


def load_cases(source: str | bytes, file: str, *, policy: Policy, tools: Tools) -> tuple[Case, ...]:
    """Return the cases of a file. Raises PolicyError with every mistake and its address."""
    problems = Problems(file)
    cases: list[Case] = []
    try:
        root = read_yaml(source, problems)
        if root is not None:
            cases = CaseReader(problems, policy, tools).cases(root)
    except TooManyMistakesError:
        pass  # What was found so far is told; it is more than anyone mends at a time.
    if problems.mistakes:
        raise PolicyError(problems.mistakes)
    return tuple(cases)


class CaseReader:
    """Makes cases of nodes, for one policy."""

    def __init__(self, problems: Problems, policy: Policy, tools: Tools) -> None:
        self._problems = problems
        self._tools = {**tools, **outside_tools(policy.outside)}
        self._caps = {cap.id: cap for cap in policy.caps}
        self._names = _names_of(policy, self._tools)

    def cases(self, root: Node) -> list[Case]:
        """Return every case of a file that has no mistake."""
        if not isinstance(root, Items):
            self._problems.at(root, "a cases file is a list of cases", "begin each with '- why: ...'")
            return []
        found = [self.case(item) for item in root.items]
        return [case for case in found if case is not None]

    def case(self, node: Node) -> Case | None:
        """Return one case; None once its mistakes are noted."""
        form = read_form(CaseForm, node, self._problems, self._names).whole
        if not isinstance(form, CaseForm) or not isinstance(node, Table):
            return None
        return Case(
            why=form.why.strip(),
            at=Mark(self._problems.file, node.line, node.column),
            call=self._call(node, form.call),
            given=self._given(node, form.given),
            expect=_expect(form.expect),
        )

    def _call(self, node: Table, form: CallForm) -> Call:
        tool = self._tools[form.tool]
        args = value_or(form.args, {})
        self._note_arguments(node, args, tool)
        amount = None if isinstance(form.amount, UnsetType) else Money.parse(form.amount)
        payee = value_or(form.payee, None)
        effect = Effect(
            kind=value_or(form.kind, tool.kind),
            operation=value_or(form.operation, tool.operation),
            provider=value_or(form.provider, tool.provider),
            mode=value_or(form.mode, Mode.LIVE),
            payee=payee,
            payee_basis=value_or(form.payee_basis, None if payee is None else PayeeBasis.CLAIMED),
            amount=amount,
            recurring=self._recurring(node, form, amount),
            reversible=value_or(form.reversible, False),  # noqa: FBT003 - what holds where it is left out
        )
        return Call(
            tool=tool.name,
            effect=effect,
            account=ACCOUNT,
            project=value_or(form.project, MAIN),
            run=RUN,
            agent=value_or(form.agent, MAIN),
            args=args,
            core=tool.core,
            own=value_or(form.own, False),  # noqa: FBT003 - what holds where it is left out
        )

    def _note_arguments(self, node: Table, args: Mapping[str, object], tool: ToolInfo) -> None:
        """Refuse arguments the tool does not have: a misspelt one would prove nothing."""
        for name in args:
            if tool.plugin != OUTSIDE and name not in tool.properties:
                where = value_at(node, "call", "args")
                key = where.entries[name][0] if isinstance(where, Table) else where
                hint = did_you_mean(name, tool.properties) or f"it has {', '.join(tool.properties) or 'none'}"
                self._problems.at(key, f"{tool.name} has no argument {quoted(name)}", hint)

    def _recurring(self, node: Table, form: CallForm, amount: Money | None) -> Recurrence | None:
        if isinstance(form.recurring, UnsetType) or form.recurring is False:
            return None
        if amount is None:
            where = value_at(node, "call", "recurring")
            self._problems.at(where, "what recurs has an amount", "give the first year's total")
            return None
        period = "year" if form.recurring is True else form.recurring
        each = Money(amount.minor_units // _PERIODS[period], amount.currency)
        return Recurrence(every=period, each=each, first_year=amount)

    def _given(self, node: Table, form: GivenForm | UnsetType) -> Given:
        if isinstance(form, UnsetType):
            return Given()
        usual = Given()
        twin = _TRUE_TWIN if form.twin is True else form.twin
        return Given(
            now=usual.now if isinstance(form.now, UnsetType) else notation.instant(form.now),
            posture=value_or(form.posture, usual.posture),
            live_spend=form.live_spend in {True, "on"},
            payee_known=value_or(form.payee_known, usual.payee_known),
            twin=twin if isinstance(twin, str) else None,
            ready=value_or(form.ready, usual.ready),
            spent=self._usage(node, "spent", form.spent),
            held=self._usage(node, "held", form.held),
            counts=value_or(form.counts, {}),
            sums={rule: Money.parse(text) for rule, text in value_or(form.sums, {}).items()},
            earned={cap: signed_money(text).minor_units for cap, text in value_or(form.earned, {}).items()},
        )

    def _usage(self, node: Table, field: str, texts: dict[str, str] | UnsetType) -> dict[str, int]:
        """Return what stands against each cap, in the cap's own unit."""
        usage: dict[str, int] = {}
        for cap_id, text in value_or(texts, {}).items():
            met = notation.limit(text)
            wanted = self._caps[cap_id].limit
            money = None if met.money is None else met.money.minor_units
            amount = money if wanted.calls is None else met.calls
            currency = wanted.money.currency if wanted.money else wanted.currency
            if amount is None or (met.money and currency not in {None, met.money.currency}):
                where = value_at(node, "given", field, cap_id)
                self._problems.at(
                    where, f"cap {cap_id!r} is not kept in {text!r}", f"it is kept in {_unit(wanted)}"
                )
            else:
                usage[cap_id] = amount
        return usage


def signed_money(text: str) -> Money:
    """Return an amount that may be below zero, as earnings can be. Raises ValueError."""
    if not text.startswith("-"):
        return Money.parse(text)
    amount = Money.parse(text[1:])
    return Money(-amount.minor_units, amount.currency)


def _unit(limit: Limit) -> str:
    if limit.calls is not None:
        return "calls, such as '2 calls'"
    return f"money, such as '{Money(1999, limit.money.currency if limit.money else limit.currency or 'USD')}'"


def _expect(form: ExpectForm) -> Expect:
    return Expect(
        effect=form.effect,
        rules=None if isinstance(form.rules, UnsetType) else tuple(form.rules),
        desks=None if isinstance(form.desks, UnsetType) else tuple(form.desks),
        code=value_or(form.code, None),
        cap=value_or(form.cap, None),
        retry_at=None if isinstance(form.retry_at, UnsetType) else notation.instant(form.retry_at),
    )


def _names_of(policy: Policy, tools: Tools) -> Names:
    """Return the names that a case may speak of."""
    parts = [(rule.id, part) for rule in policy.rules for part in (rule.match, rule.unless) if part]
    return Names(
        tools=tools.keys(),
        caps=frozenset(cap.id for cap in policy.caps),
        earned_caps=frozenset(cap.id for cap in policy.caps if cap.limit.percent_of_earned is not None),
        rules=frozenset(rule.id for rule in policy.rules),
        sum_rules=frozenset(rule for rule, part in parts if part.sum_above),
        count_rules=frozenset(rule for rule, part in parts if part.count_above),
        desks=frozenset(desk.id for desk in (*policy.desks, OWNERS_DESK, HUMAN_ONLY_DESK)),
        codes=frozenset(code.code for code in codes()),
        hint="is its plugin known here?",
    )
