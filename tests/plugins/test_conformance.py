"""The kit for authors finds what is wrong, passes what is right, and the how-to's example passes it."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import msgspec
import pytest

from ledger.records import Outcome
from plugins.conformance.checks import Check, Conforms, check_plugin
from plugins.conformance.samples import sample
from plugins.hookspecs import Plugin, PluginContext, hookimpl
from plugins.tool import Applied, ExecuteContext, OutcomeReport, Tool
from policy.errors import Declined
from policy.language import PluginEntry
from policy.model import Effect, Kind, Mode
from policy.money import Money
from tests.provider import shop as shop_plugin

pytest_plugins = ["plugins.conformance.fixtures"]

HOW_TO = Path("docs/how-to/write-a-plugin.md")
SETTINGS = {"address": "http://127.0.0.1:9", "mode": "simulated"}


def failed(checks: tuple[Check, ...]) -> dict[str, str]:
    """Return what does not hold, by check."""
    return {check.name: check.problem for check in checks if not check.passed}


def test_the_test_plugin_conforms(conforms: Conforms) -> None:
    """A tool of every kind passes, so no check asks for what only some tools have."""
    checks = conforms("shop", module="tests.provider.shop", settings=SETTINGS)
    assert {check.subject for check in checks} >= {
        "shop",
        "shop_buy",
        "shop_note",
        "shop_orders",
        "shop_refund",
    }


@pytest.fixture
def from_the_how_to() -> Iterator[str]:
    """Give the how-to's module as one that can be imported."""
    found = re.search(r"```python\n(\"\"\"Postcards.*?)```", HOW_TO.read_text(), re.DOTALL)
    assert found is not None
    module = ModuleType("postcards_plugin")
    sys.modules["postcards_plugin"] = module
    exec(compile(found.group(1), str(HOW_TO), "exec"), module.__dict__)  # noqa: S102 -- our own page's example
    yield "postcards_plugin"
    del sys.modules["postcards_plugin"]


def test_the_example_of_the_how_to_conforms(from_the_how_to: str, conforms: Conforms) -> None:
    """Whoever follows the page word by word ends with a plugin that passes."""
    checks = conforms("postcards", module=from_the_how_to, settings={"mode": "test"})
    assert "nothing is sent past the guard" in {check.name for check in checks}


@pytest.mark.parametrize("name", ["crm"])
def test_our_own_plugins_conform(name: str, conforms: Conforms) -> None:
    """What we ask of strangers we do ourselves."""
    conforms(name)


# --- plugins that are wrong -----------------------------------------------------------------------------


async def _without_guard(_args: object, _context: ExecuteContext) -> OutcomeReport:
    return OutcomeReport(outcome=Outcome.SUCCEEDED)


async def _past_the_guard(_args: object, context: ExecuteContext) -> OutcomeReport:
    with contextlib.suppress(Exception):
        context.guard()
    return OutcomeReport(outcome=Outcome.SUCCEEDED)


async def _not_a_report(_args: object, _context: ExecuteContext) -> Any:  # noqa: ANN401 -- the mistake
    return "done"


async def _breaking(_args: object, _context: ExecuteContext) -> OutcomeReport:
    raise ZeroDivisionError


async def _refusing(_args: object, _context: ExecuteContext) -> OutcomeReport:
    raise Declined("not for you")


async def _hanging(_args: object, _context: ExecuteContext) -> OutcomeReport:
    raise TimeoutError


async def _unsent(_args: object, context: ExecuteContext) -> OutcomeReport:
    try:
        context.guard()
    except Exception:  # noqa: BLE001 -- a plugin may turn the refusal into a report of its own
        return OutcomeReport(outcome=Outcome.NOT_SENT)
    raise AssertionError


SOUND: Effect = Effect(
    kind=Kind.SPEND,
    operation="pay",
    provider="shop",
    mode=Mode.SIMULATED,
    payee="a.example",
    amount=Money(100, "USD"),
)
_TURNS = iter(range(1_000))


def _differing(*_anything: object) -> Effect:
    return msgspec.structs.replace(SOUND, summary=str(next(_TURNS)))


def _raising(*_anything: object) -> Effect:
    raise ZeroDivisionError("in describe")


def _lacking(*_anything: object) -> Effect:
    raise IndexError


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "it sends without asking": ({"execute": _without_guard}, "without asking the guard"),
    "it sends in spite of it": ({"execute": _past_the_guard}, "was refused, and ended all the same"),
    "it returns no report": ({"execute": _not_a_report}, "returned str"),
    "it breaks": ({"execute": _breaking}, "ZeroDivisionError"),
    "it hangs": ({"execute": _hanging}, "nothing within"),
    "it says nothing of the protocol": ({"description": "Buys."}, "pending_approval"),
    "it depends on chance": ({"describe": _differing}, "another thing at another time"),
    "describe breaks": ({"describe": _raising}, "ZeroDivisionError: in describe"),
    "describe returns nothing": ({"describe": lambda *_: None}, "NoneType, expected an Effect"),
    "it describes another kind": (
        {"describe": lambda *_: msgspec.structs.replace(SOUND, kind=Kind.DRAFT)},
        "describes draft/pay/shop",
    ),
    "it describes another mode": (
        {"describe": lambda *_: msgspec.structs.replace(SOUND, mode=Mode.LIVE)},
        "describes mode live",
    ),
    "it names no amount": ({"describe": lambda *_: msgspec.structs.replace(SOUND, amount=None)}, "no amount"),
    "it names nobody": ({"describe": lambda *_: msgspec.structs.replace(SOUND, payee=None)}, "nobody"),
}


