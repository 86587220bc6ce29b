"""`bursar plugin test`: the conformance kit on one plugin, by its name in the policy or by its module."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tool_server.cli.command import EXIT_DONE, EXIT_NO, print_json

if TYPE_CHECKING:
    from policy.language import PluginEntry


def run_kit(args: argparse.Namespace) -> int:
    """Look at the plugin and print what was met; nothing is sent anywhere."""
    from plugins.conformance.checks import check_plugin

    checks = check_plugin(_entry(args.plugin))
    failed = [check for check in checks if not check.passed]
    if args.json:
        print_json([{"check": c.name, "subject": c.subject, "problem": c.problem} for c in checks])
    else:
        for check in checks:
            print(f"{'ok  ' if check.passed else 'FAIL'}  {check.subject}: {check.name}")
            if check.problem:
                print(f"      {check.problem}")
        print(f"{len(checks) - len(failed)} of {len(checks)} checks hold")
    return EXIT_NO if failed else EXIT_DONE


def _entry(name: str) -> PluginEntry:
    """Return the policy's entry of that name; otherwise one of ours, or a module, with no settings."""
    import os

    from policy.language import PluginEntry
    from tool_server.policy_file import known_tools, read_policy

    path = Path(os.environ.get("BURSAR_POLICIES") or "policies.yaml")
    if path.exists():
        policy, _ = read_policy(path, known_tools(path))
        for entry in policy.plugins:
            if name in {entry.name, entry.module}:
                return entry
    return PluginEntry(name.rpartition(".")[2], name) if "." in name else PluginEntry(name)
