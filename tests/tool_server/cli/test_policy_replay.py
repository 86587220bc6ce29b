"""`bursar policy replay`: an admin tries a new file on what has really happened, before it counts."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.ledger.audit.houses import POLICY, lived_in
from tool_server.cli import main as cli
from tool_server.cli.command import EXIT_CONFIGURATION, EXIT_DONE, EXIT_USAGE

LONG_AGO = "2026-11-20T00:00Z"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a ledger in which things have happened."""
    asyncio.run(lived_in(f"sqlite:///{tmp_path}/bursar.db", tmp_path / "keys"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def replay(text: str, *words: str) -> int:
    """Write a candidate and try it."""
    Path("new.yaml").write_text(text)
    return cli.main(["policy", "replay", "new.yaml", "--since", LONG_AGO, *words])


@pytest.mark.usefixtures("here")
def test_it_names_each_call_that_would_have_been_answered_otherwise(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With what was answered, what would be, and the rule that says so; `--json` says the same."""
    assert replay(POLICY) == EXIT_DONE
    assert capsys.readouterr().out.startswith("new.yaml would have answered 0 of ")
    assert replay(POLICY.replace("[spend, earn,", "[earn,"), "--json") == EXIT_DONE
    said = json.loads(capsys.readouterr().out)
    assert said["judged"] >= len(said["otherwise"]) > 0
    assert {each["effect"]["kind"] for each in said["otherwise"]} == {"spend"}
    assert {(each["was"]["answer"], each["would"]["code"]) for each in said["otherwise"]} == {
        ("allow", "no_rule")
    }
    assert replay(POLICY.replace("[spend, earn,", "[earn,")) == EXIT_DONE
    lines = capsys.readouterr().out.splitlines()
    assert said["otherwise"][0]["call_id"] in lines[0]
    assert ": allow, now deny" in lines[0]
    assert lines[-1].startswith(
        f"new.yaml would have answered {len(said['otherwise'])} of {said['judged']} call"
    )


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--since", "lastweek"), EXIT_USAGE, "--since 'lastweek' is neither a duration such as 7d nor"),
        (("--db", "nowhere.db"), EXIT_CONFIGURATION, "there is no ledger at nowhere.db"),
        (("--account", "acc_9"), EXIT_CONFIGURATION, "there is no account 'acc_9'"),
    ],
)
def test_a_mistake_is_one_line(
    words: tuple[str, ...], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was met, and what is expected."""
    assert replay(POLICY, *words) == code
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("here")
def test_a_file_with_mistakes_is_not_tried(capsys: pytest.CaptureFixture[str]) -> None:
    """Every mistake at its place, as `policy check` says it."""
    assert replay(POLICY.replace("window: day", "window: dya")) == EXIT_CONFIGURATION
    assert "new.yaml:6:" in capsys.readouterr().err
