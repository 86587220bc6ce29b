"""The office's verbs about the policy in force: what it says, and putting another one in its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from msgspec import Meta, Struct

from ledger.records import OperatorRecord, Role
from tool_server.office import Means, Refused, Verb

_LONGEST_TEXT: Final = 1_000_000  # Characters; the loader takes no more bytes either.


class Shown(Struct, frozen=True):
    """No arguments."""


class Activation(Struct, frozen=True, kw_only=True):
    """A policy's whole text, and the name its lines are told by."""

    text: Annotated[str, Meta(min_length=1, max_length=_LONGEST_TEXT)]
    file: Annotated[str, Meta(min_length=1, max_length=200)]


async def active(means: Means, _asked: Shown, _who: OperatorRecord | None) -> object:
    """Return the policy in force, None before the first."""
    found = await means.ledger.active()
    if found is None:
        return None
    digest, text, file = found
    return {"sha256": digest, "text": text, "file": file}


async def activate(means: Means, asked: Activation, who: OperatorRecord | None) -> object:
    """Put a policy in force; an owner who signs for its text accepts it where live spending is at stake."""
    if who is None:  # pragma: no cover - the verb's role sees to it
        raise Refused("sign first")
    ledger, now = means.ledger, means.now()
    before = await ledger.active()
    became = await ledger.activate(asked.text, asked.file, by=who.name, at=now)
    if became.state == "candidate":
        became = await ledger.accept_candidate(became.sha256, by=who.name, at=now)
    return {"sha256": became.sha256, "state": became.state, "replaces": before[0] if before else None}


def _owner(_params: object) -> Role:
    return Role.OWNER


VERBS: Final[Mapping[str, Verb]] = {
    "policy.active": Verb(Shown, active),
    "policy.activate": Verb(Activation, activate, _owner),
}
