"""Who is the same payee: by name and glob, without regard to case, and in doubt where it only looks so."""
# ruff: noqa: FBT001 -- `allowed` and `denied` are what a row expects, no flags somebody passes

from __future__ import annotations

import pytest

from policy.decide import needs
from policy.language import Answer, Match
from tests.policy.build import allow, deny, judge, policy, purchase


@pytest.mark.parametrize(
    ("pattern", "payee", "allowed", "denied"),
    [
        ("*.hetzner.com", "cloud.hetzner.com", True, True),
        ("*.hetzner.com", "evil.example/.hetzner.com", False, True),
        ("*.hetzner.com", "evil.example x.hetzner.com", False, True),
        ("*.hetzner.com", "a@b.hetzner.com", False, True),
        ("*.m\u00fcller.example", "shop.M\u00dcLLER.example", True, True),
        ("acme*", "Acme / Berlin", True, True),
        ("acme? inc. ltd.", "acme, Inc. Ltd.", True, True),
        ("stra\u00dfe.example", "STRA\u00dfE.example", True, True),
        ("strasse.example", "stra\u00dfe.example", False, True),
        ("stra\u00dfe.example", "strasse.example", False, True),
        ("*strasse.example", "stra\u00dfe.example", False, True),
        ("strasse.example", "gasse.example", False, False),
    ],
)
def test_an_allow_needs_the_very_payee_and_a_deny_stops_its_likeness(
    pattern: str, payee: str, allowed: bool, denied: bool
) -> None:
    """Names that fold alike are two domains, and a slash ends a host: either may be a stranger's trick."""
    match, call = Match(payee=(pattern,)), purchase(payee=payee)
    assert (judge(policy(allow(match=match)), call).answer is Answer.ALLOW) is allowed
    assert (judge(policy(allow("all"), deny(match=match)), call).answer is Answer.DENY) is denied


def test_a_payee_known_by_a_name_that_folds_alike_is_in_doubt() -> None:
    """M21: the ledger keeps folded names, so having paid strasse.example says nothing of straße.example."""
    rules = policy(allow(match=Match(payee_known=True)))
    assert judge(rules, purchase(payee="strasse.example"), payee_known=True).answer is Answer.ALLOW
    assert judge(rules, purchase(payee="stra\u00dfe.example"), payee_known=True).answer is Answer.DENY
    listed = policy(allow(match=Match(payee_known=True)), lists={"vendors": ("stra\u00dfe.example",)})
    assert judge(listed, purchase(payee="Stra\u00dfe.example")).answer is Answer.ALLOW
    assert judge(listed, purchase(payee="strasse.example")).answer is Answer.DENY
    assert needs(listed, purchase(payee="strasse.example")).payee_known
    strangers = policy(allow("all"), deny(match=Match(payee_known=False)), lists=listed.lists)
    assert judge(strangers, purchase(payee="strasse.example")).answer is Answer.DENY
