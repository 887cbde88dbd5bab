//! The blocks of a PEM text (RFC 7468), read leniently: a key that went through an environment variable is often on one
//! line, or has its line ends written out as `\n`.

use zeroize::Zeroizing;

use crate::verify::key::base64;

/// A block: `PUBLIC KEY`, and what stands in it.
pub(super) struct Block<'a> {
    pub(super) label: &'a str,
    pub(super) der: Zeroizing<Vec<u8>>,
}

/// Whether `text` is meant as PEM.
pub(super) fn is_pem(text: &str) -> bool {
    text.contains("-----BEGIN ")
}

/// The blocks in `text`, in order; text between them is skipped. `None` if one is broken.
pub(super) fn blocks(text: &str) -> Option<Vec<Block<'_>>> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, begin)) = rest.split_once("-----BEGIN ") {
        let (label, after) = begin.split_once("-----")?;
        let (body, after) = after.split_once("-----END ")?;
        rest = after.strip_prefix(label)?.strip_prefix("-----")?;
        let body = Zeroizing::new(body.replace("\\r", "").replace("\\n", ""));
        let digits: Zeroizing<Vec<u8>> =
            Zeroizing::new(body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect());
        blocks.push(Block { label, der: Zeroizing::new(base64(&digits)?) });
    }
    Some(blocks)
}
