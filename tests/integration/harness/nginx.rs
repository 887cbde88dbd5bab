//! nginx as the server in front of an app: TLS by certificates that are made when they are needed, HTTP/2.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{App, SOON, wait_until};

/// An authority with its certificates, made by openssl into a folder: `ca.pem`, and of each name `NAME.pem` and
/// `NAME.key`.
pub struct Authority {
    dir: PathBuf,
}

impl Authority {
    #[track_caller]
    pub fn new(dir: &Path) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let authority = Self { dir: dir.to_owned() };
        authority.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout ca.key -out ca.pem \
             -subj /CN=test-authority -addext basicConstraints=critical,CA:TRUE -addext keyUsage=keyCertSign",
        );
        authority
    }

    /// A certificate for `name`.
    #[track_caller]
    pub fn issue(&self, name: &str) -> &Self {
        let extensions = self.dir.join(format!("{name}.ext"));
        std::fs::write(&extensions, format!("subjectAltName=DNS:{name}\nbasicConstraints=CA:FALSE\n"))
            .unwrap();
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out {name}.pem -extfile {name}.ext"
        ));
        self
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    #[track_caller]
    fn openssl(&self, args: &str) {
        let made =
            Command::new("openssl").args(args.split_whitespace()).current_dir(&self.dir).output().unwrap();
        assert!(made.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&made.stderr));
    }
}

/// A running nginx, killed when it is dropped.
pub struct Nginx {
    child: Child,
    address: SocketAddr,
    dir: tempfile::TempDir,
}

impl Nginx {
    /// Starts nginx with the TLS of `authority`'s `name` in front of `app`; `listen` is what stands behind the address in
    /// its configuration (`"ssl http2"`), `more` further lines of the server.
    #[track_caller]
    pub fn start(authority: &Authority, name: &str, app: &App, listen: &str, more: &str) -> Self {
        let (dir, address) = (tempfile::tempdir().unwrap(), App::reserve());
        let place = dir.path().display();
        let mut config = format!(
            "daemon off;\nmaster_process off;\npid {place}/pid;\nerror_log {place}/error.log info;\n\
             events {{}}\nhttp {{\nlog_format of_test '$connection $server_protocol $status';\n\
             access_log {place}/access.log of_test;\nkeepalive_timeout 60s;\n"
        );
        for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            writeln!(config, "{kind}_temp_path {place}/{kind};").unwrap();
        }
        write!(
            config,
            "server {{\nlisten {address} {listen};\nssl_certificate {cert};\nssl_certificate_key {key};\n{more}\n\
             location / {{\nproxy_pass {app};\nproxy_set_header Host $host;\n\
             proxy_set_header X-Protocol $server_protocol;\nproxy_set_header X-Client $ssl_client_s_dn;\n\
             proxy_set_header X-Asked-For $ssl_server_name;\n}}\n}}\n}}\n",
            cert = authority.file(&format!("{name}.pem")).display(),
            key = authority.file(&format!("{name}.key")).display(),
            app = app.url(),
        )
        .unwrap();
        let file = dir.path().join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let child = Command::new("nginx")
            .env("PATH", path)
            .args(["-p", &dir.path().display().to_string(), "-c", &file.display().to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is needed for this test: tests/install.sh");
        let nginx = Self { child, address, dir };
        wait_until("nginx listens", SOON, || std::net::TcpStream::connect(address).is_ok());
        nginx
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Of each request so far: its connection, protocol and status.
    pub fn requests(&self) -> Vec<(String, String, String)> {
        let log = std::fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default();
        let line = |line: &str| {
            let mut words = line.split(' ').map(str::to_owned);
            Some((words.next()?, words.next()?, words.next()?))
        };
        log.lines().filter_map(line).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = std::fs::read_to_string(self.dir.path().join("error.log")).unwrap_or_default();
            eprintln!("---- nginx said\n{said}");
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
