//! Where the log goes on behind damage.

use super::{Frame, Kind, RECORD_HEADER};

/// The first place from `from` on at which a valid record begins. Whoever asks more than once of the same bytes asks a
/// [`Resync`].
pub(in crate::buffer) fn next_valid(bytes: &[u8], nonce: u32, from: usize) -> Option<usize> {
    Resync::new(bytes, nonce).next_valid(from)
}

/// Looks for records at every byte, since nothing says where they begin.
///
/// Nearly every byte is told apart by the 16 behind it: text never looks like a length. But bytes that were made to
/// look like frames, each with a length of megabytes, would cost a CRC of megabytes at every one of them. So long
/// records are checked by sums over all bytes up to a place, of which one in 512 bytes is kept: a CRC over any stretch
/// follows from the sums at its ends.
///
/// So a search costs one CRC over `bytes` for all calls together; and at a byte that looks like a frame, one over at
/// most 2 KiB and a handful of multiplications: under a microsecond, whatever the bytes. Memory: 1/128 of `bytes`.
#[derive(Debug)]
pub(in crate::buffer) struct Resync<'a> {
    bytes: &'a [u8],
    nonce: u32,
    /// The CRC of the bytes before every 512th, as far as it was asked for.
    sums: Vec<u32>,
}

const STRIDE: usize = 512;
/// Up to here, a CRC of the record itself is cheaper.
const SHORT: usize = 2048;

impl<'a> Resync<'a> {
    /// Looks through `bytes`, which begin anywhere in a segment with this nonce.
    pub fn new(bytes: &'a [u8], nonce: u32) -> Self {
        Self { bytes, nonce, sums: vec![0] }
    }

    /// The first place from `from` on at which a valid record begins.
    pub fn next_valid(&mut self, from: usize) -> Option<usize> {
        let last = self.bytes.len().checked_sub(RECORD_HEADER + 1)?;
        (from..=last).find(|at| self.is_valid(*at))
    }

    fn is_valid(&mut self, at: usize) -> bool {
        let Some(frame) = self.bytes.get(at..).and_then(Frame::read) else {
            return false;
        };
        let end = at.saturating_add(RECORD_HEADER).saturating_add(frame.len as usize);
        if frame.len == 0 || end > self.bytes.len() || Kind::from_byte(frame.kind).is_none() {
            return false;
        }
        self.crc(at + 8, end) == frame.crc
    }

    /// The CRC, seeded with the nonce, of the bytes from `start` to `end`.
    fn crc(&mut self, start: usize, end: usize) -> u32 {
        if end - start <= SHORT {
            return crc32c::crc32c_append(self.nonce, self.bytes.get(start..end).unwrap_or_default());
        }
        // Both CRCs run over the same bytes, one from the nonce, one from the sum up to `start`: they differ by what
        // these two differ by, moved on by the length.
        let seeds = self.sum(start) ^ self.nonce;
        self.sum(end) ^ times(power(end - start), seeds)
    }

    /// The CRC of all bytes before `at`.
    fn sum(&mut self, at: usize) -> u32 {
        let mark = at / STRIDE;
        while self.sums.len() <= mark {
            let from = (self.sums.len() - 1) * STRIDE;
            let bytes = self.bytes.get(from..from + STRIDE).unwrap_or_default();
            let last = self.sums.last().copied().unwrap_or_default();
            self.sums.push(crc32c::crc32c_append(last, bytes));
        }
        let sum = self.sums.get(mark).copied().unwrap_or_default();
        crc32c::crc32c_append(sum, self.bytes.get(mark * STRIDE..at).unwrap_or_default())
    }
}

/// CRC-32C's polynomial; as everywhere here, the highest power stands in the lowest bit.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// x⁰.
const ONE: u32 = 1 << 31;

/// The product of two polynomials, modulo CRC-32C's.
const fn times(a: u32, mut b: u32) -> u32 {
    let (mut product, mut bit) = (0, ONE);
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = (b >> 1) ^ (POLYNOMIAL & (b & 1).wrapping_neg());
        bit >>= 1;
    }
    product
}

/// What `bytes` more zero bytes multiply a CRC by: x to the power of 8 times as many.
fn power(bytes: usize) -> u32 {
    let mut product = ONE;
    for (powers, digit) in POWERS.iter().zip(bytes.to_le_bytes()) {
        if digit != 0 {
            product = times(product, powers.get(usize::from(digit)).copied().unwrap_or_default());
        }
    }
    product
}

/// The powers for a length of 0 to 255 bytes, of as many times 256, and so on: a length has 32 bits, and a frame comes
/// on top.
static POWERS: [[u32; 256]; 5] = {
    let mut powers = [[ONE; 256]; 5];
    let (mut step, mut rest): (u32, &mut [[u32; 256]]) = (ONE >> 8, &mut powers);
    while let Some((digits, others)) = rest.split_first_mut() {
        let (mut power, mut unset): (u32, &mut [u32]) = (ONE, digits);
        while let Some((first, later)) = unset.split_first_mut() {
            *first = power;
            power = times(power, step);
            unset = later;
        }
        (step, rest) = (power, others);
    }
    powers
};
