"""The Merkle tree of RFC 6962, section 2.1: roots, inclusion and consistency proofs, all pure.

A tree of n leaves is cut where the binary digits of n say: its complete subtrees, largest first, are the
*frontier*, which is all that appending needs. A complete subtree at `level` covers 2^level leaves; the one at
`position` covers leaves [position * 2^level, (position + 1) * 2^level). Level 0 are the leaf hashes. Stored
nodes never change, so a proof for any earlier size can be made from them at any time.
"""

from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Final, NamedTuple

Frontier = tuple[bytes, ...]
Node = tuple[int, int, bytes]
"""A complete subtree to store: level, position, hash."""
Lookup = Callable[[int, int], bytes]
"""Gives the hash of the complete subtree at (level, position)."""

EMPTY_ROOT: Final = sha256(b"").digest()


class ProofRefused(ValueError):  # noqa: N818  # The glossary's word; it names what was met.
    """A proof does not lead from what it speaks of to the root it speaks for."""


class Grown(NamedTuple):
    """What appending gives: the frontier to carry, and the complete subtrees above leaf level to store."""

    frontier: Frontier
    nodes: list[Node]


def leaf_hash(entry: bytes) -> bytes:
    """Return SHA-256(0x00 || entry)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


def extend(frontier: Frontier, size: int, leaves: Iterable[bytes]) -> Grown:
    """Append leaf hashes to the tree of `size` leaves that `frontier` stands for."""
    stack = list(frontier)
    nodes: list[Node] = []
    for leaf in leaves:
        node, level, position = leaf, 0, size
        while position & 1:
            node = sha256(b"\x01" + stack.pop() + node).digest()
            level += 1
            position >>= 1
            nodes.append((level, position, node))
        stack.append(node)
        size += 1
    return Grown(tuple(stack), nodes)


def root(frontier: Frontier) -> bytes:
    """Return the root of the tree that `frontier` stands for."""
    if not frontier:
        return EMPTY_ROOT
    result = frontier[-1]
    for left in reversed(frontier[:-1]):
        result = node_hash(left, result)
    return result
