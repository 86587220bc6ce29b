"""Links that open one thing for whoever holds them: a delivery, signed with the console's own key."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

_PURPOSE: Final = "delivery"  # Keeps these signatures apart from everything else the key signs.
_LENGTH: Final = 32  # Hex digits: 128 bits are beyond guessing, and fit into a mail.


def delivery_path(secret: str, run_id: str) -> str:
    """Return the path under which a buyer reads what a run delivered."""
    return f"/delivery/{run_id}/{_sign(secret, run_id)}"


def may_read(secret: str, run_id: str, signature: str) -> bool:
    """Say whether a signature is the one for this run; compared in constant time."""
    return hmac.compare_digest(_sign(secret, run_id).encode(), signature.encode())


def _sign(secret: str, run_id: str) -> str:
    made = hmac.new(secret.encode(), f"{_PURPOSE}:{run_id}".encode(), hashlib.sha256)
    return made.hexdigest()[:_LENGTH]
