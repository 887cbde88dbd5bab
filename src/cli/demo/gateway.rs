//! The demonstration's gateway: the real `hooklatch run` with a configuration in a folder of its own.

use std::fs::{DirBuilder, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc;

use super::super::out::Failure;

/// The secret that the demonstration shares with itself. It guards nothing.
pub const SECRET: &str = "demo-secret";
/// Where the events go.
pub const PATH: &str = "/webhooks/stripe";

/// A running gateway and its folder; both are gone when the demonstration ends.
pub struct Gateway {
    child: Mutex<Child>,
    dir: PathBuf,
    http: SocketAddr,
    admin: SocketAddr,
}

fn config(app: SocketAddr, dir: &Path) -> String {
    format!(
        r#"[server]
listen = ["127.0.0.1:0"]

[admin]
listen = "127.0.0.1:0"

[buffer]
store = "memory"
path  = "{}"

[routes.stripe]
path       = "{PATH}"
provider   = "stripe"
secrets    = [{{ value = "{SECRET}" }}]
deliver_to = ["app"]

[routes.everything_else]
path     = "/*"
proxy_to = "http://{app}"

[destinations.app]
url = "http://{app}"
"#,
        dir.join("data").display()
    )
}

impl Gateway {
    /// Starts it in front of `app` and waits until it listens.
    pub async fn start(app: SocketAddr) -> Result<Self, Failure> {
        let failed =
            |error: std::io::Error| Failure::failed(format!("cannot prepare the demonstration: {error}"));
        let dir = std::env::temp_dir().join(format!("hooklatch-demo-{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&dir).map_err(failed)?;
        let file = dir.join("hooklatch.toml");
        std::fs::write(&file, config(app, &dir)).map_err(failed)?;
        let log = File::create(dir.join("gateway.log")).map_err(failed)?;
        let program = std::env::current_exe().map_err(failed)?;
        let mut child = Command::new(program)
            .arg("run")
            .arg("-c")
            .arg(&file)
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C goes to the demonstration, which then stops the gateway in good order.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let (tell, mut told) = mpsc::unbounded_channel();
        let log = std::sync::Arc::new(Mutex::new(log));
        for stream in [
            child.stdout.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
            child.stderr.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
        ] {
            let (tell, log) = (tell.clone(), std::sync::Arc::clone(&log));
            std::thread::spawn(move || {
                if let Some(stream) = stream {
                    copy_log(stream, &log, &tell);
                }
            });
        }
        drop(tell);
        let addresses = tokio::time::timeout(Duration::from_secs(20), listening(&mut told)).await;
        match addresses {
            Ok(Some((http, admin))) => Ok(Self { child: Mutex::new(child), dir, http, admin }),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                let said = std::fs::read_to_string(dir.join("gateway.log")).unwrap_or_default();
                let _ = std::fs::remove_dir_all(&dir);
                Err(Failure::failed(format!("the gateway did not start:\n{said}")))
            }
        }
    }

    pub fn http(&self) -> SocketAddr {
        self.http
    }

    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    pub fn config_path(&self) -> PathBuf {
        self.dir.join("hooklatch.toml")
    }

    pub fn log_path(&self) -> PathBuf {
        self.dir.join("gateway.log")
    }

    pub fn token_path(&self) -> PathBuf {
        self.dir.join("data").join("admin-token")
    }

    /// Returns when the gateway has ended by itself.
    pub async fn ended(&self) -> ExitStatus {
        loop {
            if let Ok(Some(status)) = self.child.lock().try_wait() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Stops it in good order, or else by force, and removes its folder.
    pub async fn stop(&mut self) {
        let id = self.child.lock().id();
        if let Some(pid) = Pid::from_raw(id.cast_signed()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = tokio::time::timeout(Duration::from_secs(5), self.ended()).await;
    }
}

/// Also where the demonstration fails half-way: nothing is left behind.
impl Drop for Gateway {
    fn drop(&mut self) {
        let child = self.child.get_mut();
        let _ = child.kill();
        let _ = child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn copy_log(stream: impl Read, log: &Mutex<File>, tell: &mpsc::UnboundedSender<(String, SocketAddr)>) {
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let _ = writeln!(log.lock(), "{line}");
        if let Some(found) = listener_of(&line) {
            let _ = tell.send(found);
        }
    }
}

/// `{"msg":"listening","listener":"…","address":"127.0.0.1:PORT"}`
fn listener_of(line: &str) -> Option<(String, SocketAddr)> {
    let json: serde_json::Value = serde_json::from_str(line).ok()?;
    let word = |key: &str| json.get(key).and_then(|value| value.as_str());
    (word("msg") == Some("listening")).then_some(())?;
    Some((word("listener")?.to_owned(), word("address")?.parse().ok()?))
}

async fn listening(
    told: &mut mpsc::UnboundedReceiver<(String, SocketAddr)>,
) -> Option<(SocketAddr, SocketAddr)> {
    let (mut http, mut admin) = (None, None);
    while http.is_none() || admin.is_none() {
        match told.recv().await? {
            (name, address) if name == "admin" => admin = Some(address),
            (name, _) if name == "metrics" => {}
            (_, address) => http = Some(address),
        }
    }
    http.zip(admin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_learned_from_the_log() {
        let line =
            r#"{"ts":"x","level":"info","msg":"listening","listener":"admin","address":"127.0.0.1:5"}"#;
        assert_eq!(listener_of(line), Some(("admin".to_owned(), "127.0.0.1:5".parse().unwrap())));
        assert_eq!(listener_of(r#"{"msg":"stopping","listener":"admin","address":"127.0.0.1:5"}"#), None);
        assert_eq!(listener_of("plain text"), None);
    }
}
