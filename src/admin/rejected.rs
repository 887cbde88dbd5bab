//! Refused requests: listed, shown, explained, let in after all.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::filter::Page;
use super::reply::Refusal;
use super::show;
use super::view::AdminView;
use crate::buffer::EventFilter;
use crate::event::EventId;
use crate::ingress::{self, Explained, NotReleased, Rejected, Released};
use crate::verify::Redaction;
use crate::verify::explain::Explanation;

/// The page that is asked for, as `GET events?status=rejected` shows it.
pub(super) fn page(view: &AdminView, page: &Page) -> Result<Value, Refusal> {
    if page.filter.destination.is_some() || page.filter.event_type.is_some() {
        let message =
            "A refused request has no destination and no type: filter by route, id, since and until.";
        return Err(Refusal::invalid("status", message));
    }
    let all = (view.rejected.list)();
    let mut chosen = all
        .iter()
        .filter(|rejected| page.cursor.is_none_or(|cursor| rejected.id < cursor))
        .filter(|rejected| passes(&page.filter, rejected));
    let shown: Vec<&std::sync::Arc<Rejected>> = chosen.by_ref().take(page.limit).collect();
    let next = chosen.next().and_then(|_| shown.last()).map(|last| last.id.to_string());
    let rows: Vec<Value> = shown.iter().map(|rejected| Value::Object(head(rejected))).collect();
    Ok(json!({"events": rows, "next_cursor": next}))
}

fn passes(filter: &EventFilter, rejected: &Rejected) -> bool {
    filter.route.as_deref().is_none_or(|route| route == &*rejected.route)
        && filter.id.as_deref().is_none_or(|id| id == rejected.id.to_string())
        && filter.since.is_none_or(|since| rejected.at >= since)
        && filter.until.is_none_or(|until| rejected.at < until)
}

/// The one with this id, with all that is known of it.
pub(super) fn find(view: &AdminView, id: EventId) -> Option<Value> {
    let rejected = (view.rejected.find)(id)?;
    Some(detail(&rejected, &(view.redaction)(&rejected.route, None)))
}

fn head(rejected: &Rejected) -> Map<String, Value> {
    let fields = [
        ("id", json!(rejected.id.to_string())),
        ("status", json!("rejected")),
        ("route", json!(&*rejected.route)),
        ("error", json!(rejected.outcome.as_str())),
        ("message", json!(rejected.message)),
        ("field", json!(rejected.field)),
        ("received_at", json!(rejected.at.rfc3339())),
        ("method", json!(rejected.head.method())),
        ("path", json!(rejected.head.path())),
        ("client", json!(rejected.client.address())),
        ("bytes", json!(rejected.body.as_ref().map(bytes::Bytes::len))),
    ];
    fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn detail(rejected: &Rejected, redaction: &Redaction) -> Value {
    let mut shown = head(rejected);
    let target = show::target(rejected.head.path_and_query(), redaction);
    shown.insert("target".to_owned(), json!(target));
    shown.insert("forwarded_for".to_owned(), json!(rejected.client.forwarded_for));
    shown.insert("forwarded_proto".to_owned(), json!(rejected.client.proto.as_str()));
    shown.insert("headers".to_owned(), show::headers(rejected.head.headers(), redaction));
    if let Some(body) = &rejected.body {
        show::put_bytes(&mut shown, "body", &redaction.body(rejected.head.headers(), body));
    }
    Value::Object(shown)
}

/// Which step refused a request, in a word.
fn step(rejected: &Rejected) -> &'static str {
    use crate::observe::RequestOutcome as Outcome;
    match rejected.outcome {
        Outcome::IpNotAllowed => "address",
        Outcome::TimestampOutOfTolerance => "timestamp",
        Outcome::MissingEventId => "event_id",
        _ => "signature",
    }
}

