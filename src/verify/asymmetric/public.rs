//! Public keys: read once, whatever form they come in, and checked with.

use std::fmt;

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use sha1::Sha1;
use sha2::{Digest, Sha512};

use super::der::{self, Der, KeyInfo};
use super::pem::{self, Block};
use super::{Asymmetric, jwk, pss};
use crate::verify::key::base64;

/// The most keys that one secret may hold: a JWKS in the middle of a rotation has two or three.
pub(super) const MAX_KEYS: usize = 16;

const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A public key.
#[derive(Clone)]
pub(in crate::verify) struct PublicKey {
    kid: Option<Box<str>>,
    kind: Kind,
}

/// What stands behind a [`PublicKey`]; points of curves are uncompressed (SEC 1 §2.3.3).
#[derive(Clone)]
pub(super) enum Kind {
    Ed25519([u8; 32]),
    P256(Box<P256>),
    P384(Box<[u8]>),
    P521(Box<p521::ecdsa::VerifyingKey>),
    Rsa { modulus: Box<[u8]>, exponent: Box<[u8]> },
}

/// For `ring`, and for the crate that does what `ring` cannot.
#[derive(Clone)]
pub(super) struct P256 {
    point: Box<[u8]>,
    key: p256::ecdsa::VerifyingKey,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Ed25519(_) => "[Ed25519 key]",
            Kind::P256(_) => "[P-256 key]",
            Kind::P384(_) => "[P-384 key]",
            Kind::P521(_) => "[P-521 key]",
            Kind::Rsa { .. } => "[RSA key]",
        })
    }
}

impl PublicKey {
    pub(super) fn new(kid: Option<&str>, kind: Kind) -> Self {
        Self { kid: kid.map(Into::into), kind }
    }

    /// The keys in `text`, at least one and at most 16: PEM (`PUBLIC KEY`, `RSA PUBLIC KEY`, `CERTIFICATE`), a JWK or
    /// JWKS, base64 of a SubjectPublicKeyInfo or a certificate, or the 32 bytes of an Ed25519 key in hex or base64. Of
    /// several certificates the first counts: a chain begins with the one that signs.
    ///
    /// # Errors
    /// A phrase that says what the text is instead, to follow "the secret NAME".
    pub(in crate::verify) fn parse_all(text: &[u8]) -> Result<Vec<Self>, String> {
        const UNKNOWN: &str = "is no public key: write PEM (public key or certificate), a JWK or JWKS, base64 of the \
                               key in DER, or the 32 bytes of an Ed25519 key in hex or base64";
        let text = std::str::from_utf8(text).map_err(|_| UNKNOWN)?.trim();
        if pem::is_pem(text) {
            return from_pem(text);
        }
        if text.starts_with('{') {
            return jwk::keys(text);
        }
        let one = |kind: Kind| vec![Self::new(None, kind)];
        if text.is_empty() {
            return Err(UNKNOWN.to_owned());
        }
        if let Ok(bytes) = hex::decode(text) {
            return Kind::ed25519(&bytes).map(one);
        }
        let bytes = base64(text.as_bytes()).ok_or(UNKNOWN)?;
        if bytes.len() == 32 {
            return Kind::ed25519(&bytes).map(one);
        }
        let info = der::public_key_info(&bytes).or_else(|| der::certificate_key(&bytes)).ok_or(UNKNOWN)?;
        Kind::from_info(info).map(one)
    }

    /// Whether `text` says of itself that it holds keys (PEM, JSON): a shared secret may look like the bare bytes of one.
    pub(in crate::verify) fn is_marked(text: &[u8]) -> bool {
        std::str::from_utf8(text).is_ok_and(|text| pem::is_pem(text) || text.trim_start().starts_with('{'))
    }

    /// Whether it can check signatures made with `algorithm`.
    pub(in crate::verify) fn fits(&self, algorithm: Asymmetric) -> bool {
        match algorithm {
            Asymmetric::Ed25519 => matches!(self.kind, Kind::Ed25519(_)),
            Asymmetric::EcdsaP256Sha256 | Asymmetric::EcdsaP256Sha1 | Asymmetric::P256Fixed => {
                matches!(self.kind, Kind::P256(_))
            }
            Asymmetric::P384Fixed => matches!(self.kind, Kind::P384(_)),
            Asymmetric::P521Fixed => matches!(self.kind, Kind::P521(_)),
            _ => matches!(self.kind, Kind::Rsa { .. }),
        }
    }

    /// The name that a JWK gives it.
    pub(in crate::verify) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Whether `signature` was made over `message` with its private half. A key that does not fit: never.
    pub(in crate::verify) fn verify(&self, algorithm: Asymmetric, message: &[u8], signature: &[u8]) -> bool {
        let ring = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
        };
        match (&self.kind, algorithm) {
            (Kind::Ed25519(key), Asymmetric::Ed25519) => ring(&ED25519, key),
            (Kind::P256(key), Asymmetric::EcdsaP256Sha256) => ring(&ECDSA_P256_SHA256_ASN1, &key.point),
            (Kind::P256(key), Asymmetric::P256Fixed) => ring(&ECDSA_P256_SHA256_FIXED, &key.point),
            (Kind::P256(key), Asymmetric::EcdsaP256Sha1) => p256::ecdsa::Signature::from_der(signature)
                .and_then(|signature| key.key.verify_prehash(&Sha1::digest(message), &signature))
                .is_ok(),
            (Kind::P384(point), Asymmetric::P384Fixed) => ring(&ECDSA_P384_SHA384_FIXED, point),
            (Kind::P521(key), Asymmetric::P521Fixed) => p521::ecdsa::Signature::from_slice(signature)
                .and_then(|signature| key.verify_prehash(&Sha512::digest(message), &signature))
                .is_ok(),
            (Kind::Rsa { modulus, exponent }, Asymmetric::RsaPssSha256AnySalt) => {
                pss::verify(modulus, exponent, message, signature)
            }
            (Kind::Rsa { modulus, exponent }, algorithm) => rsa(algorithm).is_some_and(|parameters| {
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(parameters, message, signature).is_ok()
            }),
            _ => false,
        }
    }
}

