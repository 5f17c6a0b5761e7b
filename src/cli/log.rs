//! The log goes to standard error, in a form that fits its reader: a terminal, journald or a program.

use std::io::IsTerminal;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogConfig, LogFormat};

/// Sets the log up for the process. Libraries log warnings only: at lower levels they print the bytes that they send.
pub(super) fn init(log: &LogConfig) {
    let filter = Targets::new().with_default(LevelFilter::WARN).with_target(env!("CARGO_CRATE_NAME"), log.level);
    let registry = tracing_subscriber::registry().with(filter);
    let terminal = std::io::stderr().is_terminal();
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(terminal).with_target(false);
    // An error only says that the log is set up already.
    drop(match log.format {
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
        LogFormat::Auto if !terminal => registry.with(layer.without_time()).try_init(),
        LogFormat::Auto | LogFormat::Text => registry.with(layer).try_init(),
    });
}
