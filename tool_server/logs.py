"""Logs: one JSON object per line on standard error, redacted, with the ids that connect lines to calls.

Both structlog's and the standard library's records take the same way out, so that a library's careless line
is redacted like our own. Standard output belongs to commands and to MCP over stdio.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final, TextIO

import structlog

from tool_server.redaction import redact_event

QUIET: Final = ("httpx", "httpcore", "mcp", "uvicorn.access", "litestar", "aiosqlite", "asyncio", "alembic")


def configure_logging(*, level: str = "INFO", stream: TextIO | None = None, colours: bool = False) -> None:
    """Set up logging for this process; `colours` writes for a person at a terminal instead of JSON."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact_event,
    ]
    renderer: Any = structlog.processors.JSONRenderer()
    if colours:
        renderer = structlog.dev.ConsoleRenderer(colors=True)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact_event, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
