"""The Merkle tree of RFC 6962, section 2.1: roots, inclusion and consistency proofs, all pure.

A tree of n leaves is cut where the binary digits of n say: its complete subtrees, largest first, are the
*frontier*, which is all that appending needs. A complete subtree at `level` covers 2^level leaves; the one at
`position` covers leaves [position * 2^level, (position + 1) * 2^level). Level 0 are the leaf hashes. Stored
nodes never change, so a proof for any earlier size can be made from them at any time.
"""

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

Frontier = tuple[bytes, ...]
Node = tuple[int, int, bytes]
"""A complete subtree to store: level, position, hash."""
Lookup = Callable[[int, int], bytes]
"""Gives the hash of the complete subtree at (level, position)."""

EMPTY_ROOT: Final = sha256(b"").digest()
HASH_BYTES: Final = len(EMPTY_ROOT)


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


def read_frontier(stored: bytes) -> Frontier:
    """Return the frontier that is stored as its hashes one after the other."""
    return tuple(bytes(stored[at : at + HASH_BYTES]) for at in range(0, len(stored), HASH_BYTES))


def frontier_nodes(size: int) -> list[tuple[int, int]]:
    """Return (level, position) of the complete subtrees of a tree of `size` leaves, largest first."""
    levels = [level for level in range(size.bit_length()) if size >> level & 1]
    return [(level, (size >> level) - 1) for level in reversed(levels)]


def load_frontier(size: int, lookup: Lookup) -> Frontier:
    """Return the frontier of the tree of `size` leaves from stored nodes."""
    return tuple(lookup(level, position) for level, position in frontier_nodes(size))


def inclusion_proof(index: int, size: int, lookup: Lookup) -> list[bytes]:
    """Return the audit path of leaf `index` in the tree of `size` leaves, from its sibling up.

    As in RFC 6962, 2.1.1. Raises ValueError unless 0 <= index < size.
    """
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    return _path(index, 0, size, lookup)


def consistency_proof(old: int, new: int, lookup: Lookup) -> list[bytes]:
    """Return the proof that the tree of `old` leaves begins the tree of `new` (RFC 6962, 2.1.2).

    Empty for equal sizes, and for an `old` of 0, which begins everything.
    Raises ValueError unless 0 <= old <= new.
    """
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {old} leaves does not begin one of {new}")
    return _subproof(old, 0, new, lookup, whole=True) if 0 < old < new else []


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Iterable[bytes], root: bytes) -> None:
    """Check that `leaf` is the hash of leaf `index` in the tree of `size` leaves with this root.

    As in RFC 9162, 2.1.3.2. Raises ProofRefused where it is not.
    """
    if not 0 <= index < size:
        raise ProofRefused(f"leaf {index} is not in a tree of {size}")
    node, last, result = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofRefused("the proof is longer than the tree is high")
        if node & 1 or node == last:
            result = node_hash(sibling, result)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise ProofRefused("the proof is shorter than the tree is high")
    if result != root:
        raise ProofRefused("the leaf and its proof lead to another root")


def verify_consistency(
    old: int, old_root: bytes, new: int, new_root: bytes, *, proof: Sequence[bytes]
) -> None:
    """Check that the tree of `old` leaves with `old_root` begins the tree of `new` with `new_root`.

    As in RFC 9162, 2.1.4.2. Raises ProofRefused where it does not.
    """
    if not 0 <= old <= new:
        raise ProofRefused(f"a tree of {old} leaves does not begin one of {new}")
    if old in {0, new}:
        expected = EMPTY_ROOT if old == 0 else new_root
        if proof or old_root != expected:
            raise ProofRefused(
                "equal sizes need equal roots, an empty tree the empty root, and both no proof"
            )
        return
    first, last = old - 1, new - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    rest = list(proof)
    if first:  # Otherwise `old` is a complete subtree of `new`, and its root needs no sending.
        if not rest:
            raise ProofRefused("the proof is empty")
        start = rest.pop(0)
    else:
        start = old_root
    before, after = _climb(start, first, last, rest)
    if before != old_root:
        raise ProofRefused("the proof does not lead to the older root")
    if after != new_root:
        raise ProofRefused("the proof does not lead to the newer root")


def _climb(start: bytes, first: int, last: int, rest: Iterable[bytes]) -> tuple[bytes, bytes]:
    """Return the roots of the older and the newer tree that a consistency proof leads to."""
    before = after = start
    for node in rest:
        if last == 0:
            raise ProofRefused("the proof is longer than the tree is high")
        if first & 1 or first == last:
            before, after = node_hash(node, before), node_hash(node, after)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            after = node_hash(after, node)
        first, last = first >> 1, last >> 1
    if last:
        raise ProofRefused("the proof is shorter than the tree is high")
    return before, after


def _split(size: int) -> int:
    """Return the largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def _hash(start: int, size: int, lookup: Lookup) -> bytes:
    """Return the root over the leaves [start, start + size), `start` being where a subtree can begin."""
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return lookup(level, start >> level)
    left = _split(size)
    return node_hash(_hash(start, left, lookup), _hash(start + left, size - left, lookup))


def _path(index: int, start: int, size: int, lookup: Lookup) -> list[bytes]:
    if size == 1:
        return []
    left = _split(size)
    if index < left:
        return [*_path(index, start, left, lookup), _hash(start + left, size - left, lookup)]
    return [*_path(index - left, start + left, size - left, lookup), _hash(start, left, lookup)]


def _subproof(old: int, start: int, size: int, lookup: Lookup, *, whole: bool) -> list[bytes]:
    """Follow SUBPROOF of RFC 6962, 2.1.2; `whole` is its b: the verifier has the older root already."""
    if old == size:
        return [] if whole else [_hash(start, size, lookup)]
    left = _split(size)
    if old <= left:
        inner = _subproof(old, start, left, lookup, whole=whole)
        return [*inner, _hash(start + left, size - left, lookup)]
    inner = _subproof(old - left, start + left, size - left, lookup, whole=False)
    return [*inner, _hash(start, left, lookup)]