def changed(tool_name: str, **changes: Any) -> tuple[Check, ...]:  # noqa: ANN401 -- any field of a tool
    """Check the test plugin with one of its tools changed."""

    def bursar_plugin(context: PluginContext) -> Plugin:
        made = shop_plugin.bursar_plugin(context)
        tools: tuple[Tool[Any], ...] = tuple(
            msgspec.structs.replace(tool, **changes) for tool in made.tools if tool.name == tool_name
        )
        return Plugin(tools=tools, providers=made.providers)

    module = ModuleType("bursar_wrong_plugin")
    module.bursar_plugin = hookimpl(bursar_plugin)  # type: ignore[attr-defined]  # a module made by hand
    sys.modules["bursar_wrong_plugin"] = module
    try:
        return check_plugin(PluginEntry("shop", "bursar_wrong_plugin", SETTINGS))
    finally:
        del sys.modules["bursar_wrong_plugin"]


@pytest.mark.parametrize("fault", WRONG)
def test_the_kit_finds_it(fault: str) -> None:
    """Each mistake has cost somebody money somewhere."""
    changes, said = WRONG[fault]
    assert said in " ".join(failed(changed("shop_buy", **changes)).values())


@pytest.mark.parametrize("execute", [_refusing, _unsent])
def test_a_refusal_before_sending_is_sound(execute: Any) -> None:  # noqa: ANN401 -- an execute
    """A tool may refuse by itself, or say that nothing was sent."""
    assert failed(changed("shop_buy", execute=execute)) == {}


def test_a_describe_that_lacks_its_records_is_left_to_the_authors_own_tests() -> None:
    """The kit cannot make up a record, and says nothing about what it did not see."""
    assert failed(changed("shop_buy", describe=_lacking)) == {}


def _restless(*_anything: object) -> Any:  # noqa: ANN401 -- an Applied
    return Applied({"turn": next(_TURNS)})


def _unprintable(*_anything: object) -> Any:  # noqa: ANN401 -- an Applied
    return Applied({"value": Path})


@pytest.mark.parametrize(
    ("apply", "said"),
    [(_restless, "the second time"), (_unprintable, "no JSON"), (_raising, "ZeroDivisionError")],
)
def test_an_apply_that_is_not_pure_is_found(apply: Any, said: str) -> None:  # noqa: ANN401 -- an apply
    """The ledger may plan a command more than once."""
    assert said in failed(changed("shop_note", apply=apply))["apply is pure"]


def test_an_apply_that_refuses_is_sound() -> None:
    """It needs a record that the kit cannot make up."""
    assert failed(changed("shop_note", apply=_lacking)) == {}


def test_a_plugin_that_does_not_load_says_why() -> None:
    """The first thing an author sees is the registry's own words."""
    checks = check_plugin(PluginEntry("absent", "no_such_module_here"))
    assert "No module named" in failed(checks)["the plugin loads"]


def test_arguments_that_cannot_be_made_up_are_said() -> None:
    """A check that was not made is not a check that passed."""
    code = Annotated[str, msgspec.Meta(pattern="^[^aA]{3}$")]
    checks = changed("shop_note", arguments=msgspec.defstruct("Strange", [("code", code)]))
    assert "give its fields examples" in failed(checks)["its arguments can be made up"]


class Many(msgspec.Struct):
    """One field of each sort that is made up, all of them needed."""

    code: Annotated[str, msgspec.Meta(pattern="^(ab|cd)_[x-z]{2}[0-9]*$")]
    count: Annotated[int, msgspec.Meta(ge=3)]
    sure: bool
    tags: Annotated[list[str], msgspec.Meta(min_length=2)]
    money: Money
    words: Annotated[str, msgspec.Meta(min_length=30, max_length=40)]


def test_arguments_are_made_up_to_fit() -> None:
    """Whatever a schema may say, an example of it is found."""
    made = sample(Many)
    assert isinstance(made, Many)
    assert (made.code, made.count, made.sure, len(made.tags)) == ("ab_xx", 3, False, 2)


def test_the_fixture_fails_with_every_fault_at_once(conforms: Conforms) -> None:
    """One run shows all there is to mend."""
    with pytest.raises(pytest.fail.Exception, match="No module named"):
        conforms("absent", module="no_such_module_here")
