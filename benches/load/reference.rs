//! What hooklatch is measured against, in pingora's own words: an app of thirty lines, and plain pass-through.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Response, StatusCode};
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::services::listening::Service;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session};

struct Bare;

#[async_trait]
impl ServeHttp for Bare {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        while let Ok(Some(_)) = session.read_request_body().await {}
        let body: &[u8] = b"{\"status\":\"accepted\",\"id\":\"hl_00000000000000000000000\"}";
        Response::builder()
            .status(StatusCode::OK)
            .header("content-type", "application/json")
            .header("content-length", body.len())
            .body(body.to_vec())
            .unwrap_or_default()
    }
}

pub fn bare(listen: SocketAddr) {
    let mut service = Service::new("bare".to_owned(), Bare);
    service.add_tcp(&listen.to_string());
    serve(service);
}

struct Pass {
    app: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Pass {
    type CTX = ();

    fn new_ctx(&self) {}

    /// As in hooklatch: the default adds a compression module to each request.
    fn init_downstream_modules(&self, _modules: &mut pingora_core::modules::http::HttpModules) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora_core::Result<Box<HttpPeer>> {
        let mut peer = HttpPeer::new(self.app, false, String::new());
        peer.options.idle_timeout = Some(Duration::from_secs(4));
        Ok(Box::new(peer))
    }
}

pub fn pass(listen: SocketAddr, app: SocketAddr) {
    let configuration = Arc::new(configuration());
    let mut service = pingora_proxy::http_proxy_service(&configuration, Pass { app });
    service.add_tcp(&listen.to_string());
    serve(service);
}

fn configuration() -> ServerConf {
    ServerConf {
        threads: 1,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    }
}

fn serve(service: impl pingora_core::services::ServiceWithDependents + 'static) {
    super::end_by_itself();
    let mut server = Server::new_with_opt_and_conf(None, configuration());
    server.bootstrap();
    server.add_service(service);
    server.run_forever();
}
