"""What every test here dies in: forks of one warm process."""

from collections.abc import Iterator

import pytest

from tests.crash.warm import Warm


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """Start the process that is forked, once."""
    started = Warm()
    yield started
    started.close()
