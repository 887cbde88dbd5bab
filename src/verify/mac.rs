//! The hashes, and the keyed MAC over each: built once a secret, cloned for each request.

use hmac::{Hmac, KeyInit, Mac as _};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use sha3::Keccak256;
use subtle::ConstantTimeEq;

/// A hash by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Md5,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
    /// What Ethereum calls SHA-3: the padding is the one before FIPS 202.
    Keccak256,
}

impl Hash {
    pub(super) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "md5" => Self::Md5,
            "sha1" => Self::Sha1,
            "sha256" => Self::Sha256,
            "sha384" => Self::Sha384,
            "sha512" => Self::Sha512,
            "keccak256" => Self::Keccak256,
            _ => return None,
        })
    }

    /// The hash of `pieces`, one after the other.
    pub(super) fn digest<'a>(self, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        match self {
            Self::Md5 => digest::<Md5>(pieces),
            Self::Sha1 => digest::<Sha1>(pieces),
            Self::Sha256 => digest::<Sha256>(pieces),
            Self::Sha384 => digest::<Sha384>(pieces),
            Self::Sha512 => digest::<Sha512>(pieces),
            Self::Keccak256 => digest::<Keccak256>(pieces),
        }
    }
}

fn digest<'a, D: Digest>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut hash = D::new();
    for piece in pieces {
        hash.update(piece);
    }
    hash.finalize().to_vec()
}

/// Whether two byte strings are the same; the time this takes tells only whether the lengths agree.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// A MAC with its key; what is fed to a clone leaves the original as it was.
#[derive(Clone)]
pub(super) enum Mac {
    Md5(Hmac<Md5>),
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    /// Twice the size of the others, which are what is used: boxed, so that they are not copied with its room.
    Sha384(Box<Hmac<Sha384>>),
    Sha512(Box<Hmac<Sha512>>),
}

impl Mac {
    /// `None` only for a hash that nobody makes an HMAC of: an HMAC takes a key of any length (RFC 2104 §2).
    pub(super) fn new(hash: Hash, key: &[u8]) -> Option<Self> {
        Some(match hash {
            Hash::Md5 => Self::Md5(Hmac::new_from_slice(key).ok()?),
            Hash::Sha1 => Self::Sha1(Hmac::new_from_slice(key).ok()?),
            Hash::Sha256 => Self::Sha256(Hmac::new_from_slice(key).ok()?),
            Hash::Sha384 => Self::Sha384(Box::new(Hmac::new_from_slice(key).ok()?)),
            Hash::Sha512 => Self::Sha512(Box::new(Hmac::new_from_slice(key).ok()?)),
            Hash::Keccak256 => return None,
        })
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(mac) => mac.update(bytes),
            Self::Sha1(mac) => mac.update(bytes),
            Self::Sha256(mac) => mac.update(bytes),
            Self::Sha384(mac) => mac.update(bytes),
            Self::Sha512(mac) => mac.update(bytes),
        }
    }

    /// Whether `tag` is the whole MAC of what was fed; in constant time for a tag of the right length.
    pub(super) fn verify(self, tag: &[u8]) -> bool {
        match self {
            Self::Md5(mac) => mac.verify_slice(tag),
            Self::Sha1(mac) => mac.verify_slice(tag),
            Self::Sha256(mac) => mac.verify_slice(tag),
            Self::Sha384(mac) => mac.verify_slice(tag),
            Self::Sha512(mac) => mac.verify_slice(tag),
        }
        .is_ok()
    }

    /// The MAC, for signing only: nothing is ever compared with it.
    pub(super) fn finish(self) -> Vec<u8> {
        match self {
            Self::Md5(mac) => mac.finalize().into_bytes().to_vec(),
            Self::Sha1(mac) => mac.finalize().into_bytes().to_vec(),
            Self::Sha256(mac) => mac.finalize().into_bytes().to_vec(),
            Self::Sha384(mac) => mac.finalize().into_bytes().to_vec(),
            Self::Sha512(mac) => mac.finalize().into_bytes().to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_is_the_same() {
        assert!(same(b"abc", b"abc") && same(b"", b""));
        for other in [&b""[..], b"ab", b"bc", b"abcd", b"abd", b"xbc"] {
            assert!(!same(b"abc", other) && !same(other, b"abc"), "{other:?}");
        }
    }

    /// Test case 2 of RFC 2202 §2 (MD5) and §3 (SHA-1), and of RFC 4231 §4.3 (SHA-2).
    #[test]
    fn the_macs_are_those_of_the_rfcs() {
        for (hash, tag) in [
            (Hash::Md5, "750c783e6ab0b503eaa86e310a5db738"),
            (Hash::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (Hash::Sha256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
            (
                Hash::Sha384,
                "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
            ),
            (
                Hash::Sha512,
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fd\
                 caeab1a34d4a6b4b636e070a38bce737",
            ),
        ] {
            let mut mac = Mac::new(hash, b"Jefe").unwrap();
            mac.update(b"what do ya want ");
            mac.update(b"for nothing?");
            assert_eq!(hex::encode(mac.clone().finish()), tag);
            let tag = hex::decode(tag).unwrap();
            assert!(mac.clone().verify(&tag));
            assert!(!mac.clone().verify(&tag[1..]) && !mac.verify(&[]));
        }
    }

    /// RFC 1321 §A.5, FIPS 180-4 examples, and Keccak-256 of "abc" as Ethereum has it.
    #[test]
    fn the_hashes_are_those_of_their_standards() {
        for (word, digest) in [
            ("md5", "900150983cd24fb0d6963f7d28e17f72"),
            ("sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            ("sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "sha384",
                "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
            ),
            (
                "sha512",
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd\
                 454d4423643ce80e2a9ac94fa54ca49f",
            ),
            ("keccak256", "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"),
        ] {
            let hash = Hash::parse(word).unwrap();
            assert_eq!(hex::encode(hash.digest([&b"a"[..], b"bc"])), digest, "{word}");
        }
        assert_eq!(Hash::parse("SHA256"), None);
    }
}
