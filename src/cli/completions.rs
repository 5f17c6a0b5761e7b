//! `completions`: prints the script by which a shell completes the arguments of this program.

use clap_complete::{Shell, generate};

use super::{Exit, description, print};

#[derive(clap::Args)]
pub(super) struct CompletionsArgs {
    /// The shell that will read it.
    shell: Shell,
}

pub(super) fn run(arguments: &CompletionsArgs) -> Exit {
    let mut command = description();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    generate(arguments.shell, &mut command, name, &mut script);
    print(&script);
    Exit::Done
}
