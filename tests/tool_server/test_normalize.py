"""Step 1 by itself: who asks, for what, in which scope; over books that a test wrote."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import Struct, structs

from ledger.records import Query, Reader, RecordRef, RunRecord
from plugins.conformance.checks import made_up_context
from plugins.conformance.samples import a_call
from plugins.registry import LoadedTool, load
from plugins.schema import LONGEST_KEY, LONGEST_REASON
from plugins.tool import Binding
from policy.errors import CallRefused, InvalidArguments, KeyMissing, NotReady, RecordMissing, ScopeMismatch
from policy.language import PluginEntry
from policy.model import Kind, Mode
from tool_server.envelope import CallMeta, Principal
from tool_server.normalize import META_KEY, META_RUN, STANDING, Normalizer
from tool_server.operation import PluginBroke, changed_since, described

NOW = datetime(2026, 11, 22, tzinfo=UTC)
BOUND = Binding(provider="shop", account="acct_shop", mode=Mode.SIMULATED)
BUY: dict[str, object] = {"item": "a", "vendor": "b.example", "amount": "5.00 USD", "idempotency_key": "k"}
SCOUT = Principal(account_id="acct", project="shop", agent_id="agt_1", agent="scout", kits=("shop",))
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def a_run(run_id: str, **changes: Any) -> RunRecord:  # noqa: ANN401 -- fields of a run
    """Return an open run of the project."""
    run = RunRecord(
        run_id=run_id,
        account_id="acct",
        project="shop",
        title="work",
        state="open",
        standing=False,
        opened_at=NOW,
    )
    return structs.replace(run, **changes)


RUNS = {
    run.run_id: run
    for run in (
        a_run("run_open"),
        a_run("run_more"),
        a_run("run_closed", state="closed"),
        a_run("run_project", project="other"),
        a_run("run_account", account_id="other"),
    )
}


class Books:
    """What step 1 reads of the ledger."""

    async def run(self, run_id: str) -> RunRecord | None:
        """Return a run."""
        return RUNS.get(run_id)

    async def standing_run(self, project: str, *, afresh: bool = False) -> RunRecord:
        """Return the standing run; another one after midnight."""
        return a_run("run_next" if afresh else "run_today", project=project, standing=True)

    async def read(self, _queries: tuple[Query, ...], _reader: Reader) -> tuple[RecordRef, ...]:
        """Find nothing."""
        return ()


@pytest.fixture(scope="module")
def tools() -> dict[str, LoadedTool]:
    """Load the shop once."""
    entry = PluginEntry("shop", "tests.provider.shop", {"address": "http://127.0.0.1:9", "mode": "simulated"})
    return dict(load([entry], lambda each, names: made_up_context(each, names, NOW)).tools)


def normalizer(binding: Binding | None = BOUND) -> Normalizer:
    """Return step 1 with what it leans on."""
    return Normalizer(
        Books(), binding=lambda _provider: binding, now=lambda: NOW, new_id=lambda prefix: f"{prefix}_new"
    )


def raw(**arguments: object) -> bytes:
    """Return arguments as they come over the wire, without what is None."""
    return json.dumps({name: value for name, value in arguments.items() if value is not None}).encode()


@pytest.mark.parametrize(
    ("key", "beside", "taken"),
    [
        ("k", None, "k"),
        (None, "k", "k"),
        ("k", "k", "k"),
        ("k" * LONGEST_KEY, None, "k" * LONGEST_KEY),
        ("k", "other", InvalidArguments),
        ("k" * (LONGEST_KEY + 1), None, InvalidArguments),
        ("", None, InvalidArguments),
        ("kéy", None, InvalidArguments),
        (7, None, InvalidArguments),
        (None, None, KeyMissing),
    ],
)
async def test_m24_a_key_is_short_printable_and_said_once(
    tools: dict[str, LoadedTool], key: object, beside: object, taken: str | type[CallRefused]
) -> None:
    """M24: two keys that look alike are alike, and one call has one."""
    meta = CallMeta(meta={META_KEY: beside} if beside else {})
    wanted = normalizer().intent(SCOUT, tools["shop_buy"], raw(**{**BUY, "idempotency_key": key}), meta)
    if isinstance(taken, str):
        assert (await wanted).key == taken
    else:
        with pytest.raises(taken):
            await wanted


async def test_m24_a_key_is_asked_for_only_where_one_is_needed(tools: dict[str, LoadedTool]) -> None:
    """M24: a quote of a purchase is no purchase, and a read has no key even where one is sent along."""
    step, keyless = normalizer(), raw(**{**BUY, "idempotency_key": None})
    assert (await step.intent(SCOUT, tools["shop_buy"], keyless, CallMeta(), need_key=False)).key is None
    assert (await step.intent(SCOUT, tools["shop_note"], raw(text="x"), CallMeta())).key is None
    reading = next(loaded for loaded in tools.values() if loaded.tool.kind is Kind.READ)
    beside = CallMeta(meta={META_KEY: "k"})
    assert (await step.intent(SCOUT, reading, raw(text="x"), beside)).key is None


@pytest.mark.parametrize(
    ("reason", "taken"),
    [
        (None, ""),
        ("because", "because"),
        ("x" * LONGEST_REASON, "x" * LONGEST_REASON),
        ("x" * (LONGEST_REASON + 1), None),
        (7, None),
        (["because"], None),
    ],
)
async def test_a_reason_is_text_of_a_bounded_length(
    tools: dict[str, LoadedTool], reason: object, taken: str | None
) -> None:
    """It is shown to the person who answers, in the agent's own words."""
    wanted = normalizer().intent(SCOUT, tools["shop_buy"], raw(**BUY, reason=reason), CallMeta())
    if taken is not None:
        assert (await wanted).reason == taken
    else:
        with pytest.raises(InvalidArguments, match="reason takes text"):
            await wanted


