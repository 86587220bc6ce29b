"""./run and ./test on a machine that has never seen Bursar, with an installer that only takes notes."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
PARTS: Final = (
    *("run", "test", ".ci/environment.sh"),
    *("requirements.lock", "requirements-run.lock", "pyproject.toml"),
)
# Stands in for uv: writes its arguments down; where a .venv is wanted, makes one whose Python does the same.
UV: Final = """#!/bin/sh
echo "uv $*" >> "$NOTES"
case "$1" in venv)
  for venv in "$@"; do :; done
  mkdir -p "$venv/bin"
  printf '#!/bin/sh\\nfor note in "python $*" "$(pwd)" "$PYTHONPATH"; do echo "$note" >> "$NOTES"; done\\n' \\
    > "$venv/bin/python"
  chmod +x "$venv/bin/python"
esac
"""


class Machine:
    """A clone in a folder with a space in its name, an installer, and what the installer was told."""

    def __init__(self, folder: Path) -> None:
        self.clone = folder / "my house"
        self.notes = folder / "notes"
        self._bin = folder / "bin"
        for part in PARTS:
            (self.clone / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / part, self.clone / part)
        self._bin.mkdir()
        (self._bin / "uv").write_text(UV)
        (self._bin / "uv").chmod(0o755)

    def start(self, command: str, *arguments: str, cwd: Path) -> list[str]:
        """Start one of the two commands and return what was noted since."""
        self.notes.write_text("")
        path = f"{self._bin}{os.pathsep}{os.environ['PATH']}"
        environment = {"PATH": path, "NOTES": str(self.notes), "CI": "true", "HOME": str(cwd)}
        subprocess.run(
            [str(self.clone / command), *arguments],
            cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=60,
        )  # fmt: skip
        return self.notes.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Give a fresh clone on a fresh machine."""
    return Machine(tmp_path)


def test_the_first_start_installs_what_runs_and_the_second_nothing(machine: Machine, tmp_path: Path) -> None:
    """A visitor waits once."""
    first = machine.start("run", "policy", "check", cwd=tmp_path)
    second = machine.start("run", "policy", "check", cwd=tmp_path)
    assert [line for line in first if "pip sync" in line and line.endswith("/requirements-run.lock")]
    assert not [line for line in second if line.startswith("uv ")]
    assert second[0].endswith("-P -m tool_server.cli policy check")


def test_a_changed_lock_is_installed_again(machine: Machine, tmp_path: Path) -> None:
    """An old environment under new code fails in ways nobody can explain."""
    machine.start("run", "caps", cwd=tmp_path)
    with (machine.clone / "requirements-run.lock").open("a") as lock:
        lock.write("# changed\n")
    assert [line for line in machine.start("run", "caps", cwd=tmp_path) if "pip sync" in line]


def test_tests_install_everything_and_a_run_after_them_nothing(machine: Machine, tmp_path: Path) -> None:
    """Who runs the tests has all that a run needs; going back and forth must not install each time."""
    first = machine.start("test", "-k", "money", cwd=tmp_path)
    assert [line for line in first if "pip sync" in line and line.endswith("/requirements.lock")]
    assert [line for line in first if line.endswith("-k money") and "-m pytest" in line]
    assert not [line for line in machine.start("run", "caps", cwd=tmp_path) if line.startswith("uv ")]
    assert not [line for line in machine.start("test", cwd=tmp_path) if line.startswith("uv ")]


def test_a_run_reads_files_where_you_are_and_code_where_it_lives(machine: Machine, tmp_path: Path) -> None:
    """`./run policy check mine.yaml` means your mine.yaml, even beside a folder named policy."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    machine.start("run", "policy", cwd=elsewhere)
    _, folder, path = machine.start("run", "policy", cwd=elsewhere)
    assert Path(folder) == elsewhere.resolve()
    assert path == str(machine.clone.resolve())


@pytest.mark.parametrize("arguments", [(), ("--again",)])
def test_without_a_command_the_house_opens_its_demo(
    machine: Machine, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """The two words of a visitor are `./run` and `./run --again`; both play in the clone's own .demo/."""
    notes = machine.start("run", *arguments, cwd=tmp_path)
    assert [line for line in notes if line.endswith(" ".join(("tool_server.cli demo", *arguments)))]
    assert str(machine.clone.resolve()) in notes
