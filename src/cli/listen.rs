//! `hooklatch listen`: a request bin to point a destination at.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::human::{printable, size};
use super::out::{Failure, Out, Outcome};
use crate::clock::Clock;
use crate::units::parse_duration;

/// The largest body that is taken, bytes.
const MAX_BODY: usize = 64 << 20;
/// How much of a body is shown, bytes.
const SHOWN: usize = 4 << 10;

/// Answers 200 to everything and prints what arrives.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Where to listen, HOST:PORT; port 0 lets the system choose
    #[arg(default_value = "127.0.0.1:3000")]
    address: String,
    /// The share of requests that is answered 500, like 0.1 or 10%
    #[arg(long, value_name = "RATE", value_parser = share, default_value = "0")]
    fail: f64,
    /// How long to wait before each answer, like 250ms
    #[arg(long, value_name = "D", value_parser = parse_duration, default_value = "0s")]
    delay: Duration,
}

fn share(text: &str) -> Result<f64, String> {
    let number = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map(|number| number / 100.0),
        None => text.parse(),
    };
    number
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "write a share like 0.1 or 10%".to_owned())
}

/// Runs until it is interrupted.
///
/// # Errors
/// An address that cannot be listened on.
pub fn run(args: &Args, mut out: Out) -> Outcome {
    let runtime = super::runtime()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(&args.address).await.map_err(|error| {
            Failure::failed(format!(
                "cannot listen on {}: {error}\nAnother address is the first argument: hooklatch listen 127.0.0.1:0",
                args.address
            ))
        })?;
        let address = listener.local_addr()?;
        out.line(format_args!("listening on http://{address} (Ctrl-C stops)"))?;
        out.flush()?;
        let bin = Arc::new(Bin { out: Mutex::new(out), fail: args.fail, owed: Mutex::new(0.0), delay: args.delay });
        tokio::select! {
            ended = serve(listener, Arc::clone(&bin)) => ended,
            () = super::interrupted() => Ok(()),
        }
    })
}

struct Bin {
    out: Mutex<Out>,
    fail: f64,
    /// The part of a failure that is owed: failures are spread evenly, so that the share is exact.
    owed: Mutex<f64>,
    delay: Duration,
}

impl Bin {
    fn fails_now(&self) -> bool {
        let mut owed = self.owed.lock();
        *owed += self.fail;
        if *owed >= 1.0 {
            *owed -= 1.0;
            return true;
        }
        false
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await.map(http_body_util::Collected::to_bytes);
        tokio::time::sleep(self.delay).await;
        let status = match &body {
            Err(_) => 400,
            Ok(_) if self.fails_now() => 500,
            Ok(_) => 200,
        };
        let mut lines = vec![format!(
            "{} {} {} → {status}, {} from {peer}",
            Clock::system().now().rfc3339(),
            head.method,
            printable(&head.uri.to_string(), false),
            body.as_ref().map_or_else(|_| "a broken body".to_owned(), |body| size(body.len() as u64)),
        )];
        for (name, value) in &head.headers {
            lines.push(format!("  {name}: {}", printable(&String::from_utf8_lossy(value.as_bytes()), false)));
        }
        if let Ok(body) = &body {
            lines.extend(shown_body(body));
        }
        lines.push(String::new());
        self.print(&lines.join("\n"));
        let mut response = Response::new(Full::new(Bytes::new()));
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::OK);
        response
    }

    fn print(&self, text: &str) {
        let mut out = self.out.lock();
        if out.line(text).and_then(|()| out.flush()).is_err() {
            // Nobody reads any more: a bin that shows nothing has no use.
            std::process::exit(0);
        }
    }
}

/// The start of a body, as text where it is text.
fn shown_body(body: &[u8]) -> Option<String> {
    if body.is_empty() {
        return None;
    }
    let start = body.get(..SHOWN).unwrap_or(body);
    let valid = start.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    // A letter cut in two by the bound is still text.
    let is_text = valid.len() + 4 > start.len();
    let shown = if is_text {
        printable(valid, true)
    } else {
        format!("{:02x?} …", start.get(..32).unwrap_or(start))
    };
    let more = body.len() - start.len();
    let rest = if more > 0 { format!("\n  … and {} more", size(more as u64)) } else { String::new() };
    Some(format!("\n{shown}{rest}"))
}

async fn serve(listener: TcpListener, bin: Arc<Bin>) -> Outcome {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(_) => {
                // Out of file descriptors, most likely: they come back as connections end.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let bin = Arc::clone(&bin);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let bin = Arc::clone(&bin);
                async move { Ok::<_, Infallible>(bin.answer(request, peer).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(90))
                .serve_connection(TokioIo::new(stream), service);
            // A sender that goes away is its own business.
            let _ = connection.await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_and_kept_exactly() {
        assert_eq!(share("10%"), Ok(0.1));
        assert_eq!(share("1"), Ok(1.0));
        for wrong in ["", "-1", "2", "101%", "x", "NaN"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
        let bin =
            Bin { out: Mutex::new(Out::stdout()), fail: 0.25, owed: Mutex::new(0.0), delay: Duration::ZERO };
        assert_eq!((0..400).filter(|_| bin.fails_now()).count(), 100);
    }

    #[test]
    fn bodies_are_shown_as_text_only_where_they_are() {
        assert_eq!(shown_body(b""), None);
        assert_eq!(shown_body(b"a\x1b[0m").unwrap(), "\na\\u{1b}[0m");
        assert!(shown_body(&[0xff; 40]).unwrap().starts_with("\n[ff, ff"));
        let long = "ü".repeat(3000);
        assert!(shown_body(long.as_bytes()).unwrap().ends_with("and 1.9 KiB more"));
    }
}
