//! `completions`: what a shell needs to complete the arguments of this program.

use std::io::Write;

use clap_complete::{Shell, generate};

use super::{Exit, description};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The shell that will read it.
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let mut command = description();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    generate(arguments.shell, &mut command, name, &mut script);
    match std::io::stdout().write_all(&script) {
        Ok(()) => Exit::Done,
        Err(error) => {
            eprintln!("failed to print the completions: {error}");
            Exit::Failed
        }
    }
}
