"""A ledger's database as a source for `verify` and `export`, on either engine.

All SQL is SQLAlchemy Core over one synchronous connection inside one transaction of the caller's, so that
everything read is one snapshot: on SQLite any transaction, on PostgreSQL one that is REPEATABLE READ,
entered by `AsyncConnection.run_sync`. Rows are read in pages by key, so nothing is held in memory.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import (
    Connection,
    NullPool,
    Table,
    bindparam,
    create_engine,
    event,
    func,
    literal_column,
    make_url,
    select,
    tuple_,
)
from sqlalchemy.exc import ArgumentError, DatabaseError

from ledger import schema_crm, schema_house, schema_log, schema_revenue
from ledger.audit.catalogue import CATALOGUE
from ledger.audit.entry import read_entry
from ledger.audit.house_kinds import KeyRotated
from ledger.audit.merkle import Lookup
from ledger.audit.source import (
    EntryColumns,
    Row,
    StoredCheckpoint,
    StoredEntry,
    StoredHead,
    StoredNode,
    StoredPayload,
)
from ledger.engines.postgres import postgres_engine
from ledger.engines.tx import Statement, Tx
from ledger.schema import METADATA
from policy.errors import ConfigurationError

T = TypeVar("T")

# A table is in METADATA once its module is imported; every module that declares some is named here.
_DECLARED: Final = (schema_house.accounts, schema_log.log_head, schema_revenue.orders, schema_crm.leads)
PAGE: Final = 2_000  # Rows per query: large enough that a query's own cost vanishes, a few megabytes.


class StoredSource:
    """Reads one snapshot of a ledger's database."""

    def __init__(self, connection: Connection, *, page: int = PAGE) -> None:
        self._connection = connection
        self._page = page

    @property
    def connection(self) -> Connection:
        """Return the connection, for what reads tables in the same snapshot."""
        return self._connection

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
        for row in self._pages(schema_log.audit_entry, columns, fixed, ("seq",)):
            yield StoredEntry(row[0], row[1], EntryColumns._make(row[2:]))

    def payloads(self, account: str) -> Iterator[StoredPayload]:
        """Yield the payloads by seq."""
        columns = ("seq", "salt", "body", "erased_by")
        for row in self._pages(schema_log.audit_payload, columns, {"account_id": account}, ("seq",)):
            yield StoredPayload._make(row)

    def levels(self, account: str) -> int:
        """Return the highest level of stored nodes."""
        table = schema_log.log_node
        return (
            self._connection.scalar(select(func.max(table.c.level)).where(table.c.account_id == account)) or 0
        )

    def nodes(self, account: str, level: int) -> Iterator[StoredNode]:
        """Yield the stored nodes of one level by position."""
        fixed = {"account_id": account, "level": level}
        for row in self._pages(schema_log.log_node, ("position", "hash"), fixed, ("position",)):
            yield StoredNode._make(row)

    def checkpoints(self, account: str) -> Iterator[StoredCheckpoint]:
        """Yield the checkpoints by size."""
        columns = ("size", "previous", "root", "note", "key_id")
        for row in self._pages(schema_log.checkpoint, columns, {"account_id": account}, ("size",)):
            yield StoredCheckpoint._make(row)

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

    def signed_size(self, account: str) -> int:
        """Return the size of the last checkpoint, 0 where there is none."""
        table = schema_log.checkpoint
        return (
            self._connection.scalar(select(func.max(table.c.size)).where(table.c.account_id == account)) or 0
        )

    def last_rotation(self, account: str) -> str | None:
        """Return the verifier key that the last change of key put in force; None where there was none."""
        table = schema_log.audit_entry
        query = select(table.c.body).where(
            table.c.account_id == account,
            table.c.subject_type == KeyRotated.SUBJECT,
            table.c.kind == KeyRotated.KIND,
        )
        found = self._connection.scalar(query.order_by(table.c.seq.desc()).limit(1))
        return None if found is None else str(read_entry(found).facts["new_key"])

    def lookup(self, account: str) -> Lookup:
        """Return what proofs of this account's tree are made from."""
        return lambda level, position: self.node(account, level, position)

    def entry(self, account: str, seq: int) -> bytes:
        """Return one entry's bytes.

        Raises LookupError where the log has no such entry.
        """
        table = schema_log.audit_entry
        query = select(table.c.body).where(table.c.account_id == account, table.c.seq == seq)
        found: bytes | None = self._connection.scalar(query)
        if found is None:
            raise LookupError(f"the log of {account} has no entry {seq}")
        return found

    def payload(self, account: str, seq: int) -> StoredPayload | None:
        """Return one entry's payload, erased or not; None where it has none."""
        table = schema_log.audit_payload
        query = select(table.c.seq, table.c.salt, table.c.body, table.c.erased_by)
        row = self._connection.execute(query.where(table.c.account_id == account, table.c.seq == seq)).first()
        return None if row is None else StoredPayload(*row)

    def entries_about(self, account: str, subject_id: str, below: int) -> list[int]:
        """Return the seqs, below a bound, of the entries about a call, an approval or another subject."""
        table = schema_log.audit_entry
        subjects = sorted(
            {cls.SUBJECT for cls in CATALOGUE.values()}
        )  # Lets the index be used without a type.
        query = select(table.c.seq).where(
            table.c.account_id == account,
            table.c.subject_type.in_(subjects),
            table.c.subject_id == subject_id,
            table.c.seq < below,
        )
        return list(self._connection.scalars(query.order_by(table.c.seq)))

    def _pages(
        self, table: Table, columns: Sequence[str], fixed: dict[str, Any], key: tuple[str, ...]
    ) -> Iterator[Sequence[Any]]:
        """Yield rows of `table` where the `fixed` columns hold, in the order of `key`, page by page.

        `columns` include the key. Pages go on after the last key as a row comparison, which both engines
        answer from the primary key.
        """
        keys = [table.c[name] for name in key]
        query = select(*(table.c[name] for name in columns)).order_by(*keys).limit(bindparam("page"))
        query = query.offset(literal_column("0"))  # Else SQLite's dialect binds one of its own.
        query = query.where(*(table.c[name] == bindparam(name) for name in fixed))
        after = tuple_(*(bindparam(f"after_{name}", type_=table.c[name].type) for name in key))
        first, later = Statement(query), Statement(query.where(tuple_(*keys) > after))
        # Straight from the driver: a Row for each of a million entries would cost more than hashing them.
        tx, places = Tx(self._connection), [columns.index(name) for name in key]
        rows = tx.rows(first, **fixed, page=self._page)
        while rows:
            yield from rows
            last = rows[-1]
            bounds = {f"after_{name}": last[place] for name, place in zip(key, places, strict=True)}
            rows = tx.rows(later, **fixed, **bounds, page=self._page)


