"""Logs to verify and to tamper with: a small house, written as the ledger writes it, kept in memory."""

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.audit import call_kinds as calls
from ledger.audit import house_kinds as house
from ledger.audit import merkle
from ledger.audit.append import Head, append
from ledger.audit.checkpoint import Checkpoint, SigningKey, origin_of, sign
from ledger.audit.entry import Draft
from ledger.audit.fact import Fact, Move
from ledger.audit.source import (
    EntryColumns,
    StoredCheckpoint,
    StoredEntry,
    StoredHead,
    StoredNode,
    StoredPayload,
)
from ledger.audit.verify import Anchor, Verified, verify_account

INSTANCE = "ins_1"
NOON_US = 1_763_800_000_000_000
TABLES = (
    *("tool_calls", "attempts", "approvals", "verdicts", "reservations"),
    *("cap_usage", "adjustments", "postures"),
)


def signing_key(seed: int) -> SigningKey:
    """A key that is the same in every run."""
    private = Ed25519PrivateKey.from_private_bytes(seed.to_bytes(32, "big"))
    return SigningKey(private, private.public_key().public_bytes_raw())


@dataclass
class Log:
    """One account's log and tables, each a list that a test may spoil."""

    account: str
    head: Head
    entries: list[StoredEntry] = field(default_factory=list)
    payloads: list[StoredPayload] = field(default_factory=list)
    nodes: dict[int, list[StoredNode]] = field(default_factory=lambda: defaultdict(list))
    checkpoints: list[StoredCheckpoint] = field(default_factory=list)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {name: [] for name in TABLES})
    stored_head: StoredHead | None = None

    def node(self, level: int, position: int) -> bytes:
        """A stored node, as a database would look it up."""
        if level == 0:
            columns = self.entries[position].columns
            assert columns is not None
            return columns.leaf
        return self.nodes[level][position].hash


class MemorySource:
    """The logs as a source; it keeps what it is given, right or wrong."""

    def __init__(self, *logs: Log) -> None:
        self.logs = {log.account: log for log in logs}

    def accounts(self) -> list[str]:
        """As Source says."""
        return sorted(self.logs)

    def instance(self, account: str) -> str:
        """As Source says."""
        return INSTANCE if account in self.logs else ""

    def head(self, account: str) -> StoredHead | None:
        """As Source says."""
        return self.logs[account].stored_head

    def entries(self, account: str) -> Iterator[StoredEntry]:
        """As Source says."""
        yield from self.logs[account].entries

    def payloads(self, account: str) -> Iterator[StoredPayload]:
        """As Source says."""
        yield from self.logs[account].payloads

    def levels(self, account: str) -> int:
        """As Source says."""
        return max((level for level, nodes in self.logs[account].nodes.items() if nodes), default=0)

    def nodes(self, account: str, level: int) -> Iterator[StoredNode]:
        """As Source says."""
        yield from self.logs[account].nodes[level]

    def checkpoints(self, account: str) -> Iterator[StoredCheckpoint]:
        """As Source says."""
        yield from self.logs[account].checkpoints

    def rows(self, account: str, table: str) -> Iterator[dict[str, Any]]:
        """As Source says."""
        yield from self.logs[account].tables.get(table, [])


