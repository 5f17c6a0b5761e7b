//! `card`: from reads to card numbers.

use super::Exit;
use crate::convert::Conversion;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Convert a read, as a station would.
    Convert {
        /// The steps, as `convert` in agent.toml has them; none is the read as it is.
        #[arg(long, value_name = "STEPS", default_value = "")]
        with: String,
        /// What the reader delivered.
        read: String,
    },
}

pub(super) fn run(json: bool, command: &Command) -> Exit {
    let Command::Convert { with, read } = command;
    let conversion: Conversion = match with.parse() {
        Ok(conversion) => conversion,
        Err(error) => {
            eprintln!("failed to {error}");
            return Exit::Usage;
        }
    };
    match conversion.apply(read) {
        Ok(number) if json => println!("{}", serde_json::json!({ "number": number })),
        Ok(number) => println!("{number}"),
        Err(error) => {
            eprintln!("failed to {error}");
            return Exit::Failed;
        }
    }
    Exit::Done
}
