"""A stateful stand-in for Stripe's API: no key, no network, no money, and honest about it.

Every id says `_sim`, every answer carries `Bursar-Simulator: inst_sim_...`, `livemode` is always false, and
only the keys it made itself (`sk_test_sim_...`, `rk_test_sim_...`) open it. Only the command line and tests
import it.

**In process**, behind respx, with the real SDK::

    sim = Simulator(seed=1, clock=time.time)           # plugins.payments.simulator.simulator
    handler = respx.handlers.ASGIHandler(sim.app())
    respx.route(host="api.stripe.com").mock(side_effect=handler)
    client = stripe.StripeClient(sim.earn_key, http_client=stripe.HTTPXClient())
    secret = sim.subscribe("http://bursar/webhooks/stripe")     # all v1 events, or names; thin=True
    await sim.deliver_due(); await sim.advance(3600)            # nothing is delivered behind a test's back

`sim.secret_key` may do everything, `sim.earn_key` has no issuing and no outbound scope, `sim.spend_key` only
those. `deliver=AppDeliver(app)` delivers into an ASGI app without a socket.
`sim.faults.add(Fault("lost_after_commit", match="POST /v1/refunds"))` scripts a fault,
`sim.faults.by_seed(7, rate=0.2, faults=[...])` draws them; `faults.py` lists the kinds. `sim.effects()` is
the truth that harnesses count. `sim.world` holds the objects.

**As a child process**: `python -m plugins.payments.simulator [--port 0] [--seed N] [--webhook URL]
[--issuing-webhook URL] [--settle-after S] [--post-after S] [--state FILE] [--with-parent]` prints one JSON
line (address, account, instance, financial_account, recipient, cardholder, secret_key, earn_key,
spend_key, webhook_secrets, issuing_webhook_secrets, pid) and delivers by itself. With `--state` it finds its
world, keys and port again after a restart. `bursar simulate stripe` is the same for people.

**Pages**, each plainly SIMULATED and without script: `/pay/{session}` (form fields `card`, `email`; the
numbers are in `cards.py`), `/link/{payment link}`, `/cards/{issuing card}` (form fields `merchant`, `amount`
as "19.99", `hold` to authorize only).

**Controls**, JSON in and out:

================================================  ==========================================================
GET    /_sim                                      instance, account, clock, numbers of objects
GET    /_sim/effects                              `{"effects": [...]}`: all through which money moved
POST   /_sim/clock `{"advance_s": 3600}`          move the clock, run timers, make due deliveries
POST   /_sim/deliver                              make due deliveries now
GET    /_sim/deliveries                           each delivery made, with its status
GET, POST, DELETE /_sim/faults                    `{"faults": [{"kind": ...}]}`; `seed` and `rate`: a stream
POST   /_sim/webhook_endpoints                    `{"url", "enabled_events"?, "thin"?, "secret"?}`
POST   /_sim/webhook_endpoints/{id}/rotate        `{"overlap_s": 86400}`: a new secret, both sign until then
POST   /_sim/keys `{"scopes": [...]}`             a restricted key; without scopes a secret one
POST   /_sim/keys/rotate `{"key"}`                a new key, the old one answers 401
POST   /_sim/account/swap, /_sim/account/restore  the keys belong to another, empty account; and back
POST   /_sim/settings `{"charges_enabled": false}`  any field of `world.WorldSettings`
POST   /_sim/checkout/sessions/{id}/pay           `{"card"?, "email"?}`: what the page does
POST   /_sim/checkout/sessions/{id}/settle        `{"outcome": "succeeded" or "failed"}`: delayed methods
POST   /_sim/disputes                             `{"charge", "amount"?, "reason"?}`
POST   /_sim/disputes/{id}/close                  `{"status": "won" or "lost"}`
POST   /_sim/early_fraud_warnings `{"charge"}`    warn about a charge
POST   /_sim/refunds/{id}/fail                    the buyer's bank returned it
POST   /_sim/outbound_payments/{id}               `{"status": "posted", "failed" or "returned"}`
POST   /_sim/events/{id}/resend                   deliver an event once more
================================================  ==========================================================

Authorizations, increments, captures, reversals and refunds of cards go through Stripe's own test helpers
(`/v1/test_helpers/issuing/...`). A real-time request must be answered within two seconds with 200, a
`Stripe-Version` header and `{"approved": true or false}`; anything else counts as no answer.
"""
