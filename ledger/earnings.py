"""What was earned, as shares of it are computed (M15): one signed row per revenue event that counts."""

from __future__ import annotations

from ledger.world import World


def book_earning(
    world: World,
    earning_id: str,
    *,
    project: str,
    amount_minor: int,
    currency: str,
    mode: str,
    proof_level: str,
    at_us: int,
) -> None:
    """Book one amount, in the transaction of its revenue event.

    Payments with Bursar's own cards are left out. Gains count for a share once they are as old as its cap's
    `after`, losses at once.
    """
    world.insert(
        "earnings",
        earning_id=earning_id,
        project=project,
        amount_minor=amount_minor,
        currency=currency,
        mode=mode,
        proof_level=proof_level,
        booked_at_us=at_us,
    )
