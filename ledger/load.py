"""Loading a World: the facts of a whole batch in a few set queries, under the account's lock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct

from ledger import statements as sql
from ledger.commands import Admission, Claim, Settlement
from ledger.engines.tx import Row, Tx
from ledger.house_rows import TOKEN, agent_record, operator_record
from ledger.judge import Law, PolicyBook
from ledger.meters import (
    FLOATING,
    Reading,
    booked_on,
    booking_start,
    reading_start,
    rule_reading,
)
from ledger.queries import Loader, load_query
from ledger.records import Query, Reader
from ledger.rows import ApprovalRow, AttemptRow, CallRow, ReservationRow, RunRow, UsageRow, VerdictRow
from ledger.times import NEVER_US, SECOND_US, to_us
from ledger.twins import twin_key
from ledger.world import House, ProcessBeat, TwinRow, World
from policy.errors import ConfigurationError, RecordMissing
from policy.language import Posture, WindowKind
from policy.model import Call, Needs

Hot = Admission | Claim | Settlement


class Sources(Struct, frozen=True):
    """What loading needs beside the database."""

    book: PolicyBook
    new_id: Callable[[str], str]
    loaders: Mapping[type[Query], Loader]
    houses: dict[str, House]  # By account, as last read.


def open_world(tx: Tx, account: str, sources: Sources, *, lock: bool = True) -> World:
    """Take the account's lock and return a World that knows who and what may, and no calls yet.

    Raises ConfigurationError for an account that does not exist here or has moved away (M34).
    """
    found = tx.first(sql.LOCK if lock else sql.ACCOUNT_STATE, account=account)
    if found is None:
        raise ConfigurationError(
            f"there is no account {account!r} in this ledger; make one with `bursar init`"
        )
    version, next_ordinal, policy_sha256, moved_to = found
    if moved_to is not None:
        raise ConfigurationError(f"this ledger has moved to {moved_to} and never serves again")
    house = sources.houses.get(account)
    if house is None or house.version != version:
        house = sources.houses[account] = read_house(tx, account, version)
    law = None if policy_sha256 is None else law_of(tx, account, policy_sha256, sources)
    return World(
        account_id=account,
        judge=sources.book.judge,
        law=law,
        house=house,
        next_ordinal=next_ordinal,
        new_id=sources.new_id,
        processes=tuple(
            ProcessBeat(row[0], bool(row[1]), row[2]) for row in tx.rows(sql.PROCESSES, account=account)
        ),
    )


def law_of(tx: Tx, account: str, sha256: str, sources: Sources) -> Law:
    """Return the policy of a hash, loading the text that the ledger keeps where this process has not yet."""

    def text() -> tuple[str, str]:
        row = tx.first(sql.POLICY, account=account, sha256=sha256)
        if row is None:
            raise ConfigurationError(f"the ledger holds no policy {sha256[:12]}")
        return str(row[0]), str(row[1])

    return sources.book.law(sha256, text)


def read_house(tx: Tx, account: str, version: int) -> House:
    """Read who and what may in one account."""
    rows = tx.rows(sql.AGENTS, account=account)
    agents = [agent_record(row) for row in rows]
    operators = [operator_record(row) for row in tx.rows(sql.OPERATORS, account=account)]
    postures = tx.rows(sql.POSTURES, account=account)
    return House(
        version=version,
        agents={agent.name: agent for agent in agents},
        tokens={row[TOKEN]: agent.name for row, agent in zip(rows, agents, strict=True)},
        operators={operator.operator_id: operator for operator in operators},
        postures={(row[1], row[2]): Posture(row[3]) for row in postures},
        accepted=dict(tx.rows(sql.ACCEPTED, account=account)),
    )


# --- calls -----------------------------------------------------------------------------------------------


def load_calls(tx: Tx, world: World, call_ids: Iterable[str], *, deep: bool) -> list[CallRow]:
    """Load calls with their requests; `deep` also what they hold, their attempts and verdicts."""
    account = world.account_id
    wanted = [each for each in dict.fromkeys(call_ids) if each not in world.calls]
    rows = [CallRow(*row) for row in tx.listed(sql.CALLS, wanted, account=account)]
    rows = list({row.call_id: row for row in rows}.values())
    world.calls.update({row.call_id: row for row in rows})
    requests = [row.approval_id for row in rows if row.approval_id is not None]
    for found in tx.listed(sql.APPROVALS, requests, account=account):
        request = ApprovalRow(*found)
        world.approvals[request.approval_id] = request
    if deep and rows:
        load_deep(tx, world, [row.call_id for row in rows], asked=bool(requests))
    return rows


def load_deep(tx: Tx, world: World, call_ids: list[str], *, asked: bool) -> None:
    """Load attempts, reservations and, where people were asked, verdicts of calls."""
    account = world.account_id
    for found in tx.listed(sql.ATTEMPTS, call_ids, account=account):
        attempt = AttemptRow(*found)
        world.attempts[attempt.call_id][attempt.number] = attempt
    for found in tx.listed(sql.RESERVATIONS, call_ids, account=account):
        held = ReservationRow(*found)
        world.reservations[held.call_id][held.meter] = held
    if asked:
        seen = {}
        for found in tx.listed(sql.VERDICTS, call_ids, account=account):
            verdict = VerdictRow(*found)
            seen[verdict.verdict_id] = verdict
        for verdict in seen.values():
            world.verdicts[verdict.call_id].append(verdict)


def load_runs(tx: Tx, world: World, run_ids: Iterable[str]) -> None:
    """Load runs by id."""
    for found in tx.listed(sql.RUNS, dict.fromkeys(run_ids), account=world.account_id):
        world.runs[found[1]] = RunRow(*found)


def load_records(
    tx: Tx, world: World, query: Query, reader: Reader, loaders: Mapping[type[Query], Loader]
) -> None:
    """Answer one query under the lock; an absent record is kept as such."""
    try:
        world.records[query, reader] = load_query(tx, query, reader, loaders)
    except RecordMissing as missing:
        world.records[query, reader] = missing


# --- facts -----------------------------------------------------------------------------------------------


class Wanted(Struct):
    """What several calls together need to know: meters with their windows, and the rest by kind."""

    at: dict[str, set[int]] = msgspec.field(default_factory=dict)  # Meter to windows named exactly.
    since: dict[int, set[str]] = msgspec.field(default_factory=dict)  # First bucket to rolling meters.
    floating: set[str] = msgspec.field(default_factory=set)
    earned: set[tuple[str, str, str, int, int]] = msgspec.field(default_factory=set)
    payees: set[str] = msgspec.field(default_factory=set)
    twins: set[str] = msgspec.field(default_factory=set)
    waiting: set[str] = msgspec.field(default_factory=set)
    since_us: int = NEVER_US

    def anything(self) -> bool:
        """Say whether there is anything to load at all."""
        counted = self.at or self.since or self.floating or self.earned
        return bool(counted or self.payees or self.twins or self.waiting)


def want_facts(world: World, want: Wanted, call_id: str, call: Call, at_us: int, *, claims: bool) -> None:
    """Note what deciding one call needs; `claims` where the order of holds matters (M12)."""
    if world.law is None:
        return
    needs = world.needs(call_id, call)
    readings = readings_of(world, call, needs)
    want_usage(world, want, readings, at_us)
    if claims:
        want.floating.update(reading.meter for reading in readings)
    for earned in needs.earned:
        project = "" if earned.scope == "account" else earned.scope_key
        until = at_us - earned.after_s * SECOND_US
        want.earned.add((project, earned.currency, earned.mode, earned.after_s, until))
    if needs.payee_known and call.effect.payee is not None:
        want.payees.add(call.effect.payee.casefold())
    key = twin_key(call)
    if key is not None:
        want.twins.add(key)
    if needs.waiting and not claims:
        want.waiting.add(call.agent)
    want.since_us = min(want.since_us, at_us)


def readings_of(world: World, call: Call, needs: Needs) -> list[Reading]:
    """Return every meter that deciding or booking one call touches."""
    if world.law is None:
        return []
    caps = [world.cap_reading(need) for need in needs.usage]
    rules = [rule_reading(need) for need in needs.sums] + [rule_reading(need) for need in needs.counts]
    booked = [reading for reading, _ in booked_on(world.law.rule_meters, call, None)]
    return caps + rules + booked


def want_usage(world: World, want: Wanted, readings: Iterable[Reading], at_us: int) -> None:
    """Note the windows of meters that count at one instant, and the row that would be booked on."""
    timezone = "UTC" if world.law is None else world.law.policy.timezone
    for reading in readings:
        if reading.window.kind is WindowKind.CALL:
            continue
        first = reading_start(reading.window, at_us, timezone)
        exact = want.at.setdefault(reading.meter, {FLOATING})
        if reading.window.kind is WindowKind.ROLLING:
            want.since.setdefault(first, set()).add(reading.meter)
            exact.add(booking_start(reading.window, at_us, timezone))
        else:
            exact.add(first)


def load_facts(tx: Tx, world: World, want: Wanted) -> None:
    """Load what was noted."""
    load_usage(tx, world, want)
    account = world.account_id
    for meter, call_id, ordinal, amount in tx.listed(sql.FLOATING, want.floating, account=account):
        world.floating[meter][call_id] = (ordinal, amount)
    world.known_payees.update((row[0], row[1]) for row in tx.listed(sql.PAYEES, want.payees, account=account))
    for row in tx.listed(sql.TWINS, want.twins, account=account, at_us=want.since_us):
        world.twins[row[0]][row[1]] = TwinRow(*row[1:])
    for agent, call_id, meter, amount in tx.listed(sql.WAITING, want.waiting, account=account):
        held = world.waiting[agent].setdefault(call_id, {})
        if meter is not None:
            held[meter] = amount
    for project, currency, mode, after_s, until in want.earned:
        found = tx.first(
            sql.EARNED, account=account, project=project, currency=currency, mode=mode, until=until
        )
        world.earned[project, currency, mode, after_s] = int(found[0]) if found else 0


def load_usage(tx: Tx, world: World, want: Wanted) -> None:
    """Load usage rows: meters in exactly named windows, and rolling ones since their first bucket."""
    starts = sorted(set().union(*want.at.values())) if want.at else []
    while starts:
        part, starts = starts[: max(sql.USAGE_AT)], starts[max(sql.USAGE_AT) :]
        count = next(size for size in sql.USAGE_AT if size >= len(part))
        part += [part[-1]] * (count - len(part))
        named = {f"start_{place}": start for place, start in enumerate(part)}
        keep_usage(world, tx.listed(sql.USAGE_AT[count], want.at, account=world.account_id, **named))
    for since, meters in want.since.items():
        keep_usage(world, tx.listed(sql.USAGE_SINCE, meters, account=world.account_id, since=since))


def keep_usage(world: World, rows: Sequence[Row]) -> None:
    """Take usage rows into the World, unless it has changed them already."""
    for row in rows:
        world.usage[row[1]].setdefault(row[2], UsageRow(*row))


def want_held(world: World, want: Wanted, call_ids: Iterable[str]) -> None:
    """Note the usage rows that calls' reservations stand on, to post, void or move them."""
    for call_id in call_ids:
        for held in world.reservations[call_id].values():
            want.at.setdefault(held.meter, {FLOATING}).add(held.window_start_us)


