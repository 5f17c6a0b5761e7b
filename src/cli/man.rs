//! `man`: the manual, made of the same description that the arguments are read by.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{Exit, description};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Write one page for each command into this directory, and do not print.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let (done, what) = match &arguments.dir {
        Some(dir) => (write(dir), format!("write the pages into {}", dir.display())),
        None => (print(), "print the page".to_owned()),
    };
    match done {
        Ok(()) => Exit::Done,
        Err(error) => {
            eprintln!("failed to {what}: {error}");
            Exit::Failed
        }
    }
}

fn write(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(description(), dir)
}

fn print() -> io::Result<()> {
    let mut page = Vec::new();
    clap_mangen::Man::new(description()).render(&mut page)?;
    io::stdout().write_all(&page)
}
