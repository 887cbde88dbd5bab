//! What the demonstration sends, and what it says about what happened.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::time::{Instant, timeout};

use super::super::human;
use super::super::out::{Failure, Out, Outcome};
use super::super::simulator::{SignedEvent, SigningSecret, Simulator, Wish};
use super::super::target::Target;
use super::app::{App, Seen};
use super::gateway::{Gateway, PATH, SECRET};
use crate::config::Catalog;
use crate::delivery::{Connector, HttpClient, Tls};
use crate::net::Resolver;
use crate::secret::Secret;

/// How long the app may take to see what was accepted.
const SOON: Duration = Duration::from_secs(5);
/// How long nothing may come where nothing should.
const QUIET: Duration = Duration::from_millis(200);

/// Sends one event of each kind and tells what came of it.
///
/// # Errors
/// A gateway that does not do what it should.
pub async fn show(out: &mut Out, gateway: &Gateway, app: &App) -> Outcome {
    let url = format!("http://{}{PATH}", gateway.http());
    let stage = Stage {
        provider: Simulator::new(Catalog::shipped(), "stripe", SigningSecret::Shared(Secret::new(SECRET)))?,
        target: Target::parse(&url).map_err(Failure::Failed)?,
        url,
        client: client(gateway)?,
        app,
    };
    out.line("hooklatch demo: a gateway and a sample app behind it, both on this machine\n")?;
    out.line(format_args!("  gateway  http://{}", gateway.http()))?;
    out.line(format_args!("  app      http://{}\n", app.address()))?;
    out.flush()?;
    let event = stage.genuine(out).await?;
    stage.duplicate(out, &event).await?;
    stage.forged(out, &event).await?;
    stage.stale(out).await?;
    stage.passed(out).await?;
    out.flush()
}

fn client(gateway: &Gateway) -> Result<HttpClient, Failure> {
    let target = Target::parse(&format!("http://{}", gateway.http())).map_err(Failure::Failed)?;
    let connector = Connector::new(&target.endpoint, SOON, Resolver::system(), Tls::system());
    Ok(HttpClient::new(connector, SOON, 1))
}

struct Stage<'a> {
    provider: Simulator,
    url: String,
    target: Target,
    client: HttpClient,
    app: &'a App,
}

/// What the gateway answered.
struct Answer {
    status: u16,
    outcome: String,
    id: String,
    body: Bytes,
    took: Duration,
}

impl Answer {
    /// The `error` word and the message of a refusal.
    fn refusal(&self) -> (String, String) {
        let json: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let word =
            |key: &str| human::printable(json.get(key).and_then(|v| v.as_str()).unwrap_or_default(), false);
        (word("error"), word("message"))
    }
}

