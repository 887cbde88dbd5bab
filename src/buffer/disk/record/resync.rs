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
/// records are checked by the CRC of all bytes up to a mark, of which there is one every 64 bytes.
///
/// Two CRCs that run over the same bytes differ by what they differed by before, moved on by the number of these bytes.
/// A record's own CRC and the one over all bytes are two such: where the record is valid, their difference at the first
/// mark behind its beginning, moved on, is their difference at the first mark behind its end.
///
/// So a search costs one CRC over `bytes` for all calls together; and at a byte that looks like a frame, one or two over
/// few bytes and a product: tens of nanoseconds, whatever the bytes. Memory: an eighth of `bytes`, as far as it is asked for.
#[derive(Debug)]
pub(in crate::buffer) struct Resync<'a> {
    bytes: &'a [u8],
    nonce: u32,
    /// The CRC of the bytes before every mark.
    sums: Vec<u32>,
    /// What moves a difference on by so many strides and one.
    powers: Vec<u32>,
}

/// From one mark to the next.
const STRIDE: usize = 64;
/// Up to here, a CRC of the record itself is cheaper.
const SHORT: usize = 512;
/// What stands behind the last byte, up to its mark.
static ZEROS: [u8; STRIDE] = [0; STRIDE];

impl<'a> Resync<'a> {
    /// Looks through `bytes`, which begin anywhere in a segment with this nonce.
    pub fn new(bytes: &'a [u8], nonce: u32) -> Self {
        Self { bytes, nonce, sums: vec![0], powers: vec![moved(ONE, STRIDE - 4)] }
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
        let start = at.saturating_add(8);
        let end = at.saturating_add(RECORD_HEADER).saturating_add(frame.len as usize);
        if frame.len == 0 || end > self.bytes.len() || Kind::from_byte(frame.kind).is_none() {
            return false;
        }
        if end - start <= SHORT {
            let covered = self.bytes.get(start..end).unwrap_or_default();
            return crc32c::crc32c_append(self.nonce, covered) == frame.crc;
        }
        let (first, last) = (start.div_ceil(STRIDE), end.div_ceil(STRIDE));
        let before = self.difference(self.nonce, start, first);
        let behind = self.difference(frame.crc, end, last);
        self.moved_by(before, last - first) == behind
    }

    /// By what a CRC that is `crc` at `from` differs from that of all bytes at the next mark.
    fn difference(&mut self, crc: u32, from: usize, mark: usize) -> u32 {
        self.run(crc, from, mark) ^ self.sum(mark)
    }

    /// The CRC of all bytes before a mark.
    fn sum(&mut self, mark: usize) -> u32 {
        while self.sums.len() <= mark {
            let (last, next) = (self.sums.last().copied().unwrap_or_default(), self.sums.len());
            self.sums.push(self.run(last, (next - 1) * STRIDE, next));
        }
        self.sums.get(mark).copied().unwrap_or_default()
    }

    /// Goes on with `crc` over the bytes from `from` up to a mark.
    fn run(&self, crc: u32, from: usize, mark: usize) -> u32 {
        let (to, len) = (mark * STRIDE, self.bytes.len());
        let crc = crc32c::crc32c_append(crc, self.bytes.get(from..to.min(len)).unwrap_or_default());
        if to <= len { crc } else { crc32c::crc32c_append(crc, ZEROS.get(..to - len).unwrap_or_default()) }
    }

    /// A difference, moved on by at least one stride.
    fn moved_by(&mut self, difference: u32, strides: usize) -> u32 {
        while self.powers.len() < strides {
            let last = self.powers.last().copied().unwrap_or_default();
            self.powers.push(moved(last, STRIDE));
        }
        let power = strides.checked_sub(1).and_then(|at| self.powers.get(at));
        product_and_four(difference, power.copied().unwrap_or_default())
    }
}

/// x⁰: CRCs are polynomials whose highest power stands in the lowest bit.
const ONE: u32 = 1 << 31;

/// A difference of CRCs, or a power, `bytes` (at most a stride) further on: multiplied by x to eight times that.
fn moved(difference: u32, bytes: usize) -> u32 {
    // A CRC is kept inverted from call to call.
    !crc32c::crc32c_append(!difference, ZEROS.get(..bytes).unwrap_or_default())
}

/// The product of two polynomials, moved on by four bytes: what eight bytes that hold the product whole add to a CRC.
fn product_and_four(a: u32, b: u32) -> u32 {
    !crc32c::crc32c_append(!0, &(carryless(a, b) << 1).to_le_bytes())
}

/// The product of two polynomials, of 63 bits, as integers multiply, without their carries: of four bits only every
/// fourth takes part at once, so that up to eight summands of one place do not reach the next that counts.
fn carryless(a: u32, b: u32) -> u64 {
    const FOURTHS: u64 = 0x1111_1111_1111_1111;
    let every_fourth = |bits: u64| [0, 1, 2, 3].map(|from| bits & FOURTHS << from);
    let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (every_fourth(a.into()), every_fourth(b.into()));
    let sums = [
        (a0 * b0) ^ (a1 * b3) ^ (a2 * b2) ^ (a3 * b1),
        (a0 * b1) ^ (a1 * b0) ^ (a2 * b3) ^ (a3 * b2),
        (a0 * b2) ^ (a1 * b1) ^ (a2 * b0) ^ (a3 * b3),
        (a0 * b3) ^ (a1 * b2) ^ (a2 * b1) ^ (a3 * b0),
    ];
    sums.into_iter().zip(0..).fold(0, |product, (sum, from)| product | sum & FOURTHS << from)
}
