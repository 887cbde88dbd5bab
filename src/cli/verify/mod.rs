//! `hooklatch verify`: would a request that was captured be let in? One raw HTTP request, or many as lines of JSON.

mod capture;

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, StdinLock};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::human;
use super::out::{Failure, Out, Outcome};
use super::providers::{self, CatalogArgs};
use super::simulator::SecretArgs;
use super::vector::{self, Labels, Vector};
use crate::clock::{Clock, Millis};
use crate::config::Catalog;
use crate::secret::Secret;
use crate::select::Message;
use crate::units::format_duration;
use crate::verify::explain::{Case, explain};
use crate::verify::{NamedSecret, Provider, Refusal, Verified, Verifier};
use capture::Capture;

/// The largest captured request, and the longest line of `--jsonl`, bytes.
const MAX_BYTES: u64 = 256 << 20;

/// Checks captured requests: does the signature hold, and if not, why.
#[derive(clap::Args, Debug)]
#[command(
    mut_group("SecretArgs", |group| group.required(false)),
    after_help = "FILE holds one HTTP/1.1 request as it came: request line, headers, an empty line, the body byte for \
                  byte.\nA line of --jsonl is an object with provider, secret, method, url, headers, body or \
                  body_base64, and now (UNIX seconds; null: the time is not checked; absent: the clock).\nIt is \
                  answered by one line: {\"provider\",\"name\",\"verified\",\"outcome\",\"error\",\"message\"}.\n\n\
                  Example:\n  hooklatch verify -p stripe --secret-env STRIPE_SECRET request.http"
)]
pub struct Args {
    /// A captured request, or - for standard input
    #[arg(required_unless_present = "jsonl")]
    file: Option<PathBuf>,
    /// The provider that sent it
    #[arg(short, long, value_name = "P", required_unless_present = "jsonl")]
    provider: Option<String>,
    /// The whole public URL that the provider was given [default: https://, the Host header and the target]
    #[arg(long, value_name = "U")]
    url: Option<String>,
    /// The time of the check in UNIX seconds [default: now]
    #[arg(long, value_name = "UNIX", value_parser = unix_time)]
    now: Option<Millis>,
    #[command(flatten)]
    secret: SecretArgs,
    /// Check many: a file with one JSON object a line, or - for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "provider", "url", "now", "SecretArgs"])]
    jsonl: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    catalog: CatalogArgs,
}

/// Prints whether the request would be let in; with `--jsonl` one answer a line, in the order of the input.
///
/// # Errors
/// One request: it is refused (after the answer). Many: only an input that cannot be read; a line that makes no sense
/// is answered like one that is refused.
pub fn run(args: &Args, out: &mut Out) -> Outcome {
    let catalog = args.catalog.load()?;
    if let Some(path) = &args.jsonl {
        return many(path, &catalog, out);
    }
    let (Some(file), Some(name)) = (&args.file, &args.provider) else {
        return Err(Failure::usage("name a provider and a file, or --jsonl FILE"));
    };
    let provider = providers::find(&catalog, name)?;
    let secret = args.secret.load()?;
    let mut bytes = Vec::new();
    let unreadable =
        |error: std::io::Error| Failure::failed(format!("cannot read {}: {error}", file.display()));
    open(file).map_err(unreadable)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Failure::failed("the request is larger than 256 MiB"));
    }
    let capture =
        Capture::parse(&bytes).map_err(|why| Failure::failed(format!("{}: {why}", file.display())))?;
    let url = args.url.as_deref().map_or_else(|| Cow::Owned(capture.url()), Cow::Borrowed);
    let now = args.now.unwrap_or_else(|| Clock::system().now());
    let question =
        Question { provider: &provider, message: capture.message(&url), now, notes: &capture.notes };
    one(&question, secret, &catalog, args.json, out)
}

/// One request, and what it is to be checked against.
struct Question<'a> {
    provider: &'a Arc<Provider>,
    message: Message<'a>,
    now: Millis,
    /// What is odd about the file.
    notes: &'a [String],
}

fn one(question: &Question<'_>, secret: Secret, catalog: &Catalog, json: bool, out: &mut Out) -> Outcome {
    let Question { provider, message, now, .. } = question;
    let secrets = named(&[secret]);
    let verifier = verifier(provider, &secrets).map_err(Failure::Usage)?;
    let checked = verifier.verify(message, *now);
    let refused = checked.is_err();
    if json {
        let found = checked.map(drop).map_err(Wrong::Refused);
        out.line(answer(&Value::from(&*provider.name), &Value::Null, provider.scheme.binds_body(), found))?;
    } else {
        match checked {
            Ok(verified) => accepted(provider, verified, *now, out)?,
            Err(refusal) => why(&refusal, question, &secrets, catalog, out)?,
        }
    }
    if refused { Err(Failure::Silent) } else { Ok(()) }
}

fn accepted(provider: &Provider, verified: Verified, now: Millis, out: &mut Out) -> Outcome {
    let (display, binds) = (&provider.display_name, provider.scheme.binds_body());
    out.line(if binds {
        format!("verified: {display} sent this request, and nobody changed its body")
    } else {
        format!("authenticated: {display} sent this request; its scheme does not protect the body")
    })?;
    if let Some(time) = verified.timestamp {
        let (off, way) = if time > now { (time.since(now), "ahead of") } else { (now.since(time), "behind") };
        out.line(format_args!("  signed at {}, {} {way} the clock", time.rfc3339(), format_duration(off)))?;
    }
    Ok(())
}

