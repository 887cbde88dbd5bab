//! What becomes of an event: accepted once, whoever sent it; forged, stale and repeated ones told apart.

use std::time::Duration;

use crate::harness::{App, Gateway, Reply, SOON, Setup, Signed, now, wait_until};

const SECRET: &str = "canary-secret-of-a-route";
/// `whsec_` and base64 of 32 bytes.
const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";
const QUIET: Duration = Duration::from_millis(150);

const PROVIDERS: &[&str] = &[
    "github",
    "stripe",
    "shopify",
    "slack",
    "standard-webhooks",
    "svix",
    "gitlab",
    "bitbucket",
    "linear",
    "twilio",
];

fn secret_of(provider: &str) -> &'static str {
    if matches!(provider, "standard-webhooks" | "svix") { WHSEC } else { SECRET }
}

/// A gateway with a route for each provider, `/hooks/NAME`.
fn gateway_for_all(app: &App) -> Gateway {
    let mut toml = String::new();
    for provider in PROVIDERS {
        toml.push_str(&format!(
            "[routes.{provider}]\npath = \"/hooks/{provider}\"\nprovider = \"{provider}\"\n\
             secrets = [{{ value = \"{}\" }}]\ndeliver_to = [\"app\"]\n",
            secret_of(provider)
        ));
    }
    toml.push_str("[destinations.app]\nurl = \"$APP\"\n");
    Setup::new(&toml).server("public_url = \"https://hooks.example.com\"").set("APP", app.url()).start()
}

