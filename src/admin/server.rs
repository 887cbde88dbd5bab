//! The admin listener's own thread and runtime: it answers while every worker of the front door is busy.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, watch};

use super::api::Desk;
use super::beside::{self, Beside};
use super::guard::{Entrance, Tokens};
use super::listener::{Bound, Io, Listener};
use super::replay::Replays;
use super::settings::{AdminListen, AdminSettings};
use super::view::AdminView;
use crate::event::EventIds;

/// Connections of one listener at once; one more is closed at once.
const MAX_CONNECTIONS: usize = 64;
/// A head that is not there by then ends the connection; so does idleness.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest head, in bytes, and so of what is read ahead.
const MAX_HEAD: usize = 16 << 10;
const MAX_HEADERS: usize = 64;
/// After so long a connection is asked to end, after as long again it is cut: nobody holds one by reading slowly.
const CONNECTION_AGE: Duration = Duration::from_secs(120);
/// How long a stop waits for answers in flight.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// The running admin room. Dropped, it stops answering.
#[derive(Debug)]
pub struct AdminServer {
    address: Option<String>,
    metrics_address: Option<String>,
    tokens: Arc<ArcSwap<Tokens>>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// Binds what `settings` name and answers on a thread of its own. `tokens.full` is the configured token or the one
/// of [`super::load_or_create`].
///
/// # Errors
/// A sentence that names the address that cannot be bound, or a system without a thread to give.
pub fn serve(settings: &AdminSettings, tokens: Tokens, view: AdminView) -> Result<AdminServer, String> {
    let view = Arc::new(view);
    let tokens = Arc::new(ArcSwap::from_pointee(tokens));
    let refused = |key: &str, address: &str, error: io::Error| format!("{key} = {address:?}: {error}");
    let admin = match &settings.listen {
        AdminListen::Off => None,
        AdminListen::Tcp(address) => {
            let host = address.rsplit_once(':').map_or("", |(host, _)| host).to_owned();
            let bound = Bound::tcp(address).map_err(|error| refused("admin.listen", address, error))?;
            Some((bound, host))
        }
        AdminListen::Unix(path) => {
            let address = format!("unix:{}", path.display());
            let bound = Bound::unix(path).map_err(|error| refused("admin.listen", &address, error))?;
            Some((bound, String::new()))
        }
    };
    let metrics = settings.metrics_listen.as_ref();
    let metrics = metrics
        .map(|address| Bound::tcp(address).map_err(|error| refused("metrics.listen", address, error)))
        .transpose()?;
    let metrics_address = metrics.as_ref().map(Bound::address);
    let address = admin.as_ref().map(|(bound, _)| bound.address());
    let mut desks = Vec::new();
    if let Some((bound, listen_host)) = admin {
        desks.push((bound, desk(&view, Some(&tokens), listen_host)));
    }
    if let Some(bound) = metrics {
        desks.push((bound, desk(&view, None, String::new())));
    }
    let (stop, stopped) = watch::channel(false);
    let thread = if desks.is_empty() { None } else { Some(start(desks, stopped)?) };
    Ok(AdminServer { address, metrics_address, tokens, stop, thread })
}

fn desk(view: &Arc<AdminView>, tokens: Option<&Arc<ArcSwap<Tokens>>>, listen_host: String) -> Arc<Desk> {
    Arc::new(Desk {
        view: Arc::clone(view),
        tokens: tokens.cloned(),
        listen_host,
        request_ids: EventIds::starting_at(0),
        beside: Beside::new(),
        replays: Replays::default(),
    })
}

fn start(desks: Vec<(Bound, Arc<Desk>)>, stopped: watch::Receiver<bool>) -> Result<JoinHandle<()>, String> {
    let no_thread = |error: io::Error| format!("the admin listener cannot run: {error}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(beside::THREADS)
        .thread_name("admin-work")
        .build()
        .map_err(no_thread)?;
    let listeners = {
        let _inside = runtime.enter();
        desks
            .into_iter()
            .map(|(bound, desk)| Ok((bound.into_async()?, desk)))
            .collect::<io::Result<Vec<_>>>()
            .map_err(no_thread)?
    };
    let serve_all = async move {
        let all = listeners.into_iter().map(|(listener, desk)| accept(listener, desk, stopped.clone()));
        futures_util::future::join_all(all).await;
    };
    std::thread::Builder::new()
        .name("admin".to_owned())
        .spawn(move || {
            runtime.block_on(serve_all);
            runtime.shutdown_background();
        })
        .map_err(no_thread)
}

async fn accept(listener: Listener, desk: Arc<Desk>, mut stopped: watch::Receiver<bool>) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stop| *stop) => break,
        };
        let Ok((stream, entrance)) = accepted else {
            // Out of file descriptors, most likely: without a pause this loop would take the whole core.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
            desk.view.metrics.limit_hit("admin.max_connections");
            continue;
        };
        let desk = Arc::clone(&desk);
        let stopped = stopped.clone();
        tokio::spawn(async move {
            connection(stream, entrance, desk, stopped).await;
            drop(permit);
        });
    }
    drop(listener);
    let all = u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(STOP_PATIENCE, connections.acquire_many(all)).await;
}

pub(super) async fn connection(
    stream: Box<dyn Io>,
    entrance: Entrance,
    desk: Arc<Desk>,
    mut stopped: watch::Receiver<bool>,
) {
    let answer = service_fn(|request| {
        let (desk, entrance) = (Arc::clone(&desk), entrance.clone());
        async move { Ok::<_, std::convert::Infallible>(desk.answer(&entrance, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .keep_alive(true)
        .half_close(false)
        .pipeline_flush(false)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    // What a peer does wrong on its connection is its own affair: there is nobody here to tell.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = tokio::time::sleep(CONNECTION_AGE) => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(CONNECTION_AGE, connection).await;
}

impl AdminServer {
    /// Where the API listens, as bound: `127.0.0.1:4665`, `unix:/run/hooklatch/admin.sock`; `None` where it is off.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    /// Where the metrics listener listens, as bound.
    #[must_use]
    pub fn metrics_address(&self) -> Option<&str> {
        self.metrics_address.as_deref()
    }

    /// Puts other tokens in place, from the next request on.
    pub fn set_tokens(&self, tokens: Tokens) {
        self.tokens.store(Arc::new(tokens));
    }
}

/// Stops accepting, gives answers in flight a second, and waits until the sockets are closed.
impl Drop for AdminServer {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
