"""The keys this simulator made, and what restricted ones may do."""

import base64
import binascii
from dataclasses import dataclass

from plugins.payments.simulator.errors import forbidden, unauthorized
from plugins.payments.simulator.ids import Ids

EARN_SCOPES = frozenset(
    {
        "account",
        "balance",
        "catalogue",
        "checkout",
        "payment_links",
        "payments",
        "refunds",
        "disputes",
        "events",
    }
)
SPEND_SCOPES = frozenset({"account", "balance:read", "issuing", "outbound", "events"})


@dataclass(frozen=True)
class ApiKey:
    """A key; a secret key has no scopes and may do everything. `x` writes and reads, `x:read` reads."""

    secret: str
    scopes: frozenset[str] | None = None

    def permits(self, scope: str, *, is_write: bool) -> bool:
        """Tell whether the key reaches a route of this scope."""
        if self.scopes is None or scope in self.scopes:
            return True
        return not is_write and f"{scope}:read" in self.scopes


class KeyRing:
    """The keys that open this world. Real keys, test or live, never do."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._keys: dict[str, ApiKey] = {}

    def make(self, scopes: frozenset[str] | None = None) -> ApiKey:
        """Make a secret key, or a restricted one with scopes."""
        prefix = "sk_test" if scopes is None else "rk_test"
        key = ApiKey(self._ids.new(prefix), scopes)
        self._keys[key.secret] = key
        return key

    def rotate(self, secret: str) -> str:
        """Replace a key by a new one of the same scopes. Raises KeyError."""
        old = self._keys.pop(secret)
        return self.make(old.scopes).secret

    def revoke(self, secret: str) -> None:
        """Forget a key, as after a rotation; it answers 401 from now on."""
        self._keys.pop(secret, None)

    def dump(self) -> dict[str, list[str] | None]:
        """Give every key with its scopes, for a snapshot."""
        return {k.secret: None if k.scopes is None else sorted(k.scopes) for k in self._keys.values()}

    def load(self, saved: dict[str, list[str] | None]) -> None:
        """Replace every key by those of a snapshot."""
        self._keys = {
            secret: ApiKey(secret, None if scopes is None else frozenset(scopes))
            for secret, scopes in saved.items()
        }

    def authenticate(self, header: str) -> ApiKey:
        """Give the key of an Authorization header, Bearer or Basic. Raises ApiError (401)."""
        presented = _presented(header)
        if not presented:
            raise unauthorized("You did not provide an API key: send it as a Bearer token.")
        key = self._keys.get(presented)
        if key is None:
            shown = presented[:8] + "*" * 8
            message = (
                f"Invalid API Key provided: {shown}. This is a simulator; it answers only the keys it made."
            )
            raise unauthorized(message)
        return key


def require(key: ApiKey, scope: str, *, is_write: bool) -> None:
    """Hold a restricted key to its scopes. Raises ApiError (403)."""
    if not key.permits(scope, is_write=is_write):
        need = "write" if is_write else "read"
        raise forbidden(f"The provided key does not have the required permissions: {scope} {need}.")


def _presented(header: str) -> str:
    scheme, _, rest = header.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(rest, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""
