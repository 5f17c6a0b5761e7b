//! The program: it starts worlds, each as a process of its own, and judges what they print.

use std::path::PathBuf;
use std::process::ExitCode;

use super::life;
use super::world::Settings;

/// Runs worlds.
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let of = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).map(String::as_str)
    };
    let number = |name: &str, default: u64| of(name).and_then(|text| text.parse().ok()).unwrap_or(default);
    life::run(Settings {
        seed: number("--seed", 1),
        days: number("--days", 28),
        boxes: number("--boxes", 3) as usize,
        users_of_a_box: number("--users", 25) as usize,
        without: of("--without").unwrap_or_default().split(',').map(str::to_owned).collect(),
        tell: arguments.iter().any(|argument| argument == "--tell"),
        scratch: PathBuf::from(of("--scratch").unwrap_or("/tmp/world-scratch")),
    })
}
