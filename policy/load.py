"""policies.yaml -> Policy, or every mistake of it at once.

    text -> nodes with marks (policy.yaml_marks) -> forms (policy.shape, policy.document) -> Policy (here)

What each text must be by itself was checked on the way. Here stand the mistakes that take two places to see;
a part with a mistake of its own is left out of these, so that one slip is told once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import UnsetType

from policy import notation
from policy.document import (
    AmountForm,
    ArgForm,
    CapForm,
    CapMatchForm,
    ConfirmForm,
    DeskForm,
    HoursForm,
    LimitsForm,
    LiveSpendForm,
    OutsideArgsForm,
    OutsideForm,
    PluginForm,
    PolicyForm,
    RuleForm,
)
from policy.errors import ConfigurationError, PolicyError
from policy.forms import Names
from policy.language import (
    Answer,
    Cap,
    Confirm,
    Desk,
    Kind,
    Limits,
    LiveSpend,
    Mark,
    Match,
    Mode,
    PluginEntry,
    Policy,
    Rule,
    Scope,
    WindowKind,
)
from policy.load_match import MatchBuilder, several, value_at, value_or
from policy.matching import HOUSE_PROVIDER, HUMAN_ONLY_OPERATIONS, names
from policy.shape import Read, read_form
from policy.tools import ToolInfo, Tools, outside_tools
from policy.yaml_marks import (
    MAX_BYTES,
    Items,
    Node,
    Problems,
    Scalar,
    Table,
    TooManyMistakesError,
    did_you_mean,
    quoted,
    read_yaml,
)

_OWN_NAMES: Final = (
    ("rules", "id", "rule id"),
    ("caps", "id", "cap id"),
    ("approvals", "id", "desk id"),
    ("outside", "tool", "outside tool"),
    ("plugins", "name", "plugin"),
)
_SAYS_NOTHING: Final = (
    AmountForm,
    ArgForm,
    ConfirmForm,
    HoursForm,
)  # Empty, they would match or ask for nothing.
_EARNED_PER: Final = (Scope.ACCOUNT, Scope.PROJECT)  # What earnings are booked for (M15).
_WEEK_S: Final = 604_800


def load(source: str | bytes, file: str, tools: Tools) -> Policy:
    """Return the policy that a file's text states.

    `file` is the name that addresses speak of; `tools` are all the tools there are. Raises PolicyError with
    every mistake and its address.
    """
    problems = Problems(file)
    policy = None
    try:
        root = read_yaml(source, problems)
        if root is not None:
            policy = _Loader(root, problems, tools).policy(source)
    except TooManyMistakesError:
        pass  # What was found so far is told; it is more than anyone mends at a time.
    if policy is None or problems.mistakes:
        raise PolicyError(problems.mistakes)
    return policy


def read_source(path: Path) -> bytes:
    """Return a file's bytes, at most one more than `load` reads. Raises ConfigurationError."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None


def load_file(path: Path, tools: Tools) -> Policy:
    """Return the policy of a file, addressed by its name. Raises PolicyError and ConfigurationError."""
    return load(read_source(path), path.name, tools)


