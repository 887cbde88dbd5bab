//! What of a file is never shown: the values of secrets, also where they stand in the wrong place.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::schema;
use super::suggest::is_near;

/// Keys whose scalar values are secrets, or are by mistake.
const SECRET_KEYS: [&str; 12] = [
    "value",
    "secret",
    "secrets",
    "token",
    "read_token",
    "sign",
    "headers",
    "handshake",
    "password",
    "passwd",
    "authorization",
    "api_key",
];
/// Inside a secret's table these only say where it is.
const PLACE_KEYS: [&str; 6] = ["env", "file", "credential", "captured", "name", "shadow"];

/// Whether a value under `key` may be a secret: one of the words, or within two slips of the hand from one,
/// unless it is a key that means something else.
pub(super) fn is_secretish(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    if schema::is_known(&key) && !SECRET_KEYS.contains(&key.as_str()) {
        return false;
    }
    SECRET_KEYS.iter().any(|word| is_near(&key, word, 2))
        || ["secret", "token", "passw", "auth", "credential", "private"].iter().any(|part| key.contains(part))
        || key.ends_with("_key")
}

/// The spans of everything in `table` that may be a secret.
pub(super) fn secret_spans(text: &str, table: &DeTable<'_>) -> Vec<Range<usize>> {
    let mut masks = Masks { text, spans: Vec::new() };
    masks.in_root(table);
    masks.spans
}

struct Masks<'t> {
    text: &'t str,
    spans: Vec<Range<usize>>,
}

impl Masks<'_> {
    /// The names of routes, destinations and listeners are the user's own and say nothing about what stands there.
    fn in_root(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("routes" | "destinations" | "listeners", DeValue::Table(named)) => {
                    named.values().for_each(|value| self.in_value(value, false));
                }
                (key, _) => self.in_value(value, is_secretish(key)),
            }
        }
    }

    fn in_table(&mut self, table: &DeTable<'_>, secret: bool) {
        for (key, value) in table {
            let key = key.get_ref();
            let place = secret && PLACE_KEYS.contains(&key.as_ref());
            self.in_value(value, !place && (secret || is_secretish(key)));
        }
    }

    fn in_value(&mut self, value: &Spanned<DeValue<'_>>, secret: bool) {
        match value.get_ref() {
            DeValue::Table(table) => self.in_table(table, secret),
            DeValue::Array(array) => array.iter().for_each(|item| self.in_value(item, secret)),
            DeValue::Boolean(_) => {}
            // The one word that `sign` knows besides secrets.
            DeValue::String(text) if text == "provider" => {}
            _ if secret => self.spans.push(value.span()),
            // A key in the place of its path.
            DeValue::String(text) if text.contains("-----BEGIN") => self.spans.push(value.span()),
            DeValue::String(text) if text.contains("://") && text.contains('@') => {
                let span = value.span();
                let userinfo = self.userinfo(&span).unwrap_or(span);
                self.spans.push(userinfo);
            }
            _ => {}
        }
    }

    /// Where in the text at `span`, a URL as it was typed, name and password stand.
    fn userinfo(&self, span: &Range<usize>) -> Option<Range<usize>> {
        let typed = self.text.get(span.clone())?;
        let (start, end) = (typed.find("://")? + 3, typed.rfind('@')?);
        (start < end).then(|| span.start + start..span.start + end)
    }
}

/// A line of a file that does not parse, where what is a value cannot be known: `None` where it may be shown as it
/// is, else what is shown instead.
pub(super) fn presentable(line: &str) -> Option<String> {
    const HIDDEN: &str = "… (not shown: it may hold a secret)";
    let trimmed = line.trim_start();
    let is_bare = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.[] \t".contains(c));
    if is_bare(line) && (trimmed.is_empty() || trimmed.starts_with('[')) {
        return None;
    }
    let Some((key, value)) = line.split_once('=') else { return Some(HIDDEN.to_owned()) };
    let last = key.trim().rsplit('.').next().unwrap_or_default();
    if !is_bare(key) || !schema::is_nearly_known(last) {
        return Some(HIDDEN.to_owned());
    }
    let lower = value.to_ascii_lowercase();
    let risky = ["value", "secret", "token", "passw", "auth", "sign", "header", "//"];
    if is_secretish(last)
        || key.split('.').any(|part| is_secretish(part.trim()))
        || risky.iter().any(|word| lower.contains(word))
    {
        return Some(format!("{key}= {HIDDEN}"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> Vec<&str> {
        let (table, _) = DeTable::parse_recoverable(text);
        let mut spans = secret_spans(text, table.get_ref());
        spans.sort_by_key(|span| span.start);
        spans.into_iter().map(|span| &text[span]).collect()
    }

    #[test]
    fn values_of_secrets_are_masked_and_their_places_are_not() {
        assert_eq!(
            masked(
                "[routes.a]\nsecrets = [{ value = \"one\", name = \"n\" }, { env = \"E\" }, \"two\", { valeu = \"three\" }]"
            ),
            ["\"one\"", "\"two\"", "\"three\""]
        );
        assert_eq!(masked("[admin]\natokn = \"t\""), ["\"t\""]);
        assert_eq!(masked("[admin]\ntoken = \"t\"\ntokn = 5\nlisten = \"x\""), ["\"t\"", "5"]);
        assert_eq!(masked("[destinations.a.headers]\nx = \"one\"\ny = { file = \"f\" }"), ["\"one\""]);
        assert_eq!(masked("url = \"http://u:p@h\"\nproxy_to = \"http://h\""), ["u:p"]);
        assert_eq!(masked("tls.key = \"-----BEGIN X\"\ntls.cert = \"a.pem\""), ["\"-----BEGIN X\""]);
    }

    #[test]
    fn a_name_of_the_users_own_does_not_hide_what_stands_under_it() {
        assert!(masked("[routes.secret]\npath = \"/x\"\n[listeners.token]\nmode = \"5\"").is_empty());
    }

    #[test]
    fn known_keys_without_secrets_stay_readable() {
        assert!(
            masked("ack = \"memory\"\nevent_id = \"header:x\"\nkey = [\"event_id\"]\nsigned = \"{body}\"")
                .is_empty()
        );
    }

    #[test]
    fn a_line_that_does_not_parse_is_shown_only_where_it_is_harmless() {
        for shown in ["[routes.github", "path = /webhooks", "  timeout = 30 s", "", "ack = \"memory"] {
            assert_eq!(presentable(shown), None, "{shown}");
        }
        for hidden in [
            "secrets = [{ value = canary }]",
            "value = canary",
            "token = canary",
            "atokn = canary",
            "headers.x = canary",
            "canary",
            "  { value: \"canary\" },",
            "canary==",
            "url = http://user:canary@host",
            "[{ value = \"canary\" }",
            "max_body = { value = canary",
        ] {
            let shown = presentable(hidden).unwrap_or_else(|| hidden.to_owned());
            assert!(!shown.contains("canary"), "{hidden}: {shown}");
        }
    }
}