impl Stage<'_> {
    async fn genuine(&self, out: &mut Out) -> Result<SignedEvent, Failure> {
        out.line("1. A genuine event, signed as Stripe signs")?;
        let event = self.event(self.provider.now())?;
        let sent = Instant::now();
        let answer = self.post(&event).await?;
        expect(answer.status == 200 && answer.outcome == "accepted", &answer)?;
        let seen =
            timeout(SOON, self.app.next()).await.map_err(|_| wrong("the app did not get the event"))?;
        if seen.body != event.body || seen.header("hooklatch-id") != answer.id {
            return Err(wrong("the app got something else than what was sent"));
        }
        say(out, &format!("→ 200 accepted in {}, as {}", human::duration(answer.took), answer.id))?;
        let after = human::duration(seen.at.saturating_duration_since(sent));
        say(out, &format!("  The app has it, byte for byte, {after} after it was sent.\n"))?;
        Ok(event)
    }

    async fn duplicate(&self, out: &mut Out, event: &SignedEvent) -> Outcome {
        out.line("2. The same event once more: providers repeat themselves")?;
        let answer = self.post(event).await?;
        expect(answer.status == 200 && answer.outcome == "duplicate", &answer)?;
        self.nothing_came().await?;
        say(out, &format!("→ 200 duplicate of {}", answer.id))?;
        say(out, "  The sender is content, the app is not bothered again.\n")
    }

    async fn forged(&self, out: &mut Out, event: &SignedEvent) -> Outcome {
        out.line("3. A forged one: the same signature over another body")?;
        let mut body = event.body.to_vec();
        body.extend_from_slice(b" ");
        let forged = SignedEvent { body: body.into(), ..event.clone() };
        self.refused(out, &forged, "invalid_signature").await
    }

    async fn stale(&self, out: &mut Out) -> Outcome {
        out.line("4. A stale one: signed right, an hour ago; somebody replays what he overheard")?;
        let event = self.event(self.provider.now().minus(Duration::from_secs(3600)))?;
        self.refused(out, &event, "timestamp_out_of_tolerance").await
    }

    async fn refused(&self, out: &mut Out, event: &SignedEvent, error: &str) -> Outcome {
        let answer = self.post(event).await?;
        let (word, message) = answer.refusal();
        expect(answer.status == 401 && word == error, &answer)?;
        self.nothing_came().await?;
        say(out, &format!("→ 401 {word}: {message}"))?;
        say(out, "  The app never hears of it.\n")
    }

    async fn passed(&self, out: &mut Out) -> Outcome {
        out.line("5. And a request that is no webhook")?;
        let request = Request::get("/hello").header("host", &self.target.host).body(Full::default());
        let answer = self.ask(request.map_err(|error| wrong(&error.to_string()))?).await?;
        let seen =
            timeout(SOON, self.app.next()).await.map_err(|_| wrong("the app did not get the request"))?;
        expect(answer.status == 200 && seen.target == "/hello", &answer)?;
        say(out, &format!("→ GET /hello: 200 from the app itself, in {}\n", human::duration(answer.took)))
    }

    fn event(&self, now: crate::clock::Millis) -> Result<SignedEvent, Failure> {
        self.provider.event(&self.url, &Wish::default(), &self.provider.fresh_id(), now)
    }

    async fn nothing_came(&self) -> Outcome {
        match timeout(QUIET, self.app.next()).await {
            Ok(_) => Err(wrong("the app got what it should not have got")),
            Err(_) => Ok(()),
        }
    }

    async fn post(&self, event: &SignedEvent) -> Result<Answer, Failure> {
        self.ask(super::super::send::request(&self.target, event)?).await
    }

    async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        let begun = Instant::now();
        let reply = timeout(SOON, self.client.request(request, || None)).await;
        let reply =
            reply.map_err(|_| wrong("the gateway did not answer"))?.map_err(|error| wrong(&error.reason))?;
        let took = begun.elapsed();
        let text = |name: &str| {
            human::printable(reply.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default(), false)
        };
        let (outcome, id) = (text("hooklatch-outcome"), text("hooklatch-id"));
        let status = reply.status.as_u16();
        Ok(Answer {
            status,
            outcome,
            id,
            body: reply.body(64 << 10, 64 << 10, begun + SOON).await.bytes,
            took,
        })
    }
}

fn say(out: &mut Out, text: &str) -> Outcome {
    out.line(format_args!("   {text}"))
}

fn wrong(what: &str) -> Failure {
    Failure::failed(format!("the demonstration went wrong: {what}"))
}

fn expect(holds: bool, answer: &Answer) -> Outcome {
    if holds {
        return Ok(());
    }
    let body = human::printable(&String::from_utf8_lossy(&answer.body), true);
    Err(wrong(&format!("the gateway answered {} {} {body}", answer.status, answer.outcome)))
}

/// What there is to try while the demonstration stays up.
pub fn invite(out: &mut Out, gateway: &Gateway) -> Outcome {
    let url = format!("http://{}{PATH}", gateway.http());
    let access =
        format!("--admin http://{} --token-file {}", gateway.admin(), gateway.token_path().display());
    out.line("Try it yourself, in another terminal:\n")?;
    for command in [
        format!("hooklatch send {url} -p stripe --secret {SECRET} --count 100"),
        format!("hooklatch send {url} -p stripe --secret wrong"),
        format!("hooklatch events list {access}"),
        format!("hooklatch status {access}"),
        format!("curl -i http://{}/anything", gateway.http()),
        format!("curl -s http://{}/metrics | grep requests_total", gateway.admin()),
    ] {
        out.line(format_args!("  {command}"))?;
    }
    out.line(format_args!("\nIts configuration: {}", gateway.config_path().display()))?;
    out.line(format_args!("Its log:           {}", gateway.log_path().display()))?;
    out.line("Ctrl-C stops. What the app gets:\n")
}

/// A request that came while the demonstration stays up.
pub fn line_of(seen: &Seen) -> String {
    let target = human::printable(&seen.target, false);
    let size = human::size(seen.body.len() as u64);
    if seen.headers.contains_key("hooklatch-id") {
        let (id, attempt) = (seen.header("hooklatch-id"), seen.header("hooklatch-attempt"));
        format!("  app: {} {target}, {size}, event {id}, attempt {attempt}", seen.method)
    } else {
        format!("  app: {} {target}, {size}, passed through", seen.method)
    }
}
