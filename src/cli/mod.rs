//! One file a command. Each ends with an exit code that scripts and the service manager can rely on.

/// A line on standard output. Who has read enough (`| head`) may close it.
macro_rules! say {
    ($($text:tt)*) => { crate::cli::say(format_args!("{}\n", format_args!($($text)*))) };
}

mod assemble;
mod card;
mod check;
mod completions;
mod daemon;
#[cfg(feature = "demo")]
mod demo;
mod doors;
mod enroll;
mod log;
mod man;
mod queue;
mod readers;
mod run;
mod status;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// How a command ended (design, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0.
    Done,
    /// 1.
    Failed,
    /// 64: the configuration or the arguments are wrong.
    Usage,
    /// 69: the server, a device or the daemon is not there.
    Unavailable,
    /// 74: the disk.
    Disk,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 64,
            Exit::Unavailable => 69,
            Exit::Disk => 74,
        })
    }
}

/// [`Exit`] for people.
const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 64 configuration or usage, 69 the server, a device or the agent is not there, 74 disk.";

/// Releases waiting print jobs when a card is held to the reader beside the printer.
#[derive(Parser)]
#[command(name = "print-release-agent", version, propagate_version = true, after_help = EXIT_CODES)]
struct Arguments {
    /// The configuration.
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/print-release-agent/agent.toml")]
    config: PathBuf,
    /// One JSON document, for machines.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the readers until SIGTERM.
    Run,
    /// Try the configuration, the server, the readers, the broker and the state directory.
    Check,
    /// Show what the running agent is up to.
    Status,
    /// Make this box a trusted device of the server, and wait for its approval.
    Enroll,
    /// Look at what waits for the server.
    #[command(subcommand)]
    Queue(queue::Command),
    /// Look for readers and see what they send.
    #[command(subcommand)]
    Readers(readers::ReadersCommand),
    /// Turn reads into card numbers.
    #[command(subcommand)]
    Card(card::CardCommand),
    /// Print the completions for a shell.
    Completions(completions::Arguments),
    /// Print the manual.
    Man(man::Arguments),
    /// Play with everything: no configuration, no server, no reader needed.
    #[cfg(feature = "demo")]
    Demo(demo::Arguments),
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no mistake. A closed standard error is no reason to fail differently.
            drop(error.print());
            return if error.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    crate::tls::install_provider();
    let Arguments { config, json, command } = arguments;
    let exit = match command {
        Command::Run => run::run(&config),
        Command::Check => check::run(&config, json),
        Command::Status => status::run(&config, json),
        Command::Enroll => enroll::run(&config, json),
        Command::Queue(command) => queue::run(&config, json, &command),
        Command::Readers(command) => readers::run(&config, json, &command),
        Command::Card(command) => card::run(json, &command),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
        #[cfg(feature = "demo")]
        Command::Demo(arguments) => demo::run(&arguments),
    };
    exit.into()
}

/// What the arguments mean, for those who tell it: completions and the manual. Without clap's `help` commands, which would
/// double every page.
fn description() -> clap::Command {
    Arguments::command().disable_help_subcommand(true)
}

/// Writes to standard output; where that is not possible, the program ends with it.
fn say(text: std::fmt::Arguments<'_>) {
    let exit = match std::io::stdout().write_fmt(text) {
        Ok(()) => return,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => 0,
        Err(error) => {
            eprintln!("failed to write to standard output: {error}");
            74
        }
    };
    std::process::exit(exit)
}

/// A runtime of one thread: the box has little memory, and the work is waiting.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Reads the configuration or tells what is wrong with it.
fn load(path: &std::path::Path) -> Result<crate::config::Config, Exit> {
    crate::config::load(path).map_err(|problems| {
        eprintln!("{problems}");
        Exit::Usage
    })
}
