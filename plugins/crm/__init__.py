"""The built-in CRM: leads, deals and outreach drafts, kept in the ledger so that a payment can win them."""
