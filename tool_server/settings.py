"""The environment, read once: every setting and secret of a process, checked before anything is built on it.

A secret NAME may also come as NAME_FILE, the path of a file that holds it; both at once are refused, since
one of them would be ignored. LIVE_SPEND is 0 or 1 and nothing else, since a guess here costs money.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from plugins.hookspecs import Secret
from policy.errors import ConfigurationError
from policy.model import Mode

# The house's own secrets; no plugin may ask for one of them.
_LARGEST_SECRET: Final = 16_384  # Bytes; a larger file is some other file.
_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]{1,62}[A-Z0-9]")
_LIVE: Final = re.compile(r"(?:sk|rk|pk)_live_|^live:|,\s*live:")


class Settings(Struct, frozen=True, kw_only=True):
    """What a process was started with. `environ` stays private to `secret`: nothing else reads it."""

    db: str = "./bursar.db"  # A path, or a postgresql:// address.
    policies: Path = Path("policies.yaml")
    keys: Path = Path("keys")
    public_url: str = ""
    requests_to: str = ""  # The project that the public form writes to.
    live_spend: bool = False
    api_base: str = ""  # The simulator's address.
    allowed_modes: tuple[Mode, ...] = (Mode.LIVE, Mode.TEST, Mode.SIMULATED)
    reload_s: float = 1.0  # How often the policy file is looked at for a change.
    environ: Mapping[str, str] = {}

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Settings:
        """Return the settings an environment says. Raises ConfigurationError."""
        settings = cls(
            db=environ.get("BURSAR_DB") or "./bursar.db",
            policies=Path(environ.get("BURSAR_POLICIES") or "policies.yaml"),
            keys=Path(environ.get("BURSAR_KEYS") or "keys"),
            public_url=_public_url(environ.get("BURSAR_PUBLIC_URL", "")),
            requests_to=environ.get("BURSAR_REQUESTS_TO", ""),
            live_spend=_switch("LIVE_SPEND", environ.get("LIVE_SPEND", "0")),
            api_base=environ.get("STRIPE_API_BASE", ""),
            environ=dict(environ),
        )
        if settings.api_base and any(
            _LIVE.search(value) for name, value in environ.items() if "STRIPE" in name
        ):
            raise ConfigurationError(
                "STRIPE_API_BASE is for the simulator, and a live Stripe key or secret is set; unset one"
            )
        return settings

    @property
    def sqlite_file(self) -> Path | None:
        """Return the file of the embedded ledger; None where the ledger is a server's."""
        if self.db.startswith("sqlite:///"):
            return Path(self.db.removeprefix("sqlite:///"))
        return None if "://" in self.db else Path(self.db)

    def secret(self, name: str) -> Secret | None:
        """Return a secret by its name, from NAME or the file NAME_FILE; None where neither is set.

        Raises ConfigurationError where both are set, or the file cannot be read.
        """
        if _NAME.fullmatch(name) is None:
            raise ConfigurationError(
                f"{name!r} names no secret; such names are upper case, like ACME_API_KEY"
            )
        text, path = self.environ.get(name, ""), self.environ.get(f"{name}_FILE", "")
        if text and path:
            raise ConfigurationError(f"{name} and {name}_FILE are both set; unset one of them")
        if path:
            text = _file(name, Path(path))
        return Secret(name, text) if text else None


def _switch(name: str, text: str) -> bool:
    if text not in {"0", "1"}:
        raise ConfigurationError(f"{name} is {text!r}; it is 0 or 1 and nothing else")
    return text == "1"


def _public_url(text: str) -> str:
    if not text:
        return ""
    parts = urlsplit(text)
    local = parts.hostname in {"127.0.0.1", "::1", "localhost"}
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ConfigurationError(
            f"BURSAR_PUBLIC_URL is {text!r}; expected an address such as https://bursar.example.com"
        )
    if parts.scheme == "http" and not local:
        raise ConfigurationError(f"BURSAR_PUBLIC_URL is {text!r}; off this machine it has to be https")
    return text.rstrip("/")


def _file(name: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST_SECRET + 1)
        text = raw.decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{name}_FILE cannot be read: {type(error).__name__}; check the path and its rights"
        ) from None
    if not text or len(raw) > _LARGEST_SECRET:
        raise ConfigurationError(
            f"{name}_FILE is empty or larger than {_LARGEST_SECRET} bytes; put just the secret into it"
        )
    return text
