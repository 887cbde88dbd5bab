//! Listeners bound by us, before anything else starts: an address in use is a sentence, port 0 can be read back, a
//! unix socket has its mode before anybody can connect.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, ready};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, SockAddr, Socket as RawSocket, Type};

use super::conn::Socket;
use super::settings::{ListenAddress, Listener, Peer};

/// Connections that wait to be accepted; the system lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A bound listener: connections queue from now on. A unix socket's file goes when it is dropped.
#[derive(Debug)]
pub struct Bound {
    socket: RawSocket,
    at: At,
}

#[derive(Debug)]
enum At {
    Tcp(SocketAddr),
    Unix(SocketFile),
}

/// The file of a unix socket of ours.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another process may have put its own there meanwhile.
        if std::fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Bound {
    /// Binds `listener` and begins to listen. Resolves a host name, so it may block; call it at start.
    ///
    /// # Errors
    /// A sentence that names the address and what to do.
    pub fn bind(listener: &Listener) -> Result<Self, String> {
        match &listener.address {
            ListenAddress::Tcp(address) => {
                bind_tcp(address).map_err(|error| format!("cannot listen on {address}: {}", explain(&error)))
            }
            ListenAddress::Unix(path) => bind_unix(path, listener.mode)
                .map_err(|error| format!("cannot listen on unix:{}: {}", path.display(), explain(&error))),
        }
    }

    /// The address of a TCP listener, with the port that the system chose for port 0.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        if let At::Tcp(address) = self.at { Some(address) } else { None }
    }

    /// A second handle on the same queue of connections, for another runtime. A unix socket's file stays the first
    /// one's.
    ///
    /// # Errors
    /// No more file descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        let at = match &self.at {
            At::Tcp(address) => At::Tcp(*address),
            At::Unix(file) => At::Unix(SocketFile { path: file.path.clone(), inode: 0 }),
        };
        Ok(Self { socket: self.socket.try_clone()?, at })
    }

    pub(super) fn into_accepting(self) -> io::Result<Accepting> {
        Ok(match self.at {
            At::Tcp(_) => Accepting::Tcp(tokio::net::TcpListener::from_std(self.socket.into())?),
            At::Unix(file) => Accepting::Unix(tokio::net::UnixListener::from_std(self.socket.into())?, file),
        })
    }
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "the address is in use, another process listens there".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "permission denied (ports below 1024 need CAP_NET_BIND_SERVICE)".to_owned()
        }
        _ => error.to_string(),
    }
}