# --- a batch of hot commands -----------------------------------------------------------------------------


def load_batch(tx: Tx, world: World, commands: Sequence[Hot], sources: Sources) -> None:
    """Load all that planning these commands needs."""
    admissions = [each for each in commands if isinstance(each, Admission)]
    others = [each for each in commands if not isinstance(each, Admission)]
    # First: a retry of the same call in this batch loads it without its holds, and never over a whole one.
    rows = {row.call_id: row for row in load_calls(tx, world, [each.call_id for each in others], deep=True)}
    _load_known(tx, world, admissions)
    run_ids = [each.call.run for each in admissions] + [row.run_id for row in rows.values()]
    load_runs(tx, world, run_ids)
    want = Wanted()
    for admission in admissions:
        call = admission.call
        reader = Reader(call.account, call.project, call.agent, call.run)
        for query in admission.references:
            load_records(tx, world, query, reader, sources.loaders)
        want_facts(world, want, admission.call_id, call, to_us(admission.at), claims=False)
    for command in others:
        row = rows.get(command.call_id) or world.calls.get(command.call_id)
        if row is None:
            continue
        _want_of_call(tx, world, want, command, row, sources=sources)
    want_held(world, want, rows)
    load_facts(tx, world, want)


def _want_of_call(
    tx: Tx, world: World, want: Wanted, command: Claim | Settlement, row: CallRow, *, sources: Sources
) -> None:
    at_us = to_us(command.at)
    if isinstance(command, Claim):
        reader = Reader(row.account_id, row.project, row.agent, row.run_id)
        for query in command.references:
            load_records(tx, world, query, reader, sources.loaders)
        want_facts(world, want, row.call_id, world.policy_call(row), at_us, claims=True)
    # A settlement books on the rows its reservations stand on; what else it touches is added to unseen.


def _load_known(tx: Tx, world: World, admissions: Sequence[Admission]) -> None:
    """Load what keys and equal keyless calls these admissions may already be."""
    keys = {each.idempotency_key for each in admissions if each.idempotency_key is not None}
    account = world.account_id
    wanted: list[str] = []
    for _, agent, tool, key, fingerprint, call_id in tx.listed(sql.KEYS, keys, account=account):
        world.keys[agent, tool, key] = (call_id, fingerprint)
    for each in admissions:
        known = world.keys.get((each.call.agent, each.call.tool, each.idempotency_key or ""))
        if known is not None:
            wanted.append(known[0])
    prints = {each.fingerprint: to_us(each.at) for each in admissions if each.idempotency_key is None}
    if prints:
        for row in tx.listed(sql.SAME, prints, account=account, at_us=min(prints.values())):
            world.same[row[0]][row[1]] = TwinRow(*row[1:])
            wanted.append(row[1])
    load_calls(tx, world, wanted, deep=False)
