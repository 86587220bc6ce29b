"""What operators have done for them: by whose password, for exactly what, and what the ledger then says."""

from typing import Any

import pytest
from msgspec import structs

from ledger.records import CallState, Role
from tests.provider.house import Desk, Shop
from tool_server.identity import TokenKind, kind_of, token_sha256
from tool_server.office import Ask, Means, Office, Sign, Told, encode
from tool_server.office_local import VERBS
from tool_server.office_socket import ask_holder, listening, socket_path
from tool_server.passwords import hashed

PASSWORD = "plum anchor violet dune"
OLGA, ANTON = Sign("olga", PASSWORD), Sign("anton", PASSWORD)


class Front:
    """An office and the questions it is asked."""

    def __init__(self, desk: Desk) -> None:
        self.bytes = 0
        house = desk.house
        self.office = Office(
            Means(
                ledger=house.ledger,
                now=house.now,
                random_bytes=self._random,
                catalogue=house.catalogue,
                console_url="http://127.0.0.1:8401",
                agents_url="http://127.0.0.1:8400/mcp",
            ),
            VERBS,
        )

    async def told(self, verb: str, sign: Sign | None = None, **params: object) -> Told:
        """Ask one thing."""
        return await self.office.handle(Ask(verb=verb, params=dict(params), sign=sign))

    async def data(self, verb: str, sign: Sign | None = None, **params: object) -> Any:  # noqa: ANN401 - the verb's own
        """Ask one thing that must be done."""
        told = await self.told(verb, sign, **params)
        assert not told.refused, told
        return told.data

    def _random(self, size: int) -> bytes:
        self.bytes += 1
        return self.bytes.to_bytes(size, "big")


@pytest.fixture
async def front(small: Desk) -> Front:
    """Give an office whose two operators have passwords; hashing is slow, so one hash serves both."""
    stored = await hashed(PASSWORD)
    for name in ("olga", "anton"):
        await small.house.ledger.set_password_hash(name, stored, by="olga", at=small.house.now())
    return Front(small)


async def test_an_agents_token_is_shown_once_and_only_its_hash_is_kept(front: Front, small: Desk) -> None:
    """Whoever copies the ledger copies no token."""
    made = await front.data("agent.add", OLGA, name="nora", project="shop", kits=["shop"])
    assert kind_of(made["token"]) is TokenKind.AGENT
    found = await small.house.ledger.agent_by_token(token_sha256(made["token"]))
    assert found is not None
    assert (found.name, found.owner) == ("nora", "olga")
    assert made["token"] not in repr(await front.data("agent.list"))


async def test_a_rotated_token_replaces_the_old_one_at_once_and_a_revoked_one_opens_nothing(
    front: Front, small: Desk
) -> None:
    """The name, its calls and its keys stay; only what opens the door changes."""
    ledger = small.house.ledger
    first = (await front.data("agent.add", OLGA, name="nora", project="shop", kits=["shop"]))["token"]
    second = (await front.data("agent.rotate", OLGA, name="nora"))["token"]
    assert await ledger.agent_by_token(token_sha256(first)) is None
    await front.data("agent.revoke", name="nora")
    found = await ledger.agent_by_token(token_sha256(second))
    assert found is not None
    assert found.active is False


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"name": "nora", "project": "nowhere", "kits": ["shop"]}, "bursar project add"),
        ({"name": "nora", "project": "shop", "kits": ["nothing"]}, "no kit"),
        ({"name": "scout", "project": "shop", "kits": ["shop"]}, "scout"),
        ({"name": "No Name", "project": "shop", "kits": ["shop"]}, "name"),
    ],
)
async def test_an_agent_that_could_not_work_is_refused(
    params: dict[str, object], said: str, front: Front
) -> None:
    """A typing mistake in a kit would make an agent that sees no tools, and nobody would know why."""
    told = await front.told("agent.add", OLGA, **params)
    assert said in told.refused


async def test_a_verdict_needs_an_approver_and_binds_to_what_was_shown(
    front: Front, small: Desk, shop: Shop
) -> None:
    """M27: the hash that was shown is the one that is answered, on the terminal as in the console."""
    result = await small.buy("50.00 USD")
    assert result.envelope.approval is not None
    approval_id = result.envelope.approval.approval_id
    shown = await front.data("approvals.show", id=approval_id)
    asked: dict[str, Any] = {"id": approval_id, "op_hash": shown["op_hash"], "verdict": "approve"}
    assert (await front.told("approvals.answer", **asked)).sign_as == Role.APPROVER.value
    other = await front.told("approvals.answer", ANTON, **{**asked, "op_hash": "0" * 64})
    assert other.refused
    assert shop.requests() == 0
    await front.data("approvals.answer", ANTON, **asked)
    await small.until(result, CallState.SUCCEEDED)
    assert len(shop.orders()) == 1
    assert [line["what"] for line in (await front.data("calls.show", id=shown["call_id"]))["timeline"]]


async def test_an_approver_is_no_owner(front: Front) -> None:
    """Roles include those before them and none after."""
    told = await front.told("agent.add", ANTON, name="nora", project="shop", kits=["shop"])
    assert "owner" in told.refused


