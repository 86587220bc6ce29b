"""Fulfilment: an agent works off a paid order under review: plan, drafts, delivery, model decisions."""
