"""What can go wrong, as one tree; `code`, `status` and `retry` are promises that agents branch on.

    BursarError
    ├── MoneyError                   an amount that is not one                           (also a ValueError)
    ├── ConfigurationError           a setting, key or file that keeps us from starting  (exit code 3)
    ├── PolicyError                  every mistake of a policy or cases file, each with its address
    ├── OutcomeUnknown               the call may have run: never answered as a refusal
    └── CallRefused                  the call did not run: ran = False for everything below
        ├── InvalidArguments         invalid: nothing was admitted, no key claimed
        │   ├── KeyMissing  KeyConflict  ScopeMismatch  RecordMissing  InputTooLarge  UnknownTool
        ├── PolicyDenied             denied: a rule, or the want of one
        │   ├── NoRule  HumanDenied  PostureClosed  LiveSpendOff  LiveSpendUncovered  FactMissing
        │   ├── CapExceeded  EarnedBelowZero  TooManyRequests  HeldShareExceeded  NoActivePolicy
        ├── CallCancelled            cancelled: taken back, or what was asked for has changed
        │   ├── QuoteExpired  RunClosed  AgentRevoked  ToolChanged  RecordChanged  Replaced
        ├── ApprovalExpired          expired: nobody answered in time
        ├── RunByPassed              expired: it could not run before its time was over
        └── NotExecuted              not_executed: nothing happened there
            ├── NotReady  ProviderAccountChanged  ProviderClosed  Declined
            └── Busy  RateLimited  Unavailable      never admitted: retry with the same key

A message says what was met, what was expected and what to do, on one line, without an error's jargon.
"""
# ruff: noqa: N818 -- the names say what happened to a call; agents and tests read them as answers

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar, Literal

from msgspec import Struct

Status = Literal["denied", "not_executed", "outcome_unknown", "cancelled", "expired", "invalid"]
Retry = Literal["never", "later", "with_changes", "same_key", "new_key"]


class BursarError(Exception):
    """Everything this application raises by itself."""


class MoneyError(BursarError, ValueError):
    """An amount that cannot be read, compared or expressed exactly."""


class ConfigurationError(BursarError):
    """A setting, key or file that keeps the program from starting; one line that says what to do."""


# --- what a call can meet ------------------------------------------------------------------------------


class CallRefused(BursarError):
    """The call did not run."""

    code: ClassVar[str] = "refused"
    status: ClassVar[Status] = "not_executed"
    ran: ClassVar[bool] = False
    retry: Retry = "never"  # A class says the usual answer, an instance may know better.

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        retry: Retry | None = None,
        retry_at: datetime | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_at = retry_at
        if retry is not None:
            self.retry = retry


class OutcomeUnknown(BursarError):
    """The call may have run; it is being reconciled and must not be bought elsewhere."""

    code: ClassVar[str] = "outcome_unknown"
    status: ClassVar[Status] = "outcome_unknown"
    retry: Retry = "same_key"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidArguments(CallRefused):
    """The arguments do not fit the tool's schema."""

    code = "invalid_arguments"
    status = "invalid"
    retry: Retry = "with_changes"


class KeyMissing(InvalidArguments):
    """A call that can cost or cannot be undone came without an idempotency key (M24)."""

    code = "key_missing"


class KeyConflict(InvalidArguments):
    """The idempotency key already names another intention (M24)."""

    code = "key_conflict"
    retry: Retry = "new_key"


class ScopeMismatch(InvalidArguments):
    """The run or project named is not open to this token."""

    code = "scope_mismatch"


class RecordMissing(InvalidArguments):
    """A record the call speaks of does not exist here."""

    code = "record_missing"


class InputTooLarge(InvalidArguments):
    """The input is longer or deeper than anything a person could review."""

    code = "input_too_large"


class UnknownTool(InvalidArguments):
    """No such tool exists for this caller."""

    code = "unknown_tool"


class PolicyDenied(CallRefused):
    """A rule of the policy denies it."""

    code = "denied_by_rule"
    status = "denied"


class NoRule(PolicyDenied):
    """No rule of the policy speaks for it, and silence is a denial."""

    code = "no_rule"


class HumanDenied(PolicyDenied):
    """A person said no."""

    code = "approval_denied"


class PostureClosed(PolicyDenied):
    """The posture in force does not let this kind of call run."""

    code = "posture_closed"
    retry: Retry = "later"


class LiveSpendOff(PolicyDenied):
    """Live money moves only with all three yeses: environment, policy and posture."""

    code = "live_spend_off"


class LiveSpendUncovered(PolicyDenied):
    """No account-wide money cap in this currency covers this live spend."""

    code = "live_spend_uncovered"


class FactMissing(PolicyDenied):
    """Something the policy has to know could not be found out, and doubt denies."""

    code = "fact_missing"
    retry: Retry = "later"


class CapExceeded(PolicyDenied):
    """The reservation did not fit into what is left under the cap."""

    code = "cap_exceeded"
    retry: Retry = "with_changes"


class EarnedBelowZero(PolicyDenied):
    """More was lost than earned, so a share of what was earned allows nothing (M15)."""

    code = "earned_below_zero"
    retry: Retry = "later"