class Scribe:
    """Writes a log: entries as the ledger appends them, with the rows they speak of."""

    def __init__(self, account: str = "acc_1", *, seed: int = 1, key: SigningKey | None = None) -> None:
        self.rng = random.Random(seed)
        self.log = Log(account, Head(account))
        self.key = key or signing_key(1)
        self.last: Checkpoint | None = None
        self.at_us = NOON_US

    def write(
        self,
        fact: Fact,
        subject: str,
        *,
        payload: dict[str, object] | None = None,
        moves: tuple[Move, ...] = (),
    ) -> int:
        """Append one entry and return its seq."""
        self.at_us += self.rng.randrange(1, 5_000_000)
        draft = Draft(
            fact=fact, subject_id=subject, actor="agent:scout", at_us=self.at_us, payload=payload, moves=moves
        )
        return self.append([draft])

    def append(self, drafts: list[Draft]) -> int:
        """Append entries and return the last one's seq."""
        log = self.log
        added = append(log.head, drafts, self.rng.randbytes)
        for row in added.entries:
            columns = EntryColumns(row.at_us, row.kind, row.subject_type, row.subject_id, row.leaf)
            log.entries.append(StoredEntry(row.seq, row.body, columns))
        log.payloads += [StoredPayload(row.seq, row.salt, row.body, None) for row in added.payloads]
        for node in added.nodes:
            log.nodes[node.level].append(StoredNode(node.position, node.hash))
        log.head = added.head
        self.store_head()
        return log.head.size - 1

    def store_head(self) -> None:
        """Write the head as the database keeps it."""
        head = self.log.head
        self.log.stored_head = StoredHead(head.size, head.epoch, b"".join(head.frontier))

    def checkpoint(self) -> Checkpoint:
        """Sign the log as it stands."""
        log = self.log
        root = merkle.root(log.head.frontier)
        origin = origin_of(INSTANCE, log.account, log.head.epoch)
        last = self.last if self.last is not None and self.last.origin == origin else None
        signed = sign(self.key, origin, log.head.size, root, last=last, lookup=log.node)
        previous = log.checkpoints[-1].size if log.checkpoints else 0
        key_id = self.key.verifier(origin).key_id.hex()
        log.checkpoints.append(StoredCheckpoint(signed.size, previous, root, signed.note, key_id))
        self.last = signed
        return signed

    def call(self, number: int) -> None:
        """One call, from its admission to whatever end the seed gives it, with a cap and its row."""
        call_id, amount = f"call_{number:06}", self.rng.randrange(1, 5_000)
        usage, rows = f"run-total:0a1b2c3d/run/run_1/USD/test@{NOON_US}", self.log.tables
        payload: dict[str, object] = {
            "op_hash": f"{number:064x}",
            "payee": "example.com",
            "arguments": {"n": number},
        }
        admitted = calls.CallAdmitted(
            state="queued", tool="pay_vendor", kind="spend", agent="scout", project="snapshots",
            mode="test", run_id="run_1", amount_minor=amount, currency="USD", policy_sha256="ab" * 32,
        )  # fmt: skip
        self.write(admitted, call_id, payload=payload, moves=(Move(usage, amount, 0, 0),))
        end, held, posted = "executing", amount, 0
        claimed = calls.CallClaimed(
            attempts=1,
            lease_token=1,
            lease_until_us=self.at_us + 30_000_000,
            purpose="execute",
            policy_sha256="ab" * 32,
        )
        self.write(claimed, call_id)
        self.attempt(call_id, claimed)
        if self.rng.random() < 0.8:
            end = self.rng.choice(["succeeded", "failed", "unknown"])
            if end == "unknown":
                self.write(calls.CallUnknown(attempts=1), call_id)
            else:
                posted, held = (amount if end == "succeeded" else 0), 0
                moves = (Move(usage, -amount, 0, posted),)
                settled = calls.CallSettled(
                    state=end, proof_level="test", proof_by="response", actual_minor=posted
                )
                self.write(settled, call_id, payload={"result": {"id": f"py_{number}"}}, moves=moves)
        rows["tool_calls"].append(
            {
                "call_id": call_id,
                "state": end,
                "tool": "pay_vendor",
                "kind": "spend",
                "agent": "scout",
                "attempts": 1,
                "project": "snapshots",
                "mode": "test",
                "run_id": "run_1",
                "currency": "USD",
                "payee": "example.com",
                "op_hash": f"{number:064x}",
                "amount_minor": amount,
                "actual_minor": posted if end in {"succeeded", "failed"} else None,
            }
        )
        state = {"succeeded": "posted", "failed": "void"}.get(end, "held")
        meter, _, start = usage.partition("@")
        hold = {"call_id": call_id, "meter": meter, "window_start_us": int(start), "amount": amount}
        rows["reservations"].append({**hold, "posted": posted, "state": state})
        self.book(meter, int(start), held=held, posted=posted)

    def attempt(self, call_id: str, claimed: calls.CallClaimed) -> None:
        """The row of an attempt, as its claim makes it."""
        self.log.tables["attempts"].append(
            {
                "call_id": call_id,
                "number": claimed.attempts,
                "purpose": claimed.purpose,
                "lease_token": claimed.lease_token,
                "lease_until_us": claimed.lease_until_us,
                "started_at_us": self.at_us,
                "holder": "agent:scout",
                "maybe_sent": 1,
            }
        )

    def book(self, meter: str, start: int, *, held: int, posted: int) -> None:
        """Move a usage row."""
        for row in self.log.tables["cap_usage"]:
            if row["meter"] == meter and row["window_start_us"] == start:
                row["held"] += held
                row["posted"] += posted
                return
        self.log.tables["cap_usage"].append(
            {"meter": meter, "window_start_us": start, "held": held, "committed": 0, "posted": posted}
        )

    def erase(self, seqs: list[int]) -> None:
        """Erase payloads, as the ledger does: the entry, and the rows emptied by it."""
        leaves = tuple(self.log.node(0, seq).hex() for seq in seqs)
        by = self.write(
            house.PayloadErased(seqs=tuple(seqs), leaves=leaves), "era_1", payload={"reason": "asked"}
        )
        for place, row in enumerate(self.log.payloads):
            if row.seq in seqs:
                self.log.payloads[place] = StoredPayload(row.seq, None, None, by)
        columns = [entry.columns for entry in self.log.entries if entry.seq in seqs]
        calls_erased = {
            each.subject_id for each in columns if each is not None and each.kind == "call.admitted"
        }
        for call in self.log.tables["tool_calls"]:
            if call["call_id"] in calls_erased:
                call["op_hash"], call["payee"] = "", None

    def posture(self, scope: str, posture: str) -> None:
        """Move a posture."""
        self.write(house.PostureMoved(posture=posture), scope, payload={"reason": "because"})
        name, _, key = scope.partition(":")
        rows = self.log.tables["postures"]
        rows[:] = [row for row in rows if (row["scope"], row["scope_key"]) != (name, key)]
        row = {"scope": name, "scope_key": key, "posture": posture, "because": "because"}
        rows.append({**row, "at_us": self.at_us})
        rows.sort(key=lambda row: (row["scope"], row["scope_key"]))


