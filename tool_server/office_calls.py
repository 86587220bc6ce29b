"""The office's verbs about what waits, ran and may run: approvals, calls, caps, postures, tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, structs, to_builtins

from ledger.reads import CallFilter
from ledger.records import ApprovalRecord, CallRecord, CallState, OperatorRecord, Outcome, PostureRecord, Role
from policy.language import Posture
from policy.money import Money, enc_hook
from tool_server.office import Means, Refused, Verb

MOST_LISTED: Final = 200  # Rows of one answer; `--after` asks for the next ones.
LOOSE_TO_TIGHT: Final = tuple(Posture)


class Listed(Struct, frozen=True, kw_only=True):
    """Which page of a listing."""

    state: str | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_LISTED)] = 50
    after: str | None = None


class CallsListed(Struct, frozen=True, kw_only=True):
    """Which calls, and which page of them."""

    state: CallState | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_LISTED)] = 50
    after: str | None = None
    project: str | None = None
    agent: str | None = None


class ById(Struct, frozen=True):
    """Which one."""

    id: str


class Answered(Struct, frozen=True, kw_only=True):
    """One person's verdict for exactly the operation that was shown."""

    id: str
    op_hash: str
    verdict: Literal["approve", "deny"]
    comment: str = ""
    typed_amount: str = ""  # Where a desk wants the amount typed.


class Resolved(Struct, frozen=True, kw_only=True):
    """What a person found out about a call whose outcome is unknown."""

    id: str
    outcome: Literal["succeeded", "failed"]
    evidence: Annotated[str, Meta(min_length=10, max_length=2_000)]
    actual: str | None = None


class PostureSet(Struct, frozen=True, kw_only=True):
    """Where the switch goes, for whom, and why."""

    posture: Posture
    because: Annotated[str, Meta(min_length=3, max_length=500)]
    scope: Literal["account", "project", "agent", "provider"] = "account"
    key: str = ""
    loosens: bool = False  # Asked with a password: the first try goes without one.


class ToolsAccepted(Struct, frozen=True):
    """Whose tools, as they are defined now."""

    plugin: str


class Nothing(Struct, frozen=True):
    """No arguments."""


async def approvals_list(means: Means, asked: Listed, _who: OperatorRecord | None) -> object:
    """Return requests, those that run out first at the top."""
    if asked.state in {None, "pending"}:
        queue = await means.ledger.queue(limit=asked.limit, after=asked.after)
        return {"items": [_request(*both) for both in queue.items], "after": queue.after}
    page = await means.ledger.approvals((asked.state,), limit=asked.limit, after=asked.after)
    items = [_request(each, await means.ledger.call(each.call_id)) for each in page.items]
    return {"items": items, "after": page.after}


async def approvals_show(means: Means, asked: ById, _who: OperatorRecord | None) -> object:
    """Return one request with the exact call it is about."""
    request = await means.ledger.approval(asked.id)
    call = await means.ledger.call(request.call_id)
    return {**_request(request, call), "call": call_shown(call, whole=True)}


async def approvals_answer(means: Means, asked: Answered, who: OperatorRecord | None) -> object:
    """Give one verdict, which binds to the hash that was shown."""
    if who is None:  # pragma: no cover - the verb's role sees to it
        raise Refused("sign first")
    request, call = await means.ledger.answer(
        asked.id,
        who.name,
        asked.op_hash,
        asked.verdict,
        comment=asked.comment,
        at=means.now(),
        confirmed_by="password",
        typed_amount=asked.typed_amount,
    )
    return {"approval_id": request.approval_id, "state": request.state, "call": call_shown(call)}


async def calls_list(means: Means, asked: CallsListed, _who: OperatorRecord | None) -> object:
    """Return calls, newest first."""
    states = (asked.state.value,) if asked.state else ()
    wanted = CallFilter(project=asked.project, agent=asked.agent, states=states)
    page = await means.ledger.calls(wanted, limit=asked.limit, after=asked.after)
    return {"items": [call_shown(call) for call in page.items], "after": page.after}


async def calls_show(means: Means, asked: ById, _who: OperatorRecord | None) -> object:
    """Return one call, whole, with what happened to it."""
    line = await means.ledger.timeline(asked.id)
    happened = [{"at": each.at, "what": each.kind, "by": each.actor, **each.facts} for each in line.entries]
    return {**call_shown(line.call, whole=True), "timeline": happened}


async def calls_resolve(means: Means, asked: Resolved, who: OperatorRecord | None) -> object:
    """Settle an unknown call by what a person found out."""
    if who is None:  # pragma: no cover - the verb's role sees to it
        raise Refused("sign first")
    actual = Money.parse(asked.actual) if asked.actual else None
    call = await means.ledger.resolve(
        asked.id,
        who.name,
        Outcome(asked.outcome),
        evidence=asked.evidence,
        at=means.now(),
        actual_minor=actual.minor_units if actual else None,
    )
    return call_shown(call)


async def caps_list(means: Means, _asked: Nothing, _who: OperatorRecord | None) -> object:
    """Return every cap in its current window."""
    return await means.ledger.caps(means.now())


async def posture_show(means: Means, _asked: Nothing, _who: OperatorRecord | None) -> object:
    """Return every posture that was set."""
    return await means.ledger.postures()


