"""Signed notes and checkpoints as other programs write and read them."""

import base64

import pytest

from ledger.audit import merkle
from ledger.audit.checkpoint import (
    Checkpoint,
    ForkFound,
    open_checkpoint,
    open_rotation,
    origin_of,
    parse_checkpoint,
    rotation_statement,
    sign,
)
from ledger.audit.note import (
    MAX_NOTE_CHARS,
    NoteRefused,
    VerifierKey,
    parse_note,
    signature_line,
    verify_note,
    write_note,
)
from tests.ledger.audit.logs import Scribe, history, signing_key

# A note and its key as the Go module ecosystem publishes them.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZ"
    "SNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
ORIGIN = "bursar/ins_1/acc_1"
KEY = signing_key(1)
VERIFIER = KEY.verifier(ORIGIN)


def test_a_note_of_another_implementation_verifies() -> None:
    """Ours are worth something to outsiders only if theirs are read alike."""
    key = VerifierKey.parse(GO_KEY)
    verify_note(parse_note(GO_NOTE), key)
    assert str(key) == GO_KEY
    with pytest.raises(NoteRefused, match="not of this text"):
        verify_note(parse_note(GO_NOTE.replace("cryptography", "policy")), key)


def test_what_we_sign_has_the_form_of_the_specification() -> None:
    """C2SP signed-note: em dash, name, Base 64 of key id and signature; Ed25519 signs alike every time."""
    note = write_note("text\n", signature_line("text\n", VERIFIER, KEY.private))
    assert note.startswith(f"text\n\n— {ORIGIN} ")
    raw = base64.b64decode(note.split(" ")[-1])
    assert raw[:4] == VERIFIER.key_id
    assert raw[4:] == KEY.private.sign(b"text\n")
    verify_note(parse_note(note), VERIFIER)


def test_lines_of_unknown_keys_are_ignored_and_one_wrong_line_of_ours_spoils_the_note() -> None:
    """Witnesses add lines that we cannot check; a line under our name that is not ours is an attack."""
    ours = signature_line("t\n", VERIFIER, KEY.private)
    theirs = signature_line("t\n", signing_key(5).verifier("witness.example"), signing_key(5).private)
    verify_note(parse_note(write_note("t\n", theirs, ours, theirs)), VERIFIER)
    false = signature_line("other\n", VERIFIER, KEY.private)
    with pytest.raises(NoteRefused, match="not of this text"):
        verify_note(parse_note(write_note("t\n", ours, false)), VERIFIER)
    with pytest.raises(NoteRefused, match="not signed by"):
        verify_note(parse_note(write_note("t\n", theirs)), VERIFIER)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "text\n",
        "text\n\n",
        "text\n\n— name c2lnbmF0dXJl",
        "\n\n— name c2lnbmF0dXJl\n",
        "text\n\nname c2lnbmF0dXJl\n",
        "text\n\n— name\n",
        "text\n\n— name c2ln*\n",
        "text\n\n— name c2lnbmF0dXJl=\n",
        "text\n\n— name AAAA\n",
        "text\n\n— na+me c2lnbmF0dXJl\n",
        "te\txt\n\n— name c2lnbmF0dXJl\n",
        "text\r\n\n— name c2lnbmF0dXJl\n",
        "text\n\n— name c2lnbmF0dXJl\n\n— name c2lnbmF0dXJl\nrest\n",
        "x" * MAX_NOTE_CHARS + "\n\n— name c2lnbmF0dXJl\n",
    ],
)
def test_what_is_no_note_is_refused(note: str) -> None:
    """A parser that is generous lets two readers see two texts under one signature."""
    with pytest.raises(NoteRefused):
        parse_note(note)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "name+c74f20a3",
        GO_KEY.replace("c74f20a3", "00000000"),
        GO_KEY.replace("PeterNeumann", "Peter Neumann"),
        GO_KEY.replace("PeterNeumann", ""),
        GO_KEY.replace("+AR", "+BR"),
        GO_KEY + "AAAA",
    ],
)
def test_what_is_no_verifier_key_is_refused(text: str) -> None:
    """A key mistyped on the command line must not verify nothing in silence."""
    with pytest.raises(NoteRefused):
        VerifierKey.parse(text)


def test_a_checkpoint_says_origin_size_and_root() -> None:
    """C2SP tlog-checkpoint, line by line."""
    scribe = history(3)
    signed = scribe.checkpoint()
    lines = signed.note.split("\n")
    assert lines[0] == ORIGIN
    assert lines[1] == str(scribe.log.head.size)
    assert base64.b64decode(lines[2]) == merkle.root(scribe.log.head.frontier)
    assert lines[3] == ""
    assert open_checkpoint(signed.note, VERIFIER) == signed


