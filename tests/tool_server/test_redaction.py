"""Secrets stay out of logs, audit and results, whatever way they came in."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from tool_server.logs import configure_logging
from tool_server.redaction import redact, redacted_data

SECRETS = (
    "sk_live_51HqabcdefGH",
    "rk_test_0123456789ab",
    "whsec_ABCdef123456",
    "bur_agent_0123456789abcdef",
    "Bearer abcdef.ghijkl-mnop",
    "pk1_0123456789abcdef",
    "-----BEGIN PRIVATE KEY-----\nMIIabc\n-----END PRIVATE KEY-----",
    "-----BEGIN EC PRIVATE KEY-----\ncut off",
)


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_replaced_wherever_it_stands(secret: str) -> None:
    """A provider's error message is a favourite place for a key."""
    said = redact(f"the key {secret}, was refused")
    assert secret[-6:] not in said
    assert "[redacted]" in said
    nested = redacted_data({"a": [{"b": secret}], "n": 5, "t": (True, None)})
    assert secret[-6:] not in json.dumps(nested)
    assert (nested["n"], nested["t"]) == (5, [True, None])


def test_plain_words_stay() -> None:
    """A redaction that eats everything hides what matters."""
    text = "call_01m823 of run_1 paid 19.99 USD to porkbun.com; the task is risky"
    assert redact(text) == text


def test_what_is_nested_too_deep_is_not_looked_through() -> None:
    """A log line is no place for a tree."""
    deep: object = "sk_live_51HqabcdefGH"
    for _ in range(20):
        deep = [deep]
    assert "51Hq" not in json.dumps(redacted_data(deep))


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Give the stream that logs go to; logging is put back afterwards."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging(stream=stream)
    yield stream
    root.handlers, level = before
    root.setLevel(level)
    structlog.reset_defaults()


def test_our_log_lines_are_json_without_secrets(lines: io.StringIO) -> None:
    """By the name of a field, and by the shape of its text."""
    log = structlog.get_logger("bursar.test")
    log.info(
        "sent sk_live_51HqabcdefGH", token="anything", amount=5, who={"k": "whsec_ABCdef123456"}, o=object()
    )
    line = json.loads(lines.getvalue())
    assert (line["token"], line["amount"]) == ("[redacted]", 5)
    assert "51Hq" not in lines.getvalue()
    assert "ABCdef" not in lines.getvalue()


def test_a_librarys_careless_line_is_redacted_too(lines: io.StringIO) -> None:
    """What we depend on logs as it likes."""
    logging.getLogger("some.library").warning("key %s refused", "rk_test_0123456789ab")
    error = ValueError("with Bearer abcdef.ghijkl-mnop")
    logging.getLogger("some.library").error("broke", exc_info=error)
    assert "0123456789ab" not in lines.getvalue()
    assert "ghijkl" not in lines.getvalue()
    assert len([json.loads(line) for line in lines.getvalue().splitlines()]) == 2


def test_a_person_at_a_terminal_gets_words(lines: io.StringIO) -> None:
    """JSON is for machines."""
    configure_logging(stream=lines, colours=True)
    structlog.get_logger("bursar.test").info("hello", n=1)
    assert not lines.getvalue().startswith("{")
