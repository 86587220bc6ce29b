"""Signed notes, as C2SP signed-note defines them: a text, an empty line, and a line for each signature.

Only Ed25519 signatures (type 0x01) are made and checked; lines of other keys are ignored, as the
specification demands, so that witnesses may add theirs. A key is named after the log it signs for, and is
written for others as a *verifier key*: `name+key id+base64(type, public key)`.
"""

import base64
import binascii
from hashlib import sha256
from typing import Final, NamedTuple, Protocol

ED25519: Final = b"\x01"
MAX_NOTE_CHARS: Final = 64_000  # Sixteen signatures, the least to accept, of the largest kind (5 kB) fit.
_DASH: Final = "\N{EM DASH} "
_PUBLIC_KEY_BYTES: Final = 32
_KEY_ID_BYTES: Final = 4


class NoteRefused(ValueError):  # noqa: N818  # The glossary's word; it names what was met.
    """A note is malformed, or no key that is trusted has signed it."""


class Signs(Protocol):
    """A private Ed25519 key, such as `cryptography` has."""

    def sign(self, data: bytes, /) -> bytes:
        """Return the 64 bytes of the signature."""
        ...


class VerifierKey(NamedTuple):
    """A public key under a name; its text is what an outsider is given to check notes with."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The four bytes that lead each of its signatures."""
        return sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:_KEY_ID_BYTES]

    def __str__(self) -> str:
        encoded = base64.b64encode(ED25519 + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    def under(self, name: str) -> "VerifierKey":
        """Return the same public key under another log's name."""
        return VerifierKey(name, self.public)

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """Read a key from its text.

        Raises NoteRefused where the text is no Ed25519 verifier key or its key id is another's.
        """
        parts = text.strip().split("+", 2)
        encoded = decode64(parts[-1], "a verifier key")
        if len(parts) != len(("name", "id", "key")) or encoded[:1] != ED25519:
            raise NoteRefused(f"{text.strip()[:80]!r} is no Ed25519 verifier key, like name+1a2b3c4d+AbCd...")
        key = cls(check_name(parts[0]), encoded[1:])
        if len(key.public) != _PUBLIC_KEY_BYTES or key.key_id.hex() != parts[1]:
            raise NoteRefused(f"verifier key {parts[0]!r} does not fit its own key id {parts[1]!r}")
        return key


class Signature(NamedTuple):
    """One signature line: whose, and the bytes after the key id."""

    name: str
    key_id: bytes
    signature: bytes


class Note(NamedTuple):
    """A note as read, checked by nobody yet; `text` ends in a newline."""

    text: str
    signatures: tuple[Signature, ...]


def check_name(name: str) -> str:
    """Return `name` where it can name a key: not empty, no space, no plus.

    Raises NoteRefused otherwise.
    """
    if not name or "+" in name or any(char.isspace() for char in name):
        raise NoteRefused(f"{name!r} cannot name a key: it must have no space and no plus, and not be empty")
    return name


def signature_line(text: str, key: VerifierKey, private: Signs) -> str:
    """Sign `text` and return the line to append to the note."""
    encoded = base64.b64encode(key.key_id + private.sign(text.encode())).decode()
    return f"{_DASH}{key.name} {encoded}\n"


def write_note(text: str, *lines: str) -> str:
    """Put a text and its signature lines together."""
    return text + "\n" + "".join(lines)


def parse_note(note: str) -> Note:
    """Split a note into its text and signatures, strictly.

    Raises NoteRefused where it is no note; nothing is verified yet.
    """
    if len(note) > MAX_NOTE_CHARS:
        raise NoteRefused(f"a note of {len(note)} characters; at most {MAX_NOTE_CHARS} are read")
    if any(ord(char) < ord(" ") and char != "\n" for char in note):
        raise NoteRefused("a note holds no control characters but newlines")
    text, gap, tail = note.rpartition("\n\n")
    if not gap or not text or not tail.endswith("\n"):
        raise NoteRefused("a note is a text, an empty line, and signature lines that end in a newline")
    return Note(text + "\n", tuple(_signature(line) for line in tail[:-1].split("\n")))


def verify_note(note: Note, key: VerifierKey) -> None:
    """Check that `key` has signed the note.

    Raises NoteRefused where it has not, or where any line under its name and id is wrong.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    mine = [line.signature for line in note.signatures if (line.name, line.key_id) == (key.name, key.key_id)]
    if not mine:
        raise NoteRefused(f"not signed by {key.name}+{key.key_id.hex()}")
    public = Ed25519PublicKey.from_public_bytes(key.public)
    for signature in mine:
        try:
            public.verify(signature, note.text.encode())
        except InvalidSignature:
            raise NoteRefused(f"the signature of {key.name}+{key.key_id.hex()} is not of this text") from None


def decode64(text: str, what: str) -> bytes:
    """Return what canonical Base 64 stands for; `what` names it in the refusal.

    Raises NoteRefused for anything that encoding again would not give.
    """
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if not decoded or base64.b64encode(decoded).decode() != text:
        raise NoteRefused(f"{text[:80]!r} is no Base 64 of {what}")
    return decoded


def _signature(line: str) -> Signature:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not encoded:
        raise NoteRefused(f"{line[:80]!r} is no signature line")
    raw = decode64(encoded, "a signature")
    if len(raw) <= _KEY_ID_BYTES:
        raise NoteRefused(f"the signature of {name[:80]!r} is too short")
    return Signature(check_name(name), raw[:_KEY_ID_BYTES], raw[_KEY_ID_BYTES:])
