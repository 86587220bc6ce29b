"""The catalogue of kinds: a kind's name gives its class, and so its subject and what it may say."""

from types import MappingProxyType
from typing import Final

from ledger.audit import call_kinds, house_kinds
from ledger.audit.fact import Fact


def _kinds() -> dict[str, type[Fact]]:
    """Return every Fact of the two modules by its kind."""
    modules = (call_kinds, house_kinds)
    classes = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    return {cls.KIND: cls for cls in classes if issubclass(cls, Fact) and cls is not Fact}


CATALOGUE: Final = MappingProxyType(_kinds())
