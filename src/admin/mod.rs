//! The view on what happens, and its API.
//!
//! A small HTTP/1 server on a thread of its own: `/healthz`, `/readyz`, `/metrics`, and under `/api/v1/` what there
//! is to see and to change (docs/admin-api.md). It looks at the other rooms through an [`AdminView`] that the
//! gateway fills, and is in the way of no event.

mod api;
mod beside;
mod echo;
mod filter;
mod guard;
mod listener;
mod operate;
mod rejected;
mod replay;
mod reply;
mod server;
mod settings;
mod show;
mod status;
mod token;
mod view;

#[cfg(test)]
mod tests;

pub use guard::Tokens;
pub use server::{AdminServer, serve};
pub use settings::{AdminListen, AdminOptions, AdminSettings};
pub use show::stored;
pub use token::{TOKEN_FILE, load_or_create};
pub use view::{
    AdminView, Ask, AskAbout, AskRedaction, AskSecrets, GatewayView, Operate, Operated, Operation, Readiness,
    RejectedDesk, Release, ReloadView, RouteAction, RouteView, SecretView,
};