def test_extension_lines_are_signed_and_read_over() -> None:
    """The specification allows them; another log's checkpoint with one must still parse."""
    root = base64.b64encode(b"r" * 32).decode()
    text = f"{ORIGIN}\n7\n{root}\nextension\n"
    note = write_note(text, signature_line(text, VERIFIER, KEY.private))
    assert open_checkpoint(note, VERIFIER) == Checkpoint(ORIGIN, 7, b"r" * 32, note)


ROOT = base64.b64encode(b"r" * 32).decode()


@pytest.mark.parametrize(
    "text",
    [
        f"{ORIGIN}\n7\n",
        f"{ORIGIN}\n07\n{ROOT}\n",
        f"{ORIGIN}\n-7\n{ROOT}\n",
        f"{ORIGIN}\n\u0667\n{ROOT}\n",
        f"{ORIGIN}\n7\n{ROOT[:-4]}\n",
        f"{ORIGIN}\n7\nnot base 64\n",
        f"{ORIGIN}\n\n7\n{ROOT}\n",
        f"\n7\n{ROOT}\n",
        "bursar/ins_1/acc_2\n7\n" + ROOT + "\n",
    ],
)
def test_what_is_no_checkpoint_of_this_log_is_refused_though_signed(text: str) -> None:
    """The key signs for every account; a signature alone must not make one account's tree another's."""
    note = write_note(text, signature_line(text, VERIFIER, KEY.private))
    with pytest.raises(NoteRefused):
        open_checkpoint(note, VERIFIER)


def test_the_same_key_is_another_key_for_another_account() -> None:
    """Two accounts never mix: a checkpoint is checked under its log's name, which the key id commits to."""
    other = KEY.verifier("bursar/ins_1/acc_2")
    assert other.key_id != VERIFIER.key_id
    assert VERIFIER.under(other.name) == other
    signed = history(2).checkpoint()
    with pytest.raises(NoteRefused):
        open_checkpoint(signed.note, other)


def test_an_origin_cannot_be_bent_by_a_name() -> None:
    """A space or a plus in an account would move the parts of a verifier key."""
    assert origin_of("ins_1", "acc_1", 2) == "bursar/ins_1/acc_1/e2"
    with pytest.raises(NoteRefused):
        origin_of("ins_1", "acc 1")
    with pytest.raises(NoteRefused):
        origin_of("ins_1", "acc+1")


def signed_again(scribe: Scribe, last: Checkpoint | None) -> Checkpoint:
    """Sign a scribe's log after `last`."""
    root = merkle.root(scribe.log.head.frontier)
    return sign(scribe.key, ORIGIN, scribe.log.head.size, root, last=last, lookup=scribe.log.node)


def test_nothing_is_signed_that_does_not_extend_what_was_signed() -> None:
    """M33, and the duty of every log: the key refuses a cut and a rewritten tree even if asked."""
    scribe, other = history(6), history(6, seed=9)
    last = scribe.checkpoint()
    assert signed_again(scribe, last).size == last.size
    scribe.call(50)
    later = signed_again(scribe, last)
    assert later.size > last.size
    ahead = later._replace(size=later.size + 1)
    with pytest.raises(ForkFound, match="entries are missing"):
        signed_again(scribe, ahead)
    with pytest.raises(ForkFound, match="not those that were signed"):
        signed_again(other, other.checkpoint()._replace(root=last.root))
    with pytest.raises(ForkFound, match="this log is"):
        signed_again(scribe, last._replace(origin="bursar/ins_1/acc_2"))
    scribe.log.nodes[1].clear()
    scribe.log.entries.clear()
    with pytest.raises(ForkFound, match="not those that were signed"):
        sign(scribe.key, ORIGIN, 100, b"r" * 32, last=last, lookup=scribe.log.node)


def test_a_rotation_is_signed_by_both_keys_and_is_no_checkpoint() -> None:
    """M35: one signature would let a thief name a successor, or a successor name himself."""
    old, new = KEY, signing_key(2)
    statement = rotation_statement(ORIGIN, old, new)
    assert open_rotation(statement, ORIGIN) == (old.verifier(ORIGIN), new.verifier(ORIGIN))
    with pytest.raises(NoteRefused):
        parse_checkpoint(statement)
    text = parse_note(statement).text
    for signers in ([old], [new], []):
        lines = [signature_line(text, key.verifier(ORIGIN), key.private) for key in signers]
        witness = signature_line(text, signing_key(8).verifier("w"), signing_key(8).private)
        with pytest.raises(NoteRefused, match="not signed by"):
            open_rotation(write_note(text, *lines, witness), ORIGIN)
    for wrong in (rotation_statement(ORIGIN, old, old), rotation_statement("bursar/ins_1/acc_2", old, new)):
        with pytest.raises(NoteRefused):
            open_rotation(wrong, ORIGIN)
