// An ordinary web site, in plain Node: everything a browser does to one, so that a test can ask it directly and through
// the gateway and compare.
//
//   node site.mjs '{"unix":"/path/of/a.sock","tls":[{"key":"key.pem","cert":"cert.pem"}, …]}'
//
// Prints {"port":N,"tls":[N, …]} when it listens everywhere.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { gzipSync } from "node:zlib";

const options = JSON.parse(process.argv[2] ?? "{}");
const BLOCK = 1 << 20;
const BLOCKS = 100;
const PAGE = "<!doctype html><title>Grüße</title><p>" + "0123456789".repeat(400);
const ETAG = '"page-1"';

// The block numbered `n` of a large download: its number, then a pattern.
const pattern = Buffer.from(Uint8Array.from({ length: BLOCK }, (_, at) => at % 251));
function block(n) {
  const bytes = Buffer.from(pattern);
  bytes.writeUInt32BE(n, 0);
  return bytes;
}

async function read(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks);
}

// What arrived here, in chunks, so that the answer's head does not depend on what it is.
async function echo(request, response) {
  const body = await read(request);
  const isForm = request.headers["content-type"] === "application/x-www-form-urlencoded";
  response.writeHead(200, { "Content-Type": "application/json" });
  response.write("");
  response.end(
    JSON.stringify({
      method: request.method,
      url: request.url,
      version: request.httpVersion,
      headers: request.rawHeaders,
      body: body.toString("base64"),
      form: isForm ? [...new URLSearchParams(body.toString())] : null,
      server_name: request.socket.servername ?? null,
    }),
  );
}

async function download(response, length) {
  response.writeHead(200, { "Content-Type": "application/octet-stream", ...length });
  for (let n = 0; n < BLOCKS; n++) {
    if (!response.write(block(n))) await new Promise((done) => response.once("drain", done));
  }
  response.end();
}

async function upload(request, response) {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of request) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  response.end(JSON.stringify({ sha256: hash.digest("hex"), bytes }));
}

function page(request, response) {
  const body = Buffer.from(PAGE);
  const head = { ETag: ETAG, "Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT", "Cache-Control": "max-age=60" };
  if (request.headers["if-none-match"] === ETAG) return response.writeHead(304, head).end();
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
  if (range) {
    const [from, to] = [Number(range[1]), Number(range[2])];
    head["Content-Range"] = `bytes ${from}-${to}/${body.length}`;
    return response.writeHead(206, { ...head, "Content-Length": to - from + 1 }).end(body.subarray(from, to + 1));
  }
  const type = { "Content-Type": "text/html; charset=utf-8", "Accept-Ranges": "bytes" };
  response.writeHead(200, { ...head, ...type, "Content-Length": body.length }).end(body);
}

// Each event leaves only when somebody has asked for it: a proxy that held one back would stop both.
const streams = new Map();
function events(response, name) {
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
  response.flushHeaders();
  streams.set(name, response);
}
function nextEvent(response, [name, text]) {
  const stream = streams.get(name);
  if (text === "end") stream.end();
  else stream.write(`event: step\ndata: ${text}\n\n`);
  response.end("sent");
}

