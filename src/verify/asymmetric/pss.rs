//! RSASSA-PSS with SHA-256 and a salt of any length (RFC 8017 §8.1.2): `ring` takes only one as long as the hash, and
//! signers in JavaScript take the longest that fits unless told otherwise.

use num_bigint::BigUint;
use sha2::{Digest, Sha256};

const HASH_BYTES: usize = 32;

/// Whether `signature` is one of `message` by the key. Nothing secret is computed with.
pub(super) fn verify(modulus: &[u8], exponent: &[u8], message: &[u8], signature: &[u8]) -> bool {
    if signature.len() != modulus.len() {
        return false;
    }
    let (n, e) = (BigUint::from_bytes_be(modulus), BigUint::from_bytes_be(exponent));
    let s = BigUint::from_bytes_be(signature);
    if s >= n {
        return false;
    }
    let bits = n.bits().saturating_sub(1);
    encodes(message, &s.modpow(&e, &n).to_bytes_be(), bits).is_some()
}

/// EMSA-PSS-VERIFY (RFC 8017 §9.1.2) with a mask by MGF1 over the same hash; `Some` if it is consistent.
fn encodes(message: &[u8], number: &[u8], bits: u64) -> Option<()> {
    let length = usize::try_from(bits.div_ceil(8)).ok()?;
    let mut encoded = vec![0; length.checked_sub(number.len())?];
    encoded.extend_from_slice(number);

    let (rest, trailer) = encoded.split_at_checked(length.checked_sub(1)?)?;
    let (masked, hash) = rest.split_at_checked(rest.len().checked_sub(HASH_BYTES)?)?;
    // The bits of the first byte that the modulus has no room for.
    let unused = u32::try_from(length as u64 * 8 - bits).ok()?;
    let used = 0xff_u8.checked_shr(unused)?;
    if trailer != [0xbc] || masked.first()? & !used != 0 {
        return None;
    }
    let mut block: Vec<u8> =
        masked.iter().zip(mask(hash, masked.len())).map(|(byte, mask)| byte ^ mask).collect();
    *block.first_mut()? &= used;
    let padding = block.iter().take_while(|byte| **byte == 0).count();
    let (one, salt) = block.get(padding..)?.split_first()?;
    let digest = Sha256::new()
        .chain_update([0; 8])
        .chain_update(Sha256::digest(message))
        .chain_update(salt)
        .finalize();
    (*one == 1 && *digest == *hash).then_some(())
}

/// MGF1 (RFC 8017 §B.2.1).
fn mask(seed: &[u8], length: usize) -> impl Iterator<Item = u8> {
    (0_u32..)
        .flat_map(move |counter| {
            Sha256::new().chain_update(seed).chain_update(counter.to_be_bytes()).finalize()
        })
        .take(length)
}
