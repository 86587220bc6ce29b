"""A house whose spans are kept in memory: run as a program, since a tracer provider is for a whole process.

    python -m tests.tool_server.traced_house FOLDER SHOP_ADDRESS

It buys one thing, is denied another, and prints its spans as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.provider.house import Shop, a_place, opened
from tool_server.envelope import CallMeta

TRACE = "0af7651916cd43dd8448eb211c80319c"


async def main(folder: Path, shop: Shop) -> None:
    """Make two calls and print what was kept."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    async with opened(await a_place(folder, shop)) as desk:
        await desk.buy(meta=CallMeta(meta={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}))
        await desk.buy(vendor="x.evil.example")
        await desk.house.dispatcher.idle()
    spans = [
        {
            "name": span.name,
            "trace": f"{span.context.trace_id:032x}" if span.context else "",
            "attributes": dict(span.attributes or {}),
        }
        for span in exporter.get_finished_spans()
    ]
    sys.stdout.write(json.dumps(spans, default=list))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Shop(sys.argv[2])))
