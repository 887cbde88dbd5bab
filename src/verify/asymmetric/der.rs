//! Just enough DER (X.690 §10) to find the key in what holds one. What is read here comes from the operator's own
//! configuration, never from a sender.

/// Tags of the values that are looked for.
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_ID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
/// The first optional part of a structure, `[0]`.
const CONTEXT_0: u8 = 0xa0;

/// Object identifiers, as they are encoded.
pub(super) const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
pub(super) const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
pub(super) const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
pub(super) const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
pub(super) const P384: &[u8] = &[0x2b, 0x81, 4, 0, 34];
pub(super) const P521: &[u8] = &[0x2b, 0x81, 4, 0, 35];
pub(super) const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// Values one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The content of the next value, if it has this tag.
    pub(super) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&found, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let length = match first {
            0..=0x7f => usize::from(first),
            0x81..=0x84 => {
                let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
                rest = after;
                digits.iter().fold(0, |length, digit| (length << 8) | usize::from(*digit))
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        if found != tag {
            return None;
        }
        self.0 = rest;
        Some(content)
    }

    /// The values inside the next one, which is a sequence.
    pub(super) fn sequence(&mut self) -> Option<Self> {
        self.take(SEQUENCE).map(Self)
    }

    /// The next value, an integer that is not negative, without leading zeros.
    pub(super) fn unsigned(&mut self) -> Option<&'a [u8]> {
        let digits = self.take(INTEGER)?;
        if digits.first()? & 0x80 != 0 {
            return None;
        }
        let zeros = digits.iter().take_while(|digit| **digit == 0).count();
        digits.get(zeros..)
    }
}

/// A key with the name of its kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyInfo<'a> {
    pub(super) algorithm: &'a [u8],
    /// The curve of an EC key.
    pub(super) curve: Option<&'a [u8]>,
    pub(super) key: &'a [u8],
}

/// A SubjectPublicKeyInfo (RFC 5280 §4.1).
pub(super) fn public_key_info(der: &[u8]) -> Option<KeyInfo<'_>> {
    public_key_info_in(&mut Der::new(der))
}

/// The public key of an X.509 certificate (RFC 5280 §4.1). Nothing else of it is looked at: who configures a
/// certificate trusts it as it is.
pub(super) fn certificate_key(der: &[u8]) -> Option<KeyInfo<'_>> {
    let mut certificate = Der::new(der).sequence()?.sequence()?;
    let _version = certificate.take(CONTEXT_0);
    let _serial = certificate.take(INTEGER)?;
    for _signature_issuer_validity_subject in 0..4 {
        certificate.take(SEQUENCE)?;
    }
    public_key_info_in(&mut certificate)
}

fn public_key_info_in<'a>(der: &mut Der<'a>) -> Option<KeyInfo<'a>> {
    let mut info = der.sequence()?;
    let (algorithm, curve) = algorithm(&mut info)?;
    let (unused_bits, key) = info.take(BIT_STRING)?.split_first()?;
    (*unused_bits == 0).then_some(KeyInfo { algorithm, curve, key })
}

/// A PKCS#8 private key (RFC 5208 §5).
pub(super) fn private_key_info(der: &[u8]) -> Option<KeyInfo<'_>> {
    let mut info = Der::new(der).sequence()?;
    info.take(INTEGER)?;
    let (algorithm, curve) = algorithm(&mut info)?;
    Some(KeyInfo { algorithm, curve, key: info.take(OCTET_STRING)? })
}

/// An EC private key (RFC 5915 §3): the scalar, and the curve where it is named.
pub(super) fn ec_private_key(der: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let mut key = Der::new(der).sequence()?;
    key.take(INTEGER)?;
    let scalar = key.take(OCTET_STRING)?;
    let curve = key.take(CONTEXT_0).and_then(|parameters| Der::new(parameters).take(OBJECT_ID));
    Some((scalar, curve))
}

fn algorithm<'a>(info: &mut Der<'a>) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let mut algorithm = info.sequence()?;
    Some((algorithm.take(OBJECT_ID)?, algorithm.take(OBJECT_ID)))
}
