"""`./run demo`: the story plays through by itself, and nothing live comes near it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from policy.errors import ConfigurationError
from tool_server.cli.demo import LONGEST_S
from tool_server.cli.demo_place import open_place, refuse_live

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.xdist_group("demo")  # Two demos that start at once want the same usual ports.


def _demo(folder: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder, as a visitor does."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "tool_server.cli", "demo", *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST_S + 30,  # It ends by itself before; the rest is for a machine that is busy.
    )


@pytest.mark.timeout(180)  # The story may take ninety seconds, and the machine is shared.
def test_the_story_plays_through_by_itself(tmp_path: Path) -> None:
    """Every beat of the story is really done over the wires, and every claim it prints was checked."""
    done = _demo(tmp_path, "--unattended", "--json", STRIPE_EARN_KEY="sk_test_of_somebody")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["seconds"] < LONGEST_S
    names = [beat["beat"] for beat in told["beats"]]
    assert names[:5] == ["earn", "ask", "lose the answer", "stop", "prove"]
    assert names[5:] == ["sum", "cap", "request", "lead", "sell", "fulfil", "proof", "refund"]
    assert all(any("held" in step for step in beat["steps"]) for beat in told["beats"])
    assert "sk_test_of_somebody" not in done.stdout + done.stderr


LIVE = {
    "STRIPE_EARN_KEY": "sk_live_abc",
    "STRIPE_SPEND_KEY": "rk_live_abc",
    "STRIPE_WEBHOOK_SECRETS": "test:whsec_a,live:whsec_b",
    "STRIPE_ISSUING_WEBHOOK_SECRETS": "live:whsec_b",
    "PORKBUN_API_KEY": "pk1_abc",
    "LIVE_SPEND": "1",
}


@pytest.mark.parametrize("name", LIVE)
def test_m32_the_demo_refuses_what_is_live_by_its_name(name: str) -> None:
    """M32: a demo on a machine with real keys must not come near them, nor print them."""
    with pytest.raises(ConfigurationError, match=name) as refused:
        refuse_live({name: LIVE[name]})
    assert LIVE[name] not in str(refused.value) or name == "LIVE_SPEND"


def test_m32_a_key_that_proves_nothing_counts_as_live() -> None:
    """M30, M32: an unknown prefix is live for a duty."""
    with pytest.raises(ConfigurationError, match="STRIPE_EARN_KEY"):
        refuse_live({"STRIPE_EARN_KEY": "sk_something"})
    refuse_live(
        {"STRIPE_EARN_KEY": "sk_test_abc", "LIVE_SPEND": "0", "STRIPE_WEBHOOK_SECRETS": "test:whsec_a"}
    )


def test_a_refused_demo_touches_nothing(tmp_path: Path) -> None:
    """One line, exit 3, and no folder left behind."""
    done = _demo(tmp_path, STRIPE_SPEND_KEY="rk_live_abc")
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "STRIPE_SPEND_KEY" in done.stderr
    assert "rk_live_abc" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_start_that_was_cut_short_is_made_anew_and_a_whole_one_kept(tmp_path: Path) -> None:
    """A visitor who pressed Ctrl-C too early must not be left with half a house."""
    folder = tmp_path / ".demo"
    place = open_place(folder, again=False)
    (folder / "bursar.db").write_bytes(b"half")
    assert open_place(folder, again=False).fresh
    place.keep()
    (folder / "bursar.db").write_bytes(b"whole")
    kept = open_place(folder, again=False)
    assert not kept.fresh
    assert kept.kept.web_port == place.kept.web_port
    assert open_place(folder, again=True).fresh
