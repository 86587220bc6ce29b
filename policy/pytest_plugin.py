"""Collect *.cases.yaml as tests, named by their `why`: `pytest -p policy.pytest_plugin shop.cases.yaml`.

A cases file speaks of the policy of its own name (`shop.cases.yaml` of `shop.yaml`), else of the nearest
`policies.yaml` above it, else of the one that the ini option `bursar_policy` names.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from policy.cases import Case, CaseResult
    from policy.language import Policy

_SUFFIX = ".cases.yaml"


class CaseFailedError(Exception):
    """The policy answers otherwise than the case expects."""

    def __init__(self, result: CaseResult) -> None:
        said = [*result.differences, *([result.decision.message] if result.decision.message else [])]
        super().__init__("\n".join([f"{result.case.at}: {result.case.why}", *(f"  {line}" for line in said)]))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini options."""
    parser.addini(
        "bursar_policy", "the policies.yaml that cases without one of their own speak of", default=""
    )
    parser.addini(
        "bursar_tools", "further tools.json files, for plugins of your own", type="paths", default=[]
    )


def pytest_collect_file(parent: pytest.Collector, file_path: Path) -> pytest.File | None:
    """Take every *.cases.yaml."""
    if file_path.name.endswith(_SUFFIX):
        file: pytest.File = CasesFile.from_parent(parent, path=file_path)
        return file
    return None


class CasesFile(pytest.File):
    """One cases file."""

    def collect(self) -> Iterable[pytest.Item]:
        """Yield its cases. A file with mistakes is an error of the collection, with every mistake told."""
        from policy.case_file import load_cases
        from policy.errors import BursarError
        from policy.load import load_file, read_source
        from policy.tools import load_tools

        try:
            tools = dict(load_tools())
            for more in self.config.getini("bursar_tools"):
                tools.update(load_tools(Path(more)))
            policy = load_file(self._policy_file(), tools)
            cases = load_cases(read_source(self.path), self.path.name, policy=policy, tools=tools)
        except BursarError as error:
            raise self.CollectError(str(error)) from None
        for case in cases:
            yield CaseItem.from_parent(self, name=case.why, policy=policy, case=case)

    def _policy_file(self) -> Path:
        own = self.path.with_name(self.path.name.removesuffix(_SUFFIX) + ".yaml")
        if own.exists():
            return own
        for folder in self.path.parents:
            if (folder / "policies.yaml").exists():
                return folder / "policies.yaml"
        named = str(self.config.getini("bursar_policy"))
        if named:
            return self.config.rootpath / named
        raise self.CollectError(
            f"no {own.name} beside it and no policies.yaml above it; name one with bursar_policy"
        )


class CaseItem(pytest.Item):
    """One case."""

    def __init__(self, *, policy: Policy, case: Case, **rest: Any) -> None:  # noqa: ANN401 - pytest's own arguments
        super().__init__(**rest)
        self._policy, self._case = policy, case

    def runtest(self) -> None:
        """Put the case to the policy."""
        from policy.cases import run_case

        result = run_case(self._policy, self._case)
        if not result.passed:
            raise CaseFailedError(result)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *_args: Any, **_options: Any) -> str:  # noqa: ANN401 - pytest's own arguments
        """Show the differences and no traceback."""
        if isinstance(excinfo.value, CaseFailedError):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, int, str]:
        """Say where the case stands."""
        return self.path, self._case.at.line - 1, self.name
