import random
from datetime import timedelta

import msgspec
import pytest

from ledger.records import AgentRecord
from tests.tool_server.doors import NOW, agent
from tool_server.envelope import Principal
from tool_server.identity import Closed, Refused, TokenKind, bearer, identify, kind_of, mint, token_sha256

TOKEN = mint(TokenKind.AGENT, lambda size: bytes(range(size)))
SCOUT = agent("scout", agent_id="agt_1")


class Agents:
    """A ledger that knows one agent and remembers what it was asked."""

    def __init__(self, agent: AgentRecord | None = SCOUT) -> None:
        self.agent = agent
        self.asked: list[str] = []

    async def __call__(self, sha256: str) -> AgentRecord | None:
        """Answer as the ledger would."""
        self.asked.append(sha256)
        return self.agent if sha256 == token_sha256(TOKEN) else None


def test_a_token_shows_its_kind_and_keeps_256_bits() -> None:
    """Secret scanners find it by its prefix; all of the randomness survives the notation."""
    token = mint(TokenKind.ENFORCER, lambda size: b"\xff" * size)
    assert token.startswith("bur_enf_")
    assert len(token) == len("bur_enf_") + 43 + 6
    assert kind_of(token) is TokenKind.ENFORCER
    seeded = random.Random(7)
    assert len({mint(TokenKind.AGENT, seeded.randbytes) for _ in range(1000)}) == 1000


@pytest.mark.parametrize("place", range(len(TOKEN)))
def test_any_single_wrong_character_is_seen_without_asking_the_ledger(place: int) -> None:
    """A mistyped token is told from a wrong one, and guessing costs the ledger nothing."""
    wrong = TOKEN[:place] + ("x" if TOKEN[place] != "x" else "y") + TOKEN[place + 1 :]
    assert kind_of(wrong) is None


@pytest.mark.parametrize(
    "text", ["", "bur_agent_", TOKEN + "0", TOKEN[:-1], f" {TOKEN}", TOKEN.upper(), f"{TOKEN}\n"]
)
def test_what_is_no_token_has_no_kind(text: str) -> None:
    """Nothing is trimmed, folded or guessed into a credential."""
    assert kind_of(text) is None


async def test_a_valid_token_becomes_its_agent_and_nothing_of_the_secret_stays() -> None:
    """The principal goes into logs and results, so it must not hold what opens the door."""
    agents = Agents()
    principal = await identify(TOKEN, agents, NOW)
    assert isinstance(principal, Principal)
    assert (principal.agent, principal.project, principal.kits) == (
        "scout",
        "shop",
        ("sell", "buy"),
    )
    assert TOKEN not in repr(principal)
    assert agents.asked == [token_sha256(TOKEN)]


@pytest.mark.parametrize(
    ("token", "agent", "why"),
    [
        (None, SCOUT, Refused.MISSING),
        ("sk_live_123", SCOUT, Refused.MALFORMED),
        (mint(TokenKind.ENFORCER, bytes), SCOUT, Refused.WRONG_KIND),
        (mint(TokenKind.AGENT, bytes), SCOUT, Refused.UNKNOWN),
        (TOKEN, msgspec.structs.replace(SCOUT, active=False), Refused.REVOKED),
        (TOKEN, msgspec.structs.replace(SCOUT, expires_at=NOW), Refused.EXPIRED),
        (TOKEN, msgspec.structs.replace(SCOUT, expires_at=NOW - timedelta(days=1)), Refused.EXPIRED),
    ],
)
async def test_every_bad_credential_is_refused_with_its_own_reason(
    token: str | None, agent: AgentRecord, why: Refused
) -> None:
    """The log must tell a leaked, revoked token from a typing mistake."""
    found = await identify(token, Agents(agent), NOW)
    assert isinstance(found, Closed)
    assert found.why is why
    assert (found.agent is None) == (why not in {Refused.REVOKED, Refused.EXPIRED})


async def test_an_expiry_in_the_future_still_opens() -> None:
    """The instant of expiry itself is already too late; the one before is not."""
    soon = msgspec.structs.replace(SCOUT, expires_at=NOW + timedelta(microseconds=1))
    assert isinstance(await identify(TOKEN, Agents(soon), NOW), Principal)


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc", "abc"),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic abc", None),
        ("", None),
        (None, None),
    ],
)
def test_a_bearer_header_is_read_as_its_rfc_says(header: str | None, token: str | None) -> None:
    """RFC 6750: the scheme is case-insensitive, and no other scheme is a token."""
    assert bearer(header) == token
