//! The real `hooklatch run`, with a configuration in a folder of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::http::{Connection, Response, request};
use super::{SOON, wait_for, wait_until};

/// The admin token of every gateway here.
pub const ADMIN_TOKEN: &str = "canary-admin-token-0123456789";

/// What a gateway is started with.
pub struct Setup {
    server: String,
    admin: String,
    buffer: String,
    rest: String,
    /// The file has no other lines than `rest`.
    whole: bool,
    /// The admin listener has a port to wait for.
    admin_port: bool,
    env: Vec<(String, String)>,
    store: &'static str,
    /// The buffer's folder, where it is not `data` in the test's own.
    data: Option<PathBuf>,
    /// A command that runs the process: `strace -D … hooklatch run …`.
    under: Vec<String>,
}

impl Setup {
    /// `toml` is everything but `[server]`, `[admin]` and `[buffer]`; those have the lines that tests need
    /// (ports chosen by the system, memory store) and what [`Setup::server`] and the like add.
    pub fn new(toml: &str) -> Self {
        Self {
            server: String::new(),
            admin: format!("token = {{ value = \"{ADMIN_TOKEN}\" }}\n"),
            buffer: String::new(),
            rest: toml.to_owned(),
            whole: false,
            admin_port: true,
            env: Vec::new(),
            store: "memory",
            data: None,
            under: Vec::new(),
        }
    }

    /// `toml` is the whole file, and the process runs in the folder it stands in.
    pub fn whole(toml: &str) -> Self {
        Self { whole: true, ..Self::new(toml) }
    }

    /// More lines of `[server]`; `$DIR` there, as everywhere, is the test's own folder.
    pub fn server(mut self, lines: &str) -> Self {
        self.server.push_str(lines);
        self.server.push('\n');
        self
    }

    /// More lines of `[buffer]`.
    pub fn buffer(mut self, lines: &str) -> Self {
        self.buffer.push_str(lines);
        self.buffer.push('\n');
        self
    }

    /// Replaces `$name` in the configuration.
    pub fn set(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.rest = self.rest.replace(&format!("${name}"), value.as_ref());
        self
    }

    /// The admin listener is a unix socket, or there is none.
    pub fn without_admin_port(self) -> Self {
        Self { admin_port: false, ..self }
    }

    /// The datagram socket of a service manager, `NOTIFY_SOCKET`.
    pub fn notify(self, socket: &Path) -> Self {
        self.env("NOTIFY_SOCKET", &socket.display().to_string())
    }

    /// Sets an environment variable of the process.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `buffer.store`; `"memory"` where this is not called.
    pub fn store(self, store: &'static str) -> Self {
        Self { store, ..self }
    }

    /// `buffer.path`, for a buffer that lies elsewhere than in the test's own folder.
    pub fn data(self, path: &Path) -> Self {
        Self { data: Some(path.to_owned()), ..self }
    }

    /// Runs the process by a command that `exec`s it in the process it was itself started in, as `strace -D` does.
    pub fn under(mut self, command: &[&str]) -> Self {
        self.under = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    fn render(&self, dir: &Path) -> String {
        if self.whole {
            return self.rest.clone();
        }
        let listen = if self.server.contains("listen =") { "" } else { "listen = [\"127.0.0.1:0\"]\n" };
        let toml = format!(
            "[server]\n{listen}{}\n[admin]\nlisten = \"127.0.0.1:0\"\n{}\n[buffer]\nstore = \"{}\"\npath = \"{}\"\n{}\n{}",
            self.server,
            self.admin,
            self.store,
            self.data.clone().unwrap_or_else(|| dir.join("data")).display(),
            self.buffer,
            self.rest,
        );
        toml.replace("$DIR", &dir.display().to_string())
    }

    /// Starts the process and waits until it listens.
    #[track_caller]
    pub fn start(self) -> Gateway {
        let dir = tempfile::Builder::new().prefix("hooklatch-test-").tempdir().unwrap();
        let config = dir.path().join("hooklatch.toml");
        std::fs::write(&config, self.render(dir.path())).unwrap();
        let (child, log) = self.spawn(dir.path(), &config);
        let (http, admin) = (Vec::new(), None);
        let mut gateway = Gateway { child, dir, config, setup: self, log, earlier: Vec::new(), http, admin };
        gateway.learn_addresses();
        gateway
    }

    fn spawn(&self, dir: &Path, config: &Path) -> (Child, Log) {
        let program = program();
        let mut command = match self.under.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.arg("run").arg("-c").arg(config);
        command.env_remove("STATE_DIRECTORY").env_remove("NOTIFY_SOCKET").env_remove("CREDENTIALS_DIRECTORY");
        if self.whole {
            command.env_clear().current_dir(dir);
        }
        command.envs(self.env.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Log::default();
        collect(child.stdout.take().unwrap(), &log);
        collect(child.stderr.take().unwrap(), &log);
        (child, log)
    }
}

type Log = Arc<Mutex<Vec<String>>>;

/// The binary under test: the one that was built with the tests, or the one that `HOOKLATCH_BIN` names.
pub(super) fn program() -> PathBuf {
    std::env::var_os("HOOKLATCH_BIN").map_or_else(|| env!("CARGO_BIN_EXE_hooklatch").into(), PathBuf::from)
}

/// A line of `log.format = "text"`: `TIME LEVEL MSG KEY=VALUE …`.
fn fields_of_text(line: &str) -> Value {
    let fields = line.split(' ').filter_map(|word| word.split_once('='));
    let mut fields: serde_json::Map<_, _> =
        fields.map(|(key, value)| (key.to_owned(), value.trim_matches('"').into())).collect();
    fields.insert("msg".to_owned(), line.split(' ').nth(2).into());
    Value::Object(fields)
}

fn collect(stream: impl Read + Send + 'static, log: &Log) {
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            log.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
        }
    });
}

