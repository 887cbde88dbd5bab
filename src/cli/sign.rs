//! `hooklatch sign`: the headers a provider would send with a body.

use std::io::Read;

use super::out::{Failure, Out, Outcome};
use super::providers::CatalogArgs;
use super::simulator::{SigningArgs, Simulator};
use crate::headers::Headers;

/// The largest body that is signed, bytes.
const MAX_BODY: u64 = 256 << 20;

/// Prints what a provider would sign standard input with, ready for curl
#[derive(clap::Args, Debug)]
#[command(
    mut_group("SecretArgs", |group| group.required(false)),
    after_help = "Example:\n  hooklatch sign -p github --secret-env GITHUB_SECRET < body.json | \\\n    \
                        xargs curl -i http://127.0.0.1:8080/webhooks/github --data-binary @body.json"
)]
pub struct Args {
    /// The provider
    #[arg(short, long, value_name = "P")]
    provider: String,
    /// The whole public URL, for providers that sign it
    #[arg(long, value_name = "U")]
    url: Option<String>,
    #[command(flatten)]
    secret: SigningArgs,
    #[command(flatten)]
    catalog: CatalogArgs,
}

/// Reads the body from standard input.
///
/// # Errors
/// A provider, a secret or a body that will not do.
pub fn run(args: &Args, out: &mut Out) -> Outcome {
    let simulator = Simulator::new(&args.catalog.load()?, &args.provider, args.secret.load()?)?;
    if args.url.is_none() && simulator.signs_url() {
        return Err(Failure::usage(format!("{} signs the URL too; give it with --url U", args.provider)));
    }
    let mut body = Vec::new();
    std::io::stdin()
        .take(MAX_BODY + 1)
        .read_to_end(&mut body)
        .map_err(|error| Failure::failed(format!("cannot read the body from standard input: {error}")))?;
    if body.len() as u64 > MAX_BODY {
        return Err(Failure::failed("the body is larger than 256 MiB"));
    }
    let url = args.url.as_deref().unwrap_or("http://localhost/");
    let signature =
        simulator.sign(url, &Headers::default(), &body, &simulator.fresh_id(), simulator.now())?;
    for (name, value) in signature.headers.iter() {
        let line = format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        out.line(format_args!("-H {}", quoted(&line)))?;
    }
    // Where the signature is a part of what is sent, curl gets that instead.
    if let Some(url) = &signature.url {
        out.line(format_args!("--url {}", quoted(url)))?;
    }
    if let Some(body) = &signature.body {
        out.line(format_args!("--data-raw {}", quoted(&String::from_utf8_lossy(body))))?;
    }
    Ok(())
}

/// `text` in single quotes, as a shell reads it back.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_stays_one_word_for_a_shell() {
        assert_eq!(quoted("X-A: it's"), r"'X-A: it'\''s'");
    }
}
