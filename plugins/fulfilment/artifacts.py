"""Files of a run: read from their text form, checked, named by the hash of their bytes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from datetime import datetime
from typing import Final

from ledger.records_crm import Artifact, StoreArtifact
from policy.errors import InvalidArguments

LARGEST: Final = (
    32_768  # Bytes of one file; with eight of them a call still fits the gate's 64 KiB of arguments.
)
# Types a buyer's browser shows or saves without running anything; HTML and SVG can carry scripts.
TYPES: Final = frozenset(
    {
        "application/json",
        "application/pdf",
        "image/gif",
        "image/jpeg",
        "image/png",
        "image/webp",
        "text/csv",
        "text/markdown",
        "text/plain",
    }
)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,99}")


def read_artifacts(texts: list[str], *, run_id: str, now: datetime) -> tuple[StoreArtifact, ...]:
    """Return the files that the texts say, in order. Raises InvalidArguments naming the one that is wrong."""
    return tuple(_read(text, f"artifacts[{place}]", run_id, now) for place, text in enumerate(texts))


def _read(text: str, field: str, run_id: str, now: datetime) -> StoreArtifact:
    name, media_type, content = _parts(text, field)
    if not _NAME.fullmatch(name):
        raise InvalidArguments(
            f"{field} is named {name[:40]!r}; take letters, digits, . _ - and spaces", field=field
        )
    if media_type not in TYPES:
        allowed = ", ".join(sorted(TYPES))
        raise InvalidArguments(f"{field} is of the type {media_type[:40]!r}; allowed: {allowed}", field=field)
    if not 0 < len(content) <= LARGEST:
        raise InvalidArguments(f"{field} has {len(content)} bytes; 1 to {LARGEST} are taken", field=field)
    artifact = Artifact(
        sha256=hashlib.sha256(content).hexdigest(),
        run_id=run_id,
        name=name,
        media_type=media_type,
        size=len(content),
        created_at=now,
    )
    return StoreArtifact(artifact=artifact, content=content)


def _parts(text: str, field: str) -> tuple[str, str, bytes]:
    pieces = text.split("|", 2)
    if len(pieces) != len(("name", "type", "content")):
        raise InvalidArguments(f"{field} is not 'name|media type|base64 of its bytes'", field=field)
    try:
        return pieces[0], pieces[1], base64.b64decode(pieces[2], validate=True)
    except binascii.Error:
        raise InvalidArguments(f"{field} has bytes that are no base64", field=field) from None
