"""Spans of a call's steps, where the extra `otel` is installed and somebody wants them; else nothing at all.

`bursar.decide` (steps 1 and 2), `bursar.claim` (4), `bursar.execute` (5) and `bursar.settle` (6), below the
MCP SDK's span of the request, or, for what a person allowed later, below the context that came with the
call. Attributes are ids, names and states of ours: no arguments, payees or amounts.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from ledger.commands import Admission, Admitted, Claim, Claimed, NotClaimed, Settled, Settlement
from plugins.registry import LoadedTool, Registry
from plugins.tool import ExecuteContext, OutcomeReport
from tool_server.books import Books

if TYPE_CHECKING:
    from opentelemetry.trace import Span

SDK: Final = "opentelemetry.sdk"  # What the extra brings; the API alone comes with the MCP SDK.
ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
TRACER: Final = "bursar"


def active() -> bool:
    """Say whether spans go anywhere: whether this process has a tracer provider of the SDK."""
    # Who never imported it cannot have set one up, and importing it here would cost every start.
    if f"{SDK}.trace" not in sys.modules:
        return False
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    return isinstance(trace.get_tracer_provider(), TracerProvider)


def start(environ: Mapping[str, str]) -> Callable[[], None]:
    """Send spans where OpenTelemetry's own variables say; return what sends the last ones at the end.

    Does nothing without the extra, or where no endpoint is named.
    """
    if not any(environ.get(name) for name in ENDPOINTS) or find_spec("opentelemetry") is None:
        return lambda: None
    if find_spec(SDK) is None or find_spec("opentelemetry.exporter") is None:
        return lambda: None
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = environ.get("OTEL_SERVICE_NAME", TRACER)
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider.shutdown


class TracedBooks(Books):
    """Books whose hot commands are spans; `bootstrap` chooses them where spans go anywhere."""

    async def admit(self, command: Admission) -> Admitted:
        """Decide and admit one call (step 2)."""
        with _step("decide", command.call_id, command.call.tool, command.traceparent) as span:
            admitted = await super().admit(command)
            _decided(span, admitted)
        return admitted

    async def admit_and_claim(
        self, admission: Admission, claim: Claim
    ) -> tuple[Admitted, Claimed | NotClaimed | None]:
        """Take steps 2 and 4 of a call that may run at once: one transaction, so two spans of one length."""
        call = admission.call
        with (
            _step("decide", admission.call_id, call.tool, admission.traceparent) as decide,
            _step("claim", admission.call_id, call.tool, admission.traceparent) as span,
        ):
            admitted, claimed = await super().admit_and_claim(admission, claim)
            _decided(decide, admitted)
            if claimed is not None:
                _claimed(span, claimed)
        return admitted, claimed

    async def claim(self, command: Claim) -> Claimed | NotClaimed:
        """Fence the right to execute (step 4)."""
        with _step("claim", command.call_id) as span:
            span.set_attribute("bursar.purpose", command.purpose)
            claimed = await super().claim(command)
            _claimed(span, claimed)
        return claimed

    async def settle(self, command: Settlement) -> Settled:
        """Record how an attempt ended (step 6)."""
        with _step("settle", command.call_id) as span:
            span.set_attribute("bursar.outcome", command.outcome.value)
            settled = await super().settle(command)
            span.set_attribute("bursar.state", settled.call.state.value)
        return settled


def traced(registry: Registry) -> Registry:
    """Return a registry whose tools execute in a span (step 5)."""
    return structs.replace(
        registry, tools={name: _executing(loaded) for name, loaded in registry.tools.items()}
    )


def _executing(loaded: LoadedTool) -> LoadedTool:
    execute = loaded.tool.execute
    if execute is None:
        return loaded

    async def spanned(args: Any, context: ExecuteContext) -> OutcomeReport:  # noqa: ANN401 -- the tool's own arguments
        work: Awaitable[OutcomeReport] = execute(args, context)
        with _step("execute", context.call.call_id, loaded.tool.name, context.call.traceparent) as span:
            span.set_attribute("bursar.attempt", context.attempt)
            report = await work
            # A plugin may return anything; what is no report is found out behind this.
            span.set_attribute("bursar.outcome", str(getattr(report, "outcome", "none")))
        return report

    return structs.replace(loaded, tool=structs.replace(loaded.tool, execute=spanned))


@contextmanager
def _step(name: str, call_id: str, tool: str = "", traceparent: str | None = None) -> Iterator[Span]:
    """Make a span below the one that is open here, else below the context that came with the call."""
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    parent = None
    if traceparent and not trace.get_current_span().get_span_context().is_valid:
        parent = TraceContextTextMapPropagator().extract({"traceparent": traceparent})
    given = {"bursar.call_id": call_id} | ({"bursar.tool": tool} if tool else {})
    with trace.get_tracer(TRACER).start_as_current_span(
        f"bursar.{name}", context=parent, attributes=given, record_exception=False
    ) as span:
        yield span


def _decided(span: Span, admitted: Admitted) -> None:
    decision = admitted.decision
    if decision is not None:
        span.set_attribute("bursar.answer", decision.answer.value)
        span.set_attribute("bursar.rules", [each.id for each in decision.rules])
    span.set_attribute("bursar.state", admitted.call.state.value)


def _claimed(span: Span, claimed: Claimed | NotClaimed) -> None:
    if isinstance(claimed, NotClaimed):
        span.set_attribute("bursar.code", claimed.code)
    else:
        span.set_attribute("bursar.attempt", claimed.attempt)
