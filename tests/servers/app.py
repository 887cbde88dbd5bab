"""A real app behind the gateway: verifies each webhook again with the provider's own Python library.

    python app.py     (secrets in the environment)

Prints {"port":N} when it listens. GET /seen answers what came: provider, whether it verified, the body's SHA-256.
"""

import hashlib
import json
import os
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import stripe
from slack_sdk.signature import SignatureVerifier
from standardwebhooks.webhooks import Webhook
from twilio.request_validator import RequestValidator

SEEN = []


def slack(body, headers, _url):
    return SignatureVerifier(os.environ["SLACK_SECRET"]).is_valid_request(body, headers)


def stripe_(body, headers, _url):
    signature = headers["stripe-signature"]
    return bool(stripe.WebhookSignature.verify_header(body.decode(), signature, os.environ["STRIPE_SECRET"], 300))


def standard_webhooks(body, headers, _url):
    Webhook(os.environ["STANDARD_SECRET"]).verify(body.decode(), headers)
    return True


def twilio(body, headers, url):
    fields = dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))
    return RequestValidator(os.environ["TWILIO_TOKEN"]).validate(url, fields, headers["x-twilio-signature"])


CHECKS = {
    "/python/slack": slack,
    "/python/stripe": stripe_,
    "/python/standard-webhooks": standard_webhooks,
    "/python/twilio": twilio,
}


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = json.dumps(SEEN).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        url = f"{headers['x-forwarded-proto']}://{headers['x-forwarded-host']}{self.path}"
        record = {
            "path": self.path,
            "sha256": hashlib.sha256(body).hexdigest(),
            "id": headers.get("hooklatch-id"),
            "provider": headers.get("hooklatch-provider"),
            "event_id": headers.get("hooklatch-event-id"),
            "event_type": headers.get("hooklatch-event-type"),
        }
        try:
            record["verified"] = bool(CHECKS[self.path.split("?")[0]](body, headers, url))
        except Exception as error:  # what a library raises is its verdict
            record["verified"] = False
            record["error"] = repr(error)
        SEEN.append(record)
        self.send_response(200 if record["verified"] else 400)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), App)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps({"port": server.server_address[1]}), flush=True)
# Whoever started it holds its standard input: with them it goes, too.
sys.stdin.read()
