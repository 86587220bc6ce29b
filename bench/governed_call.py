"""What a governed call costs beside the floor: a bare server of the same SDK, a no-op tool, a bearer token.

    python bench/governed_call.py [--calls 600] [--json]

Every server is a process of its own, Bursar on SQLite with synchronous=FULL; the client speaks raw HTTP in
the era of 2026 over kept connections. CPU is the server's own, of all its threads. The machine's other work
still shows in it: by cold caches, and by the house's clocks and looks, which a slow run spreads over fewer
calls. fastmcp brings forty packages that Bursar has no use for, so it lives in an environment of its own:

    python -m venv elsewhere && elsewhere/bin/pip install fastmcp httptools
    python bench/governed_call.py --fastmcp elsewhere/bin/python
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import platform
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import httpx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
FIGURES = (": server CPU, 1 caller", ": server CPU, 16 callers", ": at 16 callers")
RATE = 2  # The place of the rate among a run's figures.
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
POLICY = """\
version: 1
plugins: [{name: noop, module: bench.noop_plugin}]
caps:
  - {id: account-month, per: account, window: month, limit: "9000000.00 USD"}
  - {id: run, per: run, window: run, limit: "9000000.00 USD"}
rules:
  - {id: all, match: {kind: [read, draft, earn, spend]}, effect: allow}
"""


def main() -> int:
    """Measure, print a table, and say whether the goals hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=600)
    parser.add_argument("--fastmcp", default="", metavar="PYTHON", help="an interpreter that has fastmcp")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", choices=sorted(SERVERS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        SERVERS[args.serve]()
        return 0
    rows = asyncio.run(measure(args.calls, args.fastmcp))
    print(f"{'':20}{'CPU ms, 1':>11}{'ratio':>7}{'goal':>6}{'CPU ms, 16':>11}{'ratio':>7}", end="")
    print(f"{'calls/s, 16':>13}{'ratio':>7}{'goal':>6}")
    for row in rows["table"]:
        print(row)
    if args.json:
        del rows["table"]
        print(json.dumps({**rows, "command": f"python bench/governed_call.py --calls {args.calls}"}))
    return 0 if all(each["holds"] for each in rows["results"]) else 1


async def measure(calls: int, fastmcp: str) -> dict[str, Any]:
    """Run every server and return figures beside the floor of the same run."""
    floor = await run("floor", "noop", calls, {"n": 1})
    fast = await run("fastmcp", "noop", calls, {"n": 1}, python=fastmcp) if fastmcp else None
    effect = await run("bursar", "bench_buy", calls, {"vendor": "v.example", "amount": "0.01 USD"})
    read = await run("bursar", "bench_read", calls, {"text": "x"})
    status = await run("bursar", "my_status", calls, {})
    results, table = [], []
    for name, got, most, least in (
        ("floor: no-op tool", floor, None, None),
        ("allowed purchase", effect, 1.6, 0.6),
        ("read", read, 1.25, None),
        ("my_status", status, None, None),
        ("fastmcp, no policy", fast, None, None),
    ):
        if got is None:
            table.append(f"{name:20} not compared; --fastmcp PYTHON names one that has it")
            continue
        cpu, crowd, rate = (mine / base for mine, base in zip(got, floor, strict=True))
        table.append(
            f"{name:20}{got[0]:11.2f}{cpu:7.2f}{most or '':>6}{got[1]:11.2f}{crowd:7.2f}"
            f"{got[2]:13.0f}{rate:7.2f}{least or '':>6}"
        )
        for figure, words in enumerate(FIGURES):
            unit, goal = ("calls/s", least) if figure == RATE else ("ms/call", most if figure == 0 else None)
            ratio, below = got[figure] / floor[figure], figure != RATE
            results.append(
                _result(f"{name}{words}", (got[figure], unit), floor[figure], ratio, goal, below=below)
            )
    if fast is not None:
        ratio = effect[0] / fast[0]
        results.append(
            _result("purchase beside fastmcp: CPU", (effect[0], "ms/call"), fast[0], ratio, 1.0, below=True)
        )
        table.append(f"an allowed purchase takes {ratio:.2f} of the CPU of fastmcp's no-op (goal: below 1)")
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    return {"results": results, "table": table, "machine": machine, "date": datetime.now(UTC).isoformat()}