class _Loader:
    """Builds one policy, noting what does not fit together."""

    def __init__(self, root: Node, problems: Problems, tools: Tools) -> None:
        self._root = root
        self._problems = problems
        self._tools = tools
        self._names = _names_in(root, tools)
        self._match = MatchBuilder(problems, tools)

    def policy(self, source: str | bytes) -> Policy | None:
        """Return the policy; None where a mistake leaves nothing to build it of."""
        self._note_duplicates()
        read = read_form(PolicyForm, self._root, self._problems, self._names)
        outside = tuple(self._outside(node, form) for node, form in read.each(OutsideForm))
        self._match = MatchBuilder(self._problems, {**self._tools, **outside_tools(outside)})
        self._note_empty(read)
        policy = Policy(
            sha256=hashlib.sha256(source.encode() if isinstance(source, str) else source).hexdigest(),
            file=self._problems.file,
            plugins=tuple(self._plugin(node, form) for node, form in read.each(PluginForm)),
            live_spend=self._live_spend(read),
            caps=tuple(self._cap(node, form) for node, form in read.each(CapForm)),
            desks=tuple(self._desk(node, form) for node, form in read.each(DeskForm)),
            rules=tuple(self._rule(node, form) for node, form in read.each(RuleForm)),
            limits=_limits(read),
            outside=outside,
        )
        return _with_lists(policy, read.whole) if isinstance(read.whole, PolicyForm) else None

    def _note_duplicates(self) -> None:
        for part, key, noun in _OWN_NAMES:
            first: dict[str, Scalar] = {}
            for name in _texts(self._root, part, key):
                if first.setdefault(name.text, name) is not name:
                    where = f"the first stands in line {first[name.text].line}"
                    self._problems.at(name, f"duplicate {noun} {quoted(name.text)}", where)

    def _note_empty(self, read: Read) -> None:
        for node, form in read.built:
            if isinstance(form, _SAYS_NOTHING) and not node.entries:
                self._problems.at(node, f"{form.called} says nothing", "fill it or leave it out")
            if isinstance(form, CapMatchForm) and form.args == {}:
                self._problems.at(value_at(node, "args"), "args says nothing", "fill it or leave it out")

    def _mark(self, node: Node) -> Mark:
        return Mark(self._problems.file, node.line, node.column)

    # --- rules -----------------------------------------------------------------------------------------

    def _rule(self, node: Table, form: RuleForm) -> Rule:
        match = self._match.match(_table(node, "match"), form.match)
        unless = self._unless(node, form, match)
        self._note_approval(node, form)
        self._note_breadth(node, form, match)
        return Rule(
            id=form.id,
            match=match,
            effect=form.effect,
            at=self._mark(node),
            unless=unless,
            approval=value_or(form.approval, None),
            because=value_or(form.because, "").strip(),
            shadow=value_or(form.shadow, False),  # noqa: FBT003 - what holds where the field is left out
        )

    def _unless(self, node: Table, form: RuleForm, match: Match) -> Match | None:
        if isinstance(form.unless, UnsetType):
            return None
        where = _table(node, "unless")
        if not where.entries:
            self._problems.at(
                where, "an empty 'unless' would silence the rule for good", "fill it or leave it out"
            )
        unless = self._match.match(where, form.unless, within=match)
        for field, twice in (
            ("sum_above", match.sum_above and unless.sum_above),
            ("count_above", match.count_above and unless.count_above),
        ):
            if twice:
                self._problems.at(value_at(where, field), f"a rule has one {field}", "make it two rules")
        return unless

    def _note_approval(self, node: Table, form: RuleForm) -> None:
        asks = form.effect is Answer.REQUIRE_APPROVAL
        if asks and isinstance(form.approval, UnsetType):
            desks = ", ".join(sorted(self._names.desks)) or "none yet; add one under 'approvals'"
            self._problems.at(
                value_at(node, "effect"), "require_approval needs 'approval'", f"desks: {desks}"
            )
        if not asks and not isinstance(form.approval, UnsetType):
            where = value_at(node, "approval")
            self._problems.at(where, f"'approval' goes with require_approval, not with {form.effect.value}")

    def _note_breadth(self, node: Table, form: RuleForm, match: Match) -> None:
        """Refuse an allow that reaches human-only operations by name, or everything by omission."""
        if form.effect is not Answer.ALLOW:
            return
        where = value_at(node, "match")
        if not (match.kind or match.tool or match.operation):
            self._problems.at(where, "an allow rule says which kind, tool or operation it allows")
        for named in self._human_only(match):
            message = f"{named} always asks a person and is never allowed"
            self._problems.at(where, message, "use require_approval with a desk")

    def _human_only(self, match: Match) -> Iterator[str]:
        """Yield what of an allow's match names human-only operations; a wider pattern is no name."""
        if Kind.HUMAN_ONLY in match.kind:
            yield "kind 'human_only'"
        for pattern in match.operation:
            reached = {name for name in self._names.operations if names((pattern,), name)}
            if reached and reached <= HUMAN_ONLY_OPERATIONS:
                yield f"operation {quoted(pattern)}"
        for pattern in match.tool:
            matched = [tool for tool in self._tools.values() if names((pattern,), tool.name)]
            if matched and all(_human_only_tool(tool) for tool in matched):
                yield f"tool {quoted(pattern)}"

    # --- caps, desks and the rest ----------------------------------------------------------------------

    def _cap(self, node: Table, form: CapForm) -> Cap:
        limit, window = notation.limit(form.limit), notation.window(form.window)
        earned = limit.percent_of_earned is not None
        if earned and form.per not in _EARNED_PER:
            self._problems.at(value_at(node, "per"), "earnings are kept per account or project only")
        if not earned and not isinstance(form.after, UnsetType):
            self._problems.at(value_at(node, "after"), "'after' goes with a limit of '% of earned' only")
        if limit.calls is not None and window.kind is WindowKind.CALL:
            self._problems.at(
                value_at(node, "window"), "one call is always one call", "count them over a longer window"
            )
        return Cap(
            id=form.id,
            per=form.per,
            window=window,
            limit=limit,
            at=self._mark(node),
            match=None
            if isinstance(form.match, UnsetType)
            else self._match.match(_table(node, "match"), form.match),
            after_s=_WEEK_S if isinstance(form.after, UnsetType) else notation.duration_s(form.after),
            restores=value_or(form.restores, False),  # noqa: FBT003 - what holds where the field is left out
        )

    def _desk(self, node: Table, form: DeskForm) -> Desk:
        who = several(form.who)
        quorum = value_or(form.quorum, 1)
        if len(set(who)) < len(who):
            self._problems.at(value_at(node, "who"), "someone is named twice", "name each once")
        if quorum > len(who) and not any(name.startswith("role:") for name in who):
            self._problems.at(
                value_at(node, "quorum"), f"{quorum} people cannot agree where {len(who)} are asked"
            )
        confirm = value_or(form.confirm, ConfirmForm())
        return Desk(
            id=form.id,
            who=who,
            at=self._mark(node),
            quorum=quorum,
            expires_in_s=notation.duration_s(value_or(form.expires_in, "24h")),
            run_within_s=notation.duration_s(value_or(form.run_within, "1h")),
            not_by=tuple(value_or(form.not_by, [])),
            allow_self=value_or(form.allow_self, False),  # noqa: FBT003 - what holds where the field is left out
            notify=several(form.notify),
            confirm=Confirm(
                self._match.moneys(node, confirm.passkey_above, "confirm", "passkey_above"),
                self._match.moneys(node, confirm.type_amount_above, "confirm", "type_amount_above"),
                value_or(confirm.comment, None),
            ),
        )

    def _plugin(self, node: Table, form: PluginForm) -> PluginEntry:
        ours = {tool.plugin for tool in self._tools.values()} - {"core"}
        if isinstance(form.module, UnsetType) and form.name not in ours:
            hint = did_you_mean(form.name, ours) or "name its module if it is your own"
            self._problems.at(value_at(node, "name"), f"unknown plugin {quoted(form.name)}", hint)
        return PluginEntry(form.name, value_or(form.module, None), value_or(form.settings, {}))

    def _live_spend(self, read: Read) -> LiveSpend:
        for node, form in read.each(LiveSpendForm):
            providers = tuple(value_or(form.providers, []))
            if form.enabled and not providers:
                self._problems.at(
                    node, "live_spend is enabled for no provider", "name them under 'providers'"
                )
            return LiveSpend(form.enabled, providers)
        return LiveSpend()

    def _outside(self, node: Table, form: OutsideForm) -> dict[str, object]:
        """Return an entry of `Policy.outside`: its names, its mode and the arguments that say more."""
        if form.tool in self._tools:
            self._problems.at(value_at(node, "tool"), f"{quoted(form.tool)} is a tool of Bursar itself")
        if form.provider == HOUSE_PROVIDER:
            where = value_at(node, "provider")
            self._problems.at(
                where, f"{quoted(HOUSE_PROVIDER)} is Bursar itself", "name whom the tool reaches"
            )
        args = value_or(form.args, OutsideArgsForm())
        named = {"amount": args.amount, "payee": args.payee}
        return {
            "tool": form.tool,
            "kind": form.kind,
            "operation": form.operation,
            "provider": form.provider,
            "mode": value_or(form.mode, Mode.LIVE),
            "args": {field: name for field, name in named.items() if not isinstance(name, UnsetType)},
        }


