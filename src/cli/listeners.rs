//! Listening sockets: the page and the control socket. On reload, unchanged addresses keep theirs; new ones bind before old
//! ones close.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use anyhow::Context;
use tokio::task::JoinSet;

use crate::agent::{Parts, control};
use crate::config::{Config, HttpConfig};
use crate::journal::Journal;
use crate::status;

/// Both listening sockets, each with the address that it was bound to.
pub(super) struct Listeners {
    page: Option<(SocketAddr, TcpListener)>,
    control: (PathBuf, UnixListener),
}

impl Listeners {
    /// Keeps the sockets of `before` whose addresses are unchanged, and binds the others.
    pub(super) fn open(config: &Config, before: Option<&Self>) -> anyhow::Result<Self> {
        let address = config.http.as_ref().map(|http| http.listen);
        let page = match (address, before.and_then(|before| before.page.as_ref())) {
            (None, _) => None,
            (Some(address), Some((same, listener))) if address == *same => Some((address, listener.try_clone()?)),
            (Some(address), _) => {
                let listener = TcpListener::bind(address);
                Some((address, listener.with_context(|| format!("listen on {address} (http.listen)"))?))
            }
        };
        let path = &config.agent.control_socket;
        let control = match before.map(|before| &before.control) {
            Some((same, listener)) if path == same => listener.try_clone()?,
            _ => status::control::bind(path).with_context(|| format!("open control socket {}", path.display()))?,
        };
        Ok(Self { page, control: (path.clone(), control) })
    }

    /// Serves both until the set is dropped. Returns the page's address as a text for a person.
    pub(super) fn serve(
        &self,
        servers: &mut JoinSet<()>,
        http: Option<&HttpConfig>,
        parts: &Parts,
        journal: &Journal,
    ) -> std::io::Result<String> {
        let board = &parts.board;
        let mut address = "page off".to_owned();
        if let Some((_, listener)) = &self.page {
            address = format!("page at http://{}/", listener.local_addr()?);
            let hosts = http.map_or(&[][..], |http| &http.hosts);
            let router = status::hosts::guarded(status::http::router(board.clone()), hosts);
            servers.spawn(status::http::serve(listener.try_clone()?, router));
        }
        let (_, listener) = &self.control;
        let readers = control::readers(board.clone(), &parts.stations);
        let router = control::router(board.clone(), journal.clone()).merge(readers);
        servers.spawn(status::control::serve(listener.try_clone()?, router));
        Ok(address)
    }
}
