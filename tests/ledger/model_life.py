"""The life of a call in the plain model: each command as money.md tells it, answered with one word."""

from __future__ import annotations

from tests.ledger.model import (
    DAY,
    DESKS,
    HOUR,
    KEY_LIFE,
    MONEY_KINDS,
    OPEN,
    OURS,
    RUN_BY,
    SECOND,
    Model,
    PlainAttempt,
    PlainCall,
    PlainRequest,
)

SAME = 600 * SECOND
KEYED = (*MONEY_KINDS, "human_only")


class Life(Model):
    """What commands do. Each answers with a word that the planners' answer must translate to."""

    # --- in ----------------------------------------------------------------------------------------------

    def admit(self, call: PlainCall, at: int) -> str:
        """Admit a call, or name the stored one as "again:ID" (M24, M25)."""
        stored = self._stored(call, at)
        if stored is not None:
            return stored
        if self.runs.get(call.run) != call.project or self.agents.get(call.agent) != call.project:
            return "refused"
        answer, desks = self.judge(call, at, None)
        self.calls[call.call_id] = call
        if call.key is not None:
            self.keys[call.agent, call.tool, call.key] = call.call_id
        if answer in {"denied", "full", "waits"}:
            self._end(call, "denied", at)
        elif answer == "ask":
            call.state = "awaiting_approval"
            self._ask(call, desks)
        elif call.local:
            call.claimed_at, call.posted = at, call.amount
            self._end(call, "succeeded", at)
        else:
            call.state, call.run_by = "queued", at + RUN_BY
        return call.state

    def _stored(self, call: PlainCall, at: int) -> str | None:
        if call.key is None:
            if call.kind in KEYED:
                return "refused"
            same = [e for e in self.calls.values() if self._is_same(e, call, at)]
            return f"again:{same[-1].call_id}" if same else None
        known = self.keys.get((call.agent, call.tool, call.key))
        if known is None:
            return None
        return f"again:{known}" if self.calls[known].fingerprint == call.fingerprint else "refused"

    @staticmethod
    def _is_same(each: PlainCall, call: PlainCall, at: int) -> bool:
        if each.key is not None or (each.agent, each.fingerprint) != (call.agent, call.fingerprint):
            return False
        return each.state in OPEN or (each.state == "succeeded" and at < (each.settled_at or 0) + SAME)

    def _ask(self, call: PlainCall, desks: tuple[str, ...], quorum: int | None = None) -> None:
        """M7: the time to answer counts once, from the admission."""
        hours, runs = min(DESKS[d][1] for d in desks), min(DESKS[d][2] for d in desks)
        number = 1 if call.request is None else int(call.request.approval_id) + 1
        call.request = PlainRequest(
            str(number), desks, call.at + hours * HOUR, runs * SECOND, quorum or self.policy.quorum
        )
        call.run_by = None

    @staticmethod
    def _end(call: PlainCall, state: str, at: int) -> None:
        call.state, call.settled_at = state, at
        call.lease_until = None

    # --- people ------------------------------------------------------------------------------------------

    def answer(self, call: PlainCall, who: str, verdict: str, op_hash: str, at: int) -> str:
        """Count one person's word for one operation (M27)."""
        request = call.request
        if (
            request is None
            or call.state != "awaiting_approval"
            or op_hash != call.op_hash
            or at >= request.expires
        ):
            return "refused"
        if not any(self.sits_at(desk, who) for desk in request.desks):
            return "refused"
        if verdict == "approve" and not any(self.counts_at(desk, who, call) for desk in request.desks):
            return "refused"
        if verdict == "deny":
            call.verdicts.discard(who)
            self._end(call, "denied", at)
        else:
            call.verdicts.add(who)
            if not self.unmet(call, request.desks, request.quorum):
                call.state, call.run_by = "queued", at + request.run_within
        return call.state

    def revoke(self, call: PlainCall, who: str, at: int) -> str:
        """Take a yes back before the claim."""
        request = call.request
        if request is None or call.state not in {"awaiting_approval", "queued"} or who not in call.verdicts:
            return "refused"
        if who not in self.operators:
            return "refused"
        call.verdicts.discard(who)
        if call.state == "queued":
            if at >= request.expires:
                self._end(call, "cancelled", at)
            else:
                call.state = "awaiting_approval"
                self._ask(call, request.desks, request.quorum)
        return call.state

    def cancel(self, call: PlainCall, at: int) -> str:
        """Take back what has not started."""
        if call.state == "cancelled":
            return call.state
        if call.state not in {"awaiting_approval", "queued"}:
            return "refused"
        self._end(call, "cancelled", at)
        return call.state

    def edit(self, old: PlainCall, new: PlainCall, who: str, op_hash: str, at: int) -> str:
        """Let an approver turn a waiting call into another one, which they asked for as well (M28)."""
        asked = old.request
        if asked is None or old.op_hash != op_hash or old.state != "awaiting_approval":
            return "refused"
        if not any(self.sits_at(desk, who) for desk in asked.desks):
            return "refused"
        old.state, new.editor = "cancelled", who
        known = set(self.keys)
        if self.admit(new, at) not in {"awaiting_approval", "queued"}:
            old.state = "awaiting_approval"
            self.calls.pop(new.call_id, None)
            self.keys = {key: self.keys[key] for key in known}
            return "refused"
        self._end(old, "cancelled", at)
        asked = new.request
        # M29: what only people do wants a password with the verdict itself; an edit brings none.
        if asked is None or new.kind == "human_only":
            return new.state
        if any(self.counts_at(desk, who, new) for desk in asked.desks):
            self.answer(new, who, "approve", new.op_hash, at)
        return new.state

    def resolve(self, call: PlainCall, who: str, outcome: str, at: int) -> str:
        """Take a person's word for what became of an unknown call; "failed" waits for a day (M3)."""
        if self.operators.get(who, "viewer") == "viewer" or call.state != "unknown":
            return "refused"
        if outcome == "succeeded":
            call.posted, call.committed = call.amount, False
        elif at < max((each.lease_end for each in call.attempts if each.sent), default=call.at) + DAY:
            return "refused"
        self._end(call, outcome, at)
        return call.state

    def give_back(self, call: PlainCall, amount: int, at: int) -> str:
        """Book money that came back for a call that succeeded (M14)."""
        self.adjusted.append((call, -amount, at))
        return call.state

    def sweep(self, at: int) -> str:
        """Let time pass for every call."""
        for call in self.calls.values():
            late = call.request is not None and at >= call.request.expires
            if (call.state == "awaiting_approval" and late) or (
                call.state == "queued" and call.run_by is not None and at >= call.run_by
            ):
                self._end(call, "expired", at)
            elif call.state == "executing" and call.lease_until is not None and at >= call.lease_until:
                for attempt in call.attempts:
                    attempt.ended = True
                self._doubt(call)
        return "swept"

    # --- the claim ---------------------------------------------------------------------------------------

    def claim(self, call: PlainCall, purpose: str, instance: str, lease: int, at: int) -> str:
        """Take the right to act, as M5 and M8 allow it now."""
        if purpose != "execute":
            return self._claim_unknown(call, purpose, instance, lease, at)
        if call.state != "queued":
            return f"not:{call.state}"
        if call.run_by is not None and at >= call.run_by:
            self._end(call, "expired", at)
        elif call.agent not in self.agents or call.run not in self.runs:
            self._end(call, "cancelled", at)
        else:
            answer, desks = self.judge(call, at, call)
            if answer == "denied":
                self._end(call, "denied", at)
            elif answer == "ask" and self.unmet(call, desks, self.policy.quorum):
                self._back(call, desks, at)
            elif answer != "full" and self.ready and self._same_instance(call, instance):
                return self._lease(call, purpose, instance, lease, at)
        return f"not:{call.state}"

    def _back(self, call: PlainCall, desks: tuple[str, ...], at: int) -> None:
        if at >= call.at + min(DESKS[desk][1] for desk in desks) * HOUR:
            self._end(call, "expired", at)
            return
        call.state = "awaiting_approval"
        self._ask(call, desks)

    @staticmethod
    def _same_instance(call: PlainCall, instance: str) -> bool:
        return all(attempt.instance == instance for attempt in call.attempts)

    def _claim_unknown(self, call: PlainCall, purpose: str, instance: str, lease: int, at: int) -> str:
        if call.state != "unknown" or (call.lease_until is not None and call.lease_until > at):
            return f"not:{call.state}"
        if not self._same_instance(call, instance):
            return f"not:{call.state}"
        if purpose == "replay":
            replays = sum(attempt.purpose == "replay" for attempt in call.attempts)
            if (
                call.kind == "human_only"
                or call.key_until is None
                or at >= call.key_until
                or replays >= 8
                or not self.ready
            ):
                return f"not:{call.state}"
            answer, _ = self.judge(call, at, call)
            given = call.request is None or not self.unmet(call, call.request.desks, call.request.quorum)
            if answer == "denied" or (answer == "ask" and not given):
                return f"not:{call.state}"
        return self._lease(call, purpose, instance, lease, at)

    def _lease(self, call: PlainCall, purpose: str, instance: str, lease: int, at: int) -> str:
        if purpose == "execute":
            call.state, call.claimed_at = "executing", at
        call.token += 1
        call.lease_until = at + lease
        if purpose != "lookup" and call.key_until is None:
            call.key_until = at + KEY_LIFE
        number = len(call.attempts) + 1
        call.attempts.append(
            PlainAttempt(number, call.token, purpose, at + lease, instance, sent=purpose != "lookup")
        )
        return f"claimed:{number}:{call.token}"

    # --- the end -----------------------------------------------------------------------------------------

    def settle(self, call: PlainCall, said: Said, at: int) -> str:
        """Take an attempt's end, or evidence of one (M1, M2, M3, M4, M9, M13)."""
        if call.state not in {"executing", "unknown"}:
            if said.outcome == "succeeded" and call.state != "succeeded":
                self.adjusted.append((call, call.amount or 0 if said.actual is None else said.actual, at))
                self._close()
            return call.state
        attempt = next((each for each in call.attempts if each.number == said.number), None)
        bound = call.attempts if attempt is None else [attempt]
        if said.instance is not None and all(each.instance != said.instance for each in bound):
            if attempt is not None:
                attempt.ended = True
            self._close()
            self._doubt(call)
            return call.state
        stale = attempt is None or said.token != call.token or attempt.ended
        if attempt is not None:
            attempt.ended = True
        if said.outcome == "succeeded":
            self._succeed(call, said, at)
        elif attempt is not None and not stale:
            self._not_success(call, said, attempt, at)
        return call.state

    def _succeed(self, call: PlainCall, said: Said, at: int) -> None:
        call.posted = call.amount if said.actual is None else said.actual
        call.committed = said.committed
        if (call.posted or 0) > (call.amount or 0):
            self._close()
        self._end(call, "succeeded", at)

    def _not_success(self, call: PlainCall, said: Said, attempt: PlainAttempt, at: int) -> None:
        sent = [each for each in call.attempts if each.sent and each is not attempt]
        if said.outcome == "not_sent":
            attempt.sent = False
            if call.state == "unknown" or sent:
                self._doubt(call)
            elif call.kind == "human_only" or (call.run_by is not None and at >= call.run_by):
                self._end(call, "failed", at)
            else:
                call.state, call.claimed_at, call.lease_until = "queued", None, None
        elif said.outcome == "failed" and self._believed(call, said, attempt, at):
            self._end(call, "failed", at)
        else:
            self._doubt(call)

    @staticmethod
    def _believed(call: PlainCall, said: Said, attempt: PlainAttempt, at: int) -> bool:
        others = [each for each in call.attempts if each.sent and each is not attempt]
        if attempt.purpose == "lookup":
            last = max((each.lease_end for each in others), default=call.at)
            return said.after is not None and at >= last + said.after
        return not others or said.stored

    @staticmethod
    def _doubt(call: PlainCall) -> None:
        call.state, call.lease_until = "unknown", None

    def _close(self) -> None:
        if self.postures.get(("provider", "stripe"), "normal") == "normal":
            self.postures["provider", "stripe"] = "no_spend"


class Said:
    """What one settlement says."""

    __slots__ = ("actual", "after", "committed", "instance", "number", "outcome", "stored", "token")

    def __init__(self, number: int, token: int, outcome: str, *, instance: str | None = OURS) -> None:
        self.number, self.token, self.outcome, self.instance = number, token, outcome, instance
        self.actual: int | None = None
        self.committed = False
        self.stored = False
        self.after: int | None = None
