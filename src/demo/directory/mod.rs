//! The neighbours ezeep, NDD Orbix and zops in this process, for tests (docs/directory.md).
//!
//! Each follows its document to the letter, refuses everything that the document does not allow, and misbehaves on demand. Its
//! world has a switch for each thing that documents leave open. One port serves all three, below a path each.

mod ezeep;
mod orbix;
mod wire;
mod zops;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

pub use ezeep::{EzeepGroup, EzeepUser, EzeepWorld, IdSlash, NextLink};
pub use orbix::OrbixWorld;
pub use wire::{NeighbourReply, NeighbourRequest};
pub use zops::{HeaderStyle, ZopsWorld};

/// The state of all three.
#[derive(Debug)]
pub struct NeighbourWorld {
    /// ezeep, below `/account` and `/printing/v1`.
    pub ezeep: EzeepWorld,
    /// NDD Orbix, below `/orbix` and `/auth`.
    pub orbix: OrbixWorld,
    /// zops, below `/zops/api/v1`.
    pub zops: ZopsWorld,
    /// Every request that has arrived.
    pub calls: Vec<NeighbourCall>,
    /// The faults of the next requests.
    pub faults: Vec<NeighbourFault>,
}

/// A request that has arrived, and the status that it was answered with.
#[derive(Clone, Debug)]
pub struct NeighbourCall {
    /// The request.
    pub request: NeighbourRequest,
    /// `None` while it is worked on, and where the connection was cut.
    pub status: Option<u16>,
}

/// A fault of the requests whose method and path begin like this, such as `POST /orbix`.
#[derive(Clone, Debug)]
pub struct NeighbourFault {
    /// The beginning of method, blank and path.
    pub call: &'static str,
    /// So many of them are let through first.
    pub after: usize,
    /// So often.
    pub times: usize,
    /// The misbehaviour.
    pub kind: NeighbourFaultKind,
}

/// The ways to misbehave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NeighbourFaultKind {
    /// No work, and the connection is closed.
    CutBefore,
    /// The work is done, and the connection is closed without an answer.
    CutAfter,
    /// The work is done, and the answer comes after this time.
    Delay(Duration),
    /// No work, and this status.
    Status {
        /// The status.
        code: u16,
        /// `Retry-After`, in seconds.
        retry_after: Option<u32>,
    },
    /// The work is done, and the answer is a page for people.
    Garbage,
}

impl NeighbourWorld {
    /// The requests so far whose method and path begin like this.
    pub fn calls_of(&self, call: &str) -> impl Iterator<Item = &NeighbourCall> {
        self.calls.iter().filter(move |logged| logged.request.name().starts_with(call))
    }

    fn take_fault(&mut self, request: &NeighbourRequest) -> Option<NeighbourFaultKind> {
        let name = request.name();
        let place = self.faults.iter().position(|fault| fault.times > 0 && name.starts_with(fault.call))?;
        let fault = &mut self.faults[place];
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        fault.times -= 1;
        Some(fault.kind.clone())
    }

    fn answer(&mut self, request: &NeighbourRequest) -> NeighbourReply {
        let path = request.path.clone();
        match path.split('/').nth(1) {
            Some("account" | "printing") => self.ezeep.answer(request),
            Some("orbix" | "auth") => self.orbix.answer(request),
            Some("zops") => self.zops.answer(request),
            _ => NeighbourReply::refusal(404, "no such service"),
        }
    }
}

/// A handle to the running services, which run until their runtime ends.
#[derive(Clone, Debug)]
pub struct NeighbourServer {
    shared: Arc<NeighbourState>,
    address: SocketAddr,
}

#[derive(Debug)]
struct NeighbourState {
    world: Mutex<NeighbourWorld>,
    changes: watch::Sender<()>,
}

impl NeighbourServer {
    /// Starts all three at a free port of this machine.
    ///
    /// # Errors
    /// There is none.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let world = NeighbourWorld {
            ezeep: EzeepWorld::new(&format!("http://{address}")),
            orbix: OrbixWorld::new(),
            zops: ZopsWorld::new(),
            calls: Vec::new(),
            faults: Vec::new(),
        };
        let shared = Arc::new(NeighbourState { world: Mutex::new(world), changes: watch::Sender::new(()) });
        tokio::spawn(wire::accept(listener, shared.clone()));
        Ok(Self { shared, address })
    }

    /// The base of all addresses.
    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The state, locked: no request is answered while the guard lives, so do not hold it over an `await`.
    pub fn world(&self) -> MutexGuard<'_, NeighbourWorld> {
        self.shared.world()
    }

    /// Lets the next requests of a kind go wrong.
    pub fn befall(&self, call: &'static str, times: usize, kind: NeighbourFaultKind) {
        self.world().faults.push(NeighbourFault { call, after: 0, times, kind });
    }

    /// Waits until the condition holds. It is checked now, and after every request that arrives or ends.
    pub async fn wait_until(&self, condition: impl Fn(&NeighbourWorld) -> bool) {
        let mut changes = self.shared.changes.subscribe();
        // The sender lives as long as this handle, so only the condition ends this.
        while !condition(&self.world()) && changes.changed().await.is_ok() {}
    }
}

impl NeighbourState {
    fn world(&self) -> MutexGuard<'_, NeighbourWorld> {
        // A test that failed while it looked must not fail the others.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