@pytest.mark.parametrize(("sent", "kept"), [(TRACE, TRACE), (TRACE[:-1], ""), (f"{TRACE}\n", ""), (7, "")])
async def test_what_is_no_trace_is_left_out_and_refuses_nothing(
    tools: dict[str, LoadedTool], sent: object, kept: str
) -> None:
    """It goes into headers and spans as it is."""
    meta = CallMeta(meta={"traceparent": sent})
    assert (await normalizer().intent(SCOUT, tools["shop_buy"], raw(**BUY), meta)).traceparent == kept


@pytest.mark.parametrize(
    ("token", "header", "beside", "argument", "named"),
    [
        (None, None, None, None, STANDING),
        ("run_open", None, None, None, "run_open"),
        (None, "run_open", None, None, "run_open"),
        (None, None, "run_open", None, "run_open"),
        (None, None, None, "run_open", "run_open"),
        ("run_open", "run_open", "run_open", "run_open", "run_open"),
        ("run_open", None, None, "run_more", ""),
        (None, "run_open", "run_more", None, ""),
        (None, None, 7, None, ""),
        (None, None, None, "run_unknown", ""),
        (None, None, None, "run_closed", ""),
        (None, None, None, "run_project", ""),
        (None, None, None, "run_account", ""),
    ],
)
async def test_a_run_is_an_open_one_of_the_project_and_all_who_name_one_agree(
    tools: dict[str, LoadedTool],
    *,
    token: str | None,
    header: str | None,
    beside: object,
    argument: str | None,
    named: str,
) -> None:
    """The caps of a run are those of the work the call belongs to; another's must not pay for it."""
    who = structs.replace(SCOUT, run_id=token)
    meta = CallMeta(run_header=header, meta={} if beside is None else {META_RUN: beside})
    wanted = normalizer().intent(who, tools["shop_buy"], raw(**BUY, run_id=argument), meta)
    if not named:
        with pytest.raises(ScopeMismatch):
            await wanted
        return
    intent = await wanted
    assert (intent.named, intent.standing) == (named, named == STANDING)
    assert intent.run.run_id == ("run_today" if named == STANDING else named)


async def test_m4_a_provider_whose_account_nobody_measured_sells_nothing(
    tools: dict[str, LoadedTool],
) -> None:
    """M4: nobody could say on the card whose account pays; what stays in the house needs none."""
    step = normalizer(structs.replace(BOUND, account=""))
    buy = await step.intent(SCOUT, tools["shop_buy"], raw(**BUY), CallMeta())
    with pytest.raises(NotReady):
        await step.normal(buy)
    note = await step.intent(SCOUT, tools["shop_note"], raw(text="x"), CallMeta())
    assert (await step.normal(note)).provider_account == ""
    assert (await normalizer(None).normal(note)).provider_account == ""
    assert (await normalizer().normal(buy)).provider_account == "acct_shop"