def _result(
    name: str, figure: tuple[float, str], floor: float, ratio: float, goal: float | None, *, below: bool
) -> dict[str, Any]:
    holds = goal is None or (ratio <= goal if below else ratio >= goal)
    return {
        "name": name,
        "figure": round(figure[0], 3),
        "unit": figure[1],
        "floor": round(floor, 3),
        "ratio": round(ratio, 2),
        "goal": goal,
        "holds": holds,
    }


async def run(
    kind: str, tool: str, calls: int, arguments: dict[str, Any], *, python: str = sys.executable
) -> tuple[float, float, float]:
    """Return CPU milliseconds per call at one caller and at sixteen, and calls per second at sixteen."""
    with tempfile.TemporaryDirectory(prefix="bursar-bench-") as folder:
        process = subprocess.Popen(  # noqa: ASYNC220, S603 - our own program; the bench does nothing meanwhile
            [python, __file__, "--serve", kind],
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        import httpx

        try:
            if process.stdout is None:
                raise AssertionError("the server has no output")
            line = next(line for line in process.stdout if line.startswith("serving "))
            _, port, token = line.split()
            limits = httpx.Limits(max_connections=16, max_keepalive_connections=16)
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=30
            ) as http:
                await _calls(http, token, tool, arguments, calls=100, callers=4)
                before = _cpu_s(process.pid)
                await _calls(http, token, tool, arguments, calls=calls, callers=1)
                cpu_ms = (_cpu_s(process.pid) - before) * 1000 / calls
                start, before = time.perf_counter(), _cpu_s(process.pid)
                await _calls(http, token, tool, arguments, calls=calls, callers=16)
                rate = calls / (time.perf_counter() - start)
                return cpu_ms, (_cpu_s(process.pid) - before) * 1000 / calls, rate
        finally:
            process.kill()
            process.wait()


async def _calls(
    http: httpx.AsyncClient, token: str, tool: str, arguments: dict[str, Any], *, calls: int, callers: int
) -> None:
    """Make calls, shared between callers; each must succeed, else the figure would be of something else."""
    headers = {
        "authorization": f"Bearer {token}",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": tool,
    }
    left = iter(range(calls))

    async def caller() -> None:
        for number in left:
            given = dict(arguments)
            if tool == "bench_buy":
                # A vendor of its own each time, else every purchase would be another's twin and ask a person.
                name = f"{number}-{secrets.token_hex(6)}"
                given |= {"idempotency_key": f"bench-{name}", "vendor": f"v{name}.example"}
            params = {"name": tool, "arguments": given, "_meta": META}
            body = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
            answer = await http.post("/mcp", json=body, headers=headers)
            result = answer.json()["result"]
            said = result.get("structuredContent", {}).get("status", "succeeded")
            assert said == "succeeded", result

    await asyncio.gather(*(caller() for _ in range(callers)))


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- the servers, each in a process of its own -----------------------------------------------------------


def serve_floor() -> None:
    """Serve a no-op tool with the SDK's low-level server and its bearer authentication, and nothing else."""
    import mcp_types as types
    import msgspec
    from mcp.server import Server
    from mcp.server.auth.provider import AccessToken, TokenVerifier
    from mcp.server.auth.settings import AuthSettings
    from pydantic import AnyHttpUrl

    token = secrets.token_hex(32)
    known = {hashlib.sha256(token.encode()).hexdigest(): "a"}
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}

    class Number(msgspec.Struct, forbid_unknown_fields=True):
        n: int

    class Verifier(TokenVerifier):
        async def verify_token(self, given: str) -> AccessToken | None:
            who = known.get(hashlib.sha256(given.encode()).hexdigest())
            return None if who is None else AccessToken(token="-", client_id=who, scopes=["tools"])  # noqa: S106 - shown to nobody

    async def list_tools(_ctx: object, _params: object) -> types.ListToolsResult:
        return types.ListToolsResult(
            tools=[types.Tool(name="noop", description="Nothing.", input_schema=schema)]
        )

    async def call_tool(_ctx: object, params: types.CallToolRequestParams) -> types.CallToolResult:
        data = {"status": "succeeded", "n": msgspec.convert(params.arguments or {}, Number).n}
        text = types.TextContent(type="text", text="DONE")
        return types.CallToolResult(content=[text], structured_content=data)

    server = Server(
        "floor",
        on_list_tools=cast("Any", list_tools),
        on_call_tool=cast("Any", call_tool),
        get_tool_input_schema={"noop": schema}.get,
    )
    auth = AuthSettings(
        issuer_url=AnyHttpUrl("https://example.com"),
        resource_server_url=AnyHttpUrl("https://example.com/mcp"),
        required_scopes=["tools"],
        validate_token_resource=False,
    )
    app = server.streamable_http_app(
        json_response=True, auth=auth, token_verifier=Verifier(), host="127.0.0.1"
    )
    _uvicorn(app, token)


