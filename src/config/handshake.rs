//! A provider's challenges: `[handshake]`, `[[handshakes]]` and `[answer]` of its file, and what a route gives them.

use std::collections::BTreeMap;

use super::walk::{Table, Value};
use super::{Context, schema, scheme, secrets};
use crate::secret::Secret;
use crate::verify::{AnswerSpec, ConfirmSpec, HandshakeSpec, Pin, Provider, WhenSpec};

/// Reads `[handshake]` and `[[handshakes]]` of a provider's file.
pub(super) fn read(table: &Table<'_>) -> Vec<HandshakeSpec> {
    let (one, more) = (table.get("handshake"), table.get("handshakes"));
    if let (Some(_), Some(more)) = (one, more) {
        more.mistake("[handshake] or [[handshakes]], not both", "write each as [[handshakes]]");
    }
    let one = one.and_then(handshake);
    let items = more.and_then(|value| value.array("write [[handshakes]]"));
    one.into_iter().chain(items.into_iter().flatten().filter_map(handshake)).collect()
}

fn handshake(value: Value<'_>) -> Option<HandshakeSpec> {
    let table = value.table("[handshake]", &schema::HANDSHAKE, "write [handshake]")?;
    let text = |key: &'static str| table.get(key).and_then(Value::string);
    let spec = HandshakeSpec {
        methods: table.get("method").and_then(scheme::texts).unwrap_or_default(),
        when: table.get("when").map(when).unwrap_or_default(),
        signed: table.get("signed").and_then(Value::bool),
        status: table.get("status").and_then(|value| u16::try_from(value.integer(200..=499)?).ok()),
        headers: table.get("headers").map(texts).unwrap_or_default(),
        text: text("text"),
        json: table.get("json").and_then(Value::json),
        charset: text("charset"),
        length: table.get("length").and_then(length),
        capture: text("capture"),
        confirm: table.get("confirm").and_then(confirm),
    };
    table.done();
    Some(spec)
}

/// Selectors and what must stand there.
fn when(value: Value<'_>) -> Vec<(String, WhenSpec)> {
    let entries = value.entries("write { \"body:/type\" = \"url_verification\" }").unwrap_or_default();
    let must = |value: Value<'_>| match value.as_bool() {
        Some(there) => Some(WhenSpec::There(there)),
        None => scheme::texts(value).map(WhenSpec::Is),
    };
    entries.into_iter().filter_map(|(key, _, value)| Some((key.to_owned(), must(value)?))).collect()
}

/// A table of the user's own keys with strings.
pub(super) fn texts(value: Value<'_>) -> Vec<(String, String)> {
    let entries = value.entries("write a table of names and strings").unwrap_or_default();
    entries.into_iter().filter_map(|(key, _, value)| Some((key.to_owned(), value.string()?))).collect()
}

fn length(value: Value<'_>) -> Option<(usize, usize)> {
    const HELP: &str = "write the least and the most bytes: [20, 32]";
    let items: Vec<_> = value.array(HELP)?.map(|item| item.integer(1..=512)).collect();
    let [Some(least), Some(most)] = items[..] else {
        value.mistake("a length is two numbers", HELP);
        return None;
    };
    Some((usize::try_from(least).ok()?, usize::try_from(most).ok()?))
}

fn confirm(value: Value<'_>) -> Option<ConfirmSpec> {
    let table = value.table("confirm of [handshake]", &schema::CONFIRM, "write { url = …, host = … }")?;
    let url = table.require("url", "write url = \"body:/SubscribeURL\"").and_then(Value::string);
    let hosts = table.require("host", "write host = \"sns.*.amazonaws.com\"").and_then(scheme::texts);
    table.done();
    Some(ConfirmSpec { url: url.unwrap_or_default(), hosts: hosts.unwrap_or_default() })
}

/// Reads `[answer]` of a provider's file.
pub(super) fn answer(value: Value<'_>) -> Option<AnswerSpec> {
    let table = value.table("[answer]", &schema::ANSWER, "write [answer]")?;
    let answer = AnswerSpec {
        status: table.get("status").and_then(|value| u16::try_from(value.integer(200..=299)?).ok()),
        body: table.get("body").and_then(Value::string),
        deadline: table.get("deadline").and_then(Value::string),
    };
    table.done();
    Some(answer)
}

