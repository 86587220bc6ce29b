"""Lists as Stripe pages them: newest first, cursors by id in v1, opaque pages in v2."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from plugins.payments.simulator import forms
from plugins.payments.simulator.errors import invalid
from plugins.payments.simulator.world import Obj, World

_DEFAULT_LIMIT, _MAX_LIMIT = 10, 100  # Stripe's documented default and maximum of v1 lists.


def page(world: World, objects: Iterable[Obj], params: dict[str, Any], url: str) -> Obj:
    """Give one v1 page of `objects` (oldest first), newest first, with its expansions.

    Raises ApiError (400) for a limit out of range or a cursor that is not in the list.
    """
    limit = params.get("limit", _DEFAULT_LIMIT)
    if not 1 <= limit <= _MAX_LIMIT:
        raise invalid(f"limit must be between 1 and {_MAX_LIMIT}, not {limit}", param="limit")
    rows = [row for row in reversed(list(objects)) if in_range(row.get("created", 0), params.get("created"))]
    if "ending_before" in params:
        rows = rows[: _position(rows, params["ending_before"], "ending_before")]
        chosen, has_more = rows[-limit:], len(rows) > limit
    else:
        if "starting_after" in params:
            rows = rows[_position(rows, params["starting_after"], "starting_after") + 1 :]
        chosen, has_more = rows[:limit], len(rows) > limit
    answer = {"object": "list", "url": url, "has_more": has_more, "data": chosen}
    return world.render(answer, params.get("expand", ()))


def page_v2(world: World, objects: Iterable[Obj], params: dict[str, Any], url: str) -> Obj:
    """Give one v2 page, newest first; the page token is the position, as text."""
    limit = params.get("limit", _DEFAULT_LIMIT)
    if not 1 <= limit <= _MAX_LIMIT:
        raise invalid(f"limit must be between 1 and {_MAX_LIMIT}, not {limit}", param="limit")
    token = str(params.get("page", "0"))
    if not token.isdigit():
        raise invalid(f"Invalid page token: {token}", param="page")
    start = int(token)
    rows = list(reversed(list(objects)))
    following = None
    if len(rows) > start + limit:
        query = forms.encode({**params, "page": str(start + limit)})
        following = f"{url}?{query}"
    answer = {"data": rows[start : start + limit], "next_page_url": following, "previous_page_url": None}
    return world.render(answer)


def matching(objects: Iterable[Obj], params: dict[str, Any], *names: str) -> list[Obj]:
    """Give the objects whose fields equal the parameters of the same names, as far as they were given."""
    asked = {name: params[name] for name in names if name in params}
    return [each for each in objects if all(each[name] == value for name, value in asked.items())]


def in_range(created: float, bounds: dict[str, int] | int | None) -> bool:
    """Tell whether an instant fits a `created` filter, which is one instant or bounds."""
    if bounds is None:
        return True
    if isinstance(bounds, int):
        return created == bounds
    return (
        created > bounds.get("gt", float("-inf"))
        and created >= bounds.get("gte", float("-inf"))
        and created < bounds.get("lt", float("inf"))
        and created <= bounds.get("lte", float("inf"))
    )


def in_iso_range(created: str, bounds: dict[str, str] | None) -> bool:
    """Tell whether an RFC 3339 instant fits a v2 `created` filter. Raises ApiError (400)."""
    try:
        limits = {name: _seconds(text) for name, text in (bounds or {}).items()}
    except ValueError as error:
        raise invalid(f"created: {error}", param="created") from error
    instant = _seconds(created)
    return (
        instant > limits.get("gt", float("-inf"))
        and instant >= limits.get("gte", float("-inf"))
        and instant < limits.get("lt", float("inf"))
        and instant <= limits.get("lte", float("inf"))
    )


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _position(rows: list[Obj], cursor: str, param: str) -> int:
    for number, row in enumerate(rows):
        if row["id"] == cursor:
            return number
    raise invalid(f"No such object in this list: '{cursor}'", param=param, code="resource_missing")
