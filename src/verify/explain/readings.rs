//! The right secret, but given in another form than the scheme reads: base64 that should be taken as it is, a quote or a
//! blank around it, the word `whsec_` or none.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{Case, Cause, CauseKind, Trial};
use crate::secret::Secret;
use crate::verify::NamedSecret;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const ANY_PADDING: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Reads what was given; `None` where it is not written so.
type Read = fn(&[u8]) -> Option<Vec<u8>>;
/// Writes a key as a scheme may want it.
type Write = fn(&[u8]) -> Vec<u8>;

/// Ways to read what was given, each with what is then said of it.
const READINGS: [(&str, Read); 6] = [
    ("has blanks or line ends around it that do not belong to it", trimmed),
    ("has quotes around it that do not belong to it", unquoted),
    ("is given with a prefix (`whsec_` or the like) that does not belong to it", without_prefix),
    ("is given in base64, but the key is what it stands for", from_base64),
    ("is given in hex, but the key is what it stands for", from_hex),
    ("is decoded, but its text as it stands is the key", as_it_is),
];

/// Ways in which a scheme may want a key written.
const WRITINGS: [Write; 3] =
    [<[u8]>::to_vec, |key| STANDARD.encode(key).into_bytes(), |key| hex::encode(key).into_bytes()];

/// Tries each secret in every reading, written in each way that a scheme may ask for.
pub(super) fn try_all(case: &Case<'_>, trial: &mut Trial, causes: &mut Vec<Cause>) {
    for NamedSecret { name, secret } in case.secrets {
        let found = READINGS.iter().find(|(_, read)| {
            let Some(key) = read(secret.expose()).map(Zeroizing::new) else { return false };
            WRITINGS.iter().any(|write| {
                let written = NamedSecret { name: name.clone(), secret: Secret::new(write(&key)) };
                // As it was given it was tried before.
                !written.secret.matches(secret.expose()) && trial.fits(case.scheme, &written, &case.message)
            })
        });
        if let Some((what, _)) = found {
            let message = format!("The secret `{name}` is the right one, but it {what}.");
            causes.push(Cause { kind: CauseKind::SecretEncoding, message });
        }
    }
}

fn trimmed(text: &[u8]) -> Option<Vec<u8>> {
    let trimmed = text.trim_ascii();
    (trimmed.len() < text.len()).then(|| trimmed.to_vec())
}

fn unquoted(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    [b'"', b'\'', b'`']
        .iter()
        .find_map(|quote| text.strip_prefix(&[*quote])?.strip_suffix(&[*quote]).map(<[u8]>::to_vec))
}

/// `whsec_…`, `sk_…`: letters and a `_`.
fn without_prefix(text: &[u8]) -> Option<Vec<u8>> {
    let (prefix, rest) = text.split_at_checked(text.iter().position(|byte| *byte == b'_')? + 1)?;
    (prefix.len() <= 12).then(|| rest.to_vec())
}

fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    let text = text.strip_prefix(b"whsec_").unwrap_or(text);
    ANY_PADDING.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    hex::decode(text.trim_ascii()).ok()
}

fn as_it_is(text: &[u8]) -> Option<Vec<u8>> {
    Some(text.to_vec())
}
