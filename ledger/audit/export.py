"""One account's log as a file that a stranger can verify alone, with the public key: JSON, one object a line.

    {"bursar_export": 1, "account": ..., "instance": ..., "size": ..., "epoch": ..., "frontier": [...]}
    {"entry": <the entry's own bytes>, "payload": <the payload's own bytes>, "salt": "..."}
    {"checkpoint": {"size": ..., "previous": ..., "root": "...", "key_id": "...", "note": "..."}}
    {"row": {...}, "table": "..."}
    {"end": {"entries": ..., "checkpoints": ..., "rows": ...}}

Entries are in the order of seq, checkpoints of size, rows of table. What stands after `"entry": ` is
exactly what is hashed, so the leaf of a line is SHA-256(0x00 || those bytes). An erased payload leaves
`"erased_by"` instead of payload and salt. Of the tables only such columns are written as the log speaks of,
which keeps tokens and passwords out; hashes are in hex.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from ledger.audit import merkle
from ledger.audit.replay import TOLD, told_columns
from ledger.audit.source import (
    Row,
    Source,
    StoredCheckpoint,
    StoredEntry,
    StoredHead,
    StoredNode,
    StoredPayload,
)
from ledger.audit.usage import USAGE_TABLES

FORMAT: Final = 1
PROGRESS_EVERY: Final = 1_000  # Entries between two calls of progress.
T = TypeVar("T")


class ExportRefused(ValueError):  # noqa: N818  # What was met.
    """A file is no export, or is cut short; the message names the line."""


class Header(Struct, frozen=True, forbid_unknown_fields=True):
    """The first line."""

    bursar_export: int
    account: str
    instance: str
    size: int
    epoch: int
    frontier: list[str]


class _EntryLine(Struct, frozen=True, forbid_unknown_fields=True):
    entry: Raw
    payload: Raw | UnsetType = UNSET
    salt: str | None = None
    erased_by: int | None = None


class _Signed(Struct, frozen=True, forbid_unknown_fields=True):
    size: int
    previous: int
    root: str
    key_id: str
    note: str


class _CheckpointLine(Struct, frozen=True, forbid_unknown_fields=True):
    checkpoint: _Signed


class _RowLine(Struct, frozen=True, forbid_unknown_fields=True):
    row: dict[str, int | str | None]
    table: str


class _Counts(Struct, frozen=True, forbid_unknown_fields=True):
    entries: int
    checkpoints: int
    rows: int


class _EndLine(Struct, frozen=True, forbid_unknown_fields=True):
    end: _Counts


_ENTRY, _SIGNED, _ROW, _END = b'{"entry":', b'{"checkpoint":', b'{"row":', b'{"end":'
_ORDER: Final = {_ENTRY: 0, _SIGNED: 1, _ROW: 2, _END: 3}


# ---- writing


def write_export(
    source: Source, account: str, file: BinaryIO, progress: Callable[[int], None] = lambda _: None
) -> None:
    """Write one account's log and tables to `file`.

    Raises ExportRefused where the account has no log.
    """
    head = source.head(account)
    if head is None:
        raise ExportRefused(f"account {account} has no log")
    nodes = [node.hex() for node in merkle.read_frontier(head.frontier)]
    header = Header(FORMAT, account, source.instance(account), head.size, head.epoch, nodes)
    file.write(msgspec.json.encode(header) + b"\n")
    entries = _write_entries(source, account, file, progress)
    checkpoints = _write_checkpoints(source, account, file)
    rows = _write_rows(source, account, file)
    file.write(msgspec.json.encode(_EndLine(_Counts(entries, checkpoints, rows))) + b"\n")


def _write_entries(source: Source, account: str, file: BinaryIO, progress: Callable[[int], None]) -> int:
    payloads = source.payloads(account)
    waiting = next(payloads, None)
    count = 0
    for entry in source.entries(account):
        line = _ENTRY + entry.body
        if waiting is not None and waiting.seq == entry.seq:
            line += _payload_part(waiting)
            waiting = next(payloads, None)
        file.write(line + b"}\n")
        count += 1
        if count % PROGRESS_EVERY == 0:
            progress(count)
    if waiting is not None:
        raise ExportRefused(f"payload {waiting.seq} belongs to no entry; run `bursar ledger verify`")
    progress(count)
    return count


def _payload_part(payload: StoredPayload) -> bytes:
    part = b""
    if payload.body is not None:
        part += b',"payload":' + payload.body
    if payload.salt is not None:
        part += b',"salt":"' + payload.salt.hex().encode() + b'"'
    if payload.erased_by is not None:
        part += b',"erased_by":' + str(payload.erased_by).encode()
    return part


def _write_checkpoints(source: Source, account: str, file: BinaryIO) -> int:
    count = 0
    for row in source.checkpoints(account):
        signed = _Signed(row.size, row.previous, row.root.hex(), row.key_id, row.note)
        file.write(msgspec.json.encode(_CheckpointLine(signed)) + b"\n")
        count += 1
    return count


def _write_rows(source: Source, account: str, file: BinaryIO) -> int:
    count = 0
    columns = {told.table: told_columns(subject) for subject, told in TOLD.items()}
    for table, wanted in {**columns, **USAGE_TABLES}.items():
        for row in source.rows(account, table):
            kept = {name: _plain(value) for name, value in row.items() if name in wanted}
            file.write(msgspec.json.encode(_RowLine(kept, table)) + b"\n")
            count += 1
    return count


def _plain(value: object) -> int | str | None:
    """Return a column's value as JSON has it; the bytes that the log speaks of are JSON texts."""
    if isinstance(value, bytes):
        return value.decode()
    return value if isinstance(value, int | None) else str(value)