/// An event of `provider` with an id of its own.
fn event(provider: &str, id: &str) -> Signed {
    let target = format!("/hooks/{provider}");
    let secret = secret_of(provider);
    let at = now();
    let json = |text: &str| text.replace("ID", id).into_bytes();
    match provider {
        "github" => Signed::github(&target, secret, id, &json(r#"{"zen":"ID \u00fc"}"#)),
        "stripe" => {
            let body =
                format!(r#"{{"id":"evt_{id}","object":"event","type":"charge.succeeded","created":{at}}}"#);
            Signed::stripe(&target, secret, at, body.as_bytes())
        }
        "shopify" => Signed::shopify(&target, secret, id, &json(r#"{"order":"ID"}"#)),
        "slack" => {
            let body = json(r#"{"type":"event_callback","event_id":"Ev-ID","event":{"type":"message"}}"#);
            Signed::slack(&target, secret, at, &body)
        }
        "standard-webhooks" => {
            Signed::standard(&target, secret, id, at, &json(r#"{"type":"user.created","n":"ID"}"#))
        }
        "svix" => Signed::svix(&target, secret, id, at, &json(r#"{"type":"user.created","n":"ID"}"#)),
        "gitlab" => Signed::gitlab(&target, secret, id, &json(r#"{"object_kind":"push","n":"ID"}"#)),
        "bitbucket" => Signed::bitbucket(&target, secret, id, &json(r#"{"push":"ID"}"#)),
        "linear" => {
            let body = format!(
                r#"{{"action":"create","type":"Issue","webhookId":"{id}","webhookTimestamp":{at}000}}"#
            );
            Signed::linear(&target, secret, id, body.as_bytes())
        }
        "twilio" => {
            let url = format!("https://hooks.example.com{target}");
            let fields = [("MessageSid", id), ("SmsStatus", "delivered"), ("Body", "Grüße & Küsse = 100 %")];
            Signed::twilio(&target, &url, secret, &fields).with("I-Twilio-Idempotency-Token", id)
        }
        _ => unreachable!("{provider}"),
    }
}

#[test]
fn each_provider_s_event_reaches_the_app_once_and_byte_for_byte() {
    let app = App::start();
    let gateway = gateway_for_all(&app);
    for (count, provider) in PROVIDERS.iter().enumerate() {
        let signed = event(provider, &format!("id-of-{provider}"));
        let response = signed.send(&gateway);
        assert_eq!(response.status, 200, "{provider}: {}", response.text());
        let id = response.assert_accepted();
        assert_eq!(response.json()["status"], "accepted");
        assert_eq!(response.json()["id"], id.as_str());
        let seen = app.wait_for(count + 1).pop().unwrap();
        assert_eq!(seen.body, signed.body, "{provider}");
        assert_eq!(seen.target, signed.target);
        assert_eq!(seen.method, "POST");
        assert_eq!(seen.header("hooklatch-id"), Some(id.as_str()));
        assert_eq!(seen.header("hooklatch-route"), Some(*provider));
        assert_eq!(seen.header("hooklatch-provider"), Some(*provider));
        assert_eq!(seen.header("hooklatch-attempt"), Some("1"));
    }
    app.wait_for_exactly(PROVIDERS.len(), QUIET);
}

#[test]
fn a_second_copy_of_an_event_is_answered_alike_and_delivered_once() {
    let app = App::start();
    let gateway = gateway_for_all(&app);
    for (count, provider) in PROVIDERS.iter().enumerate() {
        let signed = event(provider, &format!("twice-{provider}"));
        let first = signed.send(&gateway).assert_accepted();
        let second = signed.send(&gateway);
        assert_eq!((second.status, second.outcome()), (200, "duplicate"), "{provider}: {}", second.text());
        assert_eq!(second.id(), first, "{provider}: a duplicate names the first one's id");
        app.wait_for(count + 1);
    }
    app.wait_for_exactly(PROVIDERS.len(), QUIET);
    let series =
        |outcome: &str| format!("hooklatch_requests_total{{outcome=\"{outcome}\",route=\"github\"}}");
    assert!((gateway.metric(&series("accepted")) - 1.0).abs() < f64::EPSILON);
    assert!((gateway.metric(&series("duplicate")) - 1.0).abs() < f64::EPSILON);
}

#[test]
fn a_forged_body_is_refused_and_its_id_is_not_remembered() {
    let app = App::start();
    let gateway = gateway_for_all(&app);
    for (count, provider) in PROVIDERS.iter().filter(|p| !matches!(**p, "gitlab")).enumerate() {
        let genuine = event(provider, &format!("forged-{provider}"));
        let mut body = genuine.body.clone();
        let last = body.len() - 2;
        body[last] ^= 1;
        let refused = genuine.clone().with_body(&body).send(&gateway);
        refused.assert_refused(401, "invalid_signature");
        // The genuine one is welcome afterwards: an unverified request leaves no trace.
        genuine.send(&gateway).assert_accepted();
        assert_eq!(app.wait_for(count + 1)[count].body, genuine.body, "{provider}");
    }
}

#[test]
fn a_wrong_token_or_secret_is_refused_without_a_hint_of_the_right_one() {
    let app = App::start();
    let gateway = gateway_for_all(&app);
    for (provider, wrong) in [
        ("gitlab", Signed::gitlab("/hooks/gitlab", "canary-secret-of-a-routf", "1", b"{}")),
        ("github", Signed::github("/hooks/github", "wrong", "1", b"{}")),
        ("stripe", Signed::stripe("/hooks/stripe", "wrong", now(), b"{\"id\":\"evt_1\"}")),
    ] {
        let response = wrong.send(&gateway);
        response.assert_refused(401, "invalid_signature");
        let right = event(provider, "1");
        for (_, value) in right.headers.iter().filter(|(n, _)| n.to_ascii_lowercase().contains("sign")) {
            assert!(!response.text().contains(value), "{provider} leaks its signature");
        }
        assert!(!response.text().contains(secret_of(provider)));
    }
    assert!(app.seen().is_empty());
}

#[test]
fn a_request_without_a_signature_is_told_what_is_missing() {
    let app = App::start();
    let gateway = gateway_for_all(&app);
    for (provider, header) in [
        ("github", "X-Hub-Signature-256"),
        ("stripe", "Stripe-Signature"),
        ("slack", "X-Slack-Signature"),
        ("shopify", "X-Shopify-Hmac-Sha256"),
        ("standard-webhooks", "webhook-signature"),
        ("gitlab", "X-Gitlab-Token"),
        ("twilio", "X-Twilio-Signature"),
    ] {
        let response = event(provider, "1").without(header).send(&gateway);
        response.assert_refused(401, "missing_signature");
        let field = response.json()["field"].as_str().unwrap_or_default().to_owned();
        assert!(field.eq_ignore_ascii_case(header), "{provider}: field {field}");
    }
    assert!(app.seen().is_empty());
}

#[test]
fn a_stale_or_future_timestamp_is_refused_only_if_signed_right() {
    let app = App::start();
    let gateway = gateway_for_all(&app);
    for skew in [-3600_i64, 3600] {
        let at = now().saturating_add_signed(skew);
        for signed in [
            Signed::stripe("/hooks/stripe", SECRET, at, br#"{"id":"evt_9","type":"x"}"#),
            Signed::slack("/hooks/slack", SECRET, at, br#"{"event_id":"Ev9"}"#),
            Signed::standard("/hooks/standard-webhooks", WHSEC, "msg_9", at, b"{}"),
            Signed::svix("/hooks/svix", WHSEC, "msg_9", at, b"{}"),
        ] {
            signed.send(&gateway).assert_refused(401, "timestamp_out_of_tolerance");
        }
        let forged = Signed::stripe("/hooks/stripe", "wrong", at, br#"{"id":"evt_9","type":"x"}"#);
        forged.send(&gateway).assert_refused(401, "invalid_signature");
    }
    assert!(app.seen().is_empty());
}

#[test]
fn duplicates_sent_at_once_share_one_delivery() {
    let app = App::start();
    let gateway = gateway_for_all(&app);
    let signed = event("github", "all-at-once");
    let outcomes: Vec<(String, String)> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    let response = signed.send(&gateway);
                    assert_eq!(response.status, 200, "{}", response.text());
                    (response.outcome().to_owned(), response.id())
                })
            })
            .collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|(outcome, _)| outcome == "accepted").count(), 1, "{outcomes:?}");
    assert!(outcomes.iter().all(|(_, id)| *id == outcomes[0].1), "{outcomes:?}");
    app.wait_for_exactly(1, QUIET);
}

#[test]
fn a_slack_challenge_is_answered_and_not_forwarded() {
    let app = App::start();
    let gateway = gateway_for_all(&app);
    let body = br#"{"token":"x","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}"#;
    let response = Signed::slack("/hooks/slack", SECRET, now(), body).send(&gateway);
    assert_eq!(response.status, 200);
    assert!(response.text().contains("3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"));
    let unsigned = Signed::slack("/hooks/slack", "wrong", now(), body).send(&gateway);
    unsigned.assert_refused(401, "invalid_signature");
    assert!(app.seen().is_empty());
}

#[test]
fn any_of_several_secrets_will_do() {
    let app = App::start();
    let gateway = Setup::new(
        r#"
        [routes.github]
        path = "/github"
        provider = "github"
        secrets = [{ env = "HOOKLATCH_IT_OLD", name = "old" }, { value = "new", name = "new" }]
        deliver_to = ["app"]
        [destinations.app]
        url = "$APP"
        "#,
    )
    .set("APP", app.url())
    .env("HOOKLATCH_IT_OLD", "old")
    .start();
    for (secret, id) in [("old", "1"), ("new", "2")] {
        Signed::github("/github", secret, id, b"{}").send(&gateway).assert_accepted();
    }
    Signed::github("/github", "other", "3", b"{}").send(&gateway).assert_refused(401, "invalid_signature");
    app.wait_for_exactly(2, QUIET);
}

#[test]
fn a_scheme_of_one_s_own_works_in_the_words_of_the_contract() {
    let app = App::start();
    let gateway = Setup::new(
        r#"
        [routes.erp]
        path = "/erp"
        secrets = [{ value = "erp-secret" }]
        event_id = "body:/order/id"
        event_type = "header:X-Kind"
        deliver_to = ["app"]
        [routes.erp.verify]
        algorithm = "hmac-sha256"
        signature = { header = "X-Webhook-Signature", prefix = "sha256=", encoding = "hex" }
        timestamp = { header = "X-Webhook-Timestamp", unit = "s", tolerance = "5m" }
        signed    = "{timestamp}.{body}"
        [destinations.app]
        url = "$APP"
        "#,
    )
    .set("APP", app.url())
    .start();
    let body = br#"{"order":{"id":4711}}"#;
    // The signed text is Stripe's, so its signature can be taken from there.
    let at = now();
    let stripe = Signed::stripe("/erp", "erp-secret", at, body);
    let signature = stripe.headers[1].1.split_once("v1=").unwrap().1.to_owned();
    let signed = stripe
        .without("Stripe-Signature")
        .with("X-Webhook-Signature", &format!("sha256={signature}"))
        .with("X-Webhook-Timestamp", &at.to_string())
        .with("X-Kind", "order.paid");
    signed.send(&gateway).assert_accepted();
    assert_eq!(signed.send(&gateway).outcome(), "duplicate");
    let seen = app.wait_for_exactly(1, QUIET).remove(0);
    assert_eq!(seen.header("hooklatch-event-id"), Some("4711"));
    assert_eq!(seen.header("hooklatch-event-type"), Some("order.paid"));
}

#[test]
fn ack_delivered_answers_with_what_the_app_said() {
    let app = App::start();
    let gateway = Setup::new(
        r#"
        [routes.twiml]
        path = "/twiml"
        verify = "none"
        event_id = "header:x-id"
        ack = "delivered"
        answer = "app"
        deliver_to = ["app"]
        [routes.plain]
        path = "/plain"
        verify = "none"
        event_id = "header:x-id"
        ack = "delivered"
        deliver_to = ["app"]
        [destinations.app]
        url = "$APP"
        "#,
    )
    .set("APP", app.url())
    .start();
    app.script([
        Reply::status(201).with_header("Content-Type", "text/xml").with_body("<Response/>"),
        Reply::status(500).with_body("broken"),
        Reply::ok(),
        Reply::status(500),
        Reply::ok(),
    ]);
    let answered = gateway.send("POST", "/twiml", &[("X-Id", "1")], b"a");
    assert_eq!((answered.status, answered.text().as_str()), (201, "<Response/>"));
    assert_eq!(answered.header("content-type"), Some("text/xml"));
    let failed = gateway.send("POST", "/twiml", &[("X-Id", "2")], b"b");
    assert_eq!((failed.status, failed.text().as_str()), (500, "broken"));
    // What failed is not remembered: the sender's retry comes through.
    assert_eq!(gateway.send("POST", "/twiml", &[("X-Id", "2")], b"b").status, 200);
    gateway.send("POST", "/plain", &[("X-Id", "3")], b"c").assert_refused(502, "upstream_error");
    gateway.send("POST", "/plain", &[("X-Id", "3")], b"c").assert_accepted();
    app.wait_for_exactly(5, QUIET);
}

#[test]
fn no_secret_appears_in_logs_metrics_or_the_admin_api() {
    let app = App::start();
    app.script([Reply::status(500)]);
    let gateway = gateway_for_all(&app);
    for provider in PROVIDERS {
        event(provider, "canary").send(&gateway).assert_accepted();
    }
    Signed::gitlab("/hooks/gitlab", "canary-guess", "1", b"{}")
        .send(&gateway)
        .assert_refused(401, "invalid_signature");
    wait_until("all are delivered", SOON, || app.seen().len() > PROVIDERS.len());
    let mut everything = gateway.log_lines().join("\n");
    for target in ["/metrics", "/api/v1/status", "/api/v1/routes", "/api/v1/destinations", "/api/v1/events"] {
        everything.push_str(&gateway.admin_request("GET", target, "").text());
    }
    let events = gateway.admin_get("/api/v1/events");
    for event in events["events"].as_array().unwrap() {
        let id = event["id"].as_str().unwrap();
        everything.push_str(&gateway.admin_request("GET", &format!("/api/v1/events/{id}"), "").text());
    }
    for canary in [SECRET, WHSEC, &WHSEC[6..], "canary-guess", crate::harness::ADMIN_TOKEN] {
        assert!(!everything.contains(canary), "{canary} is to be read somewhere");
    }
}
