"""The proof of a run as one file that a stranger checks offline, with the log's public key alone.

    {"bursar_run_proof": 1, "origin": ..., "run_id": ..., "size": ..., "earned": [...], "spent": [...],
     "parts": [{"kind", "id", "row", "more", "entries": [seq, ...]}, ...],
     "receipts": ["c2sp.org/tlog-proof@v1...", ...]}

Each part is one record of the run's story: payment event, order, revenue, deal, lead, calls, approvals,
purchases, reviews, artifacts. `row` is what the log tells of it, and must be what the entries add up to;
`more` is what pages show beside it, and empty in a file, since no entry proves it; `earned` must be the sum
of the revenue. `spent` is the ledger's word. What the file cannot show is that nothing else was said since:
for that there is the whole log.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import Struct

from ledger.audit.entry import Entry
from ledger.audit.note import VerifierKey
from ledger.audit.receipt import Proven, verify_receipt
from ledger.audit.replay import TOLD, Facts, Replay
from policy.money import written

FORMAT: Final = 1
HEAD: Final = b'{"bursar_run_proof":'


class RunProofRefused(ValueError):  # noqa: N818 -- what was met
    """A file is no proof of a run, or does not prove what it says."""


class Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One record of the story, and the entries of the log that speak of it."""

    kind: str
    id: str
    row: dict[str, int | str | None]
    more: dict[str, Any]
    entries: list[int]


class RunProof(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything of one run."""

    bursar_run_proof: int
    origin: str
    run_id: str
    size: int  # How long the signed log was.
    earned: list[str]
    spent: list[str]
    parts: list[Part]
    receipts: list[str]


class Checked(Struct, frozen=True):
    """What was proven: how much, in a log of which size, and what only the file itself connects."""

    parts: int
    entries: int
    size: int
    unlinked: tuple[str, ...]


def read_run_proof(raw: bytes) -> RunProof:
    """Read a file, checking nothing yet. Raises RunProofRefused."""
    try:
        proof = msgspec.json.decode(raw, type=RunProof)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RunProofRefused(f"this is no proof of a run: {error}") from None
    if proof.bursar_run_proof != FORMAT:
        raise RunProofRefused(f"this proof is of format {proof.bursar_run_proof}, this reads {FORMAT}")
    return proof


def check_run_proof(proof: RunProof, key: VerifierKey) -> Checked:
    """Check every receipt with the log's public key, and every part with its entries.

    Raises RunProofRefused and ReceiptRefused with the first thing that is not so.
    """
    proven = _receipts(proof, key)
    for part in proof.parts:
        _part(part, proven, proof.origin)
    if not any(part.kind == "run" and part.id == proof.run_id for part in proof.parts):
        raise RunProofRefused(f"the run {proof.run_id} itself is missing")
    _sums(proof)
    used = {seq for part in proof.parts for seq in part.entries}
    if used != proven.keys():
        raise RunProofRefused(f"receipt {min(proven.keys() - used)} belongs to no part")
    return Checked(len(proof.parts), len(proven), proof.size, _unlinked(proof, proven))


def _receipts(proof: RunProof, key: VerifierKey) -> dict[int, Proven]:
    found: dict[int, Proven] = {}
    for text in proof.receipts:
        proven = verify_receipt(text, key)
        if proven.checkpoint.origin != proof.origin or proven.checkpoint.size != proof.size:
            raise RunProofRefused(f"receipt {proven.entry.seq} is of another log or another size of it")
        if proven.entry.seq in found:
            raise RunProofRefused(f"receipt {proven.entry.seq} is there twice")
        found[proven.entry.seq] = proven
    return found


def _part(part: Part, proven: dict[int, Proven], origin: str) -> None:
    """Check that a part's entries speak of it, and add up to its row."""
    missing = [seq for seq in part.entries if seq not in proven]
    if missing:
        raise RunProofRefused(f"{part.kind} {part.id}: entry {missing[0]} has no receipt")
    if not part.entries:
        raise RunProofRefused(f"{part.kind} {part.id}: no entry of {origin} speaks of it")
    entries = [proven[seq].entry for seq in sorted(part.entries)]
    strange = [
        entry.seq for entry in entries if entry.subject_id != part.id or part.kind not in _kinds(entry)
    ]
    if strange:
        raise RunProofRefused(f"{part.kind} {part.id}: entry {strange[0]} speaks of something else")
    if part.more:
        raise RunProofRefused(f"{part.kind} {part.id}: it says {min(part.more)}, which nothing proves")
    said = told_by(part.kind, part.id, entries)
    for name, value in part.row.items():
        if name not in said:
            raise RunProofRefused(f"{part.kind} {part.id}: the log says nothing of {name}")
        if not _equal(value, said[name]):
            raise RunProofRefused(f"{part.kind} {part.id}: {name} is {value!r}, the log says {said[name]!r}")


def _kinds(entry: Entry) -> set[str]:
    """Return what an entry may be about: records of plugins are one subject, and say which they are."""
    return {entry.subject_type, str(entry.facts.get("record_type", ""))}


class _Said(Replay):
    """What entries add up to, for one subject at a time."""

    def of(self, subject: str, key: str) -> Facts:
        """Return the columns that were spoken of."""
        return self._rows[subject].get(key, {})


def told_by(kind: str, record_id: str, entries: Iterable[Entry]) -> Facts:
    """Return what entries say of a record, later over earlier."""
    replay, plain = _Said(""), dict[str, Any]()
    for entry in entries:
        replay.take(entry, None)  # Payloads are proved by their hashes; rows here have no column of theirs.
        plain |= entry.facts
    return replay.of(kind, record_id) if kind in TOLD else plain


def _equal(value: object, says: object) -> bool:
    return value == says or (value is None and says == "")


def _sums(proof: RunProof) -> None:
    """Check that what was earned is the sum of the revenue in the file."""
    total: dict[str, int] = {}
    for part in proof.parts:
        if part.kind == "revenue":
            currency, minor = str(part.row["currency"]), int(str(part.row["amount_minor"]))
            total[currency] = total.get(currency, 0) + minor
    earned = [written(minor, currency) for currency, minor in sorted(total.items())]
    if earned != proof.earned:
        raise RunProofRefused(f"it says {proof.earned} were earned, its revenue adds up to {earned}")


def _unlinked(proof: RunProof, proven: dict[int, Proven]) -> tuple[str, ...]:
    """Return the parts that no chain of entries connects with the run: the file alone says they belong."""
    texts = {part.id: _text(part, proven) for part in proof.parts}
    # An event and an order name the same object of the provider, which is no part itself.
    texts |= {ref: "" for part in proof.parts for ref in _objects(part, proven)}
    reached, fresh = {proof.run_id}, [proof.run_id]
    while fresh:
        last = fresh.pop()
        near = [
            key for key in texts if key not in reached and (key in texts.get(last, "") or last in texts[key])
        ]
        reached.update(near)
        fresh += near
    return tuple(f"{part.kind} {part.id}" for part in proof.parts if part.id not in reached)


def _objects(part: Part, proven: dict[int, Proven]) -> set[str]:
    """Return the provider's objects that a part's entries are about."""
    found = {str(proven[seq].entry.facts.get("object_ref") or "") for seq in part.entries}
    return found - {""}


def _text(part: Part, proven: dict[int, Proven]) -> str:
    """Return everything that a part's entries say, payloads included, to look for ids in."""
    found = []
    for seq in part.entries:
        entry, payload, _ = proven[seq]
        found.append(msgspec.json.encode(entry.facts).decode())
        found.append("" if payload is None else payload.decode("utf-8", "replace"))
    return "\n".join(found)
