"""What the policy commands read: policy, tools, cases; what is wrong with them ends the command."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from tool_server.cli.command import EXIT_CONFIGURATION, CommandError

if TYPE_CHECKING:
    from policy.cases import Case
    from policy.language import Policy
    from policy.tools import Tools

T = TypeVar("T")
DEFAULT_POLICY: Final = "policies.yaml"


def add_policy(parser: argparse.ArgumentParser) -> None:
    """Add --policy and --tools."""
    parser.add_argument(
        "--policy", dest="file", metavar="FILE", help="default: $BURSAR_POLICIES, else policies.yaml"
    )
    add_tools(parser)


def add_tools(parser: argparse.ArgumentParser) -> None:
    """Add --tools."""
    parser.add_argument(
        "--tools",
        action="append",
        default=[],
        metavar="FILE",
        help="a further tools.json, for a plugin of your own",
    )


def policy_path(args: argparse.Namespace) -> Path:
    """Return where the policy is."""
    return Path(args.file or os.environ.get("BURSAR_POLICIES") or DEFAULT_POLICY)


def read_tools(args: argparse.Namespace) -> Tools:
    """Return Bursar's own tools and those of further files."""
    from policy.tools import load_tools

    tools = dict(configured(load_tools))
    for name in args.tools:
        more = Path(name)
        tools.update(configured(lambda more=more: load_tools(more)))  # type: ignore[misc]  # mypy #12557
    return tools


def read_policy(args: argparse.Namespace) -> tuple[Policy, Tools]:
    """Return the policy and the tools it was read with."""
    from policy.load import load_file

    tools = read_tools(args)
    return configured(lambda: load_file(policy_path(args), tools)), tools


def cases_beside(args: argparse.Namespace) -> list[Path]:
    """Return every cases file in the policy's folder."""
    return sorted(policy_path(args).parent.glob("*.cases.yaml"))


def read_cases(file: Path, policy: Policy, tools: Tools) -> tuple[Case, ...]:
    """Return the cases of one file."""
    from policy.case_file import load_cases
    from policy.load import read_source

    return configured(lambda: load_cases(read_source(file), file.name, policy=policy, tools=tools))


def configured(read: Callable[[], T]) -> T:
    """Return what must be right before there is an answer, or end with exit code 3 and every mistake."""
    from policy.errors import ConfigurationError, PolicyError

    try:
        return read()
    except PolicyError as error:
        raise CommandError(
            f"there are mistakes to mend first\n{error}", exit_code=EXIT_CONFIGURATION
        ) from None
    except ConfigurationError as error:
        raise CommandError(str(error)) from None
