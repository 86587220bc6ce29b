"""The two databases a ledger can live in, behind one small door: `ledger.engines.tx.Tx`."""
