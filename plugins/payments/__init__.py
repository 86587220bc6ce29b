"""Payments through Stripe, and the simulator that stands in for it."""