def _names_in(root: Node, tools: Tools) -> Names:
    """Return the names that a policy's parts may speak of, read before any part is checked."""
    known = tools.values()
    return Names(
        tools=tools.keys() | _words(root, "outside", "tool"),
        operations={tool.operation for tool in known}
        | _words(root, "outside", "operation")
        | HUMAN_ONLY_OPERATIONS,
        providers={tool.provider for tool in known} | _words(root, "outside", "provider"),
        lists=frozenset(_table(root, "lists").entries),
        desks=_words(root, "approvals", "id"),
        hint="is its plugin known here, or should it stand under 'outside'?",
    )


def _table(node: Node, key: str) -> Table:
    """Return the mapping under a key, or an empty one where there is none."""
    if isinstance(node, Table) and key in node.entries:
        below = node.entries[key][1]
        if isinstance(below, Table):
            return below
    return Table({}, node.line, node.column)


def _texts(root: Node, part: str, key: str) -> Iterator[Scalar]:
    """Yield the texts under a key of each mapping in a list of the file."""
    items = root.entries[part][1] if isinstance(root, Table) and part in root.entries else None
    for item in items.items if isinstance(items, Items) else []:
        value = item.entries[key][1] if isinstance(item, Table) and key in item.entries else None
        if isinstance(value, Scalar) and isinstance(value.value, str):
            yield value


def _words(root: Node, part: str, key: str) -> frozenset[str]:
    return frozenset(text.text for text in _texts(root, part, key))


def _human_only_tool(tool: ToolInfo) -> bool:
    return tool.kind is Kind.HUMAN_ONLY or tool.operation in HUMAN_ONLY_OPERATIONS


def _with_lists(policy: Policy, form: PolicyForm) -> Policy:
    from msgspec.structs import replace

    lists = {name: tuple(members) for name, members in value_or(form.lists, {}).items()}
    return replace(policy, timezone=value_or(form.timezone, "UTC"), lists=lists)


def _limits(read: Read) -> Limits:
    for _, form in read.each(LimitsForm):
        held = 25 if isinstance(form.held_share, UnsetType) else notation.share_percent(form.held_share)
        return Limits(value_or(form.open_requests, 20), held)
    return Limits()
