"""The form of policies.yaml: what each part may hold, as types that loader and JSON Schema both follow.

A value here is text as it was written, known to be well formed; `policy.load` turns it into the words of
`policy.language`. `extra={"form": ...}` names the check in `policy.shape` that a text must also pass.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType, field

from policy import notation
from policy.language import Answer, Kind, Mode, PayeeBasis, Scope
from policy.money import NOTATION

T = TypeVar("T")

MoneyText = Annotated[
    str,
    Meta(
        pattern=NOTATION,
        description='Exact decimals of the currency, in quotes: "19.99 USD", "500 JPY".',
        examples=["19.99 USD"],
        extra={"form": "money"},
    ),
]
Id = Annotated[
    str,
    Meta(
        pattern=notation.ID_PATTERN,
        description="A name of its own: small letters, digits, '-', '_' and '.'.",
        extra={"form": "id"},
    ),
]
DurationText = Annotated[
    str,
    Meta(
        pattern=notation.DURATION_PATTERN,
        description="30s, 30m, 24h or 7d.",
        examples=["24h"],
        extra={"form": "duration"},
    ),
]
WindowText = Annotated[
    str,
    Meta(
        pattern=notation.WINDOW_PATTERN,
        description="call, run, day, month (in the policy's time zone), or a duration such as 24h.",
        examples=["day", "24h"],
        extra={"form": "window"},
    ),
]
SpanText = Annotated[
    str,
    Meta(
        pattern=notation.WINDOW_PATTERN.replace("call|", ""),
        description="run, day, month (in the policy's time zone), or a duration such as 24h.",
        examples=["day", "24h"],
        extra={"form": "span"},
    ),
]
LimitText = Annotated[
    str,
    Meta(
        description='"25.00 USD", "60 calls", or "20% of earned".',
        examples=["25.00 USD", "60 calls", "20% of earned"],
        extra={"form": "limit"},
    ),
]
ShareText = Annotated[
    str, Meta(pattern=notation.SHARE_PATTERN, description="0% to 100%.", extra={"form": "share"})
]
ClockText = Annotated[
    str, Meta(pattern=notation.CLOCK_PATTERN, description="09:30, up to 24:00.", extra={"form": "clock"})
]
ZoneText = Annotated[
    str,
    Meta(description="An IANA time zone such as Europe/Berlin, or UTC.", extra={"form": "zone"}),
]
ToolGlob = Annotated[str, Meta(description="A tool's name; '*' and '?' match.", extra={"form": "tool"})]
OperationGlob = Annotated[
    str, Meta(description="An operation; '*' and '?' match.", extra={"form": "operation"})
]
ProviderGlob = Annotated[str, Meta(description="A provider; '*' and '?' match.", extra={"form": "provider"})]
Provider = Annotated[str, Meta(description="A provider.", extra={"form": "live_provider"})]
PayeeGlob = Annotated[
    str, Meta(description="A payee; '*' stands for a whole part: *.example.com.", extra={"form": "payee"})
]
CurrencyCode = Annotated[
    str, Meta(pattern=r"^[A-Z]{3}$", description="ISO 4217.", extra={"form": "currency"})
]
ExactName = Annotated[
    str, Meta(description="The name of an agent, project or person, exactly.", extra={"form": "name"})
]
Who = Annotated[
    str,
    Meta(
        description="role:viewer, role:approver, role:owner, or an operator's name.",
        examples=["role:owner"],
        extra={"form": "who"},
    ),
]
ListName = Annotated[str, Meta(description="The name of a list in `lists`.", extra={"form": "list"})]
DeskName = Annotated[str, Meta(description="The id of a desk in `approvals`.", extra={"form": "desk"})]
PluginName = Annotated[str, Meta(description="A plugin's name.", extra={"form": "plugin"})]
ModuleName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$",
        description="The module that holds a plugin of your own.",
        extra={"form": "module"},
    ),
]
NewTool = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{2,39}$", extra={"form": "new_tool"})]
Word = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,39}$", extra={"form": "word"})]
Sentence = Annotated[str, Meta(min_length=1, max_length=500, extra={"form": "sentence"})]
Plain = str | int | bool
Count = Annotated[int, Meta(ge=0, le=1_000_000)]

Several = Annotated[list[T], Meta(min_length=1)]
KindField = Kind | Several[Kind]
MoneyField = MoneyText | Several[MoneyText]


class Form(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mapping of the file; `called` is how a message speaks of it."""

    called: ClassVar[str] = "this"


class AmountForm(Form, frozen=True):
    """Bounds on the amount; a list gives one per currency."""

    called: ClassVar[str] = "an amount"
    up_to: MoneyField | UnsetType = UNSET
    above: MoneyField | UnsetType = UNSET


class PayeeListForm(Form, frozen=True):
    """A payee of a list."""

    called: ClassVar[str] = "a payee"
    in_list: ListName


class ArgForm(Form, frozen=True):
    """A test of one argument."""

    called: ClassVar[str] = "the test of an argument"
    equals: Plain | UnsetType = UNSET
    in_: Several[Plain] | UnsetType = field(default=UNSET, name="in")
    up_to: MoneyText | int | UnsetType = UNSET
    above: MoneyText | int | UnsetType = UNSET


class HoursForm(Form, frozen=True):
    """Days and hours in the policy's time zone; `from` after `to` spans midnight."""

    called: ClassVar[str] = "hours"
    days: Several[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] | UnsetType = UNSET
    from_: ClockText | UnsetType = field(default=UNSET, name="from")
    to: ClockText | UnsetType = UNSET


class SumForm(Form, frozen=True):
    """True once this call brings the sum in the window above the amount."""

    called: ClassVar[str] = "sum_above"
    amount: MoneyField
    per: Scope
    window: SpanText


