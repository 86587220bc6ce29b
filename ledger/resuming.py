"""Going on with the World of the last batch, under the account's lock (see `ledger.kept`)."""

from __future__ import annotations

from ledger.engines.tx import Tx
from ledger.load import Sources, account_state, new_world, read_processes
from ledger.world import World


def resume(tx: Tx, account: str, sources: Sources, *, live: bool) -> World:
    """Take the account's lock and go on with what the last batch left, where it is still true.

    `live` where what other processes say of LIVE_SPEND matters (M6). Raises ConfigurationError as above.
    """
    found = account_state(tx, account, lock=True)
    version, next_ordinal, _, _, size, epoch, frontier = found
    mark = tx.foreign_commits()
    world = sources.kept.take(account, (version, epoch, size, mark))
    if world is None:
        world = new_world(tx, account, found, sources)
    elif live:
        world.processes = read_processes(tx, account)
    world.next_ordinal = next_ordinal
    world.head, world.mark = (size, epoch, bytes(frontier)), mark
    return world


def leave(world: World, sources: Sources) -> None:
    """Remember a World whose batch was written, for the next batch to go on with."""
    if world.head is None:
        raise AssertionError("only what took the account's lock is left")
    size, epoch, _ = world.head
    sources.kept.leave(world, (world.house.version, epoch, size, world.mark))
