"""Spans of a call's steps for those who collect them, and nothing for those who do not."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.provider.house import Desk, Shop
from tests.tool_server.traced_house import TRACE
from tool_server import tracing
from tool_server.books import Books


@pytest.fixture
def spans(tmp_path: Path, shop: Shop) -> list[dict[str, Any]]:
    """Return the spans of a house in a process of its own."""
    command = [sys.executable, "-m", "tests.tool_server.traced_house", str(tmp_path), shop.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_each_step_of_a_call_is_a_span_in_the_trace_that_came_with_it(spans: list[dict[str, Any]]) -> None:
    """Who follows a request through many systems sees decision, claim, execution and settlement."""
    bought = [span for span in spans if span["trace"] == TRACE]
    assert {"bursar.decide", "bursar.execute"} <= {span["name"] for span in bought}
    call_id = bought[0]["attributes"]["bursar.call_id"]
    own = {
        span["name"]: span["attributes"] for span in spans if span["attributes"]["bursar.call_id"] == call_id
    }
    assert set(own) == {"bursar.decide", "bursar.claim", "bursar.execute", "bursar.settle"}
    assert (own["bursar.decide"]["bursar.answer"], own["bursar.decide"]["bursar.rules"]) == (
        "allow",
        ["small"],
    )
    assert own["bursar.claim"]["bursar.attempt"] == own["bursar.execute"]["bursar.attempt"] == 1
    assert (own["bursar.execute"]["bursar.outcome"], own["bursar.settle"]["bursar.state"]) == (
        "succeeded",
        "succeeded",
    )


def test_a_denial_is_a_decision_and_nothing_else_and_no_span_says_what_was_asked(
    spans: list[dict[str, Any]],
) -> None:
    """Spans leave the house: no payee, amount or argument is in them."""
    denied = [span for span in spans if span["attributes"].get("bursar.answer") == "deny"]
    assert [span["attributes"]["bursar.state"] for span in denied] == ["denied"]
    call_id = denied[0]["attributes"]["bursar.call_id"]
    assert [span["name"] for span in spans if span["attributes"]["bursar.call_id"] == call_id] == [
        "bursar.decide"
    ]
    assert not {"example", "USD", "thing"} & set(
        json.dumps(spans).replace('"', " ").replace(".", " ").split()
    )


def test_without_an_endpoint_nothing_is_started() -> None:
    """A server that nobody watches this way pays nothing for it."""
    tracing.start({})()
    assert not tracing.active()


async def test_a_house_without_a_provider_has_plain_books(small: Desk) -> None:
    """The hot path then has no span to make and none to skip."""
    assert type(small.house.books) is Books
