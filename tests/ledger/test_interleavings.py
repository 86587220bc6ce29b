"""The pure planners against the plain model: seeded histories (histories.py) of one account.

Default share 3,000 histories, with `--deep` 1,000,000; BURSAR_SEED starts elsewhere and BURSAR_SHARE takes
another number. Broken twins, each caught by the same histories: listed in planner_twins.py.
"""

from __future__ import annotations

import os
from typing import Final

import pytest

from tests.ledger.histories import PERS, POLICIES, WINDOWS, History
from tests.ledger.memory import Disagreed, Planners
from tests.ledger.planner_twins import TWINS

DEFAULT: Final = 3_000
DEEP: Final = 1_000_000
TWIN_TRIES: Final = 2_000  # Histories within which each broken twin must be caught.


def test_planners_agree_with_the_plain_model_in_random_histories(deep: bool) -> None:  # noqa: FBT001 -- a fixture
    """M1 to M17, M24 to M29: the same word, the same states, the same usage, every time."""
    first = int(os.environ.get("BURSAR_SEED", "0"))
    share = int(os.environ.get("BURSAR_SHARE", DEEP if deep else DEFAULT))
    for seed in range(first, first + share):
        try:
            History(seed, Planners()).play()
        except Disagreed as found:
            raise AssertionError(f"seed {seed}: {found}") from found


@pytest.mark.parametrize("twin", TWINS)
def test_each_broken_twin_is_caught(twin: str) -> None:
    """A harness that cannot fail proves nothing."""
    for seed in range(TWIN_TRIES):
        try:
            History(seed, TWINS[twin]).play()
        except (Disagreed, AssertionError, KeyError):
            return
    pytest.fail(f"{TWIN_TRIES} histories did not notice that {twin}")


def test_unused_windows_are_in_some_policy() -> None:
    """Every kind of window and scope is among the policies, else the histories would not speak of it."""
    every = [cap for policy in POLICIES for cap in policy.caps]
    assert {cap.window for cap in every} == set(WINDOWS)
    assert {cap.per for cap in every} == set(PERS)
