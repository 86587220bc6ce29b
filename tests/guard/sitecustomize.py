"""What every Python that a test starts runs first: no way to a provider, and a word where one was tried."""

import os
import sys
from typing import Any

PROVIDERS = ("stripe.com", "porkbun.com")


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse to look a provider's address up."""
    if event != "socket.getaddrinfo":
        return
    host = arguments[0].decode() if isinstance(arguments[0], bytes) else str(arguments[0])
    if host.endswith(PROVIDERS):
        told = os.environ.get("TESTS_STRAYED")
        if told:
            with open(told, "a", encoding="utf-8") as file:  # noqa: PTH123 -- it starts with every Python: nothing is imported for it
                file.write(f"{host}\n")
        raise PermissionError(f"a test tried to reach {host!r}; tests stay on this machine")


sys.addaudithook(refuse)
