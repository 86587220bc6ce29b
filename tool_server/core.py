"""What a core tool is: one of Bursar's own, which every token lists and no rule has to allow.

Core tools ask and cancel; they never spend. They enter by the same door as every other tool: the gate
decodes their arguments strictly and records the read, then hands over to `answer`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct

from plugins.tool import Annotations
from policy.model import Kind
from tool_server.envelope import CallMeta, CallResult, Principal

if TYPE_CHECKING:
    from tool_server.gate import Gate

A = TypeVar("A", bound=Struct)


class CoreContext(Struct, frozen=True, kw_only=True):
    """Who asks, when, and the gate to ask.

    Its `shown`, `watch`, `preview` and `ledger` are for core tools.
    """

    principal: Principal
    meta: CallMeta
    now: datetime
    gate: Gate


class CoreTool(Struct, Generic[A], frozen=True, kw_only=True):
    """One core tool: read or withdraw, never more."""

    name: str
    kind: Kind
    description: str
    arguments: type[A]
    annotations: Annotations
    answer: Callable[[A, CoreContext], Awaitable[CallResult]]
