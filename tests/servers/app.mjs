// A real app behind the gateway: a Node HTTP server that verifies each webhook again with the provider's own library.
//
//   node app.mjs     (secrets in the environment)
//
// Prints {"port":N} when it listens. GET /seen answers what came: provider, whether it verified, the body's SHA-256.
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { verify } from "@octokit/webhooks-methods";
import { Webhook } from "standardwebhooks";
import Stripe from "stripe";

const { GITHUB_SECRET, STRIPE_SECRET, STANDARD_SECRET } = process.env;
const seen = [];

const checks = {
  "/node/github": (body, headers) => verify(GITHUB_SECRET, body.toString(), headers["x-hub-signature-256"]),
  "/node/stripe": (body, headers) =>
    Boolean(Stripe.webhooks.constructEvent(body, headers["stripe-signature"], STRIPE_SECRET)),
  "/node/standard-webhooks": (body, headers) => Boolean(new Webhook(STANDARD_SECRET).verify(body.toString(), headers)),
};

async function receive(request, body) {
  const record = {
    path: request.url,
    sha256: createHash("sha256").update(body).digest("hex"),
    id: request.headers["hooklatch-id"],
    provider: request.headers["hooklatch-provider"],
    event_id: request.headers["hooklatch-event-id"],
    event_type: request.headers["hooklatch-event-type"],
  };
  try {
    record.verified = await checks[request.url](body, request.headers);
  } catch (error) {
    record.verified = false;
    record.error = String(error);
  }
  seen.push(record);
  return record.verified ? 200 : 400;
}

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  if (request.method === "GET" && request.url === "/seen") {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(seen));
    return;
  }
  response.statusCode = await receive(request, Buffer.concat(chunks));
  response.end();
});

server.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: server.address().port })));
// Whoever started it holds its standard input: with them it goes, too.
process.stdin.resume().on("end", () => process.exit(0));
