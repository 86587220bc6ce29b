"""Small damages to our own code: a comparison turned, a guard that never closes, a refusal that is forgotten.

A mutant is named by what it does, not by where it stands, so that a list of them survives an edit above it.
"""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, Final

from msgspec import Struct

Function = ast.FunctionDef | ast.AsyncFunctionDef
_TURNED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_BOUNDARY: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}
_LEAVES: Final = (ast.Return, ast.Raise, ast.Continue, ast.Break)


class Mutant(Struct, frozen=True):
    """One damage: to a function of a file, at the n-th node of its tree, in one of the ways below."""

    file: str
    function: str
    line: int
    node: int  # Place in ast.walk's order within the function.
    way: str
    choice: int
    name: str  # What is damaged and how; unique within the function.

    @property
    def key(self) -> str:
        """Return its name for lists that people write."""
        return f"{self.file}:{self.function}: {self.name}"


def mutants_of(file: str) -> tuple[Mutant, ...]:
    """Return every mutant of a file of ours."""
    text = Path(file).read_text("utf-8")
    tree, lines = ast.parse(text), text.splitlines()
    found: list[Mutant] = []
    for qualname, function in _functions(tree):
        seen: Counter[str] = Counter()
        for node, at, way, choice, name in _ways(function):
            if "pragma: no cover" in lines[node.lineno - 1]:
                continue
            seen[name] += 1
            unique = name if seen[name] == 1 else f"{name} (#{seen[name]})"
            found.append(Mutant(file, qualname, node.lineno, at, way, choice, unique))
    return tuple(found)


def damage(mutant: Mutant) -> None:
    """Put a mutant into the code that is already imported, for the rest of this process's life."""
    tree = ast.parse(Path(mutant.file).read_text("utf-8"), mutant.file)
    function = dict(_functions(tree))[mutant.function]
    node: Any = list(ast.walk(function))[mutant.node]
    _WAYS[mutant.way](function, node, mutant.choice)
    ast.fix_missing_locations(tree)
    wanted = _code(compile(tree, mutant.file, "exec"), mutant.function)
    live = _live(mutant)
    live.__code__ = wanted


def _functions(tree: ast.Module) -> Iterator[tuple[str, Function]]:
    """Yield functions and methods; those inside of a function belong to it."""
    for node in tree.body:
        if isinstance(node, Function):
            yield node.name, node
        elif isinstance(node, ast.ClassDef) and not _is_protocol(node):
            methods = (inner for inner in node.body if isinstance(inner, Function))
            yield from ((f"{node.name}.{inner.name}", inner) for inner in methods)


def _is_protocol(node: ast.ClassDef) -> bool:
    return any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)


def _ways(function: Function) -> Iterator[tuple[ast.stmt | ast.expr, int, str, int, str]]:
    """Yield every way to damage a function: the node, its place, the way, which choice of it, and a name."""
    alone = {
        id(node.body[0])
        for node in ast.walk(function)
        if isinstance(node, ast.If) and len(node.body) == 1 and isinstance(node.body[0], ast.Raise)
    }
    kinds = _returned(function)
    for at, node in enumerate(ast.walk(function)):
        if isinstance(node, ast.Compare):
            text, new = ast.unparse(node), type(node.ops[0])
            yield node, at, "turned", 0, f"`{text}` turned"
            if new in _BOUNDARY:
                yield node, at, "boundary", 0, f"`{text}` off by one"
        elif isinstance(node, ast.BoolOp) and not _is_default(node):
            for choice, value in enumerate(node.values):
                yield node, at, "dropped", choice, f"`{ast.unparse(node)}` without `{ast.unparse(value)}`"
        elif isinstance(node, ast.If) and isinstance(node.body[-1], _LEAVES):
            yield node, at, "open", 0, f"`if {ast.unparse(node.test)}` never true"
        elif isinstance(node, ast.Raise) and id(node) not in alone:
            yield node, at, "silent", 0, f"`{ast.unparse(node)[:70]}` forgotten"
        elif isinstance(node, ast.Return) and (kind := kinds.get(id(node))):
            yield node, at, kind, 0, f"`{ast.unparse(node)[:90]}` {_SAID[kind]}"


