"""Signs events with the providers' own Python libraries and posts them.

    python send.py BASE_URL     (secrets in the environment, see tests/integration/senders.rs)

Prints a JSON array with an entry for each event: what was sent and what was answered.
"""

import datetime
import hashlib
import http.client
import json
import os
import sys
import time
import urllib.parse

import stripe
from slack_sdk.signature import SignatureVerifier
from standardwebhooks.webhooks import Webhook
from twilio.request_validator import RequestValidator

BASE = sys.argv[1]
# Letters of several lengths in UTF-8, line breaks and blanks that a re-serialised body would lose.
TEXT = 'Grüße, 世界 👋\u2028 – \\ " \r\n\t'


def slack():
    body = json.dumps(
        {"type": "event_callback", "event_id": "Ev_python_1", "event": {"type": "message", "text": TEXT}},
        ensure_ascii=False,
    )
    at = str(int(time.time()))
    signature = SignatureVerifier(os.environ["SLACK_SECRET"]).generate_signature(timestamp=at, body=body)
    headers = {
        "Content-Type": "application/json",
        "X-Slack-Request-Timestamp": at,
        "X-Slack-Signature": signature,
    }
    return "slack_sdk", "slack", "/python/slack", headers, body


def stripe_():
    body = json.dumps({"id": "evt_python_1", "object": "event", "type": "charge.refunded", "data": {"text": TEXT}})
    at = int(time.time())
    signature = stripe.WebhookSignature._compute_signature(f"{at}.{body}", os.environ["STRIPE_SECRET"])
    headers = {"Content-Type": "application/json", "Stripe-Signature": f"t={at},v1={signature}"}
    return "stripe", "stripe", "/python/stripe", headers, body


def standard_webhooks():
    body = json.dumps({"type": "user.created", "data": {"text": TEXT}}, ensure_ascii=False, indent=1)
    at = datetime.datetime.now(tz=datetime.timezone.utc)
    signature = Webhook(os.environ["STANDARD_SECRET"]).sign(msg_id="msg_python_1", timestamp=at, data=body)
    headers = {
        "Content-Type": "application/json",
        "webhook-id": "msg_python_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signature,
    }
    return "standardwebhooks", "standard-webhooks", "/python/standard-webhooks", headers, body


def twilio():
    fields = {"MessageSid": "SM_python_1", "SmsStatus": "delivered", "Body": TEXT, "To": "+4930901820", "Empty": ""}
    # Twilio signs the URL it was given, which is the one this script posts to.
    signature = RequestValidator(os.environ["TWILIO_TOKEN"]).compute_signature(BASE + "/python/twilio?a=b%20c", fields)
    headers = {
        "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
        "I-Twilio-Idempotency-Token": "idempotency-python-1",
        "X-Twilio-Signature": signature,
    }
    return "twilio", "twilio", "/python/twilio?a=b%20c", headers, urllib.parse.urlencode(fields)


def post(library, provider, target, headers, body):
    body = body.encode()
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(BASE).netloc, timeout=15)
    connection.request("POST", target, body=body, headers=headers)
    response = connection.getresponse()
    return {
        "library": library,
        "provider": provider,
        "sha256": hashlib.sha256(body).hexdigest(),
        "status": response.status,
        "outcome": response.getheader("hooklatch-outcome"),
        "id": response.getheader("hooklatch-id"),
        "answer": response.read().decode(),
    }


print(json.dumps([post(*make()) for make in (slack, stripe_, standard_webhooks, twilio)]))
