"""What booking works with: the transaction, the event, the object as fetched, how to say what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from ledger.audit.house_kinds import RecordWritten
from ledger.engines.tx import Tx
from ledger.rare_rows import Found
from ledger.records import ProofLevel
from ledger.records_revenue import Shown
from ledger.rows import ENCODER
from ledger.world import World
from policy.language import Mode
from policy.money import from_stripe

WORKER: Final = "system:worker"
_LEVELS: Final = {
    Mode.LIVE: ProofLevel.LIVE,
    Mode.TEST: ProofLevel.TEST,
    Mode.SIMULATED: ProofLevel.SIMULATED,
}
# What can never change of an object: an event whose snapshot says otherwise is not about what was fetched.
_FIXED: Final[Mapping[str, tuple[str, ...]]] = {
    "checkout.session": ("amount_total", "currency", "livemode", "mode", "payment_link", "created"),
    "payment_intent": ("amount", "currency", "livemode", "created"),
    "charge": ("amount", "currency", "livemode", "payment_intent", "created"),
    "refund": ("amount", "currency", "charge", "payment_intent", "created"),
    "dispute": ("amount", "currency", "livemode", "charge", "payment_intent", "created"),
    "issuing.authorization": ("currency", "livemode", "created"),
    "issuing.transaction": ("amount", "currency", "livemode", "type", "card", "created"),
}
_MARK: Final = "bursar_"


class Verdict(Struct, frozen=True):
    """What came of an event; `more` names an object to look at first, and then at the event again."""

    state: str
    code: str = ""
    why: str = ""
    more: str = ""


DONE: Final = Verdict("processed")


class Booking(Struct, frozen=True, kw_only=True):
    """One event being booked, in one transaction under the account's lock."""

    tx: Tx
    world: World
    at: datetime
    at_us: int
    shown: Shown
    event_id: str | None
    event_type: str
    snapshot: Mapping[str, Any]  # The object as the event carried it; empty for a thin event.

    @property
    def account(self) -> str:
        """The account whose ledger this is."""
        return self.world.account_id

    @property
    def data(self) -> Mapping[str, Any]:
        """The object as it is now."""
        return self.shown.data

    def tell(self, topic: str, **payload: object) -> None:
        """Queue a message for people."""
        self.world.tell(topic, ENCODER.encode(payload), self.at_us)

    def written(
        self, record_type: str, record_id: str, *, version: int, state: str, call_id: str | None = None
    ) -> None:
        """Say in the log that a record was made or changed."""
        fact = RecordWritten(record_type=record_type, version=version, state=state, call_id=call_id)
        self.world.log(fact, record_id, WORKER, self.at_us)


def snapshot_of(body: bytes) -> Mapping[str, Any]:
    """Return the object an event carries; nothing where it is thin."""
    try:
        event = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {}
    data = event.get("data") if isinstance(event, dict) else None
    carried = data.get("object") if isinstance(data, dict) else None
    return carried if isinstance(carried, dict) else {}


def differs(booking: Booking) -> Verdict | None:
    """Quarantine an event that says of its object what cannot be (M31: only what is fetched is booked)."""
    said, now = booking.snapshot, booking.data
    if not said or said.get("id") != now.get("id"):
        return None
    names = _FIXED.get(str(now.get("object")), ())
    wrong = [name for name in names if name in said and _plain(said[name]) != _plain(now.get(name))]
    wrong += [f"metadata.{name}" for name in _other_marks(said.get("metadata"), now.get("metadata"))]
    if not wrong:
        return None
    return Verdict("quarantined", "event_differs", f"the event and the object differ in {', '.join(wrong)}")


def _plain(value: object) -> object:
    """Compare an expanded object by its id."""
    return value.get("id") if isinstance(value, dict) else value


def _other_marks(said: object, now: object) -> list[str]:
    """Return the names of our marks that differ. Metadata that is gone differs in all of them."""
    before = said if isinstance(said, dict) else {}
    after = now if isinstance(now, dict) else {}
    names = {name for name in (*before, *after) if str(name).startswith(_MARK)}
    return sorted(str(name) for name in names if before.get(name) != after.get(name))


def strange(booking: Booking, record: Found) -> Verdict | None:
    """Quarantine what another account, mode or simulator shows than the record was made with (M4, M31)."""
    identity, proof, mode = booking.shown.identity, booking.shown.proof, str(record["mode"])
    if identity is None or proof is None:
        return Verdict("quarantined", "no_identity", "nothing says which account shows this object")
    if identity.account != record["provider_account"]:
        return Verdict(
            "quarantined",
            "wrong_account",
            f"it is of {identity.account}, not of {record['provider_account']}",
        )
    live = booking.data.get("livemode")
    if identity.mode != mode or (live is not None and bool(live) != (mode == Mode.LIVE)):
        return Verdict(
            "quarantined", "wrong_mode", f"it is shown in {identity.mode} mode, the record is {mode}"
        )
    if proof.level != _LEVELS[Mode(mode)]:
        return Verdict("quarantined", "wrong_proof", f"it proves {proof.level}, the record is {mode}")
    return None


def minor(amount: object, currency: object) -> int:
    """Return Stripe's integer as our minor units. Raises MoneyError for what is no exact amount."""
    if type(amount) is not int or not isinstance(currency, str):
        return 0
    sign = -1 if amount < 0 else 1
    return sign * from_stripe(abs(amount), currency).minor_units


def part(data: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """Return a nested object, empty where it is absent or only named."""
    found: Any = data
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def ref(value: object) -> str:
    """Return the id of an object that may be expanded, empty where there is none."""
    if isinstance(value, dict):
        return str(value.get("id") or "")
    return value if isinstance(value, str) else ""
