//! Requests rendered beforehand: GitHub's, signed, with bodies of 1 KiB.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The secret of the routes that are measured.
pub const SECRET: &str = "bench-secret";
/// So many different bodies, each with its own signature: more than a processor's caches hold.
const VARIANTS: u64 = 4096;
/// Digits of an id, at its place in the head.
const ID_DIGITS: usize = 16;

/// A pool of requests. GitHub signs the body and not the delivery's id, so a request gets an id of its own, by
/// writing its digits into a rendered head, and its signature stays right.
pub struct Requests {
    rendered: Vec<Vec<u8>>,
    id_at: usize,
    /// How many bytes of a request are headers and body.
    pub bytes: usize,
}

impl Requests {
    /// For `POST path` on `host`, with bodies of so many bytes (some more where that is less than they need).
    pub fn render(host: &str, path: &str, body: usize) -> Self {
        let rendered: Vec<_> = (0..VARIANTS).map(|variant| render(host, path, body, variant)).collect();
        let id_at = position(&rendered[0], b"X-GitHub-Delivery: bench-") + b"X-GitHub-Delivery: bench-".len();
        let bytes = rendered[0].len() - position(&rendered[0], b"\r\n") - 2;
        Self { rendered, id_at, bytes }
    }

    /// Writes the request numbered `number` over `buffer`.
    pub fn write(&self, number: u64, run: u32, buffer: &mut Vec<u8>) {
        buffer.clear();
        buffer.extend_from_slice(&self.rendered[(number % VARIANTS) as usize]);
        // 48 bits of the number, 16 of the run: no two events of a bench have one id.
        let mut id = (number << 16) | u64::from(run & 0xffff);
        for digit in buffer[self.id_at..self.id_at + ID_DIGITS].iter_mut().rev() {
            *digit = b"0123456789abcdef"[(id & 15) as usize];
            id >>= 4;
        }
    }
}

fn position(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).position(|window| window == part).unwrap()
}

fn render(host: &str, path: &str, size: usize, variant: u64) -> Vec<u8> {
    let mut body = format!("{{\"ref\":\"refs/heads/main\",\"variant\":{variant},\"padding\":\"");
    while body.len() + 2 < size {
        body.push(char::from(b'a' + ((body.len() as u64 * 31 + variant) % 26) as u8));
    }
    body.push_str("\"}");
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let signature = hex::encode(mac.finalize().into_bytes());
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nContent-Type: application/json\r\n\
         User-Agent: GitHub-Hookshot/bench\r\nX-GitHub-Delivery: bench-{}\r\nX-GitHub-Event: push\r\n\
         X-GitHub-Hook-ID: 1\r\nX-Hub-Signature-256: sha256={signature}\r\nContent-Length: {}\r\n\r\n{body}",
        "0".repeat(ID_DIGITS),
        body.len(),
    )
    .into_bytes()
}
