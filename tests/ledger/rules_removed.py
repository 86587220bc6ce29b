"""For each rule of docs/money.md that the ledger holds: one way to remove it, and the test that notices.

`old` stands exactly once in the file and is replaced by `new`. A rule has many tests; the one named here is
the nearest to it. M30 is held by the gate's own evidence too (tests/tool_server/test_attempt.py), M32 by the
demo's start alone (tests/journeys/test_demo.py).
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Removal(NamedTuple):
    """A rule taken away, and the test that fails without it."""

    file: str
    old: str
    new: str
    test: str  # Below tests/.


_CALLS: Final = "ledger/test_calls.py::test_"
_DOUBTS: Final = "ledger/test_doubts.py::test_"
_CAPS: Final = "ledger/test_caps.py::test_"
_KEYS: Final = "ledger/test_keys.py::test_"
_VERDICTS: Final = "ledger/test_verdicts.py::test_"

REMOVALS: Final[dict[str, Removal]] = {
    "M1": Removal(
        "ledger/settlement.py",
        'if row.state == "unknown" or row.maybe_sent:',
        "if False:",
        f"{_CALLS}m1_a_call_that_was_ever_unknown_never_returns_to_the_queue",
    ),
    "M2": Removal(
        "ledger/settlement.py",
        "return not earlier or command.stored_answer",
        "return True",
        f"{_DOUBTS}m2_a_refusal_after_a_doubt_is_not_a_refusal",
    ),
    "M3": Removal(
        "ledger/answering.py",
        "if at_us < safe_us:",
        "if at_us < 0:",
        f"{_DOUBTS}m3_a_person_s_it_failed_waits_a_day_where_no_delay_is_declared",
    ),
    "M4": Removal(
        "ledger/settlement.py",
        "if _contradicts(world, command, row, attempt):",
        "if False:",
        f"{_CALLS}m4_an_answer_from_another_account_settles_nothing_and_closes_the_provider",
    ),
    "M5": Removal(
        "ledger/claiming.py",
        "changed = _what_changed(world, command, row)",
        "changed = None",
        f"{_CALLS}m5_a_closed_run_cancels_at_the_claim",
    ),
    "M6": Removal(
        "ledger/gather.py",
        "process.live_spend and all_live(world, at_us)",
        "process.live_spend",
        f"{_CALLS}m6_live_money_moves_only_while_every_live_process_says_so",
    ),
    "M7": Removal(
        "ledger/edges.py",
        "row.admitted_at_us + expires_in_s * SECOND_US",
        "at_us + expires_in_s * SECOND_US",
        f"{_CALLS}m7_asking_again_does_not_lengthen_the_hold",
    ),
    "M8": Removal(
        "ledger/claiming.py",
        "if decision.answer is Answer.DENY and decision.code not in {",
        "if decision.code in {",
        f"{_DOUBTS}m8_a_replay_needs_no_deny_now",
    ),
    "M9": Removal(
        "ledger/settlement.py",
        'command.outcome is not Outcome.SUCCEEDED or row.state == "succeeded"',
        "True",
        f"{_DOUBTS}m9_a_success_after_the_end_changes_no_state_and_books_the_money",
    ),
    "M10": Removal(
        "ledger/meters.py",
        "/{key}/{need.unit}/{need.mode}",
        "/{key}/{need.unit}",
        f"{_CAPS}m10_test_money_never_uses_a_live_cap_and_each_currency_has_its_own",
    ),
    "M11": Removal(
        "ledger/caps.py",
        "        start = booking_start(reading.window, at_us, timezone)\n        held = kept",
        "        start = booking_start(reading.window, row.admitted_at_us, timezone)\n        held = kept",
        f"{_CAPS}m11_three_claims_after_midnight_cannot_spend_two_days_caps_in_one",
    ),
    "M12": Removal(
        "ledger/caps.py",
        "before = own.ordinal",
        "before = 1 << 62",
        f"{_CAPS}m12_first_admitted_first_served_under_a_lowered_limit",
    ),
    "M13": Removal(
        "ledger/settlement.py",
        "minor is not None and row.amount_minor is not None and minor > row.amount_minor",
        "False",
        f"{_CAPS}m13_actual_above_approved_is_posted_whole_and_closes_the_provider",
    ),
    "M14": Removal(
        "ledger/discrepancies.py",
        "(amount_minor > 0 or need.cap_id in restores)",
        "restores is not None",
        f"{_CAPS}m14_refunds_make_room_only_where_the_cap_says_so",
    ),
    "M15": Removal(
        "ledger/load.py",
        "until = at_us - earned.after_s * SECOND_US",
        "until = at_us",
        f"{_CAPS}m15_a_share_of_earnings_counts_only_what_is_old_enough",
    ),
    "M16": Removal(
        "policy/matching.py",
        "        if bound is None:\n            return None\n        return q.units",
        "        if bound is None:\n            return True\n        return q.units",
        "policy/test_decide.py::test_in_doubt_a_deny_and_an_approval_apply_and_an_allow_does_not",
    ),
    "M17": Removal(
        "ledger/gather.py",
        "open_requests=len(world.waiting[call.agent]) if",
        "open_requests=0 if",
        f"{_CAPS}m17_one_agent_keeps_at_most_so_many_requests_before_people",
    ),
    "M18": Removal(
        "policy/matching.py",
        "effect.recurring is not None and effect.recurring.first_year != money",
        "False",
        "policy/test_decide.py::test_a_commitment_reserves_its_first_year_or_nothing",
    ),
    "M19": Removal(
        "ledger/caps.py",
        "if committed and usage.unit != CALLS:",
        "if False:",
        f"{_CAPS}m19_a_commitment_counts_until_its_purchase_ends",
    ),
    "M20": Removal(
        "ledger/authorizations.py",
        'return "" if 0 <= question.amount_minor <= left else "above_approval"',
        'return ""',
        "webhooks/test_stripe_issuing.py::test_increments_stay_within_the_approval_and_a_second_payment_is_declined",
    ),
    "M21": Removal(
        "ledger/settling.py",
        "row.payee is not None and not committed:",
        "row.payee is not None:",
        f"{_KEYS}a_payee_is_known_once_a_purchase_was_posted",
    ),
    "M22": Removal(
        "ledger/captures.py",
        'if status in {"failed", "canceled"} and purchase["state"] == "processing":',
        "if False:",
        "plugins/payments/test_tools.py::test_a_payment_stopped_while_it_is_processing_is_voided",
    ),
    "M23": Removal(
        "ledger/sales.py",
        "    if link_ref:\n",
        "    if False:\n",
        "plugins/payments/test_tools.py::test_a_payment_link_is_paid_and_then_closed",
    ),
    "M24": Removal(
        "ledger/admission.py",
        "if fingerprint != command.fingerprint:",
        "if False:",
        f"{_KEYS}m24_the_same_key_with_another_intention_is_a_conflict",
    ),
    "M25": Removal(
        "ledger/admission.py",
        "found = twins.same_call(world, command.fingerprint, command.call.agent, at_us)",
        "found = None",
        f"{_KEYS}m25_an_equal_keyless_call_is_the_same_call_while_open_and_for_ten_minutes",
    ),
    "M26": Removal(
        "ledger/gather.py",
        "twin=twin_of(world, call, at_us, own) if needs.twin else None",
        "twin=None",
        f"{_KEYS}m26_an_equal_purchase_asks_a_person_even_where_rules_allow",
    ),
    "M27": Removal(
        "ledger/answering.py",
        "if request.op_hash != op_hash or row.op_hash != op_hash:",
        "if False:",
        f"{_VERDICTS}m27_a_verdict_binds_to_what_was_shown",
    ),
    "M28": Removal(
        "ledger/approvals.py",
        "if operator.operator_id in asker.requesters and not desk.allow_self:",
        "if False:",
        f"{_VERDICTS}m28_an_editor_alone_suffices_only_where_the_desk_says_so",
    ),
    "M29": Removal(
        "ledger/claiming.py",
        "if row.kind == Kind.HUMAN_ONLY:",
        "if False:",
        f"{_DOUBTS}m29_no_replay_of_what_only_a_person_may_run",
    ),
    "M30": Removal(
        "ledger/house_policy.py",
        "known is not None and KIND_ORDER.index(kind) < KIND_ORDER.index(known[0])",
        "False",
        "ledger/test_office.py::test_a_tool_is_never_accepted_as_a_lesser_kind",
    ),
    "M31": Removal(
        "ledger/booking.py",
        'if identity.account != record["provider_account"]:',
        "if False:",
        "webhooks/test_stripe_worker.py::test_an_account_that_was_swapped_books_nothing",
    ),
    "M33": Removal(
        "ledger/recovering.py",
        "    _close(tx, world, because, at)\n",
        "",
        "ledger/test_recovering.py::test_m33_recover_cancels_doubts_and_closes",
    ),
    "M34": Removal(
        "ledger/house_rows.py",
        "if moved_to is not None:",
        "if False:",
        "ledger/test_rare_ends.py::test_m34_a_ledger_that_moved_while_it_was_open_serves_no_more",
    ),
    "M35": Removal(
        "ledger/audit/erasing.py",
        "            _empty_tables(tx, account, call_id)\n",
        "",
        "ledger/audit/test_erasing.py::test_what_a_call_said_is_gone_and_the_ledger_verifies",
    ),
    "M36": Removal(
        "ledger/house_policy.py",
        "    bury(tx, world, _dead(tx, world.account_id, process_id, at), at)\n",
        "",
        "ledger/test_office.py::test_m36_the_next_start_says_what_a_crash_may_have_lost",
    ),
}
