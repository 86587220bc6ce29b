"""A plugin for the benches: a purchase at a provider that answers at once, and a read."""

from __future__ import annotations

from msgspec import Struct

from ledger.records import Outcome, Proof, ProofBy, ProofLevel, ProviderIdentity
from plugins.hookspecs import Plugin, PluginContext, Provider, hookimpl
from plugins.tool import (
    Annotations,
    Applied,
    ApplyContext,
    Binding,
    Described,
    ExecuteContext,
    OutcomeReport,
    Readiness,
    Records,
    Replay,
    Tool,
)
from policy.model import Effect, Kind, Mode, PayeeBasis
from policy.money import Money

_WHO = ProviderIdentity("acct_bench", Mode.SIMULATED, "bench-1")
_BINDING = Binding(provider="bench", account="acct_bench", mode=Mode.SIMULATED, instance="bench-1")
_HINTS = Annotations(read_only=False, destructive=True, idempotent=True, open_world=True)
_PENDING = " May answer pending_approval: nothing has run then, a person decides; ask call_status."


class Buy(Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to pay how much."""

    vendor: str
    amount: Money


class Words(Struct, frozen=True, forbid_unknown_fields=True):
    """Any words."""

    text: str


def _describe(args: Buy, _records: Records, _known: Described) -> Effect:
    return Effect(
        kind=Kind.SPEND,
        operation="pay",
        provider="bench",
        mode=Mode.SIMULATED,
        payee=args.vendor,
        payee_basis=PayeeBasis.ENFORCED,
        amount=args.amount,
        summary=f"Pay {args.amount} to {args.vendor}",
    )


def _look(_args: Words, _records: Records, _known: Described) -> Effect:
    return Effect(kind=Kind.READ, operation="look", provider="bench", mode=Mode.SIMULATED, reversible=True)


async def _execute(_args: Buy, context: ExecuteContext) -> OutcomeReport:
    context.guard()
    return OutcomeReport(
        outcome=Outcome.SUCCEEDED,
        data={"order": "ord_1"},
        proof=Proof(ProofLevel.SIMULATED, ProofBy.RESPONSE, "bench"),
        identity=_WHO,
        provider_ref="ord_1",
    )


async def _read(args: Words, _records: Records, _context: ApplyContext) -> Applied:
    return Applied({"text": args.text})


async def _check() -> Readiness:
    return Readiness(ready=True, identity=_WHO)


@hookimpl
def bursar_plugin(context: PluginContext) -> Plugin:
    """Return the two tools and their provider."""
    del context
    buy = Tool(
        name="bench_buy",
        kit="bench",
        kind=Kind.SPEND,
        operation="pay",
        provider="bench",
        description="Pays a vendor at once." + _PENDING,
        arguments=Buy,
        result=None,
        annotations=_HINTS,
        describe=_describe,
        execute=_execute,
        reconcile=Replay(86_400),
    )
    read = Tool(
        name="bench_read",
        kit="bench",
        kind=Kind.READ,
        operation="look",
        provider="bench",
        description="Reads the words back.",
        arguments=Words,
        result=None,
        annotations=Annotations(read_only=True, destructive=False, idempotent=True, open_world=False),
        describe=_look,
        read=_read,
    )
    return Plugin(tools=(buy, read), providers=(Provider(binding=_BINDING, check=_check),))
