//! The admin API of a running gateway, as the commands use it: where it is, the token, requests and their failures.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::Value;
use tokio::time::Instant;

use super::out::Failure;
use super::target::Target;
use crate::admin::AdminListen;
use crate::delivery::{Connector, HttpClient, Tls};
use crate::net::Resolver;
use crate::secret::{Secret, Source};

/// Where a configuration is looked for, in this order.
pub const CONFIG_PLACES: [&str; 2] = ["./conf/hooklatch.toml", "/etc/hooklatch/hooklatch.toml"];
/// The name of the generated token inside `buffer.path`.
const TOKEN_FILE: &str = "admin-token";
/// The largest answer that is read, bytes.
const MAX_ANSWER: usize = 256 << 20;
/// The gateway's admin API answers at once; a replay of very many events takes a while.
const TIMEOUT: Duration = Duration::from_secs(120);

/// How to reach a running gateway.
#[derive(clap::Args, Debug)]
pub struct Access {
    /// The gateway's configuration, for its admin address and token [default: ./conf/hooklatch.toml, then /etc/hooklatch/hooklatch.toml]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The admin address, http://HOST:PORT or unix:PATH, instead of the configuration's
    #[arg(long, value_name = "URL")]
    pub admin: Option<String>,
    /// A file with the admin token, instead of the configuration's
    #[arg(long, value_name = "PATH")]
    pub token_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The configuration's file: the one that was named, else the first that exists.
///
/// # Errors
/// None exists.
pub fn config_file(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    CONFIG_PLACES.iter().map(PathBuf::from).find(|path| path.exists()).ok_or_else(|| {
        Failure::usage(format!(
            "there is no configuration at {} or {}; name one with -c FILE",
            CONFIG_PLACES[0], CONFIG_PLACES[1]
        ))
    })
}

/// What of a configuration these commands need. The rest of the file may hold mistakes, or secrets that only the
/// gateway can read: it is not looked at.
#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct Excerpt {
    admin: AdminTable,
    buffer: BufferTable,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct AdminTable {
    listen: Option<String>,
    token: Option<SecretTable>,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct BufferTable {
    path: Option<PathBuf>,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct SecretTable {
    env: Option<String>,
    file: Option<PathBuf>,
    credential: Option<String>,
    value: Option<String>,
}

impl SecretTable {
    /// `folder` is the configuration's: a secret's file is named relative to it.
    fn source(self, folder: &Path) -> Option<Source> {
        let Self { env, file, credential, value } = self;
        env.map(Source::Env)
            .or(file.map(|file| Source::File(folder.join(file))))
            .or(credential.map(Source::Credential))
            .or(value.map(Source::Value))
    }
}

impl Excerpt {
    fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
        // The parser's own message would quote the line, which may hold a secret.
        toml::from_str(&text).map_err(|_| {
            Failure::usage(format!(
                "{} cannot be read as a configuration; `hooklatch check -c {}` says why",
                path.display(),
                path.display()
            ))
        })
    }

    /// Where the generated token lies: in `buffer.path`, whose default is what systemd or the working directory say.
    fn generated_token(&self) -> Vec<PathBuf> {
        match (&self.buffer.path, std::env::var_os("STATE_DIRECTORY")) {
            (Some(path), _) => vec![path.join(TOKEN_FILE)],
            (None, Some(state)) => vec![Path::new(&state).join(TOKEN_FILE)],
            (None, None) => {
                ["./hooklatch-data", "/var/lib/hooklatch"].map(|dir| Path::new(dir).join(TOKEN_FILE)).to_vec()
            }
        }
    }
}

/// A connection to the admin API.
pub struct Api {
    client: HttpClient,
    host: String,
    /// As a user would type it.
    address: String,
    token: Option<Secret>,
    /// Where the token came from or was looked for, for an error's text.
    token_place: String,
}

impl Api {
    /// Finds the admin API.
    ///
    /// # Errors
    /// No configuration, no address in it, a token that cannot be read.
    pub fn open(access: &Access) -> Result<Self, Failure> {
        let (excerpt, folder) = match config_file(access.config.as_deref()) {
            Ok(path) => (Excerpt::read(&path)?, path.parent().map(Path::to_owned).unwrap_or_default()),
            Err(_) if access.admin.is_some() => Default::default(),
            Err(failure) => return Err(failure),
        };
        let address = match &access.admin {
            Some(address) => address.clone(),
            None => address_of(excerpt.admin.listen.as_deref())?,
        };
        let target = Target::parse(&address).map_err(|why| Failure::usage(format!("--admin: {why}")))?;
        let generated = excerpt.generated_token();
        let (token, token_place) =
            token(access, excerpt.admin.token.and_then(|table| table.source(&folder)), &generated)?;
        let connector =
            Connector::new(&target.endpoint, Duration::from_secs(5), Resolver::system(), Tls::system());
        let client = HttpClient::new(connector, Duration::from_secs(4), 1);
        Ok(Self { client, host: target.host, address, token, token_place })
    }

    /// `GET` of `path`, which begins after `/api/v1/`.
    ///
    /// # Errors
    /// No answer, or one that is no success.
    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.request(Method::GET, path, None).await
    }

    /// `POST` to `path`, with `body` if there is one.
    ///
    /// # Errors
    /// No answer, or one that is no success.
    pub async fn post(&self, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        self.request(Method::POST, path, body).await
    }

    async fn request(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let mut builder = Request::builder()
            .method(method)
            .uri(format!("/api/v1/{path}"))
            .header("host", &self.host)
            .header("accept", "application/json");
        if !body.is_empty() {
            builder = builder.header("content-type", "application/json");
        }
        if let Some(token) = &self.token {
            let mut value =
                http::HeaderValue::from_bytes(&[b"Bearer ", token.expose()].concat()).map_err(|_| {
                    Failure::failed(format!("the token from {} cannot be sent", self.token_place))
                })?;
            value.set_sensitive(true);
            builder = builder.header("authorization", value);
        }
        let request = builder
            .body(Full::new(body))
            .map_err(|error| Failure::failed(format!("{path:?} cannot be asked for: {error}")))?;
        let deadline = Instant::now() + TIMEOUT;
        let answered = tokio::time::timeout_at(deadline, async {
            // A change that was made must not be made twice: only questions are asked again.
            let again = request.method().is_safe().then(|| request.clone());
            let reply = self.client.request(request, || again).await?;
            let status = reply.status.as_u16();
            Ok((status, reply.body(MAX_ANSWER, MAX_ANSWER, deadline).await.bytes))
        });
        match answered.await {
            Ok(Ok((status, bytes))) => self.judge(status, &bytes),
            Ok(Err(crate::delivery::NoAnswer { reason, .. })) => Err(self.unreachable(&reason)),
            Err(_) => Err(self.unreachable("no answer in 120 s")),
        }
    }

    fn judge(&self, status: u16, bytes: &[u8]) -> Result<Value, Failure> {
        let json: Value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
        if (200..300).contains(&status) {
            return Ok(json);
        }
        let message = json.get("message").and_then(Value::as_str);
        let message = super::human::printable(message.unwrap_or("no reason was given"), true);
        Err(Failure::failed(match status {
            401 => format!(
                "the gateway at {} asks for another token than {}.\nThe right one is its `admin.token`, or lies in \
                 the folder of `buffer.path` as {TOKEN_FILE}: --token-file PATH",
                self.address, self.token_place
            ),
            _ => format!("the gateway answered {status}: {message}"),
        }))
    }

    fn unreachable(&self, reason: &str) -> Failure {
        Failure::failed(format!(
            "the admin API at {} gives no answer: {reason}\nIs the gateway running (`hooklatch run`)? Where it listens \
             elsewhere, say so with -c FILE or --admin URL.",
            self.address
        ))
    }
}

fn address_of(listen: Option<&str>) -> Result<String, Failure> {
    match AdminListen::parse(listen.unwrap_or("127.0.0.1:4665")) {
        AdminListen::Unix(path) => Ok(format!("unix:{}", path.display())),
        AdminListen::Tcp(address) if address.ends_with(":0") => Err(Failure::usage(
            "`admin.listen` lets the system choose the port; name it with --admin URL (the gateway's log says it)",
        )),
        // Who listens on every address is reached on this machine.
        AdminListen::Tcp(address) => Ok(format!(
            "http://{}",
            address.replacen("0.0.0.0:", "127.0.0.1:", 1).replacen("[::]:", "[::1]:", 1)
        )),
        AdminListen::Off => Err(Failure::usage(
            "the admin API is turned off (`admin.listen = \"\"`), so nothing can be asked",
        )),
    }
}

/// The token and where it is from: the option's file, the configuration's, or the generated one.
fn token(
    access: &Access,
    configured: Option<Source>,
    generated: &[PathBuf],
) -> Result<(Option<Secret>, String), Failure> {
    let source = match &access.token_file {
        Some(path) => Some(Source::File(path.clone())),
        None => configured,
    };
    if let Some(source) = source {
        let secret = source.load().map_err(|error| Failure::failed(format!("the admin token: {error}")))?;
        return Ok((Some(secret), format!("the one from {source}")));
    }
    let mut looked = String::from("none was found in ");
    for (position, path) in generated.iter().enumerate() {
        if let Ok(secret) = Source::File(path.clone()).load() {
            return Ok((Some(secret), format!("the one from {}", path.display())));
        }
        let _ = write!(looked, "{}{}", if position == 0 { "" } else { " or " }, path.display());
    }
    Ok((None, format!("none ({looked})")))
}

/// `text` as a part of a query: everything but unreserved letters escaped.
#[must_use]
pub fn escape(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_is_read_of_a_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hooklatch.toml");
        std::fs::write(&path, "nonsense = 1\n[admin]\nlisten = \"127.0.0.1:1\"\ntoken = { value = \"t\" }\n[buffer]\npath = \"/d\"").unwrap();
        let excerpt = Excerpt::read(&path).unwrap();
        assert_eq!(excerpt.admin.listen.as_deref(), Some("127.0.0.1:1"));
        assert_eq!(excerpt.generated_token(), [PathBuf::from("/d/admin-token")]);
        assert_eq!(
            excerpt.admin.token.and_then(|table| table.source(dir.path())),
            Some(Source::Value("t".to_owned()))
        );
    }

