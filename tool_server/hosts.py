"""Which names a listener answers to, and whether it may listen where it was told to (DNS rebinding).

A browser that was led here by somebody else's page sends that page's Host or Origin, so both are checked on
every bind, loopback too. An empty list means nobody, never everybody.
"""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from policy.errors import ConfigurationError

_PORTS: Final = 65_536
_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")


class Bind(Struct, frozen=True):
    """Where a listener listens; port 0 lets the system choose."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Say whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Names(Struct, frozen=True):
    """The Host and Origin values that a listener accepts, without ports where any port will do."""

    hosts: tuple[str, ...]
    origins: tuple[str, ...]

    def host_ok(self, host: str | None) -> bool:
        """Say whether a Host header names this listener."""
        return host is not None and _known(host.lower(), self.hosts)

    def origin_ok(self, origin: str | None) -> bool:
        """Say whether a request with this Origin may be answered; programs send none."""
        return origin is None or _known(origin.lower(), self.origins)


def read_bind(text: str, default_host: str = "127.0.0.1") -> Bind:
    """Read HOST:PORT, [IPV6]:PORT or PORT. Raises ConfigurationError."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or default_host
    if not (port.isascii() and port.isdigit() and int(port) < _PORTS):
        raise ConfigurationError(
            f"{text!r} is no address to listen on; expected HOST:PORT, like 127.0.0.1:8400"
        )
    return Bind(host, int(port))


def may_listen(bind: Bind, public_url: str, listener: str) -> None:
    """Refuse a listener that others can reach while nobody said under which https address.

    Raises ConfigurationError.
    """
    if bind.loopback or public_url.startswith("https://"):
        return
    raise ConfigurationError(
        f"--{listener} {bind} can be reached from other machines; set BURSAR_PUBLIC_URL to the https address "
        "that leads to it, or listen on 127.0.0.1"
    )


def names(bind: Bind, public_url: str) -> Names:
    """Return the names of a listener: loopback ones where it listens there, and the public address."""
    hosts = [*_LOOPBACK] if bind.loopback else []
    origins = [f"{scheme}://{host}" for host in hosts for scheme in ("http", "https")]
    public = urlsplit(public_url)
    if public.netloc:
        hosts.append(public.netloc.lower())
        origins.append(f"{public.scheme}://{public.netloc}".lower())
    return Names(tuple(hosts), tuple(origins))


def _known(value: str, allowed: tuple[str, ...]) -> bool:
    """Say whether a value is on the list as it stands, or with a port behind a name that has none."""
    if value in allowed:
        return True
    head, _, port = value.rpartition(":")
    return port.isascii() and port.isdigit() and head in allowed
