// Signs events with the providers' own Node libraries and posts them.
//
//   node send.mjs BASE_URL     (secrets in the environment, see tests/integration/senders.rs)
//
// Prints a JSON array with an entry for each event: what was sent and what was answered.
import { createHash } from "node:crypto";
import { sign } from "@octokit/webhooks-methods";
import { Webhook } from "standardwebhooks";
import Stripe from "stripe";

const base = process.argv[2];
const { GITHUB_SECRET, STRIPE_SECRET, STANDARD_SECRET } = process.env;
const sha256 = (text) => createHash("sha256").update(text).digest("hex");

// Letters of several lengths in UTF-8, line breaks and blanks that a re-serialised body would lose.
const text = "Grüße, 世界 👋\u2028 – \\ \" \r\n\t";

async function github() {
  const body = JSON.stringify({ zen: text, hook_id: 1, nested: { a: [1, 2.5, null] } }, null, 2);
  const headers = {
    "content-type": "application/json",
    "x-github-event": "ping",
    "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
    "x-hub-signature-256": await sign(GITHUB_SECRET, body),
  };
  return { library: "@octokit/webhooks-methods", provider: "github", path: "/node/github", headers, body };
}

async function stripe() {
  const body = JSON.stringify({
    id: "evt_node_1",
    object: "event",
    type: "invoice.paid",
    created: Math.floor(Date.now() / 1000),
    data: { object: { description: text } },
  });
  const signature = Stripe.webhooks.generateTestHeaderString({ payload: body, secret: STRIPE_SECRET });
  const headers = { "content-type": "application/json; charset=utf-8", "stripe-signature": signature };
  return { library: "stripe", provider: "stripe", path: "/node/stripe", headers, body };
}

async function standardWebhooks() {
  const body = JSON.stringify({ type: "user.created", timestamp: new Date().toISOString(), data: { name: text } });
  const id = "msg_node_1";
  const at = new Date();
  const headers = {
    "content-type": "application/json",
    "webhook-id": id,
    "webhook-timestamp": Math.floor(at.getTime() / 1000).toString(),
    "webhook-signature": new Webhook(STANDARD_SECRET).sign(id, at, body),
  };
  return { library: "standardwebhooks", provider: "standard-webhooks", path: "/node/standard-webhooks", headers, body };
}

const results = [];
for (const make of [github, stripe, standardWebhooks]) {
  const { library, provider, path, headers, body } = await make();
  const response = await fetch(base + path, { method: "POST", headers, body });
  results.push({
    library,
    provider,
    sha256: sha256(body),
    status: response.status,
    outcome: response.headers.get("hooklatch-outcome"),
    id: response.headers.get("hooklatch-id"),
    answer: await response.text(),
  });
}
console.log(JSON.stringify(results));
