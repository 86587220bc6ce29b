"""Loading many calls into a ledger's file with SQL, for bench/growth.py: copies of its last settled call."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy import create_engine

from ledger.guards import create_guards

NUMBERS = "WITH RECURSIVE numbers(n) AS (VALUES (:first) UNION ALL SELECT n + 1 FROM numbers WHERE n < :last)"
AT_ONCE = 50_000  # Calls in one transaction, so that the WAL stays small.
ENTRIES = 3  # Of the log, for each call: admitted, claimed, settled.
SECOND_US = 1_000_000
CALL = "printf('bulk_%026d', n)"


def bulk_load(path: Path, calls: int) -> None:
    """Copy the last settled call so many times, each second's copy older than the one before."""
    connection = sqlite3.connect(path, isolation_level=None)
    # Nothing here needs to survive a crash: the file is thrown away.
    for pragma in ("foreign_keys=OFF", "synchronous=OFF", "cache_size=-400000", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}")
    for trigger in ("guard_audit_entry_replace", "guard_tool_calls_replace", "guard_log_node_update"):
        connection.execute(f"DROP TRIGGER IF EXISTS {trigger}")
    load = _Loader(connection)
    for first in range(1, calls + 1, AT_ONCE):
        load.calls(first, min(first + AT_ONCE - 1, calls))
    load.log(calls)
    connection.execute("ANALYZE")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as guarded:
        create_guards(guarded)
    engine.dispose()


class _Loader:
    """Knows the call that is copied and where copies begin."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.run = connection.execute
        (self.template,) = self.run(
            "SELECT call_id FROM tool_calls WHERE state = 'succeeded' ORDER BY ordinal DESC LIMIT 1"
        ).fetchone()
        (self.ordinal,) = self.run("SELECT next_ordinal FROM accounts").fetchone()
        (self.size,) = self.run("SELECT size FROM log_head").fetchone()

    def calls(self, first: int, last: int) -> None:
        """Copy the call's rows in one transaction."""
        given: dict[str, object] = {
            "first": first,
            "last": last,
            "template": self.template,
            "ordinal": self.ordinal,
        }
        self.run("BEGIN")
        older = {name: f"{name} - n * {SECOND_US}" for name in ("admitted_at_us", "settled_at_us")}
        self._copy("tool_calls", given, {
            "call_id": CALL, "ordinal": ":ordinal + n - 1", "payee": "'bulk-' || n || '.example'",
            "op_hash": "printf('%064d', n)", "fingerprint": "printf('%064x', n)",
            "idempotency_key": "'bulk-' || n", "twin_key": "printf('%032x', n)",
            "provider_key": f"'bursar:' || {CALL}", "provider_ref": "'bulk_' || n",
            "twin_until_us": f"twin_until_us - n * {SECOND_US}", **older,
        })  # fmt: skip
        self._copy("idempotency", given, {"call_id": CALL, "key": "'bulk-' || n"})
        self._copy("attempts", given, {"call_id": CALL})
        self._copy("reservations", given, {"call_id": CALL, "ordinal": ":ordinal + n - 1"})
        self._copy("known_payees", given, {"payee": "'bulk-' || n || '.example'", "first_call_id": CALL})
        self._requests(given)
        self._entries(given)
        self.run("COMMIT")

    def _copy(self, table: str, given: dict[str, object], changed: dict[str, str]) -> None:
        columns = [row[1] for row in self.run(f"PRAGMA table_info({table})")]
        values = ", ".join(changed.get(name, f"{table}.{name}") for name in columns)
        call = "first_call_id" if table == "known_payees" else "call_id"
        # With a limit it is looked for once; else tables without such an index were walked for every copy.
        found = f"(SELECT * FROM {table} WHERE {call} = :template LIMIT 8) AS {table}"  # noqa: S608 -- constants
        self._many(table, values, found, given)

    def _requests(self, given: dict[str, object]) -> None:
        """Give every tenth call a request that was answered long ago."""
        values = (
            f"account_id, 'apr_' || {CALL}, {CALL}, op_hash, 'consumed', asks, "
            f"created_at_us - n * {SECOND_US}, expires_at_us, run_within_s, created_at_us, NULL"
        )
        self._many("approvals", values, "(SELECT * FROM approvals LIMIT 1) WHERE n % 10 = 0", given)

    def _entries(self, given: dict[str, object]) -> None:
        """Copy the call's three entries under the next places of the log."""
        values = (
            f"account_id, :size + (n - 1) * {ENTRIES} + place, at_us, kind, subject_type, {CALL}, body, leaf"
        )
        copied = (
            "(SELECT *, row_number() OVER (ORDER BY seq) - 1 AS place FROM audit_entry "
            "WHERE subject_type = 'call' AND subject_id = :template)"
        )
        self._many("audit_entry", values, copied, {**given, "size": self.size})

    def _many(self, table: str, values: str, copied: str, given: dict[str, object]) -> None:
        """Insert a copy for each number; CROSS JOIN keeps them in order."""
        text = f"INSERT INTO {table} {NUMBERS} SELECT {values} FROM numbers CROSS JOIN {copied}"  # noqa: S608 -- constants
        self.run(text, given)

    def log(self, calls: int) -> None:
        """Grow the tree to the log's length, and move the head and the account behind what was loaded."""
        size = self.size + calls * ENTRIES
        self.run("BEGIN")
        for level in range(1, size.bit_length()):
            first, last = self.size >> level, (size >> level) - 1
            given: dict[str, object] = {"first": first, "last": last, "level": level}
            if first <= last:
                self._many("log_node", "account_id, :level, n, randomblob(32)", "log_head", given)
        self.run("UPDATE log_head SET size = ?, frontier = randomblob(?)", (size, 32 * size.bit_count()))
        self.run("UPDATE accounts SET next_ordinal = next_ordinal + ?", (calls,))
        self.run("COMMIT")
