"""The tree of RFC 6962 against its recursive definition, its vectors, and proofs that must not pass."""

import random
from collections.abc import Callable

import pytest

from ledger.audit import merkle
from ledger.audit.merkle import ProofRefused

# The inputs and roots that Certificate Transparency implementations share (RFC 6962 trees of 0 to 8 leaves).
VECTOR_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
VECTOR_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def defined_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1, word for word."""
    if not leaves:
        return merkle.EMPTY_ROOT
    if len(leaves) == 1:
        return merkle.leaf_hash(leaves[0])
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return merkle.node_hash(defined_root(leaves[:k]), defined_root(leaves[k:]))


def defined_path(m: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962, 2.1.1, word for word."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m < k:
        return [*defined_path(m, leaves[:k]), defined_root(leaves[k:])]
    return [*defined_path(m - k, leaves[k:]), defined_root(leaves[:k])]


def defined_subproof(m: int, leaves: list[bytes], *, b: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962, 2.1.2, word for word."""
    if m == len(leaves):
        return [] if b else [defined_root(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m <= k:
        return [*defined_subproof(m, leaves[:k], b=b), defined_root(leaves[k:])]
    return [*defined_subproof(m - k, leaves[k:], b=False), defined_root(leaves[:k])]


class Tree:
    """A tree grown leaf by leaf, with every stored node."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.nodes = {(0, i): merkle.leaf_hash(leaf) for i, leaf in enumerate(leaves)}
        self.frontiers: list[merkle.Frontier] = [()]
        for i in range(len(leaves)):
            grown = merkle.extend(self.frontiers[-1], i, [self.nodes[0, i]])
            self.nodes |= {(level, position): node for level, position, node in grown.nodes}
            self.frontiers.append(grown.frontier)

    def lookup(self, level: int, position: int) -> bytes:
        """The node as a database would give it."""
        return self.nodes[level, position]


LEAVES = [f"leaf {i}".encode() for i in range(130)]
TREE = Tree(LEAVES)


def test_the_roots_are_those_that_certificate_transparency_publishes() -> None:
    """A stranger's RFC 6962 verifier must reach our roots, so ours are held to vectors that are not ours."""
    tree = Tree(VECTOR_LEAVES)
    assert [merkle.root(frontier).hex() for frontier in tree.frontiers] == VECTOR_ROOTS


@pytest.mark.parametrize(
    ("index", "size", "path"),
    [
        (0, 1, []),
        (
            0,
            8,
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            2,
            3,
            ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
        ),
    ],
)
def test_the_paths_are_those_that_certificate_transparency_publishes(
    index: int, size: int, path: list[str]
) -> None:
    """The same for audit paths: sibling first, root's child last."""
    tree = Tree(VECTOR_LEAVES)
    assert [node.hex() for node in merkle.inclusion_proof(index, size, tree.lookup)] == path


def test_every_tree_of_up_to_130_leaves_has_the_root_of_the_definition() -> None:
    """Two whole powers of two and beyond, so that every shape of carry is met."""
    for size in range(131):
        frontier = TREE.frontiers[size]
        assert merkle.root(frontier) == defined_root(LEAVES[:size])
        assert len(frontier) == size.bit_count()
        assert merkle.load_frontier(size, TREE.lookup) == frontier


def test_appending_many_at_once_is_appending_them_one_by_one() -> None:
    """A batch's place among the writer's commits must not show in the tree."""
    hashes = [merkle.leaf_hash(leaf) for leaf in LEAVES]
    for cut in range(131):
        grown = merkle.extend(TREE.frontiers[cut], cut, hashes[cut:])
        assert grown.frontier == TREE.frontiers[130]
        assert all(TREE.nodes[level, position] == node for level, position, node in grown.nodes)


def test_every_inclusion_proof_is_the_definitions_and_verifies() -> None:
    """All leaves of all trees of up to 130 leaves; others verify these paths too."""
    roots = [merkle.root(frontier) for frontier in TREE.frontiers]
    for size in range(1, 131):
        for index in range(size):
            proof = merkle.inclusion_proof(index, size, TREE.lookup)
            if size < 34:  # The recursive definition is slow; past two carries its shape repeats.
                assert proof == defined_path(index, LEAVES[:size])
            merkle.verify_inclusion(TREE.nodes[0, index], index, size, proof, roots[size])


def test_every_consistency_proof_is_the_definitions_and_verifies() -> None:
    """All pairs of sizes up to 130."""
    roots = [merkle.root(frontier) for frontier in TREE.frontiers]
    for new in range(131):
        for old in range(new + 1):
            proof = merkle.consistency_proof(old, new, TREE.lookup)
            if 0 < old < new < 34:  # As above.
                assert proof == defined_subproof(old, LEAVES[:new], b=True)
            merkle.verify_consistency(old, roots[old], new, roots[new], proof=proof)


def changed(proof: list[bytes], rng: random.Random) -> list[bytes]:
    """One change that a proof must not survive."""
    where = rng.randrange(len(proof))
    flipped = bytes([proof[where][0] ^ 1]) + proof[where][1:]
    ways: list[Callable[[], list[bytes]]] = [
        lambda: [*proof[:where], flipped, *proof[where + 1 :]],
        lambda: [*proof[:where], *proof[where + 1 :]],
        lambda: [*proof, proof[where]],
        lambda: [*proof[:where], proof[where], *proof[where:]],
    ]
    return rng.choice(ways)()


def test_no_changed_proof_verifies() -> None:
    """A flipped bit, a missing, an added and a doubled hash are refused, for both kinds of proof."""
    rng = random.Random(6962)
    roots = [merkle.root(frontier) for frontier in TREE.frontiers]
    for _ in range(2000):
        new = rng.randrange(3, 131)
        old, index = rng.randrange(1, new), rng.randrange(new)
        path = changed(merkle.inclusion_proof(index, new, TREE.lookup), rng)
        with pytest.raises(ProofRefused):
            merkle.verify_inclusion(TREE.nodes[0, index], index, new, path, roots[new])
        proof = changed(merkle.consistency_proof(old, new, TREE.lookup), rng)
        with pytest.raises(ProofRefused):
            merkle.verify_consistency(old, roots[old], new, roots[new], proof=proof)


def test_a_proof_speaks_for_one_leaf_one_place_and_one_root() -> None:
    """A receipt must not serve for a neighbour, another place or another tree."""
    proof = merkle.inclusion_proof(5, 100, TREE.lookup)
    root = merkle.root(TREE.frontiers[100])
    for leaf, index, size, other in [(6, 5, 100, root), (5, 4, 100, root), (5, 5, 100, b"\0" * 32)]:
        with pytest.raises(ProofRefused):
            merkle.verify_inclusion(TREE.nodes[0, leaf], index, size, proof, other)
    with pytest.raises(ProofRefused, match="not in a tree"):
        merkle.verify_inclusion(TREE.nodes[0, 5], 100, 100, proof, root)
    with pytest.raises(ValueError, match="not in a tree"):
        merkle.inclusion_proof(100, 100, TREE.lookup)


def test_a_tree_never_begins_a_smaller_or_another_one() -> None:
    """Rolling back, and swapping history at equal size, are what consistency is there to refuse."""
    roots = [merkle.root(frontier) for frontier in TREE.frontiers]
    with pytest.raises(ValueError, match="does not begin"):
        merkle.consistency_proof(9, 8, TREE.lookup)
    for old, old_root, new, new_root, match in [
        (9, roots[9], 8, roots[8], "does not begin"),
        (8, roots[7], 8, roots[8], "equal sizes"),
        (0, roots[1], 8, roots[8], "the empty root"),
        (7, roots[7], 8, roots[8], "is empty"),
    ]:
        with pytest.raises(ProofRefused, match=match):
            merkle.verify_consistency(old, old_root, new, new_root, proof=[])
    proof = merkle.consistency_proof(6, 100, TREE.lookup)
    with pytest.raises(ProofRefused, match="older root"):
        merkle.verify_consistency(6, roots[7], 100, roots[100], proof=proof)
    with pytest.raises(ProofRefused, match="newer root"):
        merkle.verify_consistency(6, roots[6], 100, roots[99], proof=proof)


def test_a_leaf_is_never_taken_for_a_node() -> None:
    """RFC 6962's prefixes: without them, an interior node could be passed off as an entry."""
    left, right = TREE.nodes[0, 0], TREE.nodes[0, 1]
    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right)
