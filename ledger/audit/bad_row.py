"""The one thing `verify` looks for: a row that is not what the log, its keys or its anchors say."""


class BadRow(Exception):  # noqa: N818  # It names what was found; nothing broke.
    """The first row that does not fit: its table, its key, and what is wrong with it."""

    def __init__(self, table: str, key: str, wrong: str) -> None:
        super().__init__(f"{table} {key}: {wrong}")
        self.table = table
        self.key = key
        self.wrong = wrong