async def test_a_name_and_a_password_that_do_not_go_together_say_nothing_more(front: Front) -> None:
    """Neither which names exist, nor which of the two was wrong."""
    wrong = await front.told("login", Sign("olga", "something else"))
    nobody = await front.told("login", Sign("nobody", PASSWORD))
    assert wrong.refused == nobody.refused
    assert PASSWORD not in repr(OLGA)


async def test_guessing_is_slowed_down_until_even_the_right_password_waits(front: Front) -> None:
    """The brake holds at the office too, or a shell on this machine would be the way round the console."""
    for number in range(12):  # Enough that a slow machine meets a longer pause, too.
        await front.told("login", Sign("olga", f"guess {number}"))
    told = await front.told("login", OLGA)
    assert "wait" in told.refused


async def test_a_disabled_operator_signs_nothing(front: Front, small: Desk) -> None:
    """The password is still right; the person is not."""
    await small.house.ledger.disable_operator("anton", by="olga", at=small.house.now())
    assert (await front.told("login", ANTON)).refused


async def test_loosening_wants_an_owner_and_tightening_nobody(front: Front) -> None:
    """The first answer says that it would loosen; only then is a password asked for."""
    await front.data("posture.set", posture="draft_only", because="a look at the books")
    asked: dict[str, Any] = {"posture": "no_spend", "because": "half way back"}
    assert await front.data("posture.set", **asked) == {"loosens": True}
    assert (await front.told("posture.set", **asked, loosens=True)).sign_as == "owner"
    assert (await front.told("posture.set", ANTON, **asked, loosens=True)).refused
    moved = await front.data("posture.set", OLGA, **asked, loosens=True)
    assert moved["posture"] == "no_spend"


async def test_only_an_owner_puts_a_policy_in_force(front: Front) -> None:
    """An approver is not enough, and a text that does not load changes nothing."""
    before = await front.data("policy.active")
    changed = before["text"] + "# a word for its reader\n"
    asked = {"text": changed, "file": "policies.yaml"}
    assert (await front.told("policy.activate", **asked)).sign_as == "owner"
    assert (await front.told("policy.activate", ANTON, **asked)).refused
    assert (await front.told("policy.activate", OLGA, text="version: 2", file="p.yaml")).refused
    assert (await front.data("policy.active"))["sha256"] == before["sha256"]
    became = await front.data("policy.activate", OLGA, **asked)
    assert (became["state"], became["replaces"]) == ("active", before["sha256"])
    assert (await front.data("policy.active"))["text"] == changed


async def test_an_unknown_call_is_settled_by_an_owners_evidence(
    front: Front, small: Desk, shop: Shop
) -> None:
    """Reconcile `manual`: a person looked at the provider's own page and says what it shows."""
    shop.fault("lose")
    result = await small.buy("2.00 USD", tool="shop_buy_manual")
    assert result.envelope.status == "outcome_unknown"
    about = {
        "id": result.envelope.call_id,
        "outcome": "succeeded",
        "evidence": "order ord_1 on the shop's page",
    }
    assert (await front.told("calls.resolve", ANTON, **about)).refused
    resolved = await front.data("calls.resolve", OLGA, **about)
    assert resolved["state"] is CallState.SUCCEEDED


async def test_what_the_office_does_not_know_or_cannot_read_is_one_line(front: Front) -> None:
    """Another version of the command line, or a hand-made question, breaks nothing."""
    assert "nonsense" in (await front.told("nonsense")).refused
    assert (await front.told("runs.open", OLGA, project="shop")).refused
    assert (await front.told("calls.list", limit=10_000)).refused


async def test_the_socket_is_the_same_office_and_for_this_user_alone(
    front: Front,
    small: Desk,
    tmp_path: Any,  # noqa: ANN401 - pytest's path
) -> None:
    """The command line learns the same through it, and its file is nobody else's."""
    database = tmp_path / "office.db"
    ask = Ask(verb="project.list")
    assert await ask_holder(database, ask) is None
    async with listening(database, front.office.handle):
        assert socket_path(database).stat().st_mode & 0o777 == 0o600
        told = await ask_holder(database, ask)
        assert told is not None
        assert [each["name"] for each in told.data] == ["shop"]
        refused = await ask_holder(database, structs.replace(ask, verb="login"))
        assert refused is not None
        assert refused.sign_as == Role.VIEWER.value
    assert not socket_path(database).exists()
    assert encode(ask).endswith(b"\n")
    del small


async def test_the_switch_for_everything_stops_every_agent(front: Front, small: Desk) -> None:
    """The account has one name only: a switch under an empty one would stop nobody, and look as if it did."""
    await front.data("posture.set", posture="no_spend", because="trouble")
    stopped = await small.buy("2.00 USD")
    assert stopped.envelope.problem is not None, stopped.text
    assert stopped.envelope.problem.code == "posture_closed"
    asked: dict[str, Any] = {"posture": "normal", "because": "all clear"}
    assert await front.data("posture.set", **asked) == {"loosens": True}
    await front.data("posture.set", OLGA, **asked, loosens=True)
    assert (await small.buy("2.00 USD")).envelope.status == "succeeded"
