"""Answers that the wires give by themselves, and every answer's form on the wire; imports no MCP SDK."""

from __future__ import annotations

from typing import Any

from policy.errors import CallRefused
from tool_server.envelope import CallResult, Envelope, Problem, answered


def refused(refusal: CallRefused) -> CallResult:
    """Render a refusal that never reached the gate: nothing was admitted, the key is still free."""
    problem = Problem(
        code=refusal.code,
        message=refusal.message,
        ran=False,
        retry=refusal.retry,
        retry_at=refusal.retry_at,
        field=refusal.field,
    )
    return answered(Envelope(status=refusal.status, problem=problem))


def broke(message: str) -> CallResult:
    """Render a break of Bursar itself: the one kind of answer that is an error on the wire."""
    said = (
        f"{message}. Look with calls_list before repeating it, and repeat it with the same idempotency key."
    )
    problem = Problem(code="internal", message=said, retry="same_key")
    return answered(
        Envelope(status="outcome_unknown", problem=problem), lead="BURSAR BROKE, not you", broken=True
    )


def wire(result: CallResult, *, strict_errors: bool) -> dict[str, Any]:
    """Return a result as the wire shows it, whole in each of its two forms."""
    return {
        "resultType": "complete",  # Required since 2026-07-28; the SDK leaves it out for the older era.
        "content": [{"type": "text", "text": result.text}],
        "structuredContent": result.structured(),
        "isError": result.is_error(strict=strict_errors),
    }
