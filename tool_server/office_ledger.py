"""The office's verbs about the log itself: a new signing key, and forgetting what was said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from ledger.audit.keys import KeyRefused
from ledger.records import OperatorRecord, Role
from tool_server.office import Means, Refused, Verb


class KeyChange(Struct, frozen=True):
    """No arguments: the server knows its folder."""


class Erasure(Struct, frozen=True, kw_only=True):
    """Which call or lead is to be forgotten, and why."""

    call_id: str
    because: str


async def rotate_key(means: Means, _asked: KeyChange, who: OperatorRecord | None) -> object:
    """Sign with a new key from now on; both keys sign the entry that says so (M35)."""
    if means.keys is None:
        raise Refused("this process does not know where the signing key lies; set BURSAR_KEYS")
    try:
        made = await means.ledger.rotate_key(means.keys, by=f"operator:{_name(who)}", at=means.now())
    except KeyRefused as refused:
        raise Refused(str(refused)) from None
    return {"public": made.public.hex(), "folder": str(means.keys)}


async def erase(means: Means, asked: Erasure, who: OperatorRecord | None) -> object:
    """Erase what a settled call said, or who a lead is, while the log still proves what happened (M35)."""
    ledger = means.ledger
    work = ledger.erase_lead if asked.call_id.startswith("lead_") else ledger.erase_call
    erased = await work(asked.call_id, because=asked.because, by=_name(who), at=means.now())
    return {"call_id": asked.call_id, "erased": erased}


def _name(who: OperatorRecord | None) -> str:
    if who is None:  # pragma: no cover - the verb's role sees to it
        raise Refused("sign first")
    return who.name


def _owner(_params: object) -> Role:
    return Role.OWNER


VERBS: Final[Mapping[str, Verb]] = {
    "ledger.rotate_key": Verb(KeyChange, rotate_key, _owner),
    "ledger.erase": Verb(Erasure, erase, _owner),
}
