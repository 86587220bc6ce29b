"""Where a database stands in the history of its tables, and how it goes forward."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from policy.errors import ConfigurationError

_SCRIPTS: Final = Path(__file__).with_name("migrations")


def config(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration, bound to a connection where one is given."""
    made = Config()
    made.set_main_option("script_location", str(_SCRIPTS))
    made.attributes["connection"] = connection
    return made


def head() -> str:
    """Return the revision this program's tables are at."""
    found = ScriptDirectory.from_config(config()).get_current_head()
    if found is None:
        raise ConfigurationError("this installation has no migrations; install it again")
    return found


def revision(connection: Connection) -> str | None:
    """Return the revision a database is at; None for one that no ledger was made in."""
    return MigrationContext.configure(connection).get_current_revision()


def is_empty(connection: Connection) -> bool:
    """Say whether a database holds no tables at all."""
    return not inspect(connection).get_table_names()


def upgrade(connection: Connection) -> tuple[str | None, str]:
    """Bring a database to this program's revision; return from where to where."""
    before = revision(connection)
    command.upgrade(config(connection), "head")
    return before, head()


def check_head(connection: Connection) -> None:
    """Raise ConfigurationError unless the database is at this program's revision, saying what to run."""
    found, wanted = revision(connection), head()
    if found == wanted:
        return
    if found is None:
        raise ConfigurationError("this database holds no ledger yet; make one with `bursar init`")
    known = {script.revision for script in ScriptDirectory.from_config(config()).walk_revisions()}
    if found in known:
        raise ConfigurationError(
            f"the ledger's tables are at revision {found}, this program needs {wanted}; "
            "run `bursar ledger upgrade`"
        )
    raise ConfigurationError(
        f"the ledger's tables are at revision {found}, which this older program does not know; "
        "install the newer Bursar that made them"
    )


def fingerprint() -> str:
    """Return the hash of the tables as declared, for the log's entry on a migration."""
    from hashlib import sha256

    from sqlalchemy.dialects import sqlite
    from sqlalchemy.schema import CreateTable

    from ledger import schema, schema_crm, schema_house, schema_log, schema_revenue

    declared = (schema.METADATA, schema_house.accounts, schema_log.log_head, schema_revenue, schema_crm)[0]
    dialect = sqlite.dialect()
    tables = [str(CreateTable(table).compile(dialect=dialect)) for table in declared.sorted_tables]
    return sha256("\n".join(tables).encode()).hexdigest()
