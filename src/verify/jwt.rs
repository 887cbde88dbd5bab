//! JSON Web Signatures in their compact form (RFC 7515): whole tokens (RFC 7519), and signatures over a body that stands
//! elsewhere (RFC 7515 appendix F, RFC 7797).
//!
//! The algorithms are the scheme's, never the token's own choice, and each works with its own kind of key: a public key
//! is no secret to make an HMAC with, and `none` is no algorithm.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::asymmetric::{Asymmetric, PrivateKey, PublicKey};
use super::mac::{Hash, Mac};

/// The longest token that is read: one in a header is bounded by the head, a body that is one may be larger.
const MAX_TOKEN_BYTES: usize = 64 * 1024;

/// How a token is signed (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JwtAlgorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    EdDsa,
}

/// What an algorithm works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Mac(Hash),
    KeyPair(Asymmetric),
}

const ALGORITHMS: [(JwtAlgorithm, &str, Way); 13] = [
    (JwtAlgorithm::Hs256, "HS256", Way::Mac(Hash::Sha256)),
    (JwtAlgorithm::Hs384, "HS384", Way::Mac(Hash::Sha384)),
    (JwtAlgorithm::Hs512, "HS512", Way::Mac(Hash::Sha512)),
    (JwtAlgorithm::Rs256, "RS256", Way::KeyPair(Asymmetric::RsaSha256)),
    (JwtAlgorithm::Rs384, "RS384", Way::KeyPair(Asymmetric::RsaSha384)),
    (JwtAlgorithm::Rs512, "RS512", Way::KeyPair(Asymmetric::RsaSha512)),
    (JwtAlgorithm::Ps256, "PS256", Way::KeyPair(Asymmetric::RsaPssSha256)),
    (JwtAlgorithm::Ps384, "PS384", Way::KeyPair(Asymmetric::RsaPssSha384)),
    (JwtAlgorithm::Ps512, "PS512", Way::KeyPair(Asymmetric::RsaPssSha512)),
    (JwtAlgorithm::Es256, "ES256", Way::KeyPair(Asymmetric::P256Fixed)),
    (JwtAlgorithm::Es384, "ES384", Way::KeyPair(Asymmetric::P384Fixed)),
    (JwtAlgorithm::Es512, "ES512", Way::KeyPair(Asymmetric::P521Fixed)),
    (JwtAlgorithm::EdDsa, "EdDSA", Way::KeyPair(Asymmetric::Ed25519)),
];

impl JwtAlgorithm {
    pub(super) fn parse(word: &str) -> Option<Self> {
        ALGORITHMS.iter().find(|(_, name, _)| *name == word).map(|(algorithm, ..)| *algorithm)
    }

    pub(super) fn name(self) -> &'static str {
        self.row().map_or("", |(_, name, _)| name)
    }

    /// Whether it works with a secret that both sides know.
    pub(super) fn is_symmetric(self) -> bool {
        matches!(self.way(), Some(Way::Mac(_)))
    }

    /// The way to sign with a key pair behind it, if it is one.
    pub(super) fn asymmetric(self) -> Option<Asymmetric> {
        match self.way() {
            Some(Way::KeyPair(algorithm)) => Some(algorithm),
            _ => None,
        }
    }

    fn way(self) -> Option<Way> {
        self.row().map(|(.., way)| *way)
    }

    /// `None` never happens: each algorithm has its row.
    fn row(self) -> Option<&'static (Self, &'static str, Way)> {
        ALGORITHMS.iter().find(|(algorithm, ..)| *algorithm == self)
    }
}

/// What one secret stands for.
pub(super) enum JwtKey {
    Symmetric(Zeroizing<Vec<u8>>),
    Public(Vec<PublicKey>),
}

/// What is signed with.
pub(super) enum JwtSigner {
    Symmetric(Zeroizing<Vec<u8>>),
    Private(Box<PrivateKey>),
}

/// What a token says.
#[derive(Clone, Debug)]
pub(super) struct Claims(Map<String, Value>);

impl Claims {
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A `NumericDate` (RFC 7519 §2) in whole seconds; `None` where it is none, or lies before 1970.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        let value = self.get(name)?;
        value.as_u64().or_else(|| {
            let seconds = value.as_f64().filter(|seconds| (0.0..1e15).contains(seconds))?;
            // In this range a float is a whole number of seconds or has a fraction, which is cut.
            Some(seconds as u64)
        })
    }
}

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JwtFault {
    /// It is not written as one, or needs what is not understood here (`crit`).
    NotAToken,
    /// It is signed in a way that the scheme, or the kind of its key, rules out.
    AlgorithmNotAllowed,
    /// No key reproduces its signature.
    NoKeyMatches,
}

