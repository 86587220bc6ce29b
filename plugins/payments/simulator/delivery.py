"""Ways for a delivery to reach its receiver: over HTTP, or straight into an ASGI app."""

from urllib.parse import urlsplit

from plugins.payments.simulator.http import App, Message, Scope
from plugins.payments.simulator.webhooks import Answer

_TIMEOUT_S = 15.0  # Longer than the queue's own limit, which is the one that counts.


class HttpDeliver:
    """Deliver over HTTP; the client is made at the first delivery, in the loop that makes it."""

    def __init__(self) -> None:
        self._client: object | None = None

    async def __call__(self, url: str, body: bytes, headers: dict[str, str]) -> Answer:
        """POST one delivery. Raises what httpx raises."""
        import httpx

        if not isinstance(self._client, httpx.AsyncClient):
            # trust_env: a proxy in the environment must not see deliveries to loopback.
            self._client = httpx.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False)
        answer = await self._client.post(url, content=body, headers=headers)
        return Answer(answer.status_code, answer.content, dict(answer.headers))

    async def close(self) -> None:
        """Close the client."""
        import httpx

        if isinstance(self._client, httpx.AsyncClient):
            await self._client.aclose()
            self._client = None


class AppDeliver:
    """Deliver into an ASGI app without a socket and without httpx, so that respx never sees it."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, url: str, body: bytes, headers: dict[str, str]) -> Answer:
        """POST one delivery. Raises what the app raises."""
        parts = urlsplit(url)
        pairs = {"host": parts.netloc, "content-length": str(len(body)), **headers}
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": parts.scheme,
            "path": parts.path,
            "raw_path": parts.path.encode(),
            "root_path": "",
            "query_string": parts.query.encode(),
            "headers": [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in pairs.items()],
            "client": ("127.0.0.1", 40000),
            "server": (parts.hostname, parts.port or 80),
        }
        sent: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        got: list[Message] = []

        async def receive() -> Message:
            return sent.pop() if sent else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            got.append(message)

        await self._app(scope, receive, send)
        start = next(m for m in got if m["type"] == "http.response.start")
        content = b"".join(m.get("body", b"") for m in got if m["type"] == "http.response.body")
        answer_headers = {
            k.decode("latin-1").lower(): v.decode("latin-1") for k, v in start.get("headers", [])
        }
        return Answer(start["status"], content, answer_headers)