def serve_fastmcp() -> None:
    """Serve a no-op tool with fastmcp, without any policy or credential."""
    from fastmcp import FastMCP  # type: ignore[import-not-found,unused-ignore]  # A peer: installed only where it is compared.

    server = FastMCP("peer")

    @server.tool  # type: ignore[untyped-decorator,unused-ignore]  # As above: typed where it is installed.
    def noop(n: int) -> dict[str, object]:
        """Do nothing."""
        return {"status": "succeeded", "n": n}

    _uvicorn(server.http_app(path="/mcp", json_response=True, stateless_http=True), "-")


def serve_bursar() -> None:
    """Serve a whole house: ledger on SQLite FULL, policy, gate, dispatcher, a plugin that answers at once."""
    asyncio.run(bursar(1))


async def bursar(agents_wanted: int) -> None:
    """Serve a house with so many agents; print its port and their tokens on one line."""
    from ledger.making import make_ledger
    from ledger.records import Role
    from tool_server.agents import AgentsListener
    from tool_server.bootstrap import Wiring, bootstrap, judge_of
    from tool_server.hosts import Bind, names
    from tool_server.identity import TokenKind, mint, token_sha256
    from tool_server.ids import id_maker
    from tool_server.limits import Limits
    from tool_server.logs import configure_logging
    from tool_server.serve import Listener, open_socket, serve
    from tool_server.settings import Settings

    configure_logging(level="WARNING")
    Path("policies.yaml").write_text(POLICY)  # noqa: ASYNC240 - before anything is served
    wiring = Wiring(accept_all=True, release=Path("none.json"))
    url, now = "sqlite:///bursar.db", wiring.now()
    await make_ledger(
        url,
        account_id="acc",
        name="Bench",
        instance_id="i",
        judge=judge_of({}),
        ids=id_maker(wiring.now),
        at=now,
    )
    house = await bootstrap(Settings(db=url, policies=Path("policies.yaml")), wiring=wiring)
    owner = await house.ledger.add_operator(name="olga", role=Role.OWNER, by="system:init", at=now)
    await house.ledger.add_project("bench", by=owner.name, at=now)
    tokens = [mint(TokenKind.AGENT, secrets.token_bytes) for _ in range(agents_wanted)]
    for number, token in enumerate(tokens):
        await house.ledger.add_agent(
            name=f"scout-{number}",
            project="bench",
            kits=("bench",),
            token_sha256=token_sha256(token),
            by=owner.name,
            at=now,
        )
    free = Limits(calls_at_once=10**9, requests_at_once=10**9, open_per_agent=10**6)
    bind = Bind("127.0.0.1", 0)
    opened = open_socket(bind, "agents")
    agents = AgentsListener(house, names(bind, ""), limits=free)
    async with house.running(), agents.app.running():
        told = lambda: print("serving", opened.getsockname()[1], *tokens, flush=True)  # noqa: E731 -- one line, said once
        await serve([Listener("agents", agents.app, opened)], asyncio.Event(), on_served=told)


def _uvicorn(app: object, token: str) -> None:
    import uvicorn

    opened = socket.socket(proto=socket.IPPROTO_TCP)  # Else asyncio leaves Nagle's algorithm on.
    opened.bind(("127.0.0.1", 0))
    opened.listen(128)  # Callers may come while the application is still starting.
    print("serving", opened.getsockname()[1], token, flush=True)
    config = uvicorn.Config(cast("Any", app), log_level="warning", access_log=False)
    asyncio.run(uvicorn.Server(config).serve(sockets=[opened]))


SERVERS = {"floor": serve_floor, "fastmcp": serve_fastmcp, "bursar": serve_bursar}

if __name__ == "__main__":
    sys.exit(main())
