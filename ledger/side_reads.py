"""The reading side of the facade: pages for people and tools, from readers that never wait for the writer."""

from __future__ import annotations

from ledger.core import Core


class ReadSide:
    """What happened, in pages by key; nothing here counts whole tables."""

    def __init__(self, core: Core) -> None:
        self._core = core