fn bind_tcp(address: &str) -> io::Result<Bound> {
    let mut last = io::Error::other("the name has no address");
    for address in address.to_socket_addrs()? {
        match listen_tcp(address) {
            Ok(bound) => return Ok(bound),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn listen_tcp(address: SocketAddr) -> io::Result<Bound> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A restart must not wait for old connections in TIME_WAIT. No SO_REUSEPORT: a second process would take half
    // of the connections in silence.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let address = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok(Bound { socket, at: At::Tcp(address) })
}

fn bind_unix(path: &Path, mode: Option<u32>) -> io::Result<Bound> {
    remove_stale(path)?;
    let socket = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile { path: path.to_owned(), inode: std::fs::symlink_metadata(path)?.ino() };
    // Nobody can connect before `listen`, so nobody gets in under the umask's mode.
    if let Some(mode) = mode {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    socket.listen(BACKLOG)?;
    Ok(Bound { socket, at: At::Unix(file) })
}

/// Removes a socket's file that nobody listens on, and nothing else.
fn remove_stale(path: &Path) -> io::Result<()> {
    let file = match std::fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !file.file_type().is_socket() {
        return Err(io::Error::other(
            "a file that is no socket stands there; remove it or choose another path",
        ));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        // A full queue or a mode that keeps us out: somebody may well be there.
        Err(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// A listener on the runtime.
#[derive(Debug)]
pub(super) enum Accepting {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener, #[expect(dead_code, reason = "holds the socket's file")] SocketFile),
}

impl Accepting {
    pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Socket, Peer)>> {
        Poll::Ready(match self {
            Self::Tcp(listener) => ready!(listener.poll_accept(cx)).map(|(stream, address)| {
                // Fails only where the sender has gone, which the next read finds out.
                let _ = stream.set_nodelay(true);
                (Socket::Tcp(stream), Peer::Tcp(address))
            }),
            Self::Unix(listener, _) => {
                ready!(listener.poll_accept(cx)).map(|(stream, _)| (Socket::Unix(stream), Peer::Unix))
            }
        })
    }
}

/// What [`raise_open_files`] could get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// The limit now in force, `RLIMIT_NOFILE`.
    pub limit: u64,
    /// Connections that it allows: each may need one to an app, too.
    pub connections: usize,
}

/// Files kept for listeners, logs, the store and the like.
const OTHER_FILES: u64 = 128;

/// Raises `RLIMIT_NOFILE` as far as allowed and needed for `max_connections`. Gives how many connections the limit
/// then holds: at most `max_connections`, and where fewer, the caller says so.
#[must_use]
pub fn raise_open_files(max_connections: usize) -> OpenFiles {
    let wanted = (max_connections as u64).saturating_mul(2).saturating_add(OTHER_FILES);
    let now = getrlimit(Resource::Nofile);
    let soft = now.current.unwrap_or(u64::MAX);
    let hard = now.maximum.unwrap_or(u64::MAX);
    let mut limit = soft;
    if soft < wanted {
        let raised = wanted.min(hard);
        let wish = Rlimit { current: Some(raised), maximum: now.maximum };
        if raised > soft && setrlimit(Resource::Nofile, wish).is_ok() {
            limit = raised;
        }
    }
    let room = limit.saturating_sub(OTHER_FILES) / 2;
    OpenFiles {
        limit,
        connections: usize::try_from(room).unwrap_or(usize::MAX).clamp(1, max_connections.max(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(address: &str) -> Listener {
        Listener { address: ListenAddress::Tcp(address.to_owned()), mode: None }
    }

    fn unix(path: &Path, mode: Option<u32>) -> Listener {
        Listener { address: ListenAddress::Unix(path.to_owned()), mode }
    }

    #[test]
    fn the_port_that_the_system_chose_can_be_read_and_is_then_in_use() {
        let bound = Bound::bind(&tcp("127.0.0.1:0")).expect("bound");
        let address = bound.local_addr().expect("an address");
        assert_ne!(address.port(), 0);
        let error = Bound::bind(&tcp(&address.to_string())).expect_err("in use");
        assert_eq!(
            error,
            format!("cannot listen on {address}: the address is in use, another process listens there")
        );
        drop(bound);
        Bound::bind(&tcp(&address.to_string())).expect("free again");
    }

    #[test]
    fn an_address_that_is_none_is_a_sentence() {
        assert!(Bound::bind(&tcp("192.0.2.1:0")).expect_err("not ours").contains("no such address"));
        assert!(Bound::bind(&tcp("nonsense")).expect_err("no port").starts_with("cannot listen on nonsense"));
    }

    #[test]
    fn a_unix_socket_has_its_mode_and_goes_with_its_listener() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("in.sock");
        let bound = Bound::bind(&unix(&path, Some(0o620))).expect("bound");
        let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o620);
        let error = Bound::bind(&unix(&path, None)).expect_err("in use");
        assert!(error.contains("in use"), "{error}");
        drop(bound.try_clone().expect("a clone"));
        assert!(path.exists());
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_left_behind_is_replaced_and_another_file_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("in.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        assert!(path.exists());
        Bound::bind(&unix(&path, None)).expect("the stale one is removed");
        let other = folder.path().join("file");
        std::fs::write(&other, "precious").expect("written");
        assert!(Bound::bind(&unix(&other, None)).expect_err("no socket").contains("no socket"));
        assert_eq!(std::fs::read_to_string(&other).expect("still there"), "precious");
    }

    #[test]
    fn connections_never_exceed_what_the_files_allow() {
        let some = raise_open_files(10);
        assert_eq!(some.connections, 10);
        let many = raise_open_files(usize::MAX);
        assert!(many.connections as u64 * 2 + OTHER_FILES <= many.limit);
    }
}
