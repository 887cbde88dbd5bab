//! Signing as the provider would: for `hooklatch sign` and `send`, and for apps that check again.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::key::Mac;
use super::scheme::{ClearForm, ClearScheme, HmacScheme};
use super::template::Parts;
use super::timestamp::Place;
use super::verifier::{Check, Verifier};
use crate::clock::Millis;
use crate::headers::{Headers, HeadersBuilder};
use crate::secret::Secret;
use crate::select::{MAX_VALUE_BYTES, Message};

impl Verifier {
    /// Signs `message` as the provider would at `now` with the first secret: the headers to add (`hooklatch sign`,
    /// `send`), which replace those of the same names. `id` is the event id for schemes that sign one; where the
    /// time stands in the body, it is the one that stands there.
    ///
    /// # Errors
    /// A scheme that cannot be signed with what is at hand: a sentence that says what is missing.
    pub fn sign(&self, message: &Message<'_>, id: &str, now: Millis) -> Result<Headers, String> {
        let mut lines = HeadersBuilder::default();
        match &self.0 {
            Check::Hmac(scheme, keys) => {
                let key = keys.first().ok_or("there is no secret to sign with")?;
                scheme.sign(key, message, id, now, &mut lines)?;
            }
            Check::Clear(scheme, secrets) => {
                let secret = secrets.first().ok_or("there is no secret to sign with")?;
                scheme.sign(secret, &mut lines);
            }
        }
        Ok(lines.build())
    }
}

impl HmacScheme {
    fn sign(
        &self,
        key: &Mac,
        message: &Message<'_>,
        id: &str,
        now: Millis,
        lines: &mut HeadersBuilder,
    ) -> Result<(), String> {
        let header = self.headers.first().ok_or("the scheme names no header")?;
        let timestamp = self.time_to_sign(message, now)?;
        let own_id = match &self.id {
            Some(selector) => match selector.header_name() {
                Some(name) => {
                    lines.push(name.as_bytes(), id.as_bytes());
                    id.to_owned()
                }
                None => selector.extract(message).ok_or("the request lacks the event id that is signed")?,
            },
            None => String::new(),
        };
        if let Some(name) = self.signed.headers().find(|name| message.headers.get(name).is_none()) {
            return Err(format!("the header {name} is signed, but the request has none"));
        }
        let fields = self.form(message).map_err(|refusal| refusal.message)?;
        let parts =
            Parts { message, timestamp: timestamp.as_bytes(), id: &own_id, url: message.url, form: &fields };
        let mut mac = key.clone();
        self.signed.feed(&parts, |piece| mac.update(piece));
        let signature = format!("{}{}", self.prefix, self.encoding.encode(&mac.finish()));

        let mut in_list = None;
        match self.timestamp.as_ref().map(|timestamp| &timestamp.place) {
            Some(Place::Header(name)) => lines.push(name.as_bytes(), timestamp.as_bytes()),
            Some(Place::Key(name)) => in_list = Some((&**name, timestamp.as_str())),
            Some(Place::Body { .. }) | None => {}
        }
        lines.push(header.as_bytes(), self.format.write(&signature, in_list).as_bytes());
        Ok(())
    }

    fn time_to_sign(&self, message: &Message<'_>, now: Millis) -> Result<String, String> {
        match &self.timestamp {
            None => Ok(String::new()),
            Some(timestamp) => match &timestamp.place {
                Place::Header(_) | Place::Key(_) => Ok(timestamp.unit.write(now)),
                Place::Body { pointer, shown } => pointer
                    .scalar(message.body, MAX_VALUE_BYTES)
                    .ok_or_else(|| format!("the body has no {shown}, where this scheme's timestamp stands")),
            },
        }
    }
}

impl ClearScheme {
    fn sign(&self, secret: &Secret, lines: &mut HeadersBuilder) {
        let Some(header) = self.headers.first() else { return };
        let mut value = Zeroizing::new(Vec::new());
        match &self.form {
            ClearForm::Token { prefix } => {
                value.extend_from_slice(prefix.as_bytes());
                value.extend_from_slice(secret.expose());
            }
            ClearForm::Basic => {
                value.extend_from_slice(b"Basic ");
                value.extend_from_slice(Zeroizing::new(STANDARD.encode(secret.expose())).as_bytes());
            }
        }
        lines.push(header.as_bytes(), &value);
    }
}
