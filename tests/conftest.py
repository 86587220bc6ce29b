"""The suite's own switches and shared fixtures: `--deep`, and an empty PostgreSQL database per test."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--deep`, which turns every harness from its default share to its full figure."""
    parser.addoption("--deep", action="store_true", default=False, help="run every harness at its full figure")


@pytest.fixture(scope="session")
def deep(pytestconfig: pytest.Config) -> bool:
    """Say whether this session runs the full figures."""
    return bool(pytestconfig.getoption("--deep"))