class TooManyRequests(PolicyDenied):
    """The agent already keeps as many requests waiting for people as it may (M17)."""

    code = "too_many_requests"
    retry: Retry = "later"


class HeldShareExceeded(PolicyDenied):
    """The agent's waiting requests together would hold too large a share of a cap (M17)."""

    code = "held_share_exceeded"
    retry: Retry = "later"


class NoActivePolicy(PolicyDenied):
    """The account has no active policy yet."""

    code = "no_active_policy"
    retry: Retry = "later"


class CallCancelled(CallRefused):
    """The call was taken back before it started."""

    code = "cancelled"
    status = "cancelled"
    retry: Retry = "new_key"


class QuoteExpired(CallCancelled):
    """The quoted price is no longer valid."""

    code = "quote_expired"


class RunClosed(CallCancelled):
    """The run it belongs to was closed."""

    code = "run_closed"


class AgentRevoked(CallCancelled):
    """The agent is no longer active or no longer has this tool."""

    code = "agent_revoked"


class ToolChanged(CallCancelled):
    """The tool is defined otherwise than when it was asked for."""

    code = "tool_changed"


class RecordChanged(CallCancelled):
    """A record it speaks of, or what it would do, has changed since it was asked for."""

    code = "record_changed"


class Replaced(CallCancelled):
    """An approver edited it into a new call."""

    code = "replaced"
    retry: Retry = "never"


class ApprovalExpired(CallRefused):
    """Nobody answered in time."""

    code = "approval_expired"
    status = "expired"
    retry: Retry = "new_key"


class RunByPassed(CallRefused):
    """It could not run before the time it had to run by."""

    code = "run_by_passed"
    status = "expired"
    retry: Retry = "new_key"


class NotExecuted(CallRefused):
    """Nothing happened at the provider."""

    code = "not_executed"
    retry: Retry = "new_key"


class NotReady(NotExecuted):
    """The provider cannot be used now; the message names what is missing."""

    code = "not_ready"
    retry: Retry = "later"


class ProviderAccountChanged(NotExecuted):
    """The provider's key now opens another account than the one this call was meant for (M4)."""

    code = "provider_account_changed"
    retry: Retry = "later"


class ProviderClosed(NotExecuted):
    """The provider is closed for spending until an owner has looked at it (M9, M13)."""

    code = "provider_closed"
    retry: Retry = "later"


class Declined(NotExecuted):
    """The provider said a definite no."""

    code = "declined"


class Busy(NotExecuted):
    """The queue is full; nothing was admitted."""

    code = "busy"
    retry: Retry = "same_key"


class RateLimited(NotExecuted):
    """The agent asks faster than it may; nothing was admitted."""

    code = "rate_limited"
    retry: Retry = "same_key"


class Unavailable(NotExecuted):
    """The ledger cannot be written now; nothing was admitted."""

    code = "unavailable"
    retry: Retry = "same_key"


class Code(Struct, frozen=True):
    """One line of the table of codes in the documentation."""

    code: str
    status: str
    retry: str
    meaning: str


def codes() -> tuple[Code, ...]:
    """Return every code a call can meet, sorted, for the reference page and for lookups by name."""
    return tuple(sorted((_row(kind) for kind in _kinds()), key=lambda row: row.code))


def refusal(code: str) -> type[CallRefused]:
    """Return the class of a stable code, so that a stored decision can be raised again. Raises KeyError."""
    return {kind.code: kind for kind in _tree(CallRefused)}[code]


def _kinds() -> Iterable[type[CallRefused | OutcomeUnknown]]:
    yield OutcomeUnknown
    yield from _tree(CallRefused)


def _tree(top: type[CallRefused]) -> Iterable[type[CallRefused]]:
    yield top
    for below in top.__subclasses__():
        yield from _tree(below)


def _row(kind: type[CallRefused | OutcomeUnknown]) -> Code:
    return Code(kind.code, kind.status, kind.retry, (kind.__doc__ or "").splitlines()[0])


# --- what a file can hold ------------------------------------------------------------------------------


class Mistake(Struct, frozen=True, order=True):
    """One mistake of a file and its address; line and column count from 1."""

    file: str
    line: int
    column: int
    message: str  # What was met and what is expected.
    suggestion: str = ""  # "did you mean 'amount'?"
    source: str = ""  # The line itself, for the caret.

    def __str__(self) -> str:
        tail = f", {self.suggestion}" if self.suggestion else ""
        head = f"{self.file}:{self.line}:{self.column}: {self.message}{tail}"
        if not self.source:
            return head
        start = max(0, self.column - 80)  # A caret further right would wrap and point at nothing.
        # Tabs stay tabs under the line, so that the caret stands where the eye expects it.
        indent = "".join("\t" if char == "\t" else " " for char in self.source[start : self.column - 1])
        return f"{head}\n  {self.source[start : start + 110]}\n  {indent}^"


class PolicyError(BursarError):
    """Every mistake of a policy or cases file at once, in the order of the file."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes: tuple[Mistake, ...] = tuple(sorted(set(mistakes)))
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))
