"""Loading a World: the facts of a whole batch in a few set queries, under the account's lock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct

from ledger import statements as sql
from ledger.commands import Admission, Claim, Settlement
from ledger.engines.tx import Row, Tx
from ledger.house_rows import TOKEN, agent_record, check_serves, operator_record
from ledger.judge import Law, PolicyBook
from ledger.kept import Kept
from ledger.meters import (
    FLOATING,
    Reading,
    booked_on,
    reading_start,
    rule_reading,
)
from ledger.queries import Loader, load_query
from ledger.records import Query, Reader
from ledger.rows import (
    ApprovalRow,
    AttemptRow,
    CallRow,
    ReservationRow,
    RunRow,
    UsageRow,
    VerdictRow,
    indexed_of,
)
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
    kept: Kept = msgspec.field(default_factory=Kept)  # The writer's alone.


def open_world(tx: Tx, account: str, sources: Sources, *, lock: bool = True) -> World:
    """Take the account's lock and return a World that knows who and what may, and no calls yet.

    Raises ConfigurationError for an account that does not exist here or has moved away (M34).
    """
    return new_world(tx, account, account_state(tx, account, lock=lock), sources)


def glimpse(tx: Tx, account: str, sources: Sources, *, live: bool) -> World | None:
    """Return a World that knows who and what may, by one statement or two; None where that must be read anew.

    `live` where what other processes say of LIVE_SPEND matters (M6). Raises ConfigurationError as above.
    """
    found, known = account_state(tx, account, lock=False), sources.houses.get(account)
    if known is None or known.version != found[0]:
        return None
    return new_world(tx, account, found, sources, live=live)


def account_state(tx: Tx, account: str, *, lock: bool) -> Row:
    """Return the columns of LOCK or of ACCOUNT_STATE. Raises ConfigurationError as `open_world` does."""
    found = tx.first(sql.LOCK if lock else sql.ACCOUNT_STATE, account=account)
    if found is None:
        raise ConfigurationError(
            f"there is no account {account!r} in this ledger; make one with `bursar init`"
        )
    check_serves(found[3])
    return found


def new_world(tx: Tx, account: str, state: Row, sources: Sources, *, live: bool = True) -> World:
    """Return a World that knows who and what may, as this state of the account says."""
    version, next_ordinal, policy_sha256 = state[:3]
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
        processes=read_processes(tx, account) if live else (),
    )


def read_processes(tx: Tx, account: str) -> tuple[ProcessBeat, ...]:
    """Read every process's last word about itself (M6)."""
    return tuple(ProcessBeat(row[0], bool(row[1]), row[2]) for row in tx.rows(sql.PROCESSES, account=account))


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
    account, asked_for = world.account_id, list(dict.fromkeys(call_ids))
    wanted = [each for each in asked_for if each not in world.calls]
    rows = [CallRow(*row) for row in tx.listed(sql.CALLS, wanted, account=account)]
    rows = list({row.call_id: row for row in rows}.values())
    for row in rows:
        world.calls[row.call_id] = row
        world.indexed[row.call_id] = indexed_of(row)
    world.met.update(wanted)
    requests = [row.approval_id for row in rows if row.approval_id is not None]
    for found in tx.listed(sql.APPROVALS, requests, account=account):
        request = ApprovalRow(*found)
        world.approvals[request.approval_id] = request
    lacking = [each for each in asked_for if each in world.calls and each not in world.whole]
    if deep and lacking:
        load_deep(tx, world, lacking, asked=any(world.calls[each].approval_id for each in lacking))
        world.whole.update(lacking)
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
    noted: set[tuple[str, int]] = msgspec.field(default_factory=set)  # Meters and seconds.

    def anything(self) -> bool:
        """Say whether there is anything to load at all."""
        counted = self.at or self.since or self.floating or self.earned
        return bool(counted or self.payees or self.twins or self.waiting)


def want_facts(world: World, want: Wanted, call_id: str, call: Call, at_us: int, *, claims: bool) -> None:
    """Note what deciding one call needs; `claims` where the order of holds matters (M12)."""
    if world.law is None:
        return
    needs = world.needs(call_id, call)
    readings = world.readings_by_call.get(call_id)
    if readings is None:
        readings = world.readings_by_call[call_id] = readings_of(world, call, needs)
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
    second = at_us // SECOND_US  # Windows begin on whole seconds.
    for reading in readings:
        if (reading.meter, second) in want.noted or reading.window.kind is WindowKind.CALL:
            continue
        want.noted.add((reading.meter, second))
        meter, first = reading.meter, reading_start(reading.window, at_us, timezone)
        if reading.window.kind is not WindowKind.ROLLING:
            _want_windows(world, want, meter, (FLOATING, first))
            continue
        _want_windows(world, want, meter, (FLOATING,))
        since = world.seen_since.get(meter)
        if since is None or first < since:
            want.since.setdefault(first, set()).add(meter)


