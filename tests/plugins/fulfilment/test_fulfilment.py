"""The fulfilment tools: what is submitted waits for the owner, files are checked, nothing closes a run."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from ledger.records import RecordRef
from ledger.records_crm import RecordModelDecision, StoreArtifact, Submit
from plugins.fulfilment.artifacts import LARGEST, TYPES
from plugins.fulfilment.plugin import bursar_plugin
from plugins.tool import Applied
from policy.errors import InvalidArguments, RunClosed
from tests.plugins.house_plugins import caller, record, tools_of, who
from tool_server.decode import into

TOOLS = tools_of(bursar_plugin, "fulfilment")
RUN = record("run", "run_1", state="open", order={"on_hold": False, "state": "paid"})
SUBMITTING = ("run_submit_plan", "run_submit_draft", "run_submit_delivery")


def artifact(content: bytes = b"hello", *, name: str = "report.txt", media_type: str = "text/plain") -> str:
    """Return a file in its text form."""
    return f"{name}|{media_type}|{base64.b64encode(content).decode()}"


def apply(name: str, run: RecordRef = RUN, /, **given: Any) -> Applied:  # noqa: ANN401 -- any JSON values
    """Decode, describe and apply one call as the gate does."""
    tool = TOOLS[name]
    args = into({"run_id": "run_1", "title": "Work", "text": "as agreed", **given}, tool.arguments)
    tool.describe(args, (run,), who("maker"))
    assert tool.apply is not None
    return tool.apply(args, (run,), caller("maker"))


@pytest.mark.parametrize("name", SUBMITTING)
def test_what_is_submitted_waits_for_the_owner(name: str) -> None:
    """Plan, draft and delivery are reviews: the call succeeds, the judgement is a person's."""
    done = apply(name)
    (change,) = done.changes
    assert isinstance(change, Submit)
    assert change.submission.review.value == "waiting"
    assert change.submission.kind == name.removeprefix("run_submit_")
    assert done.data["review"] == "waiting"


@pytest.mark.parametrize("name", SUBMITTING)
def test_a_closed_run_takes_nothing_more(name: str) -> None:
    """What was delivered and approved is the record; nothing is slipped in afterwards."""
    with pytest.raises(RunClosed, match="closed"):
        apply(name, record("run", "run_1", state="closed"))


@pytest.mark.parametrize("state", ["refunded", "disputed"])
def test_an_order_on_hold_holds_its_work(state: str) -> None:
    """A refund or a dispute holds the fulfilment of that order."""
    held = record("run", "run_1", state="open", order={"on_hold": True, "state": state})
    with pytest.raises(InvalidArguments, match=state):
        apply("run_submit_delivery", held)


def test_a_file_is_named_by_the_hash_of_its_bytes() -> None:
    """The proof of a run links artifacts by what they are, not by what they are called."""
    done = apply("run_submit_delivery", artifacts=[artifact(b"the work")])
    store, submit = done.changes
    assert isinstance(store, StoreArtifact)
    assert isinstance(submit, Submit)
    assert store.artifact.sha256 == hashlib.sha256(b"the work").hexdigest()
    assert submit.submission.artifacts == (store.artifact,)
    assert done.data["artifacts"] == [store.artifact.sha256]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("no bars at all", "is not 'name"),
        ("a.txt|text/plain|not base64!", "no base64"),
        (artifact(name="../../etc/passwd"), "is named"),
        (artifact(name="a\u202etxt"), "is named"),
        (artifact(media_type="text/html"), "is of the type"),
        (artifact(media_type="image/svg+xml"), "is of the type"),
        (artifact(b""), "has 0 bytes"),
        (artifact(b"x" * (LARGEST + 1)), f"has {LARGEST + 1} bytes"),
    ],
)
def test_a_file_that_does_not_fit_is_named_with_what_is_wrong(text: str, told: str) -> None:
    """Bad input gets one line that says what was met and what is expected, and loses nothing."""
    with pytest.raises(InvalidArguments, match=told) as refused:
        apply("run_submit_draft", artifacts=[artifact(), text])
    assert refused.value.field == "artifacts[1]"


def test_no_type_that_a_browser_would_run_is_taken() -> None:
    """A delivery is opened by a buyer: HTML and SVG can carry scripts."""
    assert not {kind for kind in TYPES if "html" in kind or "svg" in kind or "script" in kind}


def test_a_model_decision_is_kept_as_declared_by_the_agent() -> None:
    """Model, purpose, summary and references, under the agent's name; nothing is claimed beyond that."""
    tool = TOOLS["run_record_model_decision"]
    args = into(
        {
            "run_id": "run_1",
            "model": "m-1",
            "purpose": "draft",
            "summary": "took A",
            "references": ["call_9"],
        },
        tool.arguments,
    )
    assert tool.apply is not None
    (change,) = tool.apply(args, (RUN,), caller("maker")).changes
    assert isinstance(change, RecordModelDecision)
    assert (change.decision.agent, change.decision.references) == ("maker", ("call_9",))
    with pytest.raises(RunClosed):
        tool.describe(args, (record("run", "run_1", state="closed"),), who("maker"))


@pytest.mark.parametrize("field", ["state", "review", "approved", "close", "closed", "status"])
@pytest.mark.parametrize("name", SUBMITTING)
def test_no_argument_approves_or_closes_anything(name: str, field: str) -> None:
    """A run closes when an owner approves its delivery; whatever an agent names, it cannot say so."""
    with pytest.raises(InvalidArguments, match="unknown field"):
        apply(name, RUN, **{field: "approved"})
