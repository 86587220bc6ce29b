"""Which typed parameters the simulator honours; others are refused, never taken and forgotten.

A parameter that the real Stripe acts on and the simulator ignored would let a test pass that means nothing.
"""

from plugins.payments.simulator.errors import ApiError

_ALWAYS = frozenset({"expand"})
_LISTS = frozenset({"limit", "starting_after", "ending_before", "created", "page"})
_NAMES = {
    "AccountRetrieveCurrentParams": "",
    "BalanceRetrieveParams": "",
    "BalanceTransactionListParams": "source type currency",
    "ProductCreateParams": (
        "id name description active images metadata default_price_data marketing_features shippable "
        "statement_descriptor tax_code type unit_label url"
    ),
    "ProductListParams": "ids active",
    "ProductUpdateParams": (
        "name description active images url statement_descriptor tax_code unit_label default_price metadata"
    ),
    "PriceCreateParams": (
        "currency unit_amount unit_amount_decimal active lookup_key transfer_lookup_key metadata "
        "nickname product product_data tax_behavior"
    ),
    "PriceListParams": "product active currency type lookup_keys",
    "PriceUpdateParams": "active nickname tax_behavior metadata lookup_key transfer_lookup_key",
    "checkout.SessionCreateParams": (
        "mode ui_mode success_url cancel_url client_reference_id line_items expires_at "
        "customer_email metadata payment_intent_data billing_address_collection customer_creation "
        "integration_identifier locale submit_type"
    ),
    "checkout.SessionListParams": "status payment_intent payment_link customer customer_details",
    "checkout.SessionUpdateParams": "metadata",
    "checkout.SessionListLineItemsParams": "",
    "PaymentLinkCreateParams": (
        "line_items after_completion allow_promotion_codes billing_address_collection "
        "customer_creation inactive_message metadata payment_intent_data restrictions submit_type"
    ),
    "PaymentLinkListParams": "active",
    "PaymentLinkUpdateParams": "active metadata",
    "PaymentIntentListParams": "",
    "ChargeListParams": "payment_intent",
    "radar.EarlyFraudWarningListParams": "charge payment_intent",
    "RefundCreateParams": "charge payment_intent amount reason metadata",
    "RefundListParams": "charge payment_intent",
    "RefundUpdateParams": "metadata",
    "DisputeListParams": "charge payment_intent",
    "DisputeUpdateParams": "evidence submit metadata",
    "EventListParams": "type types delivery_success",
    "WebhookEndpointCreateParams": "url enabled_events api_version description metadata",
    "WebhookEndpointListParams": "",
    "WebhookEndpointUpdateParams": "url enabled_events description disabled metadata",
    "v2.core.EventListParams": "types object_id created",
    "v2.core.EventDestinationCreateParams": (
        "name type event_payload enabled_events webhook_endpoint include description metadata "
        "events_from snapshot_api_version"
    ),
    "issuing.CardholderCreateParams": (
        "name type billing email phone_number metadata status spending_controls individual company"
    ),
    "issuing.CardholderListParams": "email status type phone_number",
    "issuing.CardholderUpdateParams": "email phone_number status metadata",
    "issuing.CardCreateParams": (
        "cardholder currency type status spending_controls lifecycle_controls metadata exp_month exp_year"
    ),
    "issuing.CardListParams": "status type last4 exp_month exp_year cardholder",
    "issuing.CardUpdateParams": "status metadata cancellation_reason spending_controls",
    "issuing.AuthorizationListParams": "card cardholder status",
    "issuing.AuthorizationUpdateParams": "metadata",
    "issuing.TransactionListParams": "card cardholder type",
    "issuing.TransactionUpdateParams": "metadata",
    "test_helpers.issuing.AuthorizationCreateParams": (
        "card amount currency merchant_amount merchant_currency merchant_data authorization_method "
        "verification_data wallet"
    ),
    "test_helpers.issuing.AuthorizationIncrementParams": "increment_amount",
    "test_helpers.issuing.AuthorizationCaptureParams": "capture_amount close_authorization",
    "test_helpers.issuing.AuthorizationReverseParams": "reverse_amount",
    "test_helpers.issuing.TransactionCreateForceCaptureParams": "amount card currency merchant_data",
    "test_helpers.issuing.TransactionRefundParams": "refund_amount",
    "v2.money_management.OutboundPaymentCreateParams": (
        "amount from to metadata description statement_descriptor recipient_notification "
        "recipient_verification"
    ),
    "v2.money_management.OutboundPaymentListParams": "recipient status",
    "v2.money_management.FinancialAccountListParams": "",
    "v2.core.AccountCreateParams": "configuration contact_email dashboard display_name metadata",
    "v2.core.AccountListParams": "",
}
HONOURED = {spec: frozenset(names.split()) for spec, names in _NAMES.items()}


def require(spec: str, given: set[str]) -> None:
    """Refuse a typed parameter that the simulator does not act on. Raises ApiError (400)."""
    known = HONOURED.get(spec, frozenset()) | _ALWAYS
    if spec.endswith(("ListParams", "ListLineItemsParams")):
        known |= _LISTS
    rest = given - known
    if rest:
        name = min(rest)
        message = f"Stripe knows '{name}', this simulator does not act on it; leave it out"
        raise ApiError(400, "invalid_request_error", message, param=name, code="not_simulated")