def _want_windows(world: World, want: Wanted, meter: str, starts: tuple[int, ...]) -> None:
    for start in starts:
        if not world.has_seen(meter, start):
            want.at.setdefault(meter, set()).add(start)


def load_facts(tx: Tx, world: World, want: Wanted) -> None:
    """Load what was noted."""
    load_usage(tx, world, want)
    account = world.account_id
    floating = want.floating - world.seen_floating
    for meter, call_id, ordinal, amount in tx.listed(sql.FLOATING, floating, account=account):
        world.floating[meter][call_id] = (ordinal, amount)
    world.seen_floating |= floating
    world.known_payees.update((row[0], row[1]) for row in tx.listed(sql.PAYEES, want.payees, account=account))
    _load_twins(tx, world, want)
    waiting = want.waiting - world.seen_waiting
    for agent, call_id, meter, amount in tx.listed(sql.WAITING, waiting, account=account):
        held = world.waiting[agent].setdefault(call_id, {})
        if meter is not None:
            held[meter] = amount
    world.seen_waiting |= waiting
    for project, currency, mode, after_s, until in want.earned:
        found = tx.first(
            sql.EARNED, account=account, project=project, currency=currency, mode=mode, until=until
        )
        world.earned[project, currency, mode, after_s] = int(found[0]) if found else 0


def _load_twins(tx: Tx, world: World, want: Wanted) -> None:
    """Load the twins of purchases, unless all that lived at this instant are here."""
    seen = world.seen_twins
    keys = [key for key in want.twins if key not in seen or seen[key] > want.since_us]
    for row in tx.listed(sql.TWINS, keys, account=world.account_id, at_us=want.since_us):
        world.twins[row[0]][row[1]] = TwinRow(*row[1:])
    seen.update(dict.fromkeys(keys, want.since_us))


def load_usage(tx: Tx, world: World, want: Wanted) -> None:
    """Load usage rows: meters in exactly named windows, and rolling ones since their first bucket."""
    starts = sorted(set().union(*want.at.values())) if want.at else []
    while starts:
        part, starts = starts[: max(sql.USAGE_AT)], starts[max(sql.USAGE_AT) :]
        count = next(size for size in sql.USAGE_AT if size >= len(part))
        part += [part[-1]] * (count - len(part))
        named = {f"start_{place}": start for place, start in enumerate(part)}
        keep_usage(world, tx.listed(sql.USAGE_AT[count], want.at, account=world.account_id, **named))
    for meter, exact in want.at.items():
        world.seen_usage[meter] |= exact
    for since, meters in want.since.items():
        keep_usage(world, tx.listed(sql.USAGE_SINCE, meters, account=world.account_id, since=since))
        world.seen_since.update(dict.fromkeys(meters, since))


def keep_usage(world: World, rows: Sequence[Row]) -> None:
    """Take usage rows into the World, unless it has changed them already."""
    for row in rows:
        world.usage[row[1]].setdefault(row[2], UsageRow(*row))


def want_held(world: World, want: Wanted, call_ids: Iterable[str]) -> None:
    """Note the usage rows that calls' reservations stand on, to post, void or move them."""
    for call_id in call_ids:
        for held in world.reservations[call_id].values():
            _want_windows(world, want, held.meter, (FLOATING, held.window_start_us))


# --- a batch of hot commands -----------------------------------------------------------------------------


def load_batch(tx: Tx, world: World, commands: Sequence[Hot], sources: Sources) -> None:
    """Load all that planning these commands needs."""
    admissions = [each for each in commands if isinstance(each, Admission)]
    others = [each for each in commands if not isinstance(each, Admission)]
    # First: a retry of the same call in this batch loads it without its holds, and never over a whole one.
    load_calls(tx, world, [each.call_id for each in others], deep=True)
    rows = [world.calls[each.call_id] for each in others if each.call_id in world.calls]
    _load_known(tx, world, admissions)
    run_ids = [each.call.run for each in admissions] + [row.run_id for row in rows]
    load_runs(tx, world, [run_id for run_id in run_ids if run_id not in world.runs])
    want = Wanted()
    for admission in admissions:
        call = admission.call
        reader = Reader(call.account, call.project, call.agent, call.run)
        for query in admission.references:
            load_records(tx, world, query, reader, sources.loaders)
        want_facts(world, want, admission.call_id, call, to_us(admission.at), claims=False)
    coming = {each.call_id: each for each in admissions}
    for command in others:
        row = world.calls.get(command.call_id)
        if row is not None:
            _want_of_call(tx, world, want, command, row, sources=sources)
        elif isinstance(command, Claim) and command.call_id in coming:
            # Claimed in the batch that admits it: what it speaks of was read for its admission.
            call = coming[command.call_id].call
            want_facts(world, want, command.call_id, call, to_us(command.at), claims=True)
    want_held(world, want, [row.call_id for row in rows])
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