/// A signature in compact form, taken apart, not yet checked.
pub(super) struct Jws<'a> {
    algorithm: JwtAlgorithm,
    header: Map<String, Value>,
    /// The first part, and both before the signature.
    protected: &'a str,
    signed: &'a str,
    payload: &'a str,
    signature: Vec<u8>,
    /// The payload is signed as it is, not in base64url (RFC 7797 §3).
    unencoded: bool,
}

impl<'a> Jws<'a> {
    /// Takes `HEADER.PAYLOAD.SIGNATURE` apart; the payload may be empty.
    pub(super) fn parse(token: &'a str) -> Result<Self, JwtFault> {
        let not_a_token = || JwtFault::NotAToken;
        if token.len() > MAX_TOKEN_BYTES {
            return Err(JwtFault::NotAToken);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or_else(not_a_token)?;
        let (protected, payload) = signed.split_once('.').ok_or_else(not_a_token)?;
        if payload.contains('.') {
            return Err(JwtFault::NotAToken);
        }
        let header = object(protected).ok_or_else(not_a_token)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| JwtFault::NotAToken)?;
        let word = header.get("alg").and_then(Value::as_str).ok_or_else(not_a_token)?;
        let algorithm = JwtAlgorithm::parse(word).ok_or(JwtFault::AlgorithmNotAllowed)?;
        let unencoded = unencoded(&header).ok_or_else(not_a_token)?;
        Ok(Self { algorithm, header, protected, signed, payload, signature, unencoded })
    }

    /// A member of its header; who reads it checks the signature first.
    pub(super) fn header(&self, name: &str) -> Option<&Value> {
        self.header.get(name)
    }

    /// Checks it over `payload`, which stands elsewhere.
    pub(super) fn verify_detached(
        &self,
        payload: &[u8],
        algorithms: &[JwtAlgorithm],
        key: &JwtKey,
    ) -> Result<(), JwtFault> {
        if !self.payload.is_empty() {
            return Err(JwtFault::NotAToken);
        }
        self.check(&signing_input(self.protected, payload, self.unencoded), algorithms, key)
    }

    /// Checks it over its own payload, an object of claims.
    fn verify_claims(&self, algorithms: &[JwtAlgorithm], key: &JwtKey) -> Result<Claims, JwtFault> {
        if self.unencoded {
            return Err(JwtFault::NotAToken);
        }
        self.check(self.signed.as_bytes(), algorithms, key)?;
        object(self.payload).map(Claims).ok_or(JwtFault::NotAToken)
    }

    fn check(&self, input: &[u8], algorithms: &[JwtAlgorithm], key: &JwtKey) -> Result<(), JwtFault> {
        if !algorithms.contains(&self.algorithm) {
            return Err(JwtFault::AlgorithmNotAllowed);
        }
        let matches = match (self.algorithm.way(), key) {
            (Some(Way::Mac(hash)), JwtKey::Symmetric(secret)) => {
                Mac::new(hash, secret).is_some_and(|mut mac| {
                    mac.update(input);
                    mac.verify(&self.signature)
                })
            }
            (Some(Way::KeyPair(algorithm)), JwtKey::Public(keys)) => self
                .candidates(keys)
                .any(|key| key.fits(algorithm) && key.verify(algorithm, input, &self.signature)),
            _ => return Err(JwtFault::AlgorithmNotAllowed),
        };
        if matches { Ok(()) } else { Err(JwtFault::NoKeyMatches) }
    }

    /// The keys that the token may mean: those of the name that it gives, and those that have none.
    fn candidates<'k>(&self, keys: &'k [PublicKey]) -> impl Iterator<Item = &'k PublicKey> {
        let kid = self.header.get("kid").and_then(Value::as_str);
        keys.iter().filter(move |key| match (kid, key.kid()) {
            (Some(wanted), Some(name)) => wanted == name,
            _ => true,
        })
    }
}

/// Checks a whole token and gives what it claims; times and audiences are the caller's to look at.
pub(super) fn verify(token: &str, algorithms: &[JwtAlgorithm], key: &JwtKey) -> Result<Claims, JwtFault> {
    Jws::parse(token)?.verify_claims(algorithms, key)
}