async def posture_set(means: Means, asked: PostureSet, who: OperatorRecord | None) -> object:
    """Move the switch; what is in flight under it comes back, since no attempt that was sent is stopped."""
    if asked.scope == "account":
        asked = structs.replace(asked, key=means.ledger.account_id)
    if not asked.loosens and _is_looser(asked, await means.ledger.postures()):
        return {"loosens": True}
    by = who.name if who is not None else "system:cli"
    flying = await means.ledger.set_posture(
        asked.scope, asked.key, asked.posture, because=asked.because, by=by, at=means.now()
    )
    return {
        "posture": asked.posture,
        "scope": asked.scope,
        "key": asked.key,
        "in_flight": [call_shown(each) for each in flying],
    }


async def plugin_list(means: Means, _asked: Nothing, _who: OperatorRecord | None) -> object:
    """Return every tool of every loaded plugin, and why those that are off are off."""
    if means.catalogue is None:
        raise Refused("the plugins are not loaded here")
    off = means.catalogue.off
    return [
        {
            "plugin": loaded.plugin,
            "tool": name,
            "kit": loaded.tool.kit,
            "kind": loaded.tool.kind,
            "provider": loaded.tool.provider,
            "definition_hash": loaded.info.definition_hash,
            "on": name not in off,
            "why_off": off.get(name, ""),
        }
        for name, loaded in sorted(means.catalogue.registry.tools.items())
    ]


async def plugin_accept(means: Means, asked: ToolsAccepted, who: OperatorRecord | None) -> object:
    """Accept the tools of one plugin as they are defined now; a server serves them from its next start."""
    if means.catalogue is None or who is None:
        raise Refused("the plugins are not loaded here")
    accepted = []
    for name, loaded in sorted(means.catalogue.registry.tools.items()):
        if loaded.plugin == asked.plugin:
            await means.ledger.accept_tool(
                name, loaded.info.definition_hash, loaded.tool.kind.value, by=who.name, at=means.now()
            )
            accepted.append(name)
    if not accepted:
        raise Refused(f"no plugin {asked.plugin!r} is loaded; it has to stand in the policy's plugins")
    tools = means.catalogue.registry.tools
    strangers = [tools[name].info for name in accepted if not tools[name].ours]
    if strangers and means.policies is not None:
        from tool_server.policy_file import keep_beside

        keep_beside(means.policies, strangers)
    return {"plugin": asked.plugin, "accepted": accepted}


async def doctor(means: Means, _asked: Nothing, _who: OperatorRecord | None) -> object:
    """Check the house from inside."""
    from tool_server.doctor import of_house

    file = means.policies
    return await of_house(means, file.read_text("utf-8") if file is not None and file.exists() else None)


def call_shown(call: CallRecord, *, whole: bool = False) -> dict[str, object]:
    """Return a call for an operator's eyes; what agents wrote is shown with escapes by whoever prints it."""
    shown: dict[str, object] = {
        "call_id": call.call_id,
        "state": call.state,
        "tool": call.tool,
        "kind": call.kind,
        "agent": call.agent,
        "project": call.project,
        "mode": call.mode,
        "payee": call.payee,
        "amount": str(call.amount) if call.amount else None,
        "code": call.code or None,
        "admitted_at": call.admitted_at,
    }
    if not whole:
        return shown
    rest = to_builtins(call, enc_hook=enc_hook, str_keys=True, builtin_types=(bytes,))
    texts = {
        name: value.decode("utf-8", "replace") for name, value in rest.items() if isinstance(value, bytes)
    }
    return {**rest, **texts}


def _request(request: ApprovalRecord, call: CallRecord) -> dict[str, object]:
    return {
        "approval_id": request.approval_id,
        "state": request.state,
        "op_hash": request.op_hash,
        "call_id": call.call_id,
        "tool": call.tool,
        "agent": call.agent,
        "payee": call.payee,
        "amount": str(call.amount) if call.amount else None,
        "mode": call.mode,
        "expires_at": request.expires_at,
    }


def _is_looser(asked: PostureSet, postures: tuple[PostureRecord, ...]) -> bool:
    """Say whether the switch would open; the ledger judges it again, under its lock."""
    now = next(
        (each.posture for each in postures if (each.scope, each.scope_key) == (asked.scope, asked.key)),
        Posture.NORMAL,
    )
    return LOOSE_TO_TIGHT.index(asked.posture) < LOOSE_TO_TIGHT.index(now)


def _owner(_params: object) -> Role:
    return Role.OWNER


def _approver(_params: object) -> Role:
    return Role.APPROVER


def _loosener(params: PostureSet) -> Role | None:
    return Role.OWNER if params.loosens else None


VERBS: Final[Mapping[str, Verb]] = {
    "approvals.list": Verb(Listed, approvals_list),
    "approvals.show": Verb(ById, approvals_show),
    "approvals.answer": Verb(Answered, approvals_answer, _approver),
    "calls.list": Verb(CallsListed, calls_list),
    "calls.show": Verb(ById, calls_show),
    "calls.resolve": Verb(Resolved, calls_resolve, _owner),
    "caps.list": Verb(Nothing, caps_list),
    "posture.show": Verb(Nothing, posture_show),
    "posture.set": Verb(PostureSet, posture_set, _loosener),
    "doctor": Verb(Nothing, doctor),
    "plugin.list": Verb(Nothing, plugin_list),
    "plugin.accept": Verb(ToolsAccepted, plugin_accept, _owner),
}
