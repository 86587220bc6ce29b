"""Made-up arguments and calls, for looking at a plugin without a provider."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from msgspec import Struct

from ledger.records import CallRecord, CallState
from plugins.registry import LoadedTool
from plugins.schema import input_schema
from plugins.tool import Binding
from policy.model import Mode
from policy.money import Money, dec_hook

_TEXTS: Final = ("example", "example.com", "someone@example.com", "2026-01-01T00:00:00Z", "id_1234567890")


def sample(arguments: type[Struct]) -> Struct | None:
    """Return arguments that fit, from each field's examples, bounds and enumerations; None where none do."""
    schema = input_schema(arguments)
    needed = {name: schema["properties"][name] for name in schema["required"]}
    for text in _TEXTS:
        given = {name: _value(spec, text) for name, spec in needed.items()}
        try:
            return msgspec.convert(given, arguments, strict=True, dec_hook=dec_hook)
        except msgspec.ValidationError:
            continue
    return None


def _value(spec: Mapping[str, Any], text: str) -> object:
    """Return one value for a property."""
    if spec.get("examples"):
        return spec["examples"][0]
    match spec["type"]:
        case _ if "enum" in spec:
            return spec["enum"][0]
        case "integer" | "boolean":
            return max(1, int(spec.get("minimum", 1))) if spec["type"] == "integer" else False
        case "array":
            return [_value(spec["items"], text)] * int(spec.get("minItems", 0))
        case _ if "pattern" in spec:
            return _matching(re._parser.parse(spec["pattern"]))  # type: ignore[attr-defined]  # noqa: SLF001 -- the one reader of patterns there is
        case _:
            return text[: int(spec.get("maxLength", len(text)))].ljust(int(spec.get("minLength", 0)), "x")


def _matching(pattern: Any) -> str:  # noqa: ANN401 -- a parsed pattern, whose types are private
    """Return a shortest text of a pattern made of letters, classes, groups and repeats."""
    return "".join(_piece(str(op), value) for op, value in pattern)


def _piece(op: str, value: Any) -> str:  # noqa: ANN401 -- the same
    match op:
        case "LITERAL":
            return chr(value)
        case "IN":
            return next((chr(low) for low in map(_lowest, value) if low is not None), "")
        case "MAX_REPEAT":
            least, _most, inner = value
            return _matching(inner) * int(least)
        case "SUBPATTERN":
            return _matching(value[3])
        case "BRANCH":
            return _matching(value[1][0])
        case _:
            return ""  # Anchors take no room; whatever else there is, another example may fit.


def _lowest(member: Any) -> int | None:  # noqa: ANN401 -- the same
    """Return the first character of a class's member."""
    op, value = str(member[0]), member[1]
    return {"LITERAL": lambda: int(value), "RANGE": lambda: int(value[0])}.get(op, lambda: None)()


def a_call(loaded: LoadedTool, binding: Binding | None, at: datetime) -> CallRecord:
    """Return a call as an execution would be handed it."""
    tool = loaded.tool
    return CallRecord(
        call_id="call_1",
        account_id="acc_1",
        project="project",
        run_id="run_1",
        agent="agent",
        tool=tool.name,
        tool_hash=loaded.info.definition_hash,
        kind=tool.kind,
        operation=tool.operation,
        provider=tool.provider,
        provider_account=binding.account if binding else "",
        mode=binding.mode if binding else Mode.SIMULATED,
        payee="example.com",
        payee_basis=None,
        amount=Money(100, "USD"),
        effect=b"{}",
        args=b"{}",
        op_hash="0" * 64,
        state=CallState.EXECUTING,
        version=2,
        admitted_at=at,
        run_by=at + timedelta(minutes=15),
        policy_sha256="0" * 64,
        decision=b"",
        provider_key="call_1",
    )
