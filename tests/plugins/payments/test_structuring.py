"""Structuring: whatever is split over agents, payees, runs and time, a window lets through what it says.

Default share 1,000 sequences, with `--deep` 10,000; BURSAR_SEED and BURSAR_SHARE choose others. Broken twins:
`structuring.TWINS`, each caught within the default share.
"""

import os
from typing import Final

import pytest

from tests.plugins.payments.structuring import TWINS, Adversary, TooMuch

DEFAULT: Final = 1_000
DEEP: Final = 10_000
FEWEST_RUNS: Final = 3  # Purchases without a person in a sequence, on average: else nothing is tried.


def played(seeds: range, twin: str = "") -> int:
    """Play sequences; give how many purchases ran without a person."""
    ran = 0
    for seed in seeds:
        try:
            ran += len(Adversary(seed, twin=twin).play())
        except TooMuch as found:
            raise TooMuch(f"seed {seed}: {found}") from found
    return ran


def test_no_window_lets_more_through_without_a_person_than_the_policy_says(deep: bool) -> None:  # noqa: FBT001 -- a fixture
    """M11, M12, M16: sum_above and count_above of every scope and window, at every edge."""
    first = int(os.environ.get("BURSAR_SEED", "0"))
    share = int(os.environ.get("BURSAR_SHARE", DEEP if deep else DEFAULT))
    assert played(range(first, first + share)) >= FEWEST_RUNS * share


@pytest.mark.parametrize("twin", TWINS)
def test_each_broken_twin_is_caught(twin: str) -> None:
    """A harness that cannot fail proves nothing."""
    with pytest.raises(TooMuch):
        played(range(DEFAULT), twin)