/// A running gateway. Killed (SIGKILL) when it is dropped; a test that fails prints its configuration and log.
pub struct Gateway {
    child: Child,
    dir: tempfile::TempDir,
    config: PathBuf,
    setup: Setup,
    log: Log,
    /// What the processes said that ran before this one.
    earlier: Vec<String>,
    http: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
}

impl Gateway {
    #[track_caller]
    fn learn_addresses(&mut self) {
        let end = Instant::now() + SOON;
        loop {
            for line in self.log_lines() {
                self.learn_address(&line);
            }
            if !self.http.is_empty() && (self.admin.is_some() || !self.setup.admin_port) {
                return;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                std::thread::sleep(Duration::from_millis(50));
                panic!("hooklatch ended ({status}) before it listened");
            }
            assert!(Instant::now() < end, "hooklatch did not say in {SOON:?} where it listens");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `{"msg":"listening","listener":"…","address":"127.0.0.1:PORT"}`
    fn learn_address(&mut self, line: &str) {
        let json = serde_json::from_str::<Value>(line).unwrap_or_else(|_| fields_of_text(line));
        if json["msg"] != "listening" {
            return;
        }
        let Some(address) = json["address"].as_str().and_then(|text| text.parse().ok()) else { return };
        match json["listener"].as_str() {
            Some("admin") => self.admin = Some(address),
            Some("metrics") => {}
            _ if self.http.contains(&address) => {}
            _ => self.http.push(address),
        }
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The first listener.
    pub fn address(&self) -> SocketAddr {
        self.http[0]
    }

    /// The admin listener.
    pub fn admin(&self) -> SocketAddr {
        self.admin.unwrap()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// The folder of this test.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The configuration's file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Everything logged so far, standard output and standard error together.
    pub fn log_lines(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The first log line in JSON that `matches`.
    #[track_caller]
    pub fn wait_for_log(&self, what: &str, matches: impl Fn(&Value) -> bool) -> Value {
        wait_for(&format!("the log says: {what}"), SOON, || {
            self.log_lines()
                .iter()
                .filter_map(|line| serde_json::from_str(line).ok())
                .find(|json| matches(json))
        })
    }

    /// One request over a connection of its own.
    #[track_caller]
    pub fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.connect().send(&request(method, target, headers, body))
    }

    /// A connection to the first listener.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        Connection::open(self.address())
    }

    /// An authorised request to the admin listener.
    #[track_caller]
    pub fn admin_request(&self, method: &str, target: &str, body: &str) -> Response {
        let token = format!("Bearer {ADMIN_TOKEN}");
        let host = self.admin().to_string();
        let mut headers = vec![("Host", host.as_str()), ("Authorization", token.as_str())];
        if !body.is_empty() {
            headers.push(("Content-Type", "application/json"));
        }
        Connection::open(self.admin()).send(&request(method, target, &headers, body.as_bytes()))
    }

    /// `GET` of the admin API, as JSON.
    #[track_caller]
    pub fn admin_get(&self, target: &str) -> Value {
        let response = self.admin_request("GET", target, "");
        assert_eq!(response.status, 200, "{target}: {}", response.text());
        response.json()
    }

    /// The value of one time series of `/metrics`, written as there: `name{label="value"}`; 0 where there is none.
    #[track_caller]
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.admin_request("GET", "/metrics", "").text();
        text.lines()
            .filter_map(|line| line.rsplit_once(' '))
            .find(|(name, _)| *name == series)
            .map_or(0.0, |(_, value)| value.parse().unwrap())
    }

    /// Replaces the configuration's file: `toml` as for [`Setup::new`].
    pub fn rewrite(&mut self, toml: &str) {
        toml.clone_into(&mut self.setup.rest);
        std::fs::write(&self.config, self.setup.render(self.dir.path())).unwrap();
    }

    /// SIGKILL, and the end of the process.
    #[track_caller]
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait_for_exit(SOON);
    }

    /// Starts it anew, with the same configuration in the same folder (and on other ports); the one before has ended.
    #[track_caller]
    pub fn start_again(&mut self) {
        let (child, log) = self.setup.spawn(self.dir.path(), &self.config);
        let before = std::mem::replace(&mut self.log, log);
        self.earlier.append(&mut before.lock().unwrap());
        (self.child, self.http, self.admin) = (child, Vec::new(), None);
        self.learn_addresses();
    }

    /// Whether the process has not ended.
    pub fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().cast_signed()).unwrap(), signal).unwrap();
    }

    /// Waits for the end of the process.
    #[track_caller]
    pub fn wait_for_exit(&mut self, bound: Duration) -> ExitStatus {
        let mut status = None;
        let child = &mut self.child;
        wait_until("hooklatch ended", bound, || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let config = std::fs::read_to_string(&self.config).unwrap_or_default();
            eprintln!("---- {}\n{config}\n---- log", self.config.display());
            // A test under load, and one of many processes, logs more than anybody reads.
            let mut lines = std::mem::take(&mut self.earlier);
            lines.extend(self.log_lines());
            for line in lines.iter().skip(lines.len().saturating_sub(300)) {
                eprintln!("{line}");
            }
            eprintln!("----");
        }
    }
}
