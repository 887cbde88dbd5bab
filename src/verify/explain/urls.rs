//! Another URL than the one that hooklatch takes for signed: the other scheme, a port, a slash, the name behind a proxy.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{Case, Cause, CauseKind, Trial};
use crate::select::Message;
use crate::verify::port;

/// Tries the URLs that a provider may have been given.
pub(super) fn try_all(case: &Case<'_>, trial: &mut Trial, causes: &mut Vec<Cause>) {
    if !case.scheme.signs_url() {
        return;
    }
    for url in candidates(&case.message) {
        let message = Message { url: &url, ..case.message };
        if case.secrets.iter().any(|secret| trial.fits(case.scheme, secret, &message)) {
            let message = format!(
                "It is signed for the URL {}, and this route takes it for {}. Write public_url = \"{}\" in the route.",
                shown(&url),
                shown(case.message.url),
                shown(&url)
            );
            causes.push(Cause { kind: CauseKind::PublicUrl, message });
            return;
        }
    }
}

/// Without the query: it may hold a token.
pub(super) fn shown(url: &str) -> Cow<'_, str> {
    match url.split_once('?') {
        Some((url, _)) => Cow::Owned(url.to_owned()),
        None => Cow::Borrowed(url),
    }
}

fn candidates(message: &Message<'_>) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let Some((_, after)) = message.url.split_once("://") else { return all };
    let (authority, target) = after.split_at(after.find(['/', '?']).unwrap_or(after.len()));
    let header = |name| message.headers.get(name).and_then(|value| std::str::from_utf8(value).ok());
    let hosts = [Some(authority), header("host"), header("x-forwarded-host"), header("x-original-host")];
    let own =
        message.query.map_or_else(|| message.path.to_owned(), |query| format!("{}?{query}", message.path));
    let targets: Vec<String> = [target, &own].into_iter().flat_map(targets).collect();
    for host in hosts.into_iter().flatten() {
        for scheme in ["https", "http"] {
            for target in &targets {
                let url = format!("{scheme}://{host}{target}");
                all.extend(port::without(&url));
                all.extend(port::with_default(&url));
                all.insert(url);
            }
        }
    }
    all.remove(message.url);
    all
}

/// `target` with and without the slash at the end of its path, with and without its query.
fn targets(target: &str) -> Vec<String> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let other = match path.strip_suffix('/') {
        Some(without) => without.to_owned(),
        None => format!("{path}/"),
    };
    let mut all = vec![path.to_owned(), other.clone()];
    all.extend(query.into_iter().flat_map(|query| [format!("{path}?{query}"), format!("{other}?{query}")]));
    all
}
