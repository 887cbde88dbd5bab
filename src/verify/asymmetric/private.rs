//! Private keys: to sign as a provider would, for the command line alone. A gateway never holds one.

use p256::ecdsa::signature::hazmat::PrehashSigner;
use ring::rand::SystemRandom;
use ring::signature::{
    Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::Asymmetric;
use super::der::{self, KeyInfo};
use super::pem::{self, Block};

/// A private key.
pub(in crate::verify) enum PrivateKey {
    Ed25519(Ed25519KeyPair),
    P256(p256::ecdsa::SigningKey),
    P521(p521::ecdsa::SigningKey),
    Rsa(RsaKeyPair),
}

const DAMAGED: &str = "is no private key that can be read: write PEM as openssl does (PRIVATE KEY, RSA PRIVATE KEY, \
                       EC PRIVATE KEY), without a passphrase, or the 32 bytes of an Ed25519 seed in hex";

impl PrivateKey {
    /// The key in `text`: PEM (PKCS#8, PKCS#1, SEC 1), or the seed of an Ed25519 key in hex.
    ///
    /// # Errors
    /// A phrase that says what the text is instead, to follow "the key".
    pub(in crate::verify) fn parse(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| DAMAGED)?.trim();
        if !pem::is_pem(text) {
            let seed = zeroize::Zeroizing::new(hex::decode(text).map_err(|_| DAMAGED)?);
            return Ok(Self::Ed25519(Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| DAMAGED)?));
        }
        let blocks = pem::blocks(text).ok_or(DAMAGED)?;
        // `openssl ecparam -genkey` writes the curve's name before the key.
        let key = blocks.iter().find(|block| block.label != "EC PARAMETERS").ok_or(DAMAGED)?;
        Self::from_block(key)
    }

    fn from_block(Block { label, der }: &Block<'_>) -> Result<Self, String> {
        match *label {
            "PRIVATE KEY" => {
                let KeyInfo { algorithm, curve, key } = der::private_key_info(der).ok_or(DAMAGED)?;
                match algorithm {
                    der::ED25519 => Ok(Self::Ed25519(
                        Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| DAMAGED)?,
                    )),
                    der::RSA => {
                        Ok(Self::Rsa(RsaKeyPair::from_pkcs8(der).map_err(|error| error.to_string())?))
                    }
                    der::EC => Self::ec(key, curve),
                    _ => Err("is of a kind that is not supported (Ed25519, EC and RSA are)".to_owned()),
                }
            }
            "RSA PRIVATE KEY" => Ok(Self::Rsa(RsaKeyPair::from_der(der).map_err(|error| error.to_string())?)),
            "EC PRIVATE KEY" => Self::ec(der, None),
            "ENCRYPTED PRIVATE KEY" => Err("has a passphrase; take it off with \"openssl pkey\"".to_owned()),
            other => Err(format!("is PEM of a {other}, not of a private key")),
        }
    }

    fn ec(der: &[u8], curve: Option<&[u8]>) -> Result<Self, String> {
        let (scalar, named) = der::ec_private_key(der).ok_or(DAMAGED)?;
        match curve.or(named) {
            Some(der::P256) => {
                p256::ecdsa::SigningKey::from_slice(scalar).map(Self::P256).map_err(|_| DAMAGED.to_owned())
            }
            Some(der::P521) => {
                p521::ecdsa::SigningKey::from_slice(scalar).map(Self::P521).map_err(|_| DAMAGED.to_owned())
            }
            _ => Err("is over a curve that is not supported for signing (P-256 and P-521 are)".to_owned()),
        }
    }

    /// Signs `message`.
    ///
    /// # Errors
    /// A key of another kind, or RSA with SHA-1, which is only checked here: it is not to be used for anything new.
    pub(in crate::verify) fn sign(&self, algorithm: Asymmetric, message: &[u8]) -> Result<Vec<u8>, String> {
        match (self, algorithm) {
            (Self::Ed25519(key), Asymmetric::Ed25519) => Ok(key.sign(message).as_ref().to_vec()),
            (Self::P256(key), Asymmetric::EcdsaP256Sha256) => p256(key, &Sha256::digest(message)).map(der),
            (Self::P256(key), Asymmetric::EcdsaP256Sha1) => p256(key, &Sha1::digest(message)).map(der),
            (Self::P256(key), Asymmetric::P256Fixed) => {
                p256(key, &Sha256::digest(message)).map(|signature| signature.to_bytes().to_vec())
            }
            (Self::P521(key), Asymmetric::P521Fixed) => {
                let signature: Result<p521::ecdsa::Signature, _> = key.sign_prehash(&Sha512::digest(message));
                signature.map(|signature| signature.to_bytes().to_vec()).map_err(|error| error.to_string())
            }
            (Self::Rsa(_), Asymmetric::RsaSha1) => {
                Err("RSA with SHA-1 is only checked here, nothing is signed with it".to_owned())
            }
            (Self::Rsa(key), algorithm) => match rsa(algorithm) {
                Some(encoding) => {
                    let mut signature = vec![0; key.public().modulus_len()];
                    key.sign(encoding, &SystemRandom::new(), message, &mut signature)
                        .map_err(|_| "the RSA key cannot sign".to_owned())?;
                    Ok(signature)
                }
                None => Err(wanted(algorithm)),
            },
            _ => Err(wanted(algorithm)),
        }
    }
}

fn wanted(algorithm: Asymmetric) -> String {
    format!("the key is of another kind; the scheme wants {}", algorithm.key_kind())
}

fn p256(key: &p256::ecdsa::SigningKey, digest: &[u8]) -> Result<p256::ecdsa::Signature, String> {
    key.sign_prehash(digest).map_err(|error: p256::ecdsa::Error| error.to_string())
}

fn der(signature: p256::ecdsa::Signature) -> Vec<u8> {
    signature.to_der().as_bytes().to_vec()
}

fn rsa(algorithm: Asymmetric) -> Option<&'static dyn RsaEncoding> {
    Some(match algorithm {
        Asymmetric::RsaSha256 => &RSA_PKCS1_SHA256,
        Asymmetric::RsaSha384 => &RSA_PKCS1_SHA384,
        Asymmetric::RsaSha512 => &RSA_PKCS1_SHA512,
        Asymmetric::RsaPssSha256 | Asymmetric::RsaPssSha256AnySalt => &RSA_PSS_SHA256,
        Asymmetric::RsaPssSha384 => &RSA_PSS_SHA384,
        Asymmetric::RsaPssSha512 => &RSA_PSS_SHA512,
        _ => return None,
    })
}