# ---- reading


class ExportSource:
    """Reads an export as a source; each iterator reads the file anew, so nothing is held in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._starts: dict[str, int] = {}  # Where each table's rows begin.
        try:
            with path.open("rb") as file:
                self.header = self._read_header(file.readline())
                self._scan(file)
        except OSError as error:
            raise ExportRefused(f"{path} cannot be read: {error.strerror}") from None

    def accounts(self) -> list[str]:
        """Return the one account of this file."""
        return [self.header.account]

    def instance(self, account: str) -> str:
        """Return the instance that the file says; its signatures prove it."""
        return self.header.instance if account == self.header.account else ""

    def head(self, account: str) -> StoredHead | None:
        """Return the head that the file says."""
        if account != self.header.account:
            return None
        frontier = b"".join(_from_hex(node, 1) for node in self.header.frontier)
        return StoredHead(self.header.size, self.header.epoch, frontier)

    def entries(self, account: str) -> Iterator[StoredEntry]:
        """Yield the entries in the order of the file."""
        decoder = msgspec.json.Decoder(_EntryLine)
        for seq, (number, line) in enumerate(self._lines(_ENTRY, account)):
            yield StoredEntry(seq, bytes(_decode(decoder, line, number).entry), None)

    def payloads(self, account: str) -> Iterator[StoredPayload]:
        """Yield the payloads in the order of the file."""
        decoder = msgspec.json.Decoder(_EntryLine)
        for seq, (number, line) in enumerate(self._lines(_ENTRY, account)):
            found = _decode(decoder, line, number)
            body = None if found.payload is UNSET else bytes(found.payload)
            if body is not None or found.salt is not None or found.erased_by is not None:
                salt = None if found.salt is None else _from_hex(found.salt, number)
                yield StoredPayload(seq, salt, body, found.erased_by)

    def levels(self, account: str) -> int:  # noqa: ARG002  # The protocol's.
        """Return -1: an export keeps no nodes, they follow from the entries."""
        return -1

    def nodes(self, account: str, level: int) -> Iterator[StoredNode]:  # noqa: ARG002  # The same.
        """Yield nothing."""
        return iter(())

    def checkpoints(self, account: str) -> Iterator[StoredCheckpoint]:
        """Yield the checkpoints in the order of the file."""
        decoder = msgspec.json.Decoder(_CheckpointLine)
        for number, line in self._lines(_SIGNED, account):
            row = _decode(decoder, line, number).checkpoint
            yield StoredCheckpoint(row.size, row.previous, _from_hex(row.root, number), row.note, row.key_id)

    def rows(self, account: str, table: str) -> Iterator[Row]:
        """Yield the rows of a table."""
        if table not in self._starts:
            return
        decoder = msgspec.json.Decoder(_RowLine)
        for number, line in self._lines(_ROW, account, self._starts[table]):
            found = _decode(decoder, line, number)
            if found.table != table:
                return
            yield found.row

    def _read_header(self, line: bytes) -> Header:
        try:
            header = msgspec.json.decode(line, type=Header)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ExportRefused(f"{self._path} is no export of a Bursar ledger") from None
        if header.bursar_export != FORMAT:
            raise ExportRefused(
                f"{self._path} is an export of format {header.bursar_export}, this reads {FORMAT}"
            )
        return header

    def _scan(self, file: BinaryIO) -> None:
        """Check the order of the lines and that none is missing at the end; note where each table begins."""
        counts = [0, 0, 0, 0]
        at, last, table = file.tell(), 0, ""
        decoder = msgspec.json.Decoder(_RowLine)
        for number, line in enumerate(file, 2):
            kind = next((place for prefix, place in _ORDER.items() if line.startswith(prefix)), -1)
            if kind < last or counts[_ORDER[_END]]:
                raise ExportRefused(f"{self._path}:{number}: no line of an export, or out of its place")
            if kind == _ORDER[_ROW]:
                name = _decode(decoder, line, number).table
                if name != table and name in self._starts:
                    raise ExportRefused(f"{self._path}:{number}: a row of {name} out of its place")
                self._starts.setdefault(name, at)
                table = name
            counts[kind] += 1
            at, last = at + len(line), kind
        if not counts[_ORDER[_END]]:
            raise ExportRefused(f"{self._path} is cut short: its last line is missing")
        said = _decode(msgspec.json.Decoder(_EndLine), line, number).end
        if [said.entries, said.checkpoints, said.rows] != counts[:3]:
            raise ExportRefused(f"{self._path} has lost lines: its last line counts others")

    def _lines(self, prefix: bytes, account: str, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield the lines of one kind with their numbers (counted from `start`)."""
        if account != self.header.account:
            return
        met = False
        with self._path.open("rb") as file:
            file.seek(start)
            for number, line in enumerate(file, 1):
                if line.startswith(prefix):
                    met = True
                    yield number, line
                elif met:
                    return


def _decode(decoder: "msgspec.json.Decoder[T]", line: bytes, number: int) -> T:
    try:
        return decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ExportRefused(f"line {number} of the export is damaged: {error}") from None


def _from_hex(text: str, number: int) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ExportRefused(f"line {number} of the export is damaged: {text[:40]!r} is no hex") from None
