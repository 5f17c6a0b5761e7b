//! The program: it starts worlds, each as a process of its own, and judges what they print.

use std::path::PathBuf;
use std::process::ExitCode;

use super::bugs;
use super::fleet::{Fleet, WorldOrder};
use super::life;
use super::shrink::shrink;
use super::world::Settings;

/// The length of a world. Every kind of fault comes within it.
const DAYS: u64 = 28;

const USAGE: &str = "simulate [--years N] [--seed S] [--bug NAME] | simulate --bugs | simulate --list";

/// The options, each a name and mostly a value.
struct Options(Vec<String>);

impl Options {
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|option| option == name)
    }

    fn text(&self, name: &str) -> Option<&str> {
        let at = self.0.iter().position(|option| option == name)?;
        self.0.get(at + 1).map(String::as_str)
    }

    fn number(&self, name: &str, default: u64) -> u64 {
        self.text(name).and_then(|text| text.parse().ok()).unwrap_or(default)
    }
}

/// Runs worlds.
pub fn main() -> ExitCode {
    let options = Options(std::env::args().skip(1).collect());
    if options.has("--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    if options.has("--world") {
        return life::run(settings(&options));
    }
    if options.has("--list") {
        bugs::BUGS.iter().for_each(|bug| println!("{:<36} {}", bug.name, bug.does));
        return ExitCode::SUCCESS;
    }
    let fleet = match Fleet::new() {
        Ok(fleet) => fleet,
        Err(error) => {
            eprintln!("failed to prepare a world: {error}");
            return ExitCode::FAILURE;
        }
    };
    if options.has("--bugs") {
        bugs::find_all(&fleet, options.text("--bug"), &without(&options))
    } else {
        live_years(&fleet, &options)
    }
}

fn settings(options: &Options) -> Settings {
    Settings {
        seed: options.number("--seed", 1),
        days: options.number("--days", DAYS),
        boxes: options.number("--boxes", 3) as usize,
        users_of_a_box: options.number("--users", 25) as usize,
        without: options.text("--without").unwrap_or_default().split(',').map(str::to_owned).collect(),
        tell: options.has("--tell"),
        about: options.text("--about").map(|names| names.split(',').map(str::to_owned).collect()).unwrap_or_default(),
        lines: options.number("--lines", 60) as usize,
        scratch: PathBuf::from(options.text("--scratch").unwrap_or(".")),
    }
}

/// Lives so many box-years, world after world.
fn live_years(fleet: &Fleet, options: &Options) -> ExitCode {
    let hours = options.number("--years", 2).max(1) * 365 * 24;
    let first = options.number("--seed", 1);
    let bug = options.text("--bug").map(str::to_owned);
    let order = WorldOrder { bug, without: without(options), ..WorldOrder::new(first, options.number("--days", DAYS)) };
    let lived = fleet.live_until(&order, hours);
    println!("{lived}");
    match lived.failed {
        None => ExitCode::SUCCESS,
        Some(failed) => {
            println!("{}", shrink(fleet, failed));
            ExitCode::FAILURE
        }
    }
}

fn without(options: &Options) -> Vec<String> {
    options.text("--without").map(|names| names.split(',').map(str::to_owned).collect()).unwrap_or_default()
}