def _is_default(node: ast.BoolOp) -> bool:
    """Say whether this is `value or something else`, which guards nothing."""
    asked = ast.Compare | ast.UnaryOp | ast.Call | ast.BoolOp
    return isinstance(node.op, ast.Or) and not isinstance(node.values[-1], asked)


def _returned(function: Function) -> dict[int, str]:
    """Return which way each return of this very function, not of one inside it, can be damaged."""
    said = "" if function.returns is None else ast.unparse(function.returns)
    kind = "opposite" if said == "bool" else "nothing" if said.endswith("| None") else ""
    if not kind:
        return {}
    found: dict[int, str] = {}
    left: list[ast.AST] = list(function.body)
    while left:
        node = left.pop()
        if isinstance(node, ast.Return) and node.value is not None and not _plain(node.value, kind):
            found[id(node)] = kind
        if not isinstance(node, Function | ast.Lambda):
            left.extend(ast.iter_child_nodes(node))
    return found


def _plain(value: ast.expr, kind: str) -> bool:
    """Say whether another way already turns this value, or there is nothing to take away."""
    if kind == "opposite":
        return isinstance(value, ast.Compare) and len(value.ops) == 1
    return isinstance(value, ast.Constant) and value.value is None


_SAID: Final = {"opposite": "says the opposite", "nothing": "says nothing"}


def _turn(_function: Function, node: ast.Compare, _choice: int) -> None:
    node.ops[0] = _TURNED[type(node.ops[0])]()


def _shift(_function: Function, node: ast.Compare, _choice: int) -> None:
    node.ops[0] = _BOUNDARY[type(node.ops[0])]()


def _drop(_function: Function, node: ast.BoolOp, choice: int) -> None:
    # `x or x` is x: the tree keeps its shape, so that other nodes keep their places.
    kept = [value for number, value in enumerate(node.values) if number != choice]
    node.values = kept if len(kept) > 1 else [kept[0], copy.deepcopy(kept[0])]


def _open(_function: Function, node: ast.If, _choice: int) -> None:
    # Evaluated still: a walrus in it may be needed below.
    node.test = ast.BoolOp(ast.And(), [ast.Tuple([node.test], ast.Load()), ast.Constant(value=False)])


def _silence(function: Function, node: ast.Raise, _choice: int) -> None:
    class Forget(ast.NodeTransformer):
        def visit_Raise(self, each: ast.Raise) -> ast.stmt:
            return ast.copy_location(ast.Pass(), each) if each is node else each

    Forget().visit(function)


def _oppose(_function: Function, node: ast.Return, _choice: int) -> None:
    if node.value is not None:
        node.value = ast.UnaryOp(ast.Not(), node.value)


def _take_away(_function: Function, node: ast.Return, _choice: int) -> None:
    node.value = ast.Constant(value=None)


_WAYS: Final[dict[str, Any]] = {
    "turned": _turn,
    "boundary": _shift,
    "dropped": _drop,
    "open": _open,
    "silent": _silence,
    "opposite": _oppose,
    "nothing": _take_away,
}


def _code(module: CodeType, qualname: str) -> CodeType:
    code = module
    for name in qualname.split("."):
        code = next(each for each in code.co_consts if isinstance(each, CodeType) and each.co_name == name)
    return code


def _live(mutant: Mutant) -> FunctionType:
    """Return the function as the program uses it, below whatever decorates it."""
    found: Any = importlib.import_module(mutant.file.removesuffix(".py").replace("/", "."))
    for name in mutant.function.split("."):
        found = inspect.getattr_static(found, name)
    found = getattr(found, "fget", None) or getattr(found, "__func__", None) or found
    found = inspect.unwrap(found)
    if not isinstance(found, FunctionType):
        raise TypeError(f"{mutant.key}: nothing to damage in {found!r}")
    return found