def read_ledger(url: str, work: Callable[[StoredSource], T]) -> T:
    """Run `work` on one snapshot of the ledger at `url`, which nothing can be written through.

    Works beside a running server on either engine. Raises ConfigurationError where there is no ledger.
    """
    try:
        if make_url(url).get_backend_name() == "sqlite":
            return _read_sqlite(url, work)
        return asyncio.run(_read_postgres(url, work))
    except (DatabaseError, ArgumentError, OSError) as error:
        said = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise ConfigurationError(
            f"the ledger cannot be read ({said}); is its address right, and is it whole?"
        ) from None


def _read_sqlite(url: str, work: Callable[[StoredSource], T]) -> T:
    path = make_url(url).database
    if not path or not Path(path).is_file():
        raise ConfigurationError(f"there is no ledger at {path}; make one with `bursar init`")
    engine = create_engine(url, poolclass=NullPool)

    def prepare(dbapi: Any, _record: object) -> None:  # noqa: ANN401  # The driver's connection has no public type.
        dbapi.isolation_level = None  # BEGIN is ours to write.
        for pragma in ("PRAGMA query_only=1", "PRAGMA busy_timeout=5000", "PRAGMA wal_autocheckpoint=0"):
            dbapi.execute(pragma)

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    with engine.begin() as connection:
        return work(StoredSource(connection))


async def _read_postgres(url: str, work: Callable[[StoredSource], T]) -> T:
    engine = postgres_engine(url)
    try:
        async with engine.connect() as connection:
            snapshot = await connection.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
            return await snapshot.run_sync(lambda sync: work(StoredSource(sync)))
    finally:
        await engine.dispose()
