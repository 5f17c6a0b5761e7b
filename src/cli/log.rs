//! The log goes to standard error, in a form that fits its reader: a terminal, journald or a program.
//!
//! Every value passes one place before it is written, so that no call site can let a text of others end a line or steer a terminal:
//! [`clean_fields`] for text, [`HarmlessJson`] for JSON.

use std::io::{self, IsTerminal, Write};

use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{self, FormatFields};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use super::shown::{Shown, harmless_json};
use crate::config::{LogConfig, LogFormat};

/// The name of the field that holds the message itself.
const MESSAGE: &str = "message";

/// Sets the log up for the process. Libraries log warnings only: at lower levels they print the bytes that they send.
pub(super) fn init(log: &LogConfig) {
    let filter = Targets::new().with_default(LevelFilter::WARN).with_target(env!("CARGO_CRATE_NAME"), log.level);
    let terminal = io::stderr().is_terminal();
    let layer = layer(log.format, terminal, || HarmlessJson(io::stderr()), io::stderr);
    // An error only says that the log is set up already.
    drop(tracing_subscriber::registry().with(filter).with(layer).try_init());
}

/// The log in this form, to one of the two writers.
fn layer<S, J, T>(format: LogFormat, terminal: bool, json: J, text: T) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    J: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    T: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_ansi(terminal).with_target(false);
    match format {
        LogFormat::Json => lines.json().flatten_event(true).with_writer(json).boxed(),
        LogFormat::Auto if !terminal => lines.without_time().fmt_fields(clean_fields()).with_writer(text).boxed(),
        LogFormat::Auto | LogFormat::Text => lines.fmt_fields(clean_fields()).with_writer(text).boxed(),
    }
}

/// Writes the fields of an event as text: the message, then `name=value`, each value as one harmless piece.
fn clean_fields() -> impl for<'w> FormatFields<'w> + Send + Sync + 'static {
    let write = |to: &mut format::Writer<'_>, field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
        let value = Shown(format_args!("{value:?}"));
        if field.name() == MESSAGE { write!(to, "{value}") } else { write!(to, "{field}={value}") }
    };
    format::debug_fn(write).delimited(" ")
}

/// Writes lines of JSON and escapes what a terminal would obey. Each line comes in one piece.
struct HarmlessJson<W>(W);

impl<W: Write> Write for HarmlessJson<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        self.0.write_all(harmless_json(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// The log as it was written.
    #[derive(Clone, Default)]
    struct WrittenLog(Arc<Mutex<Vec<u8>>>);

    impl Write for WrittenLog {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const HOSTILE: &str = "a\nERROR forged\u{1b}]52;c;x\u{7}\u{9b}2J\u{202e}\0";

    fn logged(format: LogFormat) -> String {
        let written = WrittenLog::default();
        let (json, text) = (written.clone(), written.clone());
        let layer = layer(format, false, move || HarmlessJson(json.clone()), move || text.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(station = "lobby", document = HOSTILE, error = %HOSTILE, seen = ?HOSTILE, "failed to {HOSTILE}");
        });
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn is_one_harmless_line(text: &str) {
        let line = text.strip_suffix('\n').unwrap();
        let steers = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!line.contains(steers), "{text:?}");
    }

    #[test]
    fn no_value_can_end_a_line_of_the_text_log_or_steer_a_terminal() {
        for format in [LogFormat::Auto, LogFormat::Text] {
            let text = logged(format);
            is_one_harmless_line(&text);
            assert!(text.contains("INFO failed to a\\nERROR forged"), "{text}");
            assert!(text.contains("station=\"lobby\" document=\"a"), "{text}");
            assert!(text.contains("error=a\\nERROR forged"), "{text}");
        }
    }

    #[test]
    fn a_line_of_the_json_log_steers_nothing_and_keeps_every_value() {
        let text = logged(LogFormat::Json);
        is_one_harmless_line(&text);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["document"], HOSTILE);
        assert_eq!(line["error"], HOSTILE);
        assert_eq!(line["message"], format!("failed to {HOSTILE}"));
    }
}
