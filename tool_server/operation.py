"""The exact operation a call stands for: canonical arguments, fingerprint, and the hash approvers answer for.

`op_hash` is SHA-256 over the canonical bytes of everything that decides what will happen. The claim works
it out again from what is stored, so whatever changed in between is noticed before a byte leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Struct

from ledger.audit.canonical import canonical
from ledger.records import CallRecord
from plugins.registry import LoadedTool
from plugins.tool import Binding, Described, Records
from policy.errors import CallRefused
from policy.model import Effect
from policy.money import dec_hook, enc_hook


class Operation(Struct, frozen=True, kw_only=True):
    """All that the hash binds."""

    call_id: str
    tool: str
    tool_hash: str
    provider_account: str
    effect: Effect
    args: bytes
    records: tuple[str, ...]  # The hashes of the records `describe` saw.
    account: str
    project: str
    run: str
    agent: str


def op_hash(operation: Operation) -> str:
    """Return the hash an approver answers for, in hex."""
    effect = operation.effect
    whole: dict[str, object] = {
        "account": operation.account,
        "agent": operation.agent,
        "amount": str(effect.amount) if effect.amount else None,
        "args": operation.args.decode(),
        "call_id": operation.call_id,
        "effect": effect_bytes(effect).decode(),
        "mode": effect.mode.value,
        "payee": effect.payee,
        "project": operation.project,
        "provider": effect.provider,
        "provider_account": operation.provider_account,
        "records": list(operation.records),
        "run": operation.run,
        "tool": operation.tool,
        "tool_hash": operation.tool_hash,
    }
    return sha256(canonical(whole)).hexdigest()


def fingerprint(tool: str, args: bytes, run: str) -> str:
    """Return the hash of one intention (M24): the same tool, arguments and run.

    `run` is what the caller named; for the standing run a word, since that run is another one after midnight.
    """
    return sha256(canonical({"args": args.decode(), "run": run, "tool": tool})).hexdigest()


def canonical_args(args: Struct) -> bytes:
    """Return the one byte string of decoded arguments, defaults written out, what is None left out."""
    plain = msgspec.to_builtins(args, enc_hook=enc_hook, str_keys=True)
    return canonical({name: value for name, value in plain.items() if value is not None})


def stored_args(loaded: LoadedTool, args: bytes) -> Struct:
    """Return stored arguments as the tool's Struct. Raises msgspec.DecodeError where they no longer fit."""
    wanted: type[Struct] = loaded.tool.arguments
    return msgspec.json.decode(args, type=wanted, dec_hook=dec_hook)


def effect_bytes(effect: Effect) -> bytes:
    """Return an effect as canonical JSON."""
    return canonical(msgspec.to_builtins(effect, enc_hook=enc_hook))


def plain_args(args: Struct) -> Mapping[str, Any]:
    """Return arguments for the policy to match on: numbers, text and Money as they are."""
    return msgspec.structs.asdict(args)


def described(
    loaded: LoadedTool,
    args: Struct,
    records: Records,
    *,
    binding: Binding | None,
    who: Mapping[str, str],
    now: datetime,
) -> Effect:
    """Ask the tool what it would do, and hold it to what it declared.

    Raises CallRefused from the tool itself, and PluginBroke where the effect is not of this tool.
    """
    context = Described(
        binding=binding, agent=who["agent"], project=who["project"], run_id=who["run"], now=now
    )
    effect = loaded.tool.describe(args, records, context)
    tool = loaded.tool
    declared = (tool.kind, tool.operation, tool.provider, binding.mode if binding else effect.mode)
    if (effect.kind, effect.operation, effect.provider, effect.mode) != declared:
        raise PluginBroke(f"{tool.name} describes another effect than it declared")
    return effect


class PluginBroke(Exception):  # noqa: N818 -- it says what happened, as in policy.errors
    """A plugin did what its contract rules out; the message is for the log, never for an agent."""


def changed_since(
    call: CallRecord, loaded: LoadedTool, records: Records, *, binding: Binding | None, now: datetime
) -> str | None:
    """Say what is no longer as it was asked for (M5), as a code of policy.errors; None where all is equal."""
    if loaded.info.definition_hash != call.tool_hash:
        return "tool_changed"
    who = {"agent": call.agent, "project": call.project, "run": call.run_id}
    try:
        effect = described(loaded, stored_args(loaded, call.args), records, binding=binding, who=who, now=now)
    except CallRefused as refused:
        return refused.code
    except (PluginBroke, msgspec.DecodeError):
        return "tool_changed"
    operation = Operation(
        call_id=call.call_id,
        tool=call.tool,
        tool_hash=call.tool_hash,
        provider_account=call.provider_account,
        effect=effect,
        args=call.args,
        records=tuple(record.sha256 for record in records),
        account=call.account_id,
        project=call.project,
        run=call.run_id,
        agent=call.agent,
    )
    return None if op_hash(operation) == call.op_hash else "record_changed"
