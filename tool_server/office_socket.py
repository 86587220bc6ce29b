"""The lock holder's socket: one question and one answer per connection, for this user's own processes alone.

The file is `<database>.sock`, mode 0600, and the kernel says whose process is at the other end (SO_PEERCRED):
rights on a socket file are not checked everywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec
import structlog

from policy.errors import ConfigurationError
from tool_server.office import Ask, Told, encode

LONGEST_LINE: Final = (
    4_194_304  # Bytes: a policy text travels in one question, a page of calls in one answer.
)
QUESTION_S: Final = 5.0  # A process of this machine that connects has its question ready.
ANSWER_S: Final = 60.0  # The slowest answers hash passwords and run a policy's cases.
_LONGEST_PATH: Final = 100  # The kernel takes 108 bytes with the closing zero.

_log = structlog.get_logger("bursar.office")


def socket_path(database: Path) -> Path:
    """Return where the holder of a database's lock listens."""
    return database.with_name(database.name + ".sock")


@contextlib.asynccontextmanager
async def listening(database: Path, handle: Callable[[Ask], Awaitable[Told]]) -> AsyncIterator[None]:
    """Answer on the socket for as long as the block runs; the caller holds the database's lock."""
    path = socket_path(database)
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise ConfigurationError(
            f"the path {path} is too long for a socket; keep the database in a shorter folder"
        )
    path.unlink(missing_ok=True)  # Ours to remove: only the lock's holder gets here.
    before = os.umask(0o177)  # The file must never exist with wider rights, not even for an instant.
    try:
        server = await asyncio.start_unix_server(_answering(handle), path=path, limit=LONGEST_LINE)
    finally:
        os.umask(before)
    try:
        async with server:
            yield
    finally:
        path.unlink(missing_ok=True)


async def ask_holder(database: Path, ask: Ask) -> Told | None:
    """Ask whoever holds the lock; None where nobody listens."""
    try:
        reader, writer = await asyncio.open_unix_connection(socket_path(database), limit=LONGEST_LINE)
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except PermissionError:
        raise ConfigurationError(
            f"the server at {socket_path(database)} belongs to another user; run this command as that user"
        ) from None
    try:
        async with asyncio.timeout(ANSWER_S):
            writer.write(encode(ask))
            await writer.drain()
            line = await reader.readline()
        return msgspec.json.decode(line, type=Told)
    except (TimeoutError, OSError, ValueError):
        raise ConfigurationError(
            "the running server gave no answer; look at its log, and at what it did"
        ) from None
    finally:
        writer.close()


def _answering(
    handle: Callable[[Ask], Awaitable[Told]],
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not _is_ours(writer.get_extra_info("socket")):
                return
            async with asyncio.timeout(QUESTION_S):
                line = await reader.readline()
            ask = msgspec.json.decode(line, type=Ask)
            writer.write(encode(await handle(ask)))
            await writer.drain()
        except (TimeoutError, OSError, ValueError):
            _log.warning("office_question_lost")
        except Exception:  # noqa: BLE001 - a break of one question must not end the server
            _log.exception("office_broke")
        finally:
            writer.close()

    return answer


def _is_ours(peer: socket.socket) -> bool:
    """Say whether the other end is a process of this user, or of root."""
    if sys.platform != "linux":
        return True  # Elsewhere the folder's and the file's rights have to do.
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return uid in {0, os.getuid()}
