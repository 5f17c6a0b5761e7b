//! The control socket, through which the commands of this program talk to the daemon. It speaks HTTP, so it needs no
//! protocol of its own. The permissions of the socket file decide who may ask.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use axum::Router;

use super::connections::{self, ConnectionPeer};

/// The owner and the group may connect.
const MODE: u32 = 0o660;

/// Creates the socket. A socket file that a crashed daemon left is removed; a running daemon is not disturbed.
///
/// # Errors
/// `AddrInUse`: another daemon answers there.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another print-release-agent answers there"));
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))?;
    Ok(listener)
}

/// Serves `router` until the future is dropped.
pub async fn serve(listener: UnixListener, router: Router) {
    match listener.set_nonblocking(true).and_then(|()| tokio::net::UnixListener::from_std(listener)) {
        Ok(listener) => {
            let user = |stream: &tokio::net::UnixStream| stream.peer_cred().ok().map(|peer| peer.uid());
            connections::serve(listener, router, |stream, _| ConnectionPeer::User(user(stream))).await;
        }
        Err(error) => tracing::error!(%error, "control socket not served"),
    }
}
