"""The policy language and its decision: no clock, randomness, I/O or framework behind a decision."""
