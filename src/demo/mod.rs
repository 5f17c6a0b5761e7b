//! Everything to try the agent without a printer: an embedded print server, a virtual reader on a pseudo-terminal, and the real
//! program between them, as a process of its own that can be killed.
//!
//! - [`server`]: the print server, true to the vendor's documents, with faults on demand.
//! - [`directory`]: the neighbours ezeep, NDD Orbix and zops.
//! - [`reader`]: the virtual reader.
//! - [`process`]: the agent's process.
//! - [`scene`]: all of it together, with a configuration and a temporary directory; tests start it too.
//! - [`headless`]: a run of taps and failures that shows the promises.
//! - [`page`]: a page with cards to hold.

pub mod directory;
pub mod headless;
pub mod page;
pub mod process;
pub mod reader;
pub mod scene;
mod scene_dir;
pub mod server;
