//! Signatures by key pairs: the provider signs with the private key, here the public one checks.
//!
//! `ring` does what it can (it is there for TLS anyway, and fast); ECDSA over P-256 with SHA-1 and over P-521, which it
//! cannot, are done by the `p256` and `p521` crates. RSA keys are of 2048 to 8192 bits.

mod der;
mod jwk;
mod pem;
mod private;
mod pss;
mod public;

pub(super) use private::PrivateKey;
pub(super) use public::PublicKey;

/// A way to sign with a key pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asymmetric {
    /// RFC 8032.
    Ed25519,
    /// ECDSA, the signature as DER (RFC 3279 §2.2.3).
    EcdsaP256Sha256,
    /// As [`Self::EcdsaP256Sha256`], over SHA-1.
    EcdsaP256Sha1,
    /// ECDSA over SHA-256, the signature as `r ‖ s` of fixed length (RFC 7518 §3.4).
    P256Fixed,
    /// As [`Self::P256Fixed`], over SHA-384.
    P384Fixed,
    /// As [`Self::P256Fixed`], over SHA-512.
    P521Fixed,
    /// RSASSA-PKCS1-v1_5 (RFC 8017 §8.2).
    RsaSha1,
    /// As [`Self::RsaSha1`].
    RsaSha256,
    /// As [`Self::RsaSha1`].
    RsaSha384,
    /// As [`Self::RsaSha1`].
    RsaSha512,
    /// RSASSA-PSS (RFC 8017 §8.1), the salt as long as the hash.
    RsaPssSha256,
    /// As [`Self::RsaPssSha256`].
    RsaPssSha384,
    /// As [`Self::RsaPssSha256`].
    RsaPssSha512,
    /// As [`Self::RsaPssSha256`], the salt of any length.
    RsaPssSha256AnySalt,
}

impl Asymmetric {
    /// The way that goes by the scheme word `word`.
    pub(super) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "ed25519" => Self::Ed25519,
            "ecdsa-p256" => Self::EcdsaP256Sha256,
            "ecdsa-p256-sha1" => Self::EcdsaP256Sha1,
            "rsa-sha1" => Self::RsaSha1,
            "rsa-sha256" => Self::RsaSha256,
            "rsa-sha512" => Self::RsaSha512,
            "rsa-pss-sha256" => Self::RsaPssSha256AnySalt,
            _ => return None,
        })
    }

    /// The kind of key it works with, for an error.
    pub(super) fn key_kind(self) -> &'static str {
        match self {
            Self::Ed25519 => "an Ed25519 key",
            Self::EcdsaP256Sha256 | Self::EcdsaP256Sha1 | Self::P256Fixed => "a P-256 key",
            Self::P384Fixed => "a P-384 key",
            Self::P521Fixed => "a P-521 key",
            Self::RsaSha1
            | Self::RsaSha256
            | Self::RsaSha384
            | Self::RsaSha512
            | Self::RsaPssSha256
            | Self::RsaPssSha384
            | Self::RsaPssSha512
            | Self::RsaPssSha256AnySalt => "an RSA key",
        }
    }
}

#[cfg(test)]
mod tests;