class CountForm(Form, frozen=True):
    """True once there are more than this many calls in the window."""

    called: ClassVar[str] = "count_above"
    count: Count
    per: Scope
    window: SpanText
    outcome: Literal["succeeded", "failed", "unknown", "denied", "cancelled", "expired"] | UnsetType = UNSET


class CapMatchForm(Form, frozen=True):
    """Which calls a cap counts; all fields set must hold."""

    called: ClassVar[str] = "match"
    kind: KindField | UnsetType = UNSET
    tool: ToolGlob | Several[ToolGlob] | UnsetType = UNSET
    operation: OperationGlob | Several[OperationGlob] | UnsetType = UNSET
    provider: ProviderGlob | Several[ProviderGlob] | UnsetType = UNSET
    payee: PayeeGlob | Several[PayeeGlob] | PayeeListForm | UnsetType = UNSET
    payee_known: bool | UnsetType = UNSET
    payee_basis: PayeeBasis | Several[PayeeBasis] | UnsetType = UNSET
    amount: AmountForm | UnsetType = UNSET
    currency: CurrencyCode | Several[CurrencyCode] | UnsetType = UNSET
    mode: Mode | Several[Mode] | UnsetType = UNSET
    project: ExactName | Several[ExactName] | UnsetType = UNSET
    agent: ExactName | Several[ExactName] | UnsetType = UNSET
    recurring: bool | UnsetType = UNSET
    reversible: bool | UnsetType = UNSET
    args: dict[str, ArgForm] | UnsetType = UNSET
    hours: HoursForm | UnsetType = UNSET


class MatchForm(CapMatchForm, frozen=True):
    """Which calls a rule speaks of; all fields set must hold."""

    sum_above: SumForm | UnsetType = UNSET
    count_above: CountForm | UnsetType = UNSET


class RuleForm(Form, frozen=True):
    """One statement. Deny overrides require_approval overrides allow; the order of rules never matters."""

    called: ClassVar[str] = "a rule"
    id: Id
    match: MatchForm
    effect: Answer
    unless: MatchForm | UnsetType = UNSET
    approval: DeskName | UnsetType = UNSET
    because: Sentence | UnsetType = UNSET
    shadow: bool | UnsetType = UNSET


class CapForm(Form, frozen=True):
    """A limit that binds every call it fits."""

    called: ClassVar[str] = "a cap"
    id: Id
    per: Scope
    window: WindowText
    limit: LimitText
    match: CapMatchForm | UnsetType = UNSET
    after: DurationText | UnsetType = UNSET
    restores: bool | UnsetType = UNSET


class ConfirmForm(Form, frozen=True):
    """What an approver must do beyond pressing the button."""

    called: ClassVar[str] = "confirm"
    passkey_above: MoneyField | UnsetType = UNSET
    type_amount_above: MoneyField | UnsetType = UNSET
    comment: Literal["on_deny", "always"] | UnsetType = UNSET


class DeskForm(Form, frozen=True):
    """Who is asked, how many must agree, and how long question and answer live."""

    called: ClassVar[str] = "a desk"
    id: Id
    who: Who | Several[Who]
    quorum: Annotated[int, Meta(ge=1, le=20)] | UnsetType = UNSET
    expires_in: DurationText | UnsetType = UNSET
    run_within: DurationText | UnsetType = UNSET
    not_by: Several[Literal["agent_owner"]] | UnsetType = UNSET
    allow_self: bool | UnsetType = UNSET
    notify: Sentence | Several[Sentence] | UnsetType = UNSET
    confirm: ConfirmForm | UnsetType = UNSET


class PluginForm(Form, frozen=True):
    """A plugin to load."""

    called: ClassVar[str] = "a plugin"
    name: PluginName
    module: ModuleName | UnsetType = UNSET
    settings: dict[str, Plain | list[Plain]] | UnsetType = UNSET


class LiveSpendForm(Form, frozen=True):
    """The policy's yes to live spending, one of three."""

    called: ClassVar[str] = "live_spend"
    enabled: bool
    providers: list[Provider] | UnsetType = UNSET


class LimitsForm(Form, frozen=True):
    """What one agent may keep waiting for people."""

    called: ClassVar[str] = "limits"
    open_requests: Annotated[int, Meta(ge=1, le=1_000)] | UnsetType = UNSET
    held_share: ShareText | UnsetType = UNSET


class OutsideArgsForm(Form, frozen=True):
    """Which argument of an outside tool says the amount, and which the payee."""

    called: ClassVar[str] = "args"
    amount: Word | UnsetType = UNSET
    payee: Word | UnsetType = UNSET


class OutsideForm(Form, frozen=True):
    """A tool that lives in another server and asks through the sidecar."""

    called: ClassVar[str] = "an outside tool"
    tool: NewTool
    kind: Kind
    operation: Word
    provider: Word
    mode: Mode | UnsetType = UNSET
    args: OutsideArgsForm | UnsetType = UNSET


class PolicyForm(Form, frozen=True):
    """What agents may earn and spend, and who is asked."""

    called: ClassVar[str] = "a policy"
    version: Literal[1]
    rules: list[RuleForm]
    timezone: ZoneText | UnsetType = UNSET
    plugins: list[PluginForm] | UnsetType = UNSET
    live_spend: LiveSpendForm | UnsetType = UNSET
    lists: dict[Id, list[PayeeGlob]] | UnsetType = UNSET
    caps: list[CapForm] | UnsetType = UNSET
    approvals: list[DeskForm] | UnsetType = UNSET
    limits: LimitsForm | UnsetType = UNSET
    outside: list[OutsideForm] | UnsetType = UNSET
