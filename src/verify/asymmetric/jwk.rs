//! JSON Web Keys and sets of them (RFC 7517, RFC 7518 §6, RFC 8037 §2).

use serde_json::{Map, Value};

use super::public::{Kind, MAX_KEYS, PublicKey};
use crate::verify::key::base64;

/// The public keys in a JWK or a JWKS. Keys of a set that are of no kind that is known, or not for signing, are
/// skipped.
pub(super) fn keys(text: &str) -> Result<Vec<PublicKey>, String> {
    let Ok(Value::Object(object)) = serde_json::from_str(text) else {
        return Err("is no public key: it looks like JSON but cannot be read".to_owned());
    };
    let Some(Value::Array(set)) = object.get("keys") else {
        return Ok(vec![key(&object)?]);
    };
    let mut keys = Vec::new();
    let mut fault = None;
    for member in set.iter().filter_map(Value::as_object).filter(|member| is_for_signing(member)) {
        match key(member) {
            Ok(key) => keys.push(key),
            Err(why) => fault = Some(why),
        }
    }
    match (keys.len(), fault) {
        (0, Some(fault)) => Err(fault),
        (0, None) => Err("is a JWKS without a public key for signatures".to_owned()),
        (1..=MAX_KEYS, _) => Ok(keys),
        _ => Err(format!("is a JWKS of more than {MAX_KEYS} keys")),
    }
}

fn is_for_signing(key: &Map<String, Value>) -> bool {
    key.get("use").is_none_or(|purpose| purpose == "sig")
}

fn key(jwk: &Map<String, Value>) -> Result<PublicKey, String> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    if jwk.contains_key("d") {
        return Err("is a private key; what is wanted is the provider's public key".to_owned());
    }
    let number = |name: &str| {
        text(name)
            .and_then(|digits| base64(digits.as_bytes()))
            .ok_or_else(|| format!("is no public key: its {name:?} is missing or not base64url"))
    };
    let kind = match (text("kty"), text("crv")) {
        (Some("RSA"), _) => Kind::rsa(&number("n")?, &number("e")?)?,
        (Some("OKP"), Some("Ed25519")) => Kind::ed25519(&number("x")?)?,
        (Some("EC"), Some(curve)) => {
            let field = match curve {
                "P-256" => 32,
                "P-384" => 48,
                "P-521" => 66,
                other => return Err(format!("is a key over {other:?}, which is not supported")),
            };
            Kind::ec(&point(&number("x")?, &number("y")?, field)?)?
        }
        (Some("oct"), _) => return Err("is a shared key (\"oct\"), not a public one".to_owned()),
        _ => return Err("is a JWK of a kind that is not supported".to_owned()),
    };
    Ok(PublicKey::new(text("kid"), kind))
}

/// An uncompressed point (SEC 1 §2.3.3). Some writers leave out leading zeros of the coordinates.
fn point(x: &[u8], y: &[u8], field: usize) -> Result<Vec<u8>, String> {
    let mut point = vec![4];
    for coordinate in [x, y] {
        let missing = field
            .checked_sub(coordinate.len())
            .ok_or_else(|| "is no public key: a coordinate is too long for its curve".to_owned())?;
        point.extend(std::iter::repeat_n(0, missing));
        point.extend_from_slice(coordinate);
    }
    Ok(point)
}