/// Why it was refused, as far as can be found out.
pub(super) fn explained(explained: &Explained) -> Value {
    let Explained { rejected, explanation, listed } = explained;
    let causes = explanation.as_ref().map_or_else(Vec::new, |explanation| {
        explanation
            .causes
            .iter()
            .map(|cause| json!({"kind": cause.kind.as_str(), "message": cause.message}))
            .collect()
    });
    json!({
        "id": rejected.id.to_string(),
        "route": &*rejected.route,
        "received_at": rejected.at.rfc3339(),
        "step": step(rejected),
        "error": rejected.outcome.as_str(),
        "message": rejected.message,
        "field": rejected.field,
        "verifies_now": explanation.as_ref().map(|explanation| explanation.refusal.is_none() && *listed != Some(false)),
        "causes": causes,
        "hint": hint(rejected, explanation.as_ref(), *listed),
    })
}

/// What to do next.
fn hint(rejected: &Rejected, explanation: Option<&Explanation>, listed: Option<bool>) -> String {
    let id = rejected.id;
    let release = format!("`hooklatch events release {id}` lets it in.");
    let verifies = explanation.is_some_and(|explanation| explanation.refusal.is_none());
    match (step(rejected), explanation) {
        (step, _) if listed == Some(false) && (step == "address" || verifies) => {
            let unlisted = format!(
                "{} is not in the route's `allow_ips`. If it is the provider's, add it there; behind a balancer, say \
                 `server.trusted_proxies`.",
                rejected.client.address()
            );
            let anyway = format!(" `hooklatch events release {id} --any-address` lets this one in as it is.");
            if verifies { unlisted + &anyway } else { unlisted }
        }
        // Its body was not read, and what comes from there now comes in.
        ("address", None) if listed == Some(true) => {
            "Its address is in the route's `allow_ips` by now: have the provider send it again.".to_owned()
        }
        ("event_id", _) => {
            "The route wants an id in each event (`dedupe.required`), and this one has none where \
            `event_id` says."
                .to_owned()
        }
        (_, None) => {
            "Its route is gone from the configuration, or its body is not kept: nothing can be tried."
                .to_owned()
        }
        (_, Some(explanation)) if explanation.refusal.is_none() => {
            format!("With the present configuration it verifies. {release}")
        }
        ("timestamp", Some(_)) => format!(
            "If a clock was wrong, set it right; `hooklatch events release {id} --any-time` lets in what was signed right."
        ),
        (_, Some(explanation)) if explanation.causes.is_empty() && explanation.cut_short => {
            "The body is too large for every cause to be tried; none of those that were explains it."
                .to_owned()
        }
        (_, Some(explanation)) if explanation.causes.is_empty() => explanation.otherwise.clone(),
        (_, Some(_)) => format!("Once that is mended, {release}"),
    }
}

/// What a release came to.
pub(super) fn released(id: &str, result: Result<Released, NotReleased>) -> Result<Value, Refusal> {
    let refused = |status, word, message: String| Err(Refusal::new(status, word, message));
    match result {
        Ok(Released { event, outcome }) => {
            Ok(json!({"id": id, "event": event.to_string(), "outcome": outcome.as_str()}))
        }
        Err(NotReleased::Unknown) => {
            Err(Refusal::not_found(format!("There is no refused request {id} (any more).")))
        }
        Err(NotReleased::NoBody) => refused(
            StatusCode::CONFLICT,
            "not_releasable",
            "Its body was not kept: have the provider send it again.".to_owned(),
        ),
        Err(NotReleased::NoRoute) => refused(
            StatusCode::CONFLICT,
            "not_releasable",
            "Its route is no longer configured, or no longer delivers.".to_owned(),
        ),
        Err(NotReleased::Challenge) => refused(
            StatusCode::CONFLICT,
            "not_releasable",
            "It is a provider's challenge, no event: have the provider send it again.".to_owned(),
        ),
        Err(NotReleased::Refused(refusal)) => {
            let status = match ingress::status(refusal.outcome) {
                status @ 500..=599 => StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
                _ => StatusCode::CONFLICT,
            };
            let message = format!("Refused again: {}", refusal.message);
            let field = refusal.field.map(std::borrow::Cow::into_owned);
            Err(Refusal { field, ..Refusal::new(status, refusal.outcome.as_str(), message) })
        }
    }
}
