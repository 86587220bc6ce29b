"""A ledger's database as a source for `verify` and `export`, on either engine.

All SQL is SQLAlchemy Core over one synchronous connection inside one transaction of the caller's, so that
everything read is one snapshot: on SQLite any transaction, on PostgreSQL one that is REPEATABLE READ,
entered by `AsyncConnection.run_sync`. Rows are read in pages by key, so nothing is held in memory.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Table, func, literal, select, tuple_

from ledger import schema_house, schema_log
from ledger.audit.source import (
    EntryColumns,
    Row,
    StoredCheckpoint,
    StoredEntry,
    StoredHead,
    StoredNode,
    StoredPayload,
)
from ledger.schema import METADATA

PAGE: Final = 2_000  # Rows per query: large enough that a query's own cost vanishes, a few megabytes.


class StoredSource:
    """Reads one snapshot of a ledger's database."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def accounts(self) -> list[str]:
        """Return the accounts that have a log, sorted."""
        table = schema_log.log_head
        return sorted(self._connection.scalars(select(table.c.account_id)))

    def instance(self, account: str) -> str:
        """Return the instance id beside the account."""
        table = schema_house.accounts
        found = self._connection.scalar(select(table.c.instance_id).where(table.c.account_id == account))
        return str(found or "")

    def head(self, account: str) -> StoredHead | None:
        """Return the log's head."""
        table = schema_log.log_head
        query = select(table.c.size, table.c.epoch, table.c.frontier).where(table.c.account_id == account)
        row = self._connection.execute(query).first()
        return None if row is None else StoredHead(row.size, row.epoch, bytes(row.frontier))

    def entries(self, account: str) -> Iterator[StoredEntry]:
        """Yield the entries by seq."""
        columns = ("seq", "body", "at_us", "kind", "subject_type", "subject_id", "leaf")
        fixed = {"account_id": account}
        for seq, body, *repeated in self._pages(schema_log.audit_entry, columns, fixed, ("seq",)):
            yield StoredEntry(seq, body, EntryColumns(*repeated))

    def payloads(self, account: str) -> Iterator[StoredPayload]:
        """Yield the payloads by seq."""
        columns = ("seq", "salt", "body", "erased_by")
        for row in self._pages(schema_log.audit_payload, columns, {"account_id": account}, ("seq",)):
            yield StoredPayload(*row)

    def levels(self, account: str) -> int:
        """Return the highest level of stored nodes."""
        table = schema_log.log_node
        return (
            self._connection.scalar(select(func.max(table.c.level)).where(table.c.account_id == account)) or 0
        )

    def nodes(self, account: str, level: int) -> Iterator[StoredNode]:
        """Yield the stored nodes of one level by position."""
        fixed = {"account_id": account, "level": level}
        for position, node in self._pages(schema_log.log_node, ("position", "hash"), fixed, ("position",)):
            yield StoredNode(position, node)

    def checkpoints(self, account: str) -> Iterator[StoredCheckpoint]:
        """Yield the checkpoints by size."""
        columns = ("size", "previous", "root", "note", "key_id")
        for row in self._pages(schema_log.checkpoint, columns, {"account_id": account}, ("size",)):
            yield StoredCheckpoint(*row)

    def rows(self, account: str, table: str) -> Iterator[Row]:
        """Yield the rows of a table by primary key."""
        declared = METADATA.tables[table]
        columns = [column.name for column in declared.c]
        key = tuple(column.name for column in declared.primary_key if column.name != "account_id")
        for row in self._pages(declared, columns, {"account_id": account}, key):
            yield dict(zip(columns, row, strict=True))

    def node(self, account: str, level: int, position: int) -> bytes:
        """Return one stored node; leaves are level 0.

        Raises LookupError where it is not stored.
        """
        node, entry = schema_log.log_node, schema_log.audit_entry
        if level == 0:
            query = select(entry.c.leaf).where(entry.c.account_id == account, entry.c.seq == position)
        else:
            query = select(node.c.hash).where(
                node.c.account_id == account, node.c.level == level, node.c.position == position
            )
        found: bytes | None = self._connection.scalar(query)
        if found is None:
            raise LookupError(f"no node at level {level}, position {position}")
        return found

    def _pages(
        self, table: Table, columns: Sequence[str], fixed: dict[str, Any], key: tuple[str, ...]
    ) -> Iterator[Sequence[Any]]:
        """Yield rows of `table` where the `fixed` columns hold, in the order of `key`, page by page.

        Pages go on after the last key as a row comparison, which both engines answer from the primary key.
        """
        keys = [table.c[name] for name in key]
        query = select(*keys, *(table.c[name] for name in columns)).order_by(*keys).limit(PAGE)
        query = query.where(*(table.c[name] == value for name, value in fixed.items()))
        page = query
        while rows := self._connection.execute(page).all():
            for row in rows:
                yield row[len(key) :]
            after = tuple_(*(literal(value) for value in rows[-1][: len(key)]))
            page = query.where(tuple_(*keys) > after)
