"""The side of the facade that tells stories: a run with everything behind it, receipts of entries."""

from __future__ import annotations

from ledger import run_proof
from ledger.audit.run_proof import RunProof
from ledger.core import Core


class LoopSide:
    """What the revenue loop's pages show and export."""

    _core: Core  # Set by whoever opens the ledger, once for all sides.

    async def run_story(self, run_id: str) -> run_proof.RunStory:
        """Return everything that hangs on a run, each record with its entries. Raises RecordMissing."""
        return await self._core.read(lambda tx: run_proof.run_story(tx, self._core.account_id, run_id))

    async def run_proof(self, run_id: str, *, payloads: bool = True) -> RunProof:
        """Return a run's proof. Raises RecordMissing, Unavailable while it is not signed that far."""
        account = self._core.account_id
        return await self._core.read(lambda tx: run_proof.run_proof(tx, account, run_id, payloads=payloads))

    async def receipt(self, seq: int) -> str:
        """Return the receipt of one entry. Raises RecordMissing, Unavailable while it is not signed."""
        return await self._core.read(lambda tx: run_proof.receipt_of(tx, self._core.account_id, seq))
