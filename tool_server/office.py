"""What operators do from the command line, run by the process that writes the ledger.

The command line asks in one line, this process answers in one line: over `bursar.db.sock` where a server
holds the lock, by a plain call where the command itself opened the ledger. Whoever writes is whoever checks
the password, so a command line that was tampered with gains nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from ledger.people import FREE_FAILURES
from ledger.records import OperatorRecord, Role
from policy.errors import BursarError
from policy.money import dec_hook, enc_hook
from tool_server.passwords import matches

if TYPE_CHECKING:
    from ledger.ledger import Ledger
    from tool_server.catalogue import Catalogue
    from tool_server.providers import Providers

_LONGEST_SUBJECT: Final = 100  # Characters of a name that nobody has yet.
RANK: Final = {Role.VIEWER: 0, Role.APPROVER: 1, Role.OWNER: 2}


class Sign(Struct, frozen=True):
    """Who asks, as typed on the terminal itself."""

    operator: str
    password: str

    def __repr__(self) -> str:
        return f"Sign({self.operator!r}, ***)"


class Ask(Struct, frozen=True, kw_only=True):
    """One thing to do."""

    verb: str
    params: dict[str, Any] = {}
    sign: Sign | None = None


class Told(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of it; `refused` is one line that says what to do."""

    data: Any = None
    refused: str = ""
    sign_as: str = ""  # The role whose password is wanted, where none came.


class Refused(BursarError):  # noqa: N818 - it says what was answered
    """The office does not do this; the message says why and what to do."""


class SignatureWanted(Refused):
    """This needs the password of somebody in a role."""

    def __init__(self, role: Role) -> None:
        super().__init__(f"this needs the password of an operator who is {_article(role)}")
        self.role = role


class Means(Struct, frozen=True, kw_only=True):
    """What the verbs work with. `catalogue` is None where no plugins are loaded."""

    ledger: Ledger
    now: Callable[[], datetime]
    random_bytes: Callable[[int], bytes]
    catalogue: Catalogue | None = None
    console_url: str = ""  # Where operators sign in.
    agents_url: str = ""  # Where agents connect.
    keys: Path | None = None  # The folder of the signing key.
    policies: Path | None = None  # The policy file, to compare with what is in force.
    providers: Providers | None = None


class Verb(Struct, frozen=True):
    """One thing the office does: what it takes, whose password it needs, and how it is done."""

    params: type[Struct]
    run: Callable[[Means, Any, OperatorRecord | None], Awaitable[object]]
    role: Callable[[Any], Role | None] = lambda _params: None


class Office:
    """Checks who asks, then does it."""

    def __init__(self, means: Means, verbs: Mapping[str, Verb]) -> None:
        self.means = means
        self._verbs = verbs

    async def handle(self, ask: Ask) -> Told:
        """Do one thing, or say in one line why not; raises for nothing but breaks of our own."""
        verb = self._verbs.get(ask.verb)
        if verb is None:
            return Told(refused=f"this server does not know {ask.verb!r}; is it of another version?")
        try:
            params = msgspec.convert(ask.params, verb.params, strict=True, dec_hook=dec_hook)
            who = await self._who(ask.sign, verb.role(params))
            return Told(data=await verb.run(self.means, params, who))
        except SignatureWanted as wanted:
            return Told(refused=str(wanted), sign_as=wanted.role.value)
        except msgspec.ValidationError as error:
            return Told(refused=str(error))
        except BursarError as error:
            return Told(refused=str(error))

    async def _who(self, sign: Sign | None, role: Role | None) -> OperatorRecord | None:
        """Return the operator who signed. Raises Refused, alike for a wrong name and a wrong password."""
        if role is None:
            return None
        if sign is None:
            raise SignatureWanted(role)
        return await self._checked(sign, role)

    async def _checked(self, sign: Sign, role: Role) -> OperatorRecord:
        ledger, now = self.means.ledger, self.means.now()
        subject = f"cli:{sign.operator}"[:_LONGEST_SUBJECT]
        if not await ledger.begin_login({subject: FREE_FAILURES}, now):
            raise Refused("too many wrong passwords; wait some minutes")
        found = await ledger.password_hash(sign.operator)
        right = await matches(sign.password, found[1] if found else None)
        ok = right and found is not None and found[0].active
        if not ok or found is None:
            raise Refused("that name and password do not belong to an active operator")
        await ledger.count_login(subject, now, ok=True)
        if RANK[found[0].role] < RANK[role]:
            raise Refused(f"{found[0].name} is {_article(found[0].role)}; this needs {_article(role)}")
        return found[0]


def encode(value: Ask | Told) -> bytes:
    """Return one line for the socket."""
    return msgspec.json.encode(value, enc_hook=enc_hook) + b"\n"


def _article(role: Role) -> str:
    return f"{'a' if role is Role.VIEWER else 'an'} {role.value}"
