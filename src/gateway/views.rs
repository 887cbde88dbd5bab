//! What the admin room is shown of the others.

use std::sync::Arc;

use super::reload::Reloader;
use super::rooms::Rooms;
use crate::admin::{
    AdminView, GatewayView, Operated, Operation, RejectedDesk, RouteAction, RouteView, SecretView,
};
use crate::clock::Millis;
use crate::delivery::{Destinations, UnknownDestination};
use crate::ingress::{self, NotReleased, RouteConflict};

/// What stands in each other's way, one line each.
pub(super) fn conflicts(conflicts: &[RouteConflict]) -> String {
    conflicts.iter().map(|conflict| conflict.message.clone()).collect::<Vec<_>>().join("\n")
}

/// The admin room's view on `rooms`.
pub(super) fn admin_view(rooms: &Arc<Rooms>, reloader: &Arc<Reloader>) -> AdminView {
    let routes = {
        let (rooms, reloader) = (Arc::clone(rooms), Arc::clone(reloader));
        Box::new(move || routes(&rooms, &reloader))
    };
    let destinations = {
        let destinations = Arc::clone(&rooms.destinations);
        Box::new(move || destinations.health())
    };
    let gateway = {
        let (rooms, reloader) = (Arc::clone(rooms), Arc::clone(reloader));
        Box::new(move || GatewayView {
            listeners: rooms.listeners.clone(),
            config_path: reloader.path().display().to_string(),
            last_reload: reloader.last(),
        })
    };
    let operate = {
        let destinations = Arc::clone(&rooms.destinations);
        Box::new(move |name: &str, what| operate(&destinations, name, what).ok())
    };
    // The admin thread has a runtime of its own; the reload runs on the gateway's.
    let runtime = tokio::runtime::Handle::current();
    let reload = {
        let reloader = Arc::clone(reloader);
        Box::new(move || {
            let reloader = Arc::clone(&reloader);
            let reload = runtime.spawn(async move { reloader.reload().await });
            let reload: futures_util::future::BoxFuture<'static, Result<String, String>> =
                Box::pin(async move { reload.await.unwrap_or_else(|error| Err(error.to_string())) });
            reload
        })
    };
    let redaction = {
        let (rooms, reloader) = (Arc::clone(rooms), Arc::clone(reloader));
        Box::new(move |route: &str, provider: Option<&str>| {
            let catalog = reloader.catalog();
            let of_provider =
                provider.and_then(|name| catalog.get(name)).map(|provider| provider.redaction());
            rooms.redactions.of(route, of_provider)
        })
    };
    let secrets = {
        let rooms = Arc::clone(rooms);
        Box::new(move |destination: &str| rooms.secrets.of(destination))
    };
    let rejected = rejected(rooms, reloader);
    AdminView {
        buffer: rooms.buffer.clone(),
        dedupe: Arc::clone(&rooms.dedupe),
        metrics: Arc::clone(&rooms.metrics),
        clock: rooms.clock.clone(),
        started_at: rooms.started_at,
        readiness: Arc::clone(&rooms.readiness),
        routes,
        destinations,
        operate,
        gateway,
        redaction,
        secrets,
        rejected,
        reload,
    }
}

fn rejected(rooms: &Arc<Rooms>, reloader: &Arc<Reloader>) -> RejectedDesk {
    let ingress = || Arc::clone(&rooms.ingress);
    let (list, find, explain, release) = (ingress(), ingress(), ingress(), ingress());
    let reloader = Arc::clone(reloader);
    // As a reload: the admin thread has a runtime of its own, the rooms work on the gateway's.
    let runtime = tokio::runtime::Handle::current();
    RejectedDesk {
        list: Box::new(move || list.rejected()),
        find: Box::new(move |id| find.find_rejected(id)),
        // Whose headers are recognised in a refused request.
        explain: Box::new(move |id| {
            let providers: Vec<_> = reloader.catalog().all().cloned().collect();
            explain.explain(id, &providers)
        }),
        release: Box::new(move |id, waived| {
            let ingress = Arc::clone(&release);
            let released = runtime.spawn(async move { ingress.release(id, waived).await });
            Box::pin(async move { released.await.unwrap_or(Err(NotReleased::Unknown)) })
        }),
    }
}

fn operate(destinations: &Destinations, name: &str, what: Operation) -> Result<Operated, UnknownDestination> {
    Ok(match what {
        Operation::Pause(time) => Operated::Paused(destinations.pause(name, time)?),
        Operation::Resume => Operated::Resumed(destinations.resume(name)?),
        Operation::Retry => destinations.hasten(name)?.map_or(Operated::IsPaused, Operated::Retried),
    })
}

fn routes(rooms: &Rooms, reloader: &Reloader) -> Vec<RouteView> {
    let secrets = reloader.secrets();
    let loaded_at = |route: &str, name: &str| {
        let key = format!("routes.{route}.secrets");
        secrets
            .iter()
            .find(|used| used.key == key && used.name == name)
            .map_or(Millis(0), |used| used.loaded_at)
    };
    let shown = |route: ingress::RouteView| {
        let action = match route.action {
            ingress::ActionView::Deliver(corridor) => RouteAction::Deliver {
                provider: corridor.provider,
                proof: corridor.proof,
                ack: corridor.ack,
                dedupe: corridor.dedupe,
                deliver_to: corridor.deliver_to,
                secrets: corridor
                    .secrets
                    .into_iter()
                    .map(|secret| SecretView {
                        loaded_at: loaded_at(&route.name, &secret.name),
                        name: secret.name,
                        last_match_at: secret.last_match,
                        hits: secret.hits,
                        longest_gap: secret.longest_gap,
                        shadow: secret.shadow,
                    })
                    .collect(),
                awaits_secret_until: corridor.awaits_secret_until,
            },
            ingress::ActionView::Proxy(upstream) => RouteAction::Proxy(upstream),
        };
        RouteView {
            name: route.name,
            path: route.path,
            host: route.host,
            methods: route.methods,
            allow_ips: route.allow_ips,
            action,
        }
    };
    rooms.ingress.routes().into_iter().map(shown).collect()
}