async def test_a_call_has_the_id_it_was_given_or_a_new_one(tools: dict[str, LoadedTool]) -> None:
    """What is asked again by an editor, or after midnight, stays the call that was shown."""
    intent = await normalizer().intent(SCOUT, tools["shop_buy"], raw(**BUY), CallMeta())
    assert (await normalizer().normal(intent)).call_id == "call_new"
    given = await normalizer().normal(intent, call_id="call_given")
    assert (given.call_id, given.context.call_id) == ("call_given", "call_given")
    assert json.loads(intent.args_json) == {name: BUY[name] for name in ("amount", "item", "vendor")}


@pytest.mark.parametrize(("kind", "own"), [(Kind.WITHDRAW, True), (Kind.SPEND, False)])
async def test_only_a_withdrawal_is_ever_of_ones_own(
    tools: dict[str, LoadedTool], kind: Kind, *, own: bool
) -> None:
    """What an agent takes back of its own needs no rule; a plugin cannot claim that for a purchase."""
    loaded = next(each for each in tools.values() if each.tool.kind is kind)
    claiming = structs.replace(loaded, tool=structs.replace(loaded.tool, own=lambda *_anything: True))
    given = BUY if kind is Kind.SPEND else {**_needed(loaded), "idempotency_key": "k"}
    intent = await normalizer().intent(SCOUT, claiming, raw(**given), CallMeta())
    assert (await normalizer().normal(intent)).call.own is own
    modest = structs.replace(loaded, tool=structs.replace(loaded.tool, own=lambda *_anything: False))
    intent = await normalizer().intent(SCOUT, modest, raw(**given), CallMeta())
    assert not (await normalizer().normal(intent)).call.own


def _needed(loaded: LoadedTool) -> dict[str, object]:
    """Return text for every argument of a tool that needs no more."""
    arguments: type[Struct] = loaded.tool.arguments
    return dict.fromkeys(arguments.__struct_fields__, "x")


@pytest.mark.parametrize(
    "lie", [{"kind": Kind.READ}, {"operation": "other"}, {"provider": "other"}, {"mode": Mode.LIVE}]
)
async def test_a_tool_may_describe_only_the_effect_it_declared(
    tools: dict[str, LoadedTool], lie: dict[str, object]
) -> None:
    """The policy decides by what is described; a purchase that calls itself a read would be free."""
    loaded = tools["shop_buy"]
    intent = await normalizer().intent(SCOUT, loaded, raw(**BUY), CallMeta())
    effect = (await normalizer().normal(intent)).effect
    lying = structs.replace(effect, **lie)
    liar = structs.replace(loaded, tool=structs.replace(loaded.tool, describe=lambda *_anything: lying))
    with pytest.raises(PluginBroke):
        described(liar, intent.args, (), binding=BOUND, who=_WHO, now=NOW)


_WHO = {"agent": "scout", "project": "shop", "run": "run_today"}


def test_m5_what_a_tool_refuses_at_the_claim_is_told_by_its_code(tools: dict[str, LoadedTool]) -> None:
    """M5: nothing is executed that its own tool no longer stands for, and the agent learns why."""
    loaded = tools["shop_buy"]

    def refuses(*_anything: object) -> Any:  # noqa: ANN401 -- it never returns
        raise RecordMissing("it is gone")

    refusing = structs.replace(loaded, tool=structs.replace(loaded.tool, describe=refuses))
    args = b'{"amount":"1.00 USD","item":"a","vendor":"b.example"}'
    call = structs.replace(a_call(loaded, BOUND, NOW), args=args, tool_hash=loaded.info.definition_hash)
    assert changed_since(call, refusing, (), binding=BOUND, now=NOW) == RecordMissing.code
    assert changed_since(call, loaded, (), binding=BOUND, now=NOW) == "record_changed"
    other = structs.replace(call, tool_hash="another")
    assert changed_since(other, loaded, (), binding=BOUND, now=NOW) == "tool_changed"
    misfit = structs.replace(call, args=b'{"item":7}')
    assert changed_since(misfit, loaded, (), binding=BOUND, now=NOW) == "tool_changed"