/// Reads `handshake = { NAME = { env = … } }` of a route of `provider`.
pub(super) fn settings(
    route: &str,
    table: &Table<'_>,
    provider: Option<&Provider>,
    context: &Context<'_>,
) -> BTreeMap<String, Secret> {
    let known = provider.map(Provider::settings).unwrap_or_default();
    let value = table.get("handshake");
    let help = known.first().map_or_else(
        || "leave it out".to_owned(),
        |name| format!("write handshake = {{ {name} = {{ env = \"NAME\" }} }}"),
    );
    let entries = value.and_then(|value| value.entries(&help)).unwrap_or_default();
    let mut settings = BTreeMap::new();
    for (name, span, value) in entries {
        if !known.iter().any(|other| other == name) {
            let message = match known.is_empty() {
                true => "the handshakes of this route's provider take no settings".to_owned(),
                false => format!("the handshakes of this route's provider know no `{}`", name.escape_debug()),
            };
            value.walk.mistake(span, message, help.clone());
            continue;
        }
        let key = format!("routes.{route}.handshake.{name}");
        if let Some(found) = secrets::secret(value, &key, 1, context)
            && let Some(secret) = found.secret
        {
            settings.insert(name.to_owned(), secret);
        }
    }
    let unread = !context.secrets.borrow().reads();
    let pinned = |name: &str| {
        let pins = provider.map_or(&[][..], |provider| &provider.pins);
        pins.iter().find(|pin| &*pin.setting == name)
    };
    for name in known.iter().filter(|name| !unread && !settings.contains_key(*name)) {
        match pinned(name) {
            Some(_) if table.is_misspelled("handshake") || was_written(value, name) => {}
            Some(pin) => table.walk.mistake_of_whole(
                table.span(),
                format!(
                    "{}: its provider signs for all its customers alike, so each request must name yours at {:?}",
                    table.name, pin.shown
                ),
                format!("write handshake = {{ {name} = {{ value = \"…\" }} }}"),
            ),
            None => table.walk.warn(
                table.span(),
                format!(
                    "{}: when this webhook is set up, its provider sends a challenge that is answered with `{name}`;                      without it the set-up will fail",
                    table.name
                ),
                help.clone(),
            ),
        }
    }
    settings
}

/// Whether `name` stands in the table, be it with a secret that cannot be read.
fn was_written(value: Option<Value<'_>>, name: &str) -> bool {
    let entries = value.filter(|value| value.is_table()).and_then(|value| value.entries(""));
    entries.into_iter().flatten().any(|(key, _, _)| key == name)
}

/// What a route gives for the pins of its provider.
pub(super) fn pins(provider: Option<&Provider>, settings: &BTreeMap<String, Secret>) -> Vec<(Pin, Secret)> {
    let pins = provider.map_or(&[][..], |provider| &provider.pins);
    pins.iter().filter_map(|pin| Some((pin.clone(), settings.get(&*pin.setting)?.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use crate::config::read_provider;

    const TOP: &str = "display_name = \"Acme\"\ndocs = \"https://example.com/\"\nalgorithm = \"hmac-sha256\"\n\
                       signature = { header = \"X-Sig\" }\n";

    fn read(more: &str) -> Result<crate::verify::Provider, String> {
        read_provider("acme", "acme.toml", &format!("{TOP}{more}")).map_err(|report| report.to_string())
    }

    #[test]
    fn every_word_of_a_handshake_is_read() {
        let provider = read(
            "[pin]\n\"body:/TopicArn\" = \"topic_arn\"\n[answer]\nstatus = 204\nbody = \"\"\ndeadline = \"3s\"\n\
             [[handshakes]]\nmethod = [\"GET\", \"HEAD\"]\nsigned = false\ncharset = \"hex\"\nlength = [20, 32]\n\
             when = { \"query:c\" = true, \"query:d\" = false, \"query:e\" = [\"1\", \"2\"], \
             \"query:t\" = \"{handshake:token}\" }\nheaders = { X-A = \"{query:c}\" }\ntext = \"{hex(sha256(query:c))}\"\n\
             [[handshakes]]\nwhen = { \"body:/type\" = \"x\" }\nstatus = 201\n\
             json = { a = 1, b = [true, \"{body:/v}\"], c = { d = 1.5 } }\ncapture = \"body:/secret\"\n\
             confirm = { url = \"body:/url\", host = [\"a.*.example.com\"] }\n",
        )
        .unwrap();
        assert_eq!(provider.handshakes.methods(), ["GET", "HEAD"]);
        assert_eq!(provider.handshakes.settings(), ["token"]);
        assert!(provider.handshakes.capture() && !provider.handshakes.sign());
        assert_eq!(provider.settings(), ["token", "topic_arn"]);
        let answer = provider.answer;
        assert_eq!((answer.status, answer.body.as_deref()), (Some(204), Some("")));
        assert_eq!(answer.deadline, Some(std::time::Duration::from_secs(3)));
    }

    #[test]
    fn mistakes_in_a_handshake_are_told_with_their_place() {
        for (text, part) in [
            ("[handshake]\nmethod = \"GET\"\nwen = { \"query:a\" = true }\n", "did you mean `when`?"),
            ("[handshake]\nmethod = \"GET\"\nwhen = { \"query:a\" = true }\n", "carries no signature"),
            ("[handshake]\nsigned = false\n", "is not said"),
            ("[handshake]\nwhen = { \"body:/a\" = true }\ntext = \"{a}\"\n", "no word {a}"),
            ("[handshake]\nwhen = { \"body:/a\" = true }\nlength = [1]\n", "two numbers"),
            ("[handshake]\nwhen = { \"body:/a\" = true }\n[[handshakes]]\n", "not both"),
            ("[pin]\n\"TopicArn\" = \"topic_arn\"\n", "not a selector"),
            ("[pin]\n\"body:/a\" = \"\"\n", "is not said"),
            ("[answer]\nstatus = 302\n", "out of range"),
            ("[answer]\nstatus = 204\nbody = \"x\"\n", "no body"),
            ("[answer]\nwithin = \"3s\"\n", "unknown key `within`"),
        ] {
            let report = read(text).unwrap_err();
            assert!(report.contains(part), "{text}: {report}");
        }
    }
}
