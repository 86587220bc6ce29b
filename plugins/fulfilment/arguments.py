"""What the fulfilment tools take. Limits are what a reviewer can read and a page can show in full."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

RunId = Annotated[str, Meta(min_length=3, max_length=80, pattern="^run_[A-Za-z0-9_-]+$")]
Title = Annotated[str, Meta(min_length=1, max_length=200)]
Text = Annotated[str, Meta(min_length=1, max_length=20_000)]

# One artifact's text form: "name|media type|base64", since portable schemas know no lists of objects.
ArtifactText = Annotated[str, Meta(min_length=3, max_length=48_000)]


class RunGet(Struct, forbid_unknown_fields=True):
    """Which run, or none for the list."""

    run_id: Annotated[str, Meta(max_length=80, description="One run's id; left out: the list of runs.")] = ""
    after: Annotated[str, Meta(max_length=200, description="The `after` of the page before.")] = ""
    limit: Annotated[int, Meta(ge=1, le=50, description="1 to 50.")] = 20


class SubmitPlan(Struct, forbid_unknown_fields=True):
    """How the work will be done."""

    run_id: Annotated[RunId, Meta(description="The run, from run_get.")]
    title: Annotated[Title, Meta(description="The plan in one line.")]
    text: Annotated[Text, Meta(description="The plan: steps, what is delivered, what may be bought.")]


class SubmitWork(Struct, forbid_unknown_fields=True):
    """A piece of work to be judged."""

    run_id: Annotated[RunId, Meta(description="The run, from run_get.")]
    title: Annotated[Title, Meta(description="What this is, in one line.")]
    text: Annotated[Text, Meta(description="The work itself, or what its artifacts are.")]
    artifacts: Annotated[
        list[ArtifactText],
        Meta(
            max_length=8,
            description="Files, each 'name|media type|base64 of its bytes', as in 'a.txt|text/plain|SGk='.",
        ),
    ] = []


class RecordModelDecision(Struct, forbid_unknown_fields=True):
    """One use of a model that shaped the work."""

    run_id: Annotated[RunId, Meta(description="The run, from run_get.")]
    model: Annotated[Title, Meta(description="The model's name and version.")]
    purpose: Annotated[Title, Meta(description="What it was asked for.")]
    summary: Annotated[
        str, Meta(min_length=1, max_length=4_000, description="What it answered, and your choice.")
    ]
    references: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=200)]],
        Meta(max_length=20, description="Ids of calls, submissions or artifacts it bears on."),
    ] = []
