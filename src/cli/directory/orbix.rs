//! `directory orbix`: groups of print queue users, from a file to the portal.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::{CommandEnd, DirectoryConsole, Exit, client, ezeep};
use crate::config::DirectorySite;
use crate::directory::DirectoryError;
use crate::directory::orbix::journal::TakenPeople;
use crate::directory::orbix::{OrbixPerson, OrbixResult, OrbixService, PersonProblem, checked, people};
use crate::durable;

/// The largest file: some hundred thousand people.
const FILE_LIMIT: u64 = 64 << 20;

/// Creating 5,000 people may take the portal a while.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The journal of people from standard input, in the state directory.
const STDIN_JOURNAL_FILE: &str = "orbix-stdin.journal";

/// The journal of people from ezeep, there too.
const EZEEP_JOURNAL_FILE: &str = "orbix-ezeep.journal";

#[derive(clap::Subcommand)]
pub(in crate::cli) enum OrbixCommand {
    /// Create or update groups of print queue users. People whom it has taken once are not sent again.
    Push {
        /// The file, CSV with the header group,description,logon,domain,name,email; - is standard input.
        #[arg(required_unless_present = "from", required_if_eq("from", "csv"))]
        file: Option<PathBuf>,
        /// The origin of the people; a file, unless something else is said.
        #[arg(long, value_enum)]
        from: Option<PeopleSource>,
        /// Show what would be sent, and send nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum PeopleSource {
    /// A file.
    Csv,
    /// The groups of ezeep, with the login names of the map.
    Ezeep,
}

pub(super) async fn run(site: &DirectorySite, console: DirectoryConsole, command: &OrbixCommand) -> CommandEnd {
    let OrbixCommand::Push { file, from, dry_run } = command;
    if *from == Some(PeopleSource::Ezeep) && file.is_some() {
        let error = "push people: a file and --from ezeep exclude each other; leave one out";
        say_error!("failed to {error}");
        return Ok((Exit::Usage, json!({ "error": error })));
    }
    let service = OrbixService::new(&site.directory.orbix)?;
    let (people, journal) = match from {
        Some(PeopleSource::Ezeep) => (of_ezeep(site).await?, site.state_dir.join(EZEEP_JOURNAL_FILE)),
        Some(PeopleSource::Csv) | None => {
            let file = file.as_deref().unwrap_or(Path::new("-"));
            (people(&read(file)?), journal_of(site, file))
        }
    };
    match people {
        Ok(people) => push(site, console, &service, &people, &journal, *dry_run).await,
        Err(problems) => Ok((Exit::Failed, told(console, &problems))),
    }
}

/// Tells what is wrong with the people, of whom nobody was sent.
fn told(console: DirectoryConsole, problems: &[PersonProblem]) -> Value {
    let lines = problems.iter().map(|problem| format!("line {}: {}", problem.line, problem.why));
    console.lines(&lines.collect::<Vec<_>>());
    let error = format!("push the people: there are {} problems, and nothing was sent", problems.len());
    say_error!("failed to {error}");
    let problems = problems.iter().map(|problem| json!({ "line": problem.line, "error": problem.why }));
    json!({ "error": error, "problems": problems.collect::<Vec<_>>() })
}

/// The people of ezeep's groups, as far as the map knows their login names.
async fn of_ezeep(site: &DirectorySite) -> Result<Result<Vec<OrbixPerson>, Vec<PersonProblem>>, DirectoryError> {
    let ezeep = ezeep::open(site)?;
    let map = ezeep::read_map(&ezeep::map_file(site))?;
    let (groups, users) = (ezeep.groups().await?.rows, ezeep.users().await?.rows);
    let missing = map.gaps(&users).without_login.len();
    if missing > 0 {
        say_error!("{missing} users of ezeep are not sent: the map has no login name for them (`directory ezeep map`)");
    }
    Ok(checked(map.people(&groups, &users)))
}

async fn push(
    site: &DirectorySite,
    console: DirectoryConsole,
    service: &OrbixService,
    people: &[OrbixPerson],
    journal: &Path,
    dry_run: bool,
) -> CommandEnd {
    let plan = service.plan(people, &TakenPeople::read(journal, &service.name())?);
    if !console.json {
        console.lines(&plan.lines());
    }
    if dry_run {
        return Ok((Exit::Done, json!({ "dry_run": true, "plan": plan, "result": null })));
    }
    if let Some(directory) = journal.parent().filter(|parent| *parent == site.state_dir) {
        durable::directory(directory).map_err(|error| DirectoryError::disk(directory, &error))?;
    }
    let bar = ProgressBar::new();
    let result = service.push(&client(site, TIMEOUT)?, people, journal.to_owned(), |done, of| bar.show(done, of)).await;
    bar.end();
    let result = result?;
    if !console.json {
        console.lines(&result.lines());
    }
    if let Some(why) = &result.stopped {
        say_error!("failed to {why}; the next push goes on where this one ended");
    }
    Ok((exit_of(&result), json!({ "dry_run": false, "plan": plan, "result": result })))
}

fn exit_of(result: &OrbixResult) -> Exit {
    match result {
        result if result.is_complete() => Exit::Done,
        result if result.is_disk() => Exit::Disk,
        result if result.is_unreachable() => Exit::Unavailable,
        _ => Exit::Failed,
    }
}

/// The journal lies beside the file.
fn journal_of(site: &DirectorySite, file: &Path) -> PathBuf {
    if file == Path::new("-") {
        return site.state_dir.join(STDIN_JOURNAL_FILE);
    }
    let mut name = file.as_os_str().to_owned();
    name.push(".journal");
    name.into()
}

fn read(file: &Path) -> Result<String, DirectoryError> {
    let mut bytes = Vec::new();
    let disk = |error: std::io::Error| DirectoryError::disk(file, &error);
    let read = match file == Path::new("-") {
        true => std::io::stdin().take(FILE_LIMIT + 1).read_to_end(&mut bytes),
        false => std::fs::File::open(file).map_err(disk)?.take(FILE_LIMIT + 1).read_to_end(&mut bytes),
    };
    let length = read.map_err(disk)?;
    if u64::try_from(length).is_ok_and(|length| length > FILE_LIMIT) {
        return Err(DirectoryError::Unfit(format!("push the file: it has more than {FILE_LIMIT} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        DirectoryError::Unfit(format!("push the file: line {line}: is not UTF-8 text"))
    })
}

/// The progress on standard error: one line that changes on a terminal, a line for each request otherwise.
struct ProgressBar {
    terminal: bool,
}

impl ProgressBar {
    /// The characters of the whole bar.
    const WIDTH: usize = 40;

    fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal() }
    }

    fn show(&self, done: usize, of: usize) {
        if !self.terminal {
            say_error!("{done} of {of} users answered for");
            return;
        }
        let filled = (done * Self::WIDTH).checked_div(of).unwrap_or(Self::WIDTH);
        let bar: String = (0..Self::WIDTH).map(|place| if place < filled { '#' } else { '.' }).collect();
        // A terminal that is closed has nobody who looks at it.
        drop(write!(std::io::stderr(), "\r[{bar}] {done} of {of} users"));
    }

    fn end(&self) {
        if self.terminal {
            say_error!("");
        }
    }
}
