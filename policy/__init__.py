"""The policy language and its decision: pure, with no clock, randomness, I/O or framework behind a decision."""
