"""How a tool's questions are answered: one table from the kind of query to the function that reads it.

A loader sees one reader's records only and raises RecordMissing for what is absent or another project's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ledger.engines.tx import Tx
from ledger.records import Query, Reader, RecordRef
from policy.errors import BursarError

# A query's own type is narrower than Query, so the table cannot say it; `load_query` looks up by type.
Loader = Callable[[Tx, Any, Reader], tuple[RecordRef, ...]]


class QueryUnknown(BursarError):
    """A plugin asked a question that this ledger has no answer for."""


def loaders() -> dict[type[Query], Loader]:
    """Return every query this ledger can answer; rooms add their lines here."""
    return {}


def load_query(
    tx: Tx, query: Query, reader: Reader, table: Mapping[type[Query], Loader]
) -> tuple[RecordRef, ...]:
    """Answer one query. Raises RecordMissing."""
    loader = table.get(type(query))
    if loader is None:
        raise QueryUnknown(f"nothing in ledger/queries.py answers {type(query).__name__}")
    return loader(tx, query, reader)