/// Says why a request is refused: which step failed, and which of the usual causes explains it.
fn why(
    refusal: &Refusal,
    question: &Question<'_>,
    secrets: &[NamedSecret],
    catalog: &Catalog,
    out: &mut Out,
) -> Outcome {
    out.line(format_args!("refused: {}", refusal.kind.word()))?;
    out.line(format_args!("  {}", human::printable(&refusal.message, false)))?;
    out.line(format_args!("  the URL that was checked: {}", human::printable(question.message.url, false)))?;
    for note in question.notes {
        out.line(format_args!("  {}", human::printable(note, false)))?;
    }
    let providers: Vec<_> = catalog.all().cloned().collect();
    let explanation = explain(&Case {
        message: question.message,
        at: question.now,
        scheme: &question.provider.scheme,
        secrets,
        others: &[],
        providers: &providers,
    });
    if explanation.causes.is_empty() {
        return out.line(format_args!("\n{}", human::printable(&explanation.otherwise, false)));
    }
    out.line("\nwhy:")?;
    for cause in &explanation.causes {
        out.line(format_args!("  {}", human::printable(&cause.message, false)))?;
    }
    Ok(())
}

/// What keeps a line from being verified.
enum Wrong {
    /// The request is not what its scheme asks for.
    Refused(Refusal),
    /// It could not be asked at all: a word for the kind, and a sentence.
    Line(&'static str, String),
}

/// Answers every line of the file.
fn many(path: &Path, catalog: &Catalog, out: &mut Out) -> Outcome {
    let unreadable =
        |error: std::io::Error| Failure::failed(format!("cannot read {}: {error}", path.display()));
    let mut input = open(path).map_err(unreadable)?;
    let clock = Clock::system();
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = input.by_ref().take(MAX_BYTES).read_until(b'\n', &mut line).map_err(unreadable)?;
        if read == 0 {
            return Ok(());
        }
        let whole = line.ends_with(b"\n") || (read as u64) < MAX_BYTES;
        if !line.trim_ascii().is_empty() {
            out.line(judge(&line, whole, catalog, &clock))?;
        }
        if !whole {
            input.skip_until(b'\n').map_err(unreadable)?;
        }
        // Who sends line by line waits for each answer; who sends a file does not.
        if input.buffer().is_empty() {
            out.flush()?;
        }
    }
}

/// The answer to one line.
fn judge(line: &[u8], whole: bool, catalog: &Catalog, clock: &Clock) -> Value {
    let malformed = |why: String| Wrong::Line("malformed_line", why);
    if !whole {
        let wrong = malformed("the line is longer than 256 MiB".to_owned());
        return answer(&Value::Null, &Value::Null, false, Err(wrong));
    }
    let labels = match Labels::read(line) {
        Ok(labels) => labels,
        Err(why) => return answer(&Value::Null, &Value::Null, false, Err(malformed(why))),
    };
    let vector = match Vector::read(line) {
        Ok(vector) => vector,
        Err(why) => return answer(&labels.provider, &labels.name, false, Err(malformed(why))),
    };
    let Some(provider) = catalog.get(&vector.provider) else {
        let why = providers::unknown(catalog, &vector.provider);
        let wrong = Wrong::Line("unknown_provider", why);
        return answer(&labels.provider, &labels.name, false, Err(wrong));
    };
    let found = verifier(provider, &named(&vector.secrets))
        .map_err(|why| Wrong::Line("unusable_secret", why))
        .and_then(|verifier| vector.check(&verifier, clock).map(drop).map_err(Wrong::Refused));
    answer(&labels.provider, &labels.name, provider.scheme.binds_body(), found)
}

/// One line of the output, as the contract says.
fn answer(provider: &Value, name: &Value, binds_body: bool, found: Result<(), Wrong>) -> Value {
    let (outcome, error, message, field) = match found {
        Ok(_) if binds_body => ("verified", None, None, None),
        Ok(_) => ("authenticated", None, None, None),
        Err(Wrong::Refused(refusal)) => {
            ("refused", Some(refusal.kind.word()), Some(refusal.message), refusal.field)
        }
        Err(Wrong::Line(word, sentence)) => ("refused", Some(word), Some(sentence), None),
    };
    json!({
        "provider": provider,
        "name": name,
        "verified": error.is_none(),
        "outcome": outcome,
        "error": error,
        "message": message,
        "field": field,
    })
}

/// The secrets by their position.
fn named(secrets: &[Secret]) -> Vec<NamedSecret> {
    let name =
        |(secret, at): (&Secret, u32)| NamedSecret { name: format!("{at}").into(), secret: secret.clone() };
    secrets.iter().zip(1..).map(name).collect()
}

fn verifier(provider: &Arc<Provider>, secrets: &[NamedSecret]) -> Result<Verifier, String> {
    Verifier::new(Arc::clone(&provider.scheme), secrets).map_err(|wrong| wrong.join("\n"))
}

enum Input {
    File(File),
    Stdin(StdinLock<'static>),
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Stdin(stdin) => stdin.read(buffer),
        }
    }
}

/// The file, or standard input for `-`.
fn open(path: &Path) -> std::io::Result<BufReader<Input>> {
    let input = match path.as_os_str() == "-" {
        true => Input::Stdin(std::io::stdin().lock()),
        false => Input::File(File::open(path)?),
    };
    Ok(BufReader::new(input))
}

fn unix_time(text: &str) -> Result<Millis, String> {
    let seconds: f64 = text.parse().map_err(|_| "write UNIX seconds, like 1700000000".to_owned())?;
    vector::moment(seconds).ok_or_else(|| "no such moment; write UNIX seconds, like 1700000000".to_owned())
}

#[cfg(test)]
mod tests;
