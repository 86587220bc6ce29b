"""Take secrets out of whatever is written down or sent: logs, audit, results, pages.

Found by shape, since a secret may come back in a provider's words: our own tokens, the keys of providers we
know, bearer headers, private keys. What is found is replaced whole; the prefix stays, so that one knows
what it was.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

REPLACED: Final = "[redacted]"

_SHAPES: Final = re.compile(
    r"(?P<head>\b(?:sk|rk|pk)_(?:live|test|sim)_|\bwhsec_|\bbur_(?:agent|enf)_|\bpk1_|\bsk1_|\b[Bb]earer\s+)"
    r"[A-Za-z0-9_.~+/=-]{6,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
_NAMES: Final = re.compile(r"password|secret|token|authorization|api_?key|cookie", re.IGNORECASE)
_DEEPEST: Final = 12  # Levels of a logged value; deeper ones are only named.


def redact(text: str) -> str:
    """Return the text with every secret in it replaced."""
    return _SHAPES.sub(lambda found: f"{found.group('head') or ''}{REPLACED}", text)


def redacted_data(value: Any, depth: int = 0) -> Any:  # noqa: ANN401 -- any JSON value, and the same back
    """Return a JSON value with every secret in its texts replaced; keys stay as they are."""
    if isinstance(value, str):
        return redact(value)
    if depth > _DEEPEST:
        return REPLACED
    if isinstance(value, Mapping):
        return {key: redacted_data(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redacted_data(inner, depth + 1) for inner in value]
    return value


def redact_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Redact one log event, as structlog's processor.

    By the name of a field, and by the shape of its text.
    """
    for name, value in event.items():
        if _NAMES.search(name) and value:
            event[name] = REPLACED
        elif not isinstance(value, int | float | bool | None):
            event[name] = redacted_data(
                value if isinstance(value, str | Mapping | list | tuple) else repr(value)
            )
    return event
