"""What a route is: a path with holes, its typed parameters, its scope, and the function it calls."""

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from plugins.payments.simulator.webhooks import Webhooks
from plugins.payments.simulator.world import Obj, World


@dataclass(frozen=True)
class Call:
    """One authenticated, checked API call, as the functions of `resources` receive it."""

    world: World
    hooks: Webhooks
    params: dict[str, Any]
    holes: dict[str, str]
    path: str

    @property
    def id(self) -> str:
        """Give the id in the path."""
        return self.holes["id"]


Handler = Callable[[Call], Obj | Awaitable[Obj]]
_HOLE = re.compile(r"\{(\w+)\}")


class Route:
    """One endpoint; `spec` names a class of stripe.params, or is None where the SDK sends no parameters."""

    def __init__(self, verb: str, handler: Handler, *, scope: str, spec: str | None) -> None:
        self.method, self.template = verb.split(" ")
        self.handler = handler
        self.scope = scope
        self.spec = spec
        self._pattern = re.compile("^" + _HOLE.sub(r"(?P<\1>[^/]+)", self.template) + "$")

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """Give the values of the path's holes, or None when this is another endpoint."""
        if method != self.method:
            return None
        found = self._pattern.match(path)
        return None if found is None else found.groupdict()


class Routes:
    """The table of endpoints, tried in order."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = list(routes)

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """Give the endpoint of a request and the values in its path."""
        for route in self._routes:
            holes = route.match(method, path)
            if holes is not None:
                return route, holes
        return None

    def all(self) -> list[Route]:
        """Give every endpoint, for the tests that check the table itself."""
        return list(self._routes)