    #[test]
    fn a_file_that_is_not_toml_is_not_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hooklatch.toml");
        std::fs::write(&path, "[admin]\ntoken = canary").unwrap();
        let Err(Failure::Usage(said)) = Excerpt::read(&path) else { panic!("it was read") };
        assert!(said.contains("hooklatch check") && !said.contains("canary"), "{said}");
    }

    #[test]
    fn the_address_is_the_one_a_client_can_reach() {
        assert_eq!(address_of(None).unwrap(), "http://127.0.0.1:4665");
        assert_eq!(address_of(Some("0.0.0.0:1")).unwrap(), "http://127.0.0.1:1");
        assert_eq!(address_of(Some("[::]:1")).unwrap(), "http://[::1]:1");
        assert_eq!(address_of(Some("unix:/a")).unwrap(), "unix:/a");
        assert!(address_of(Some("")).is_err() && address_of(Some("127.0.0.1:0")).is_err());
    }

    #[test]
    fn the_token_s_places_are_tried_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let generated = dir.path().join("admin-token");
        let access = |token_file| Access { config: None, admin: None, token_file, json: false };
        let places = [dir.path().join("none"), generated.clone()];
        let (none, place) = token(&access(None), None, &places).unwrap();
        assert!(none.is_none() && place.contains("admin-token"), "{place}");
        std::fs::write(&generated, "generated\n").unwrap();
        assert!(token(&access(None), None, &places).unwrap().0.unwrap().matches(b"generated"));
        let configured = Some(Source::Value("configured".to_owned()));
        assert!(token(&access(None), configured.clone(), &places).unwrap().0.unwrap().matches(b"configured"));
        let named = dir.path().join("named");
        assert!(token(&access(Some(named.clone())), configured.clone(), &places).is_err());
        std::fs::write(&named, "named").unwrap();
        assert!(token(&access(Some(named)), configured, &places).unwrap().0.unwrap().matches(b"named"));
    }
}
