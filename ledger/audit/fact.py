"""What an audit entry says: the form of every kind in the catalogue.

An entry has two parts. Its *facts* are typed here, stay for ever, and hold no personal data and no free
text: ids, states, money, times, names from the policy. Its *payload* is an object of the canonical profile
that can be erased with its salt (M35): arguments, payees, reasons, comments, contact data, and hashes over
such data (op_hash, fingerprint). `PAYLOAD` in each class lists what its payload carries.

A fact is named after the column of its subject's row that it sets, so that the log alone gives back the
tables: folding all facts of a subject, later over earlier, is its row (`replay.py`). A fact of None is left
out and says nothing; a column that returns to empty is written as "" or 0. Times are microseconds since 1970
in UTC, money is in minor units.

Adding a kind: write its class in call_kinds or house_kinds; the catalogue finds it. Never change the meaning
of a kind or remove one: logs outlive programs.
"""

from typing import ClassVar

from msgspec import Struct


class Fact(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one kind of entry says for ever about its subject.

    Fields are named after columns; `KIND`, `SUBJECT` and `PAYLOAD` are of the kind, not of the entry.
    """

    KIND: ClassVar[str]
    SUBJECT: ClassVar[str]
    PAYLOAD: ClassVar[tuple[str, ...]] = ()


class Move(Struct, frozen=True, array_like=True, gc=False):
    """A change of one usage row, in its unit (minor units or calls); negative takes away.

    `usage` is the usage row's id; `held` is reserved for a call, `committed` on an armed purchase, `posted`
    spent.
    """

    usage: str
    held: int
    committed: int
    posted: int