/// Checks `HEADER..SIGNATURE` over `payload`; with `unencoded` only over the payload as it is.
pub(super) fn verify_detached(
    token: &str,
    payload: &[u8],
    unencoded: bool,
    algorithms: &[JwtAlgorithm],
    key: &JwtKey,
) -> Result<(), JwtFault> {
    let jws = Jws::parse(token)?;
    if unencoded && !jws.unencoded {
        return Err(JwtFault::NotAToken);
    }
    jws.verify_detached(payload, algorithms, key)
}

/// A token that makes `claims`.
///
/// # Errors
/// A key of another kind than the algorithm's.
pub(super) fn sign(claims: &Value, algorithm: JwtAlgorithm, key: &JwtSigner) -> Result<String, String> {
    let protected = URL_SAFE_NO_PAD.encode(json!({ "alg": algorithm.name(), "typ": "JWT" }).to_string());
    let signed = format!("{protected}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = key.sign(algorithm, signed.as_bytes())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// A signature over `payload` alone, `HEADER..SIGNATURE`; `header` may hold further members.
///
/// # Errors
/// A key of another kind than the algorithm's.
pub(super) fn sign_detached(
    payload: &[u8],
    unencoded: bool,
    header: Map<String, Value>,
    algorithm: JwtAlgorithm,
    key: &JwtSigner,
) -> Result<String, String> {
    detached(payload, unencoded, header, algorithm, |input| key.sign(algorithm, input))
}

/// As [`sign_detached`], with a private key.
///
/// # Errors
/// As [`sign_detached`].
pub(super) fn sign_detached_with(
    payload: &[u8],
    unencoded: bool,
    header: Map<String, Value>,
    algorithm: JwtAlgorithm,
    key: &PrivateKey,
) -> Result<String, String> {
    let way = algorithm.asymmetric().ok_or_else(|| format!("{} takes no private key", algorithm.name()))?;
    detached(payload, unencoded, header, algorithm, |input| key.sign(way, input))
}

fn detached(
    payload: &[u8],
    unencoded: bool,
    mut header: Map<String, Value>,
    algorithm: JwtAlgorithm,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, String>,
) -> Result<String, String> {
    header.insert("alg".to_owned(), algorithm.name().into());
    if unencoded {
        header.insert("b64".to_owned(), false.into());
        header.insert("crit".to_owned(), json!(["b64"]));
    }
    let protected = URL_SAFE_NO_PAD.encode(Value::Object(header).to_string());
    let signature = sign(&signing_input(&protected, payload, unencoded))?;
    Ok(format!("{protected}..{}", URL_SAFE_NO_PAD.encode(signature)))
}

impl JwtSigner {
    fn sign(&self, algorithm: JwtAlgorithm, input: &[u8]) -> Result<Vec<u8>, String> {
        match (self, algorithm.way()) {
            (Self::Symmetric(secret), Some(Way::Mac(hash))) => {
                let mut mac = Mac::new(hash, secret).ok_or("the secret is no key")?;
                mac.update(input);
                Ok(mac.finish())
            }
            (Self::Private(key), Some(Way::KeyPair(algorithm))) => key.sign(algorithm, input),
            _ => Err(format!("{} is signed with another kind of key", algorithm.name())),
        }
    }
}

/// What is signed (RFC 7515 §5.1, RFC 7797 §3).
fn signing_input(protected: &str, payload: &[u8], unencoded: bool) -> Vec<u8> {
    let mut input = Vec::with_capacity(protected.len() + 1 + payload.len() * 4 / 3 + 4);
    input.extend_from_slice(protected.as_bytes());
    input.push(b'.');
    if unencoded {
        input.extend_from_slice(payload);
    } else {
        input.extend_from_slice(URL_SAFE_NO_PAD.encode(payload).as_bytes());
    }
    input
}

/// Whether `b64` is false. `None` if the header says so without making it critical (RFC 7797 §6), or makes anything
/// else critical (RFC 7515 §4.1.11): whoever wrote that does not want to be read by those who do not know it.
fn unencoded(header: &Map<String, Value>) -> Option<bool> {
    let critical = match header.get("crit") {
        None => false,
        Some(Value::Array(names)) if !names.is_empty() && names.iter().all(|name| name == "b64") => true,
        Some(_) => return None,
    };
    match header.get("b64") {
        None => (!critical).then_some(false),
        Some(Value::Bool(encoded)) if critical => Some(!encoded),
        Some(_) => None,
    }
}

/// A part that is an object.
fn object(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests;
