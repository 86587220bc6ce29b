"""Ids and secrets from one seed: the same seed and calls give the same ids."""

import random
import string

_ALPHABET = string.ascii_letters + string.digits
_LENGTH = 20  # 119 bits of a seeded generator: long enough never to collide, short enough to read.


class Ids:
    """Make ids that say `_sim`, so that no object of this world passes for one of Stripe's."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def new(self, prefix: str) -> str:
        """Give `<prefix>_sim_<20 letters and digits>`."""
        return f"{prefix}_sim_{self.letters(_LENGTH)}"

    def letters(self, count: int) -> str:
        """Give that many letters and digits."""
        return "".join(self._rng.choices(_ALPHABET, k=count))

    def digits(self, count: int) -> str:
        """Give that many digits, for the tail of a card number."""
        return "".join(self._rng.choices(string.digits, k=count))
