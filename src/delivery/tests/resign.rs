//! `sign = "provider"`: the headers that go out are those of now.

use std::collections::HashMap;
use std::sync::Arc;

use super::request::event;
use crate::clock::Millis;
use crate::delivery::resign::{RouteSigner, RouteSigners, put, target as target_of};
use crate::event::Event;
use crate::headers::Headers;
use crate::secret::Secret;
use crate::select::Message;
use crate::verify::{NamedSecret, Scheme, SchemeSpec, Signature, SignatureSpec, TimestampSpec, Verifier};

const NOW: Millis = Millis(1_768_480_200_000);

fn scheme(signed: &str) -> Arc<Scheme> {
    let timed = TimestampSpec { header: Some("X-Time".to_owned()), ..TimestampSpec::default() };
    Arc::new(
        Scheme::compile(&SchemeSpec {
            algorithm: "hmac-sha256".to_owned(),
            signature: SignatureSpec { headers: vec!["X-Sig".to_owned()], ..SignatureSpec::default() },
            timestamp: signed.contains("{timestamp}").then_some(timed),
            signed: vec![signed.to_owned()],
            ..SchemeSpec::default()
        })
        .unwrap(),
    )
}

fn verifier(signed: &str, secrets: &[&str]) -> Arc<Verifier> {
    let named = |secret: &&str| NamedSecret { name: "n".into(), secret: Secret::new(*secret) };
    Arc::new(Verifier::new(scheme(signed), &secrets.iter().map(named).collect::<Vec<_>>()).unwrap())
}

fn signers(signer: RouteSigner) -> RouteSigners {
    let signers = RouteSigners::default();
    signers.set(HashMap::from([("github".into(), signer)]));
    signers
}

#[test]
fn the_first_secret_signs_with_the_time_it_is_now() {
    let signer = RouteSigner {
        verifier: verifier("{timestamp}.{body}", &["new", "old"]),
        public_url: None,
        public_base: None,
    };
    let headers = Headers::from_pairs([("X-Time", "1"), ("x-sig", "stale"), ("X-Other", "kept")]);
    let event = Event { headers, ..event("{}") };
    let signature = signers(signer).sign(&event, NOW).unwrap();
    let mut map = http::HeaderMap::new();
    map.append("x-sig", "stale".parse().unwrap());
    map.append("x-sig", "staler".parse().unwrap());
    map.append("x-other", "kept".parse().unwrap());
    put(&signature, &mut map).unwrap();
    assert_eq!(
        (map.len(), map["x-other"].to_str().unwrap(), map["x-time"].to_str().unwrap()),
        (3, "kept", "1768480200")
    );
    // Who has the first secret alone finds it right, for the next five minutes.
    let headers = Headers::from_pairs(map.iter().map(|(name, value)| (name.as_str(), value.as_bytes())));
    let message = Message { method: "POST", path: "/", query: None, url: "", headers: &headers, body: b"{}" };
    assert!(verifier("{timestamp}.{body}", &["new"]).verify(&message, NOW).is_ok());
    assert!(verifier("{timestamp}.{body}", &["old"]).verify(&message, NOW).is_err());
}

#[test]
fn the_url_that_is_signed_is_the_routes_the_servers_or_the_requests() {
    let event = event("");
    for (public_url, public_base, url) in [
        (Some("https://pub.example/own"), Some("https://srv.example"), "https://pub.example/own"),
        (None, Some("https://srv.example"), "https://srv.example/webhooks/github?a=1&b=%20"),
        (None, None, "https://hooks.example.com/webhooks/github?a=1&b=%20"),
    ] {
        let own = |text: Option<&str>| text.map(str::to_owned);
        let signer = RouteSigner {
            verifier: verifier("{url}", &["s"]),
            public_url: own(public_url),
            public_base: own(public_base),
        };
        let signature = signers(signer).sign(&event, NOW).unwrap();
        let message =
            Message { method: "POST", path: "", query: None, url, headers: &signature.headers, body: b"" };
        assert!(verifier("{url}", &["s"]).verify(&message, NOW).is_ok(), "{url}");
    }
}

#[test]
fn a_signature_in_the_url_takes_the_place_of_the_events_own() {
    for (url, target) in [
        ("https://a.example/hook?x=1&sig=2", Some("/hook?x=1&sig=2")),
        ("https://a.example?sig=2", Some("?sig=2")),
        ("https://a.example", Some("/")),
    ] {
        let signature = Signature { url: Some(url.to_owned()), ..Signature::default() };
        assert_eq!(target_of(&signature), target, "{url}");
    }
    assert_eq!(target_of(&Signature::default()), None);
}

#[test]
fn an_event_of_a_route_that_is_gone_is_not_sent_unsigned() {
    let said = RouteSigners::default().sign(&event("{}"), NOW).unwrap_err();
    assert!(said.contains("\"github\"") && said.contains("no secret"), "{said}");
}