def history(
    calls_made: int = 40, *, account: str = "acc_1", seed: int = 1, every: int = 7, erase: bool = True
) -> Scribe:
    """A log of many calls with postures, an erasure, and a checkpoint every so many calls and at the end."""
    scribe = Scribe(account, seed=seed)
    scribe.write(house.AccountOpened(instance=INSTANCE), account, payload={"name": "Ada"})
    for number in range(calls_made):
        scribe.call(number)
        if number % every == every - 1:
            scribe.checkpoint()
        if number % 11 == 5:
            scribe.posture("provider:stripe", scribe.rng.choice(["normal", "no_spend"]))
    if erase:
        scribe.erase([row.seq for row in scribe.log.payloads][2:9:3])
    scribe.call(calls_made)
    scribe.checkpoint()
    return scribe


def verified(scribe: Scribe, *anchors: Anchor, keys: list[bytes] | None = None) -> Verified:
    """Verify a scribe's log with its own key."""
    trusted = [scribe.key.public] if keys is None else keys
    return verify_account(MemorySource(scribe.log), scribe.log.account, keys=trusted, anchors=anchors)


def found(scribe: Scribe, *anchors: Anchor, keys: list[bytes] | None = None) -> str:
    """Return the row that verify names, and what is wrong with it."""
    return str(verified(scribe, *anchors, keys=keys).bad)
