//! The commands, one file each. Every command ends with an exit code that scripts and the service manager can rely on.
#![deny(clippy::print_stdout, reason = "`println!` panics where standard output is closed (`| head`); `say!` does not")]

/// Prints one line for a person on standard output, cleaned as `shown.rs` says. If its reader has closed it (`| head`), the
/// program ends with 0.
macro_rules! say {
    ($($text:tt)*) => { crate::cli::say(format_args!($($text)*)) };
}

/// Prints JSON on standard output. Its values stay exactly as they are.
macro_rules! say_json {
    ($($text:tt)*) => { crate::cli::say_json(&format!($($text)*)) };
}

/// Prints one line on standard error, cleaned as `shown.rs` says. Unlike `eprintln!` it does not panic where that is closed.
macro_rules! say_error {
    ($($text:tt)*) => { crate::cli::say_error(format_args!($($text)*)) };
}

mod assemble;
mod card;
mod check;
mod completions;
mod csv;
mod daemon;
#[cfg(feature = "demo")]
mod demo;
#[cfg(feature = "directory")]
mod directory;
mod enroll;
mod history;
mod identity;
mod listeners;
mod log;
mod man;
mod queue;
mod readers;
mod reset;
mod run;
mod shown;
mod status;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use shown::{Shown, harmless_json};

/// The exit code of a command (docs/operating.md, "Exit codes").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: everything went well.
    Done,
    /// 1: the command failed in a way that no other code names.
    Failed,
    /// 64: the configuration or the arguments are wrong.
    Usage,
    /// 69: the server, a device or the daemon is not there.
    Unavailable,
    /// 74: the disk, or another output that cannot be written.
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

/// The meaning of [`Exit`] in the help text.
const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 64 configuration or usage, 69 the server, a device or the agent is not there, 74 disk.";

/// Releases waiting print jobs when a card is held to the reader beside the printer.
#[derive(Parser)]
#[command(name = "print-release-agent", version, propagate_version = true, after_help = EXIT_CODES)]
struct CommandLine {
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
    Check(check::CheckArgs),
    /// Show what the running agent is up to.
    Status,
    /// Make this box a trusted device of the server, and wait for its approval.
    Enroll,
    /// Look at what waits for the server.
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// Read the server's history for an auditor.
    #[command(subcommand)]
    History(history::HistoryCommand),
    /// Wipe keys, tokens and journal of this box, after everything is delivered.
    Reset(reset::ResetArgs),
    /// Look for readers and see what they send.
    #[command(subcommand)]
    Readers(readers::ReadersCommand),
    /// Turn reads into card numbers.
    #[command(subcommand)]
    Card(card::CardCommand),
    /// Look at the neighbours and change them: ezeep, NDD Orbix, zops.
    #[cfg(feature = "directory")]
    #[command(subcommand)]
    Directory(directory::DirectoryCommand),
    /// Print the completions for a shell.
    Completions(completions::CompletionsArgs),
    /// Print the manual.
    Man(man::ManArgs),
    /// Play with everything: no configuration, no server, no reader needed.
    #[cfg(feature = "demo")]
    Demo(demo::DemoArgs),
}

impl Command {
    fn opens_the_state_directory(&self) -> bool {
        matches!(self, Self::Run | Self::Check(_) | Self::Enroll | Self::Queue(_) | Self::Reset(_))
    }
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    #[cfg(feature = "demo")]
    if let Err(error) = crate::demo::process::end_with_parent() {
        say_error!("failed to start for a demo: {error}");
        return Exit::Failed.into();
    }
    let command_line = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(error) => {
            // Help and version are no mistake. An output that is closed changes nothing.
            drop(error.print());
            return if error.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    crate::tls::install_provider();
    let CommandLine { config, json, command } = command_line;
    if command.opens_the_state_directory() {
        // The database's library makes files by itself, and they are their owner's alone whatever started this program.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    }
    let exit = match command {
        Command::Run => run::run(&config),
        Command::Check(arguments) => check::run(&config, json, &arguments),
        Command::Status => status::run(&config, json),
        Command::Enroll => enroll::run(&config, json),
        Command::Queue(command) => queue::run(&config, json, &command),
        Command::History(command) => history::run(&config, json, &command),
        Command::Reset(arguments) => reset::run(&config, json, &arguments),
        Command::Readers(command) => readers::run(&config, json, &command),
        Command::Card(command) => card::run(json, &command),
        #[cfg(feature = "directory")]
        Command::Directory(command) => directory::run(&config, json, &command),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
        #[cfg(feature = "demo")]
        Command::Demo(arguments) => demo::run(&arguments),
    };
    exit.into()
}

/// The definition of the arguments for completions and the manual. It leaves out clap's `help` commands, which would double
/// every page.
fn description() -> clap::Command {
    CommandLine::command().disable_help_subcommand(true)
}

fn say(line: std::fmt::Arguments<'_>) {
    print(format!("{}\n", Shown(line)).as_bytes());
}

fn say_json(text: &str) {
    print(format!("{}\n", harmless_json(text)).as_bytes());
}

/// Writes to standard output. If that fails, the program ends: a closed pipe is no mistake, anything else is.
fn print(text: &[u8]) {
    let mut stdout = std::io::stdout();
    let exit = match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Ok(()) => return,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => 0,
        Err(error) => {
            say_error!("failed to write to standard output: {error}");
            74
        }
    };
    std::process::exit(exit)
}

fn say_error(line: std::fmt::Arguments<'_>) {
    // There is no other place to report that standard error is closed.
    drop(writeln!(std::io::stderr(), "{}", Shown(line)));
}

/// Builds a runtime of one thread: the box has little memory, and the work is mostly waiting.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn say_problems(problems: &crate::config::Problems) {
    problems.lines().for_each(|problem| say_error!("{problem}"));
}

/// Reads the configuration, or prints what is wrong with it.
fn load(path: &std::path::Path) -> Result<crate::config::Config, Exit> {
    crate::config::load(path).map_err(|problems| {
        say_problems(&problems);
        Exit::Usage
    })
}
