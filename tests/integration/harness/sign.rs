//! Requests signed as the providers sign them, written down here a second time from their documentation, so that a
//! mistake in the gateway's own schemes cannot hide behind itself.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

use super::Gateway;
use super::http::{Connection, Response, request};

/// Seconds since the UNIX epoch.
pub fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn sha256(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

fn sha1(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).unwrap();
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// A signed request, not yet sent.
#[derive(Clone, Debug)]
pub struct Signed {
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Signed {
    fn new(target: &str, body: &[u8], headers: &[(&str, &str)]) -> Self {
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Self { target: target.to_owned(), headers, body: body.to_vec() }
    }

    /// <https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries>
    pub fn github(target: &str, secret: &str, id: &str, body: &[u8]) -> Self {
        let signature = format!("sha256={}", hex::encode(sha256(secret.as_bytes(), body)));
        Self::new(
            target,
            body,
            &[
                ("Content-Type", "application/json"),
                ("X-GitHub-Delivery", id),
                ("X-GitHub-Event", "push"),
                ("X-Hub-Signature-256", &signature),
            ],
        )
    }

    /// <https://docs.stripe.com/webhooks#verify-manually>; the id stands in the body.
    pub fn stripe(target: &str, secret: &str, at: u64, body: &[u8]) -> Self {
        let signed = joined(&[at.to_string().as_bytes(), b".", body]);
        let signature = format!("t={at},v1={}", hex::encode(sha256(secret.as_bytes(), &signed)));
        Self::new(target, body, &[("Content-Type", "application/json"), ("Stripe-Signature", &signature)])
    }

    /// <https://api.slack.com/authentication/verifying-requests-from-slack>
    pub fn slack(target: &str, secret: &str, at: u64, body: &[u8]) -> Self {
        let signed = joined(&[b"v0:", at.to_string().as_bytes(), b":", body]);
        let signature = format!("v0={}", hex::encode(sha256(secret.as_bytes(), &signed)));
        Self::new(
            target,
            body,
            &[
                ("Content-Type", "application/json"),
                ("X-Slack-Request-Timestamp", &at.to_string()),
                ("X-Slack-Signature", &signature),
            ],
        )
    }

    /// The Standard Webhooks specification; `secret` is `whsec_` and base64.
    pub fn standard(target: &str, secret: &str, id: &str, at: u64, body: &[u8]) -> Self {
        Self::standard_named("webhook", target, secret, id, at, body)
    }

    /// <https://docs.svix.com/receiving/verifying-payloads/how-manual>: the same under other names.
    pub fn svix(target: &str, secret: &str, id: &str, at: u64, body: &[u8]) -> Self {
        Self::standard_named("svix", target, secret, id, at, body)
    }

    fn standard_named(name: &str, target: &str, secret: &str, id: &str, at: u64, body: &[u8]) -> Self {
        let key = BASE64.decode(secret.trim_start_matches("whsec_")).unwrap();
        let signed = joined(&[id.as_bytes(), b".", at.to_string().as_bytes(), b".", body]);
        let signature = format!("v1,{}", BASE64.encode(sha256(&key, &signed)));
        Self::new(
            target,
            body,
            &[
                ("Content-Type", "application/json"),
                (&format!("{name}-id"), id),
                (&format!("{name}-timestamp"), &at.to_string()),
                (&format!("{name}-signature"), &signature),
            ],
        )
    }

    /// <https://shopify.dev/docs/apps/build/webhooks/subscribe/https#step-2-validate-the-origin-of-your-webhook-to-ensure-its-coming-from-shopify>
    pub fn shopify(target: &str, secret: &str, id: &str, body: &[u8]) -> Self {
        let signature = BASE64.encode(sha256(secret.as_bytes(), body));
        Self::new(
            target,
            body,
            &[
                ("Content-Type", "application/json"),
                ("X-Shopify-Topic", "orders/create"),
                ("X-Shopify-Webhook-Id", id),
                ("X-Shopify-Event-Id", id),
                ("X-Shopify-Hmac-Sha256", &signature),
            ],
        )
    }

    /// <https://docs.gitlab.com/user/project/integrations/webhooks/#validate-payloads-by-using-a-secret-token>
    pub fn gitlab(target: &str, token: &str, id: &str, body: &[u8]) -> Self {
        Self::new(
            target,
            body,
            &[
                ("Content-Type", "application/json"),
                ("X-Gitlab-Event", "Push Hook"),
                ("X-Gitlab-Event-UUID", id),
                ("Idempotency-Key", id),
                ("X-Gitlab-Token", token),
            ],
        )
    }

    /// <https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/#Secure-webhooks>
    pub fn bitbucket(target: &str, secret: &str, id: &str, body: &[u8]) -> Self {
        let signature = format!("sha256={}", hex::encode(sha256(secret.as_bytes(), body)));
        Self::new(
            target,
            body,
            &[
                ("Content-Type", "application/json"),
                ("X-Event-Key", "repo:push"),
                ("X-Request-UUID", id),
                ("X-Hub-Signature", &signature),
            ],
        )
    }

    /// <https://linear.app/developers/webhooks#securing-webhooks>; the time stands in the body, in milliseconds.
    pub fn linear(target: &str, secret: &str, id: &str, body: &[u8]) -> Self {
        let signature = hex::encode(sha256(secret.as_bytes(), body));
        Self::new(
            target,
            body,
            &[
                ("Content-Type", "application/json"),
                ("Linear-Delivery", id),
                ("Linear-Event", "Issue"),
                ("Linear-Signature", &signature),
            ],
        )
    }

    /// <https://www.twilio.com/docs/usage/security#validating-requests>: the public URL, then each form field's
    /// name and value, sorted by name.
    pub fn twilio(target: &str, public_url: &str, token: &str, fields: &[(&str, &str)]) -> Self {
        let mut sorted = fields.to_vec();
        sorted.sort_unstable();
        let mut signed = public_url.to_owned();
        for (name, value) in sorted {
            signed.push_str(name);
            signed.push_str(value);
        }
        let signature = BASE64.encode(sha1(token.as_bytes(), signed.as_bytes()));
        let body: Vec<String> = fields.iter().map(|(n, v)| format!("{}={}", escape(n), escape(v))).collect();
        Self::new(
            target,
            body.join("&").as_bytes(),
            &[("Content-Type", "application/x-www-form-urlencoded"), ("X-Twilio-Signature", &signature)],
        )
    }

    /// One more header line.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same headers over another body: a forgery.
    pub fn with_body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    /// Without the header `name`.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self
    }

    /// The bytes of the request.
    pub fn bytes(&self) -> Vec<u8> {
        let headers: Vec<_> = self.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        request("POST", &self.target, &headers, &self.body)
    }

    /// Sends it over a connection of its own.
    #[track_caller]
    pub fn send(&self, gateway: &Gateway) -> Response {
        gateway.connect().send(&self.bytes())
    }

    /// Sends it over `connection`.
    #[track_caller]
    pub fn send_on(&self, connection: &mut Connection) -> Response {
        connection.send(&self.bytes())
    }
}

/// `application/x-www-form-urlencoded`.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => {
                escaped.push(char::from(byte))
            }
            b' ' => escaped.push('+'),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
