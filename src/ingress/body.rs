//! Reads a webhook's body whole: bounded by the route's limit, by the memory of all bodies, and by a deadline.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::budget::{Budget, Reserved};
use super::chunked::{Decoder, Piece};
use super::front::Fault;
use super::head::Framing;

/// A body is reserved for in steps of this where its length is not declared, and read in such pieces.
const STEP: usize = 16 << 10;

/// What bounds a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds<'a> {
    /// The route's limit, bytes.
    pub(super) max: u64,
    /// What all bodies share.
    pub(super) budget: &'a Budget,
    /// How much that is, bytes.
    pub(super) inflight: u64,
}

/// Why there is no body.
#[derive(Debug)]
pub(super) enum NoBody {
    /// The sender gets an answer.
    Fault(Fault),
    /// It has gone.
    Gone,
}

impl From<io::Error> for NoBody {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// Reserves for the body what its framing declares, before a byte of it is read.
pub(super) fn reserve(framing: Framing, bounds: Bounds<'_>) -> Result<Reserved, Fault> {
    let bytes = match framing {
        Framing::None => 0,
        Framing::Length(length) if length > bounds.max => return Err(Fault::BodyTooLarge(bounds.max)),
        Framing::Length(length) => length,
        Framing::Chunked => bounds.max.min(STEP as u64),
    };
    bounds.budget.reserve(bytes, bounds.inflight).ok_or(Fault::NoMemory)
}

/// Reads the body that `framing` describes; its first bytes may stand in `early`, where what is behind it stays.
pub(super) async fn read(
    socket: &mut (impl AsyncRead + Unpin),
    early: &mut BytesMut,
    framing: Framing,
    bounds: Bounds<'_>,
    reserved: &mut Reserved,
) -> Result<Bytes, NoBody> {
    match framing {
        Framing::None => Ok(Bytes::new()),
        Framing::Length(length) => read_length(socket, early, length).await,
        Framing::Chunked => read_chunked(socket, early, bounds, reserved).await,
    }
}

/// Into one allocation of exactly the declared size, which becomes the event's: nothing is copied later, and no read
/// buffer stays alive behind a small body.
async fn read_length(
    socket: &mut (impl AsyncRead + Unpin),
    early: &mut BytesMut,
    length: u64,
) -> Result<Bytes, NoBody> {
    let length = usize::try_from(length).map_err(|_| NoBody::Gone)?;
    let mut body = Vec::with_capacity(length);
    let here = length.min(early.len());
    body.extend_from_slice(early.get(..here).unwrap_or_default());
    early.advance(here);
    while body.len() < length {
        let missing = length - body.len();
        if socket.read_buf(&mut (&mut body).limit(missing)).await? == 0 {
            return Err(NoBody::Gone);
        }
    }
    Ok(body.into())
}

async fn read_chunked(
    socket: &mut (impl AsyncRead + Unpin),
    early: &mut BytesMut,
    bounds: Bounds<'_>,
    reserved: &mut Reserved,
) -> Result<Bytes, NoBody> {
    let mut decoder = Decoder::new();
    let mut body = Vec::new();
    let mut room = bounds.max.min(STEP as u64);
    loop {
        match decoder.next(early).map_err(|broken| NoBody::Fault(Fault::Malformed(broken)))? {
            Piece::End => {
                body.shrink_to_fit();
                return Ok(body.into());
            }
            Piece::Framing(bytes) => early.advance(bytes),
            Piece::Data(bytes) => {
                let length = (body.len() + bytes) as u64;
                if length > bounds.max {
                    return Err(NoBody::Fault(Fault::BodyTooLarge(bounds.max)));
                }
                while room < length {
                    // Doubled, as the buffer itself is.
                    let more = room.max(STEP as u64).min(bounds.max - room);
                    if !reserved.grow(more, bounds.inflight) {
                        return Err(NoBody::Fault(Fault::NoMemory));
                    }
                    room += more;
                }
                body.extend_from_slice(early.get(..bytes).unwrap_or_default());
                early.advance(bytes);
            }
        }
        if early.is_empty() && !decoder.is_done() {
            early.reserve(STEP);
            if socket.read_buf(&mut early.limit(STEP)).await? == 0 {
                return Err(NoBody::Gone);
            }
        }
    }
}

/// Reads and throws away what a refused sender still writes, at most `bytes`, so that the close behind it does not
/// reset the connection before the answer was read. The caller limits the time.
pub(super) async fn discard(socket: &mut (impl AsyncRead + Unpin), bytes: usize) {
    let mut scrap = vec![0; 4 << 10];
    let mut left = bytes;
    while left > 0 {
        let room = left.min(scrap.len());
        match socket.read(scrap.get_mut(..room).unwrap_or_default()).await {
            Ok(0) | Err(_) => return,
            Ok(read) => left -= read,
        }
    }
}