fn rsa(algorithm: Asymmetric) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        Asymmetric::RsaSha1 => &ring::signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
        Asymmetric::RsaSha256 => &RSA_PKCS1_2048_8192_SHA256,
        Asymmetric::RsaSha384 => &RSA_PKCS1_2048_8192_SHA384,
        Asymmetric::RsaSha512 => &RSA_PKCS1_2048_8192_SHA512,
        Asymmetric::RsaPssSha256 => &RSA_PSS_2048_8192_SHA256,
        Asymmetric::RsaPssSha384 => &RSA_PSS_2048_8192_SHA384,
        Asymmetric::RsaPssSha512 => &RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

fn from_pem(text: &str) -> Result<Vec<PublicKey>, String> {
    let blocks = pem::blocks(text).ok_or("is no public key: its PEM is cut off or damaged")?;
    if blocks.iter().any(|block| block.label.ends_with("PRIVATE KEY")) {
        return Err("is a private key; what is wanted is the provider's public key or certificate".to_owned());
    }
    let mut keys = Vec::new();
    let mut certified = false;
    for Block { label, der } in &blocks {
        let kind = match *label {
            "PUBLIC KEY" => der::public_key_info(der).ok_or_else(|| damaged(label)).and_then(Kind::from_info),
            "RSA PUBLIC KEY" => Kind::pkcs1(der).unwrap_or_else(|| Err(damaged(label))),
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" if certified => continue,
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => {
                certified = true;
                der::certificate_key(der).ok_or_else(|| damaged(label)).and_then(Kind::from_info)
            }
            other => Err(format!("is PEM of a {other}; what is wanted is a PUBLIC KEY or a CERTIFICATE")),
        };
        keys.push(PublicKey::new(None, kind?));
    }
    match keys.len() {
        0 => Err("is no public key: its PEM is cut off or damaged".to_owned()),
        1..=MAX_KEYS => Ok(keys),
        _ => Err(format!("holds more than {MAX_KEYS} keys")),
    }
}

fn damaged(label: &str) -> String {
    format!("is no public key: its {label} is damaged")
}

impl Kind {
    fn from_info(info: KeyInfo<'_>) -> Result<Self, String> {
        match (info.algorithm, info.curve) {
            (der::ED25519, _) => Self::ed25519(info.key),
            (der::RSA | der::RSA_PSS, _) => Self::pkcs1(info.key).unwrap_or_else(|| Err(damaged("RSA key"))),
            (der::EC, Some(der::P256 | der::P384 | der::P521)) => Self::ec(info.key),
            (der::EC, _) => {
                Err("is a key over a curve that is not supported (P-256, P-384, P-521 are)".to_owned())
            }
            _ => Err("is a key of a kind that is not supported (Ed25519, EC and RSA are)".to_owned()),
        }
    }

    /// The key inside an `RSA PUBLIC KEY` (RFC 8017 §A.1.1); `None` if it is not written so.
    fn pkcs1(der: &[u8]) -> Option<Result<Self, String>> {
        let mut key = Der::new(der).sequence()?;
        Some(Self::rsa(key.unsigned()?, key.unsigned()?))
    }

    pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, String> {
        let trim =
            |number: &[u8]| -> Box<[u8]> { number.iter().copied().skip_while(|digit| *digit == 0).collect() };
        let (modulus, exponent) = (trim(modulus), trim(exponent));
        let unused = modulus.first().map_or(0, |digit| digit.leading_zeros()) as usize;
        let bits = modulus.len() * 8 - unused;
        if !RSA_BITS.contains(&bits) {
            return Err(format!("is an RSA key of {bits} bits; 2048 to 8192 are supported"));
        }
        Ok(Self::Rsa { modulus, exponent })
    }

    pub(super) fn ed25519(key: &[u8]) -> Result<Self, String> {
        let key = <[u8; 32]>::try_from(key)
            .map_err(|_| format!("is no public key: an Ed25519 key is 32 bytes, this is {}", key.len()))?;
        Ok(Self::Ed25519(key))
    }

    /// The length of a point tells its curve.
    pub(super) fn ec(point: &[u8]) -> Result<Self, String> {
        let off_curve = "is no public key: its point is not on its curve".to_owned();
        match point.len() {
            65 | 33 => {
                let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(|_| off_curve)?;
                let point = key.to_sec1_point(false).as_bytes().into();
                Ok(Self::P256(Box::new(P256 { point, key })))
            }
            97 if point.first() == Some(&4) => Ok(Self::P384(point.into())),
            133 | 67 => {
                let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(|_| off_curve)?;
                Ok(Self::P521(Box::new(key)))
            }
            _ => Err(off_curve),
        }
    }
}