const routes = {
  "/page": page,
  "/upload": upload,
  "/download": (_, response) => download(response, { "Content-Length": BLOCK * BLOCKS }),
  "/download/chunked": (_, response) => download(response, {}),
  "/cookies": (_, response) => {
    const many = Array.from({ length: 12 }, (_, n) => `c${n}=${"x".repeat(900)}; Path=/; HttpOnly`);
    response.setHeader("Set-Cookie", ["a=1; Path=/", "b=2; Expires=Wed, 09 Jun 2032 10:18:14 GMT", "a=3", ...many]);
    response.end("cookies");
  },
  "/login": (request, response) => {
    request.resume();
    response.writeHead(303, { Location: "/page?from=login", "Set-Cookie": "session=s; SameSite=Lax" }).end();
  },
  "/moved": (request, response) => {
    response.writeHead(302, { Location: `http://${request.headers.host}/page` }).end("moved");
  },
  "/temporary": (request, response) => {
    request.resume();
    response.writeHead(307, { Location: "../page?x=%20&y=ü" }).end();
  },
  "/nothing": (_, response) => response.writeHead(204, { "X-Empty": "" }).end(),
  "/reason": (_, response) => response.writeHead(200, "All Is Well", { "Content-Length": 2 }).end("ok"),
  "/zero": (_, response) => response.writeHead(200, { "Content-Length": 0 }).end(),
  "/missing": (_, response) => response.writeHead(404, { "Content-Type": "text/plain" }).end("no such page"),
  "/broken": (_, response) => response.writeHead(500).end("broken"),
  "/teapot": (_, response) => response.writeHead(418).end(),
  "/gzip": (_, response) => {
    const body = gzipSync(PAGE);
    response.writeHead(200, { "Content-Encoding": "gzip", Vary: "Accept-Encoding", "Content-Length": body.length });
    response.end(body);
  },
  "/gzip/chunked": (_, response) => {
    response.writeHead(200, { "Content-Encoding": "gzip", Vary: "Accept-Encoding" });
    response.write(gzipSync(PAGE));
    response.end();
  },
  "/chunked": (_, response) => {
    for (let n = 0; n < 5; n++) response.write(`piece ${n};`);
    response.end();
  },
  "/headers": (_, response) => {
    // rawHeaders as a list: names in this case, repeated ones apart, in this order.
    response.writeHead(200, [
      ["X-Odd-CASE", "1"], ["x-lower", "2"], ["x-odd-case", "3"], ["Content-Length", "7"], ["ETag", "W/\"x\""],
      ["Link", "</a.css>; rel=preload"], ["Link", "</b.js>; rel=preload"], ["WWW-Authenticate", "Basic realm=\"a\""],
      ["WWW-Authenticate", "Bearer"], ["Server", "site/1"], ["Via", "1.1 inner"], ["X-Latin", "Gr\u00fc\u00dfe"],
      ["Content-Disposition", "attachment; filename=\"a b.txt\""], ["X_Under", "kept"], ["hooklatch-own", "app's"],
      ["Strict-Transport-Security", "max-age=1"], ["Date", "Sun, 06 Nov 1994 08:49:37 GMT"],
    ].flat()).end("headers");
  },
  "/dateless": (_, response) => {
    response.sendDate = false;
    response.end("no date");
  },
  "/hints": (_, response) => {
    response.writeEarlyHints({ link: "</style.css>; rel=preload; as=style" });
    response.end("hinted");
  },
  "/close": (_, response) => response.writeHead(200, { Connection: "close" }).end("bye"),
  // Answers before the body has come, and reads it nevertheless.
  "/early": (request, response) => {
    response.writeHead(413, { "Content-Type": "text/plain" }).end("too large");
    request.resume();
  },
};

function answer(request, response) {
  const [path, query] = request.url.split("?");
  if (path === "/events") return events(response, query);
  if (path === "/events/next") return nextEvent(response, query.split("="));
  return (routes[path] ?? echo)(request, response);
}

// WebSocket by hand (RFC 6455): the handshake, text frames of at most 125 bytes echoed, a close frame answered.
function upgrade(request, socket, early) {
  const magic = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  const accept = createHash("sha1").update(request.headers["sec-websocket-key"] + magic).digest("base64");
  socket.write(
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      `Sec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\n`,
  );
  let pending = early;
  const take = (bytes) => {
    pending = Buffer.concat([pending, bytes]);
    while (pending.length >= 6 && pending.length >= 6 + (pending[1] & 127)) {
      const length = pending[1] & 127;
      const payload = Buffer.from(pending.subarray(6, 6 + length));
      for (let at = 0; at < length; at++) payload[at] ^= pending[2 + (at % 4)];
      const frame = Buffer.concat([Buffer.from([pending[0], length]), payload]);
      const isClose = (pending[0] & 15) === 8;
      pending = pending.subarray(6 + length);
      if (isClose) return socket.end(frame);
      socket.write(frame);
    }
  };
  take(Buffer.alloc(0));
  socket.on("data", take).on("error", () => socket.destroy());
}

function serve(server, ...where) {
  server.on("upgrade", upgrade);
  server.on("checkContinue", (request, response) => {
    if (request.url === "/expect/refused") return response.writeHead(417, { Connection: "close" }).end("not now");
    response.writeContinue();
    answer(request, response);
  });
  return new Promise((ready) => server.listen(...where, () => ready(server.address()?.port)));
}

const port = await serve(createServer(answer), 0, "127.0.0.1");
if (options.unix) await serve(createServer(answer), options.unix);
const tls = [];
for (const { key, cert } of options.tls ?? []) {
  const pair = { key: readFileSync(key), cert: readFileSync(cert) };
  tls.push(await serve(createTlsServer(pair, answer), 0, "127.0.0.1"));
}
console.log(JSON.stringify({ port, tls }));
// Whoever started it holds its standard input: with them it goes, too.
process.stdin.resume().on("end", () => process.exit(0));
