"""Records of who and what may, made from rows of `ledger.schema_house`."""

from __future__ import annotations

from typing import Final

import msgspec

from ledger.engines.tx import Row
from ledger.records import (
    AgentRecord,
    EnforcerRecord,
    OperatorRecord,
    PostureRecord,
    ProjectRecord,
    Role,
    RunRecord,
)
from ledger.times import from_us
from policy.errors import ConfigurationError
from policy.language import Posture

TOKEN: Final = 10  # Where an agent's whole row holds the hash of its token.
ARRIVING: Final = "(arriving)"  # Instead of where an account has moved to: it is on its way here.


def check_serves(moved_to: str | None) -> None:
    """Raise ConfigurationError where an account has moved away (M34), or has not wholly arrived."""
    if moved_to == ARRIVING:
        raise ConfigurationError("this ledger has not wholly arrived; run `bursar ledger migrate` again")
    if moved_to is not None:
        raise ConfigurationError(f"this ledger has moved to {moved_to} and never serves again")


def agent_record(row: Row) -> AgentRecord:
    """Return a registered agent from its whole row."""
    account, agent_id, name, project, kits, run_id, expires, made_by, strict, state, _, created, seen = row
    return AgentRecord(
        agent_id=agent_id,
        name=name,
        account_id=account,
        project=project,
        kits=tuple(msgspec.json.decode(kits, type=list[str])),
        run_id=run_id,
        expires_at=from_us(expires),
        owner=made_by,
        strict_errors=bool(strict),
        active=state == "active",
        created_at=from_us(created),
        last_seen_at=from_us(seen),
    )


def enforcer_record(row: Row) -> EnforcerRecord:
    """Return a registered enforcer from its whole row."""
    account, enforcer_id, name, project, made_by, state, _, created, seen = row
    return EnforcerRecord(
        enforcer_id=enforcer_id,
        name=name,
        account_id=account,
        project=project,
        owner=made_by,
        active=state == "active",
        created_at=from_us(created),
        last_seen_at=from_us(seen),
    )


def operator_record(row: Row) -> OperatorRecord:
    """Return a person who answers, from the whole row."""
    account, operator_id, name, role, state, password_hash, _, created = row
    return OperatorRecord(
        operator_id=operator_id,
        name=name,
        account_id=account,
        role=Role(role),
        active=state == "active",
        has_password=password_hash is not None,
        created_at=from_us(created),
    )


def run_record(row: Row) -> RunRecord:
    """Return a run from its whole row."""
    account, run_id, project, title, state, standing, opened, closed, order_id = row
    return RunRecord(
        run_id=run_id,
        account_id=account,
        project=project,
        title=title,
        state=state,
        standing=bool(standing),
        opened_at=from_us(opened),
        closed_at=from_us(closed),
        order_id=order_id,
    )


def project_record(row: Row) -> ProjectRecord:
    """Return a project from its whole row."""
    return ProjectRecord(name=row[1], account_id=row[0], created_at=from_us(row[3]))


def posture_record(row: Row) -> PostureRecord:
    """Return a posture from its whole row."""
    _, scope, scope_key, posture, because, set_by, at = row
    return PostureRecord(
        scope=scope,
        scope_key=scope_key,
        posture=Posture(posture),
        because=because,
        set_by=set_by,
        at=from_us(at),
    )
