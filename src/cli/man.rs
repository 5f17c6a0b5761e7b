//! `man`: prints the manual, which is generated from the definition of the arguments.

use std::io;
use std::path::{Path, PathBuf};

use super::{Exit, description, print};

#[derive(clap::Args)]
pub(super) struct ManArgs {
    /// Write one page for each command into this directory, and do not print.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(arguments: &ManArgs) -> Exit {
    let (done, what) = match &arguments.dir {
        Some(dir) => (write_pages(dir), format!("write the pages into {}", dir.display())),
        None => (print_page(), "print the page".to_owned()),
    };
    match done {
        Ok(()) => Exit::Done,
        Err(error) => {
            say_error!("failed to {what}: {error}");
            Exit::Failed
        }
    }
}

fn write_pages(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(description(), dir)
}

fn print_page() -> io::Result<()> {
    let mut page = Vec::new();
    clap_mangen::Man::new(description()).render(&mut page)?;
    print(&page);
    Ok(())
}
