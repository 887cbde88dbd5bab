//! A confirmation that the provider waits for: an address of its own that has to be asked.
//!
//! The address comes in a request, so it is not believed: only https, only the usual port, only a host that the
//! provider's file names, matched whole and label by label.

use super::Message;
use super::compile::selector;
use super::spec::ConfirmSpec;
use crate::select::{MAX_VALUE_BYTES, Selector};
use crate::units::Invalid;

/// Where the address stands and which hosts it may have.
#[derive(Clone, Debug)]
pub(super) struct Confirm {
    at: Selector,
    /// Labels; `*` is any one label.
    hosts: Box<[Box<str>]>,
}

impl Confirm {
    pub(super) fn compile(spec: &ConfirmSpec, signed: bool, faults: &mut Vec<Invalid>) -> Option<Self> {
        if !signed {
            let message = "an address that nobody signed is never asked";
            faults.push(Invalid::new("handshake.confirm", message, "leave `signed` out"));
        }
        if spec.hosts.is_empty() {
            let hint = "write host = \"sns.*.amazonaws.com\"";
            faults.push(Invalid::new("handshake.confirm.host", "which hosts may be asked is not said", hint));
        }
        for pattern in &spec.hosts {
            let labels: Vec<&str> = pattern.split('.').collect();
            // The last two name whose host it is: a `*` there would be anybody's.
            let owned = labels.len() >= 3 && labels.iter().rev().take(2).all(|label| is_label(label));
            if !owned || !labels.iter().all(|label| *label == "*" || is_label(label)) {
                let hint = "write it like \"sns.*.amazonaws.com\"; `*` is one label, not one of the last two";
                faults.push(Invalid::new(
                    "handshake.confirm.host",
                    format!("{pattern:?} pins no host"),
                    hint,
                ));
            }
        }
        let at = selector("handshake.confirm.url", &spec.url, faults)?;
        Some(Self { at, hosts: spec.hosts.iter().map(|host| host.as_str().into()).collect() })
    }

    /// The address in `message`, if it may be asked.
    pub(super) fn address(&self, message: &Message<'_>) -> Option<String> {
        const LONGEST: usize = 4 * MAX_VALUE_BYTES;
        let address = self.at.extract_up_to(message, LONGEST)?;
        let rest = address.strip_prefix("https://")?;
        let authority = rest.get(..rest.find(['/', '?'])?)?;
        let host = authority.strip_suffix(":443").unwrap_or(authority);
        let plain = address.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\#\"<>^`{|}".contains(&byte));
        (plain && self.hosts.iter().any(|pattern| matches(pattern, host))).then_some(address)
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

fn matches(pattern: &str, host: &str) -> bool {
    let (mut wanted, mut found) = (pattern.split('.'), host.split('.'));
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return true,
            (Some("*"), Some(label)) if is_label(label) => {}
            (Some(label), Some(other)) if label == other => {}
            _ => return false,
        }
    }
}
