"""What the simulated API refuses with: Stripe's error types, codes and bodies.

Source: stripe-python 16, whose `_error.py` and `_api_requestor.py` read these bodies.
"""

from typing import Any


class ApiError(Exception):
    """A refusal with an HTTP status and Stripe's `{"error": {...}}` body."""

    def __init__(self, status: int, kind: str, message: str, **fields: Any) -> None:  # noqa: ANN401  JSON values
        super().__init__(message)
        self.status = status
        self.fields: dict[str, Any] = {"type": kind, "message": message, **fields}

    def body(self, request_id: str) -> dict[str, Any]:
        """Give the JSON body; v1 bodies name the request they answered."""
        return {"error": {**self.fields, "request_log_url": None, "request_id": request_id}}


def invalid(message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    """Refuse a request whose parameters or state do not allow it (400)."""
    fields: dict[str, Any] = {}
    if param is not None:
        fields["param"] = param
    if code is not None:
        fields["code"] = code
    return ApiError(400, "invalid_request_error", message, **fields)


def missing(kind: str, object_id: str, param: str = "id") -> ApiError:
    """Say that no such object exists in this account (404)."""
    what = kind.rsplit(".", 1)[-1]
    message = f"No such {what}: '{object_id}'"
    return ApiError(404, "invalid_request_error", message, param=param, code="resource_missing")


def declined(code: str, decline_code: str | None, message: str, **fields: Any) -> ApiError:  # noqa: ANN401  JSON values
    """Say that a card was declined (402)."""
    extra = dict(fields)
    if decline_code is not None:
        extra["decline_code"] = decline_code
    return ApiError(402, "card_error", message, code=code, **extra)


def unauthorized(message: str) -> ApiError:
    """Refuse a key this simulator did not make (401)."""
    return ApiError(401, "invalid_request_error", message)


def forbidden(message: str) -> ApiError:
    """Refuse a restricted key outside its scopes (403)."""
    return ApiError(403, "invalid_request_error", message, code="more_permissions_required_for_application")


def unrecognized(method: str, path: str) -> ApiError:
    """Say that the simulator has no such route (404)."""
    return ApiError(404, "invalid_request_error", f"Unrecognized request URL ({method}: {path}).")


def rate_limited() -> ApiError:
    """Say that too many requests came; nothing was executed (429)."""
    message = "Request rate limit exceeded. Nothing was executed."
    return ApiError(429, "invalid_request_error", message, code="rate_limit")


def key_in_use(key: str) -> ApiError:
    """Say that a request with this idempotency key is still running (409)."""
    message = f"There is currently another in-progress request using this Idempotency Key: {key}"
    return ApiError(409, "idempotency_error", message, code="idempotency_key_in_use")


def key_reused(key: str) -> ApiError:
    """Refuse an idempotency key that came back with other parameters (400)."""
    message = (
        f"Keys for idempotent requests can only be used with the same parameters; '{key}' came with others"
    )
    return ApiError(400, "idempotency_error", message)


def internal() -> ApiError:
    """Be broken in the way Stripe is when it is (500)."""
    return ApiError(500, "api_error", "An unknown error occurred")
