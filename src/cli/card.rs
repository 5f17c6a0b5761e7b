//! The command `card`: it converts reads to card numbers, and finds the conversion for known cards.

use serde_json::json;

use super::Exit;
use crate::convert::Conversion;
use crate::convert::learn::{self, Learned, LearnedConversion};

/// The most pairs that `learn` takes; more would not make the result surer.
const PAIRS_LIMIT: usize = 20;

/// With so many pairs the conversion is sure.
const ENOUGH: usize = 3;

#[derive(clap::Subcommand)]
pub(super) enum CardCommand {
    /// Convert a read, as a station would.
    Convert {
        /// The steps, as `convert` in agent.toml has them; none is the read as it is.
        #[arg(long, value_name = "STEPS", default_value = "")]
        with: String,
        /// The read, as the reader delivers it.
        read: String,
    },
    /// Find the conversion from reads and the numbers that the server has for them.
    Learn {
        /// A read and the number of that card at the server. One pair is enough to start, three to be sure.
        #[arg(value_name = "READ=NUMBER", required = true, num_args = 1..=PAIRS_LIMIT, value_parser = pair)]
        pairs: Vec<(String, String)>,
    },
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.rsplit_once('=') {
        Some((read, number)) if !read.is_empty() && !number.is_empty() => Ok((read.to_owned(), number.to_owned())),
        _ => Err("write it as READ=NUMBER".to_owned()),
    }
}

pub(super) fn run(json: bool, command: &CardCommand) -> Exit {
    match command {
        CardCommand::Convert { with, read } => convert(json, with, read),
        CardCommand::Learn { pairs } => print_learned(json, pairs),
    }
}

fn convert(json: bool, with: &str, read: &str) -> Exit {
    let conversion: Conversion = match with.parse() {
        Ok(conversion) => conversion,
        Err(error) => {
            eprintln!("{error}");
            return Exit::Usage;
        }
    };
    match conversion.apply(read) {
        Ok(number) if json => say_json!("{}", json!({ "number": number })),
        Ok(number) => say!("{number}"),
        Err(error) => {
            eprintln!("{error}");
            return Exit::Failed;
        }
    }
    Exit::Done
}

/// Prints the conversions that fit the pairs. The command has failed if none fits all of them.
pub(super) fn print_learned(json: bool, pairs: &[(String, String)]) -> Exit {
    let learned = learn::learn(pairs);
    if json {
        let rows = |answers: &[LearnedConversion]| answers.iter().map(row).collect::<Vec<_>>();
        let line = learned.fits.first().map(line);
        say_json!("{}", json!({ "fits": rows(&learned.fits), "partial": rows(&learned.partial), "line": line }));
    } else {
        text(&learned, pairs.len()).lines().for_each(|line| say!("{line}"));
    }
    if learned.fits.is_empty() { Exit::Failed } else { Exit::Done }
}

fn row(answer: &LearnedConversion) -> serde_json::Value {
    json!({ "convert": answer.conversion.to_string(), "digits": answer.digits, "note": answer.note })
}

/// The line for `[station.reader]` in agent.toml.
fn line(answer: &LearnedConversion) -> String {
    format!("convert = {}", toml::Value::String(answer.conversion.to_string()))
}

/// The result as text for a person: the conversions that fit, the simplest first, and the line to copy.
fn text(learned: &Learned, pairs: usize) -> String {
    let (title, answers) = match (&learned.fits[..], &learned.partial[..]) {
        ([], []) => {
            return "nothing fits, not even in part: check the pairs, or the reader's own settings\n".to_owned();
        }
        ([], partial) => ("nothing fits all; these come closest, and none of them may be used as it is:", partial),
        (fits, _) => ("these fit, simplest first:", fits),
    };
    let mut lines = vec![title.to_owned()];
    for LearnedConversion { conversion, digits, note } in answers {
        let steps = conversion.to_string();
        lines.push(format!("  {}", if steps.is_empty() { "(the read as it is)" } else { &steps }));
        lines.push(format!("      {digits} digits explained; {note}"));
    }
    if let Some(first) = learned.fits.first() {
        lines.push(format!("for [station.reader] in agent.toml:\n  {}", line(first)));
        if pairs < ENOUGH {
            lines.push(format!("with {pairs} of {ENOUGH} pairs this may still be chance: add other cards"));
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(pairs: &[&str]) -> String {
        let pairs: Vec<_> = pairs.iter().map(|text| pair(text).unwrap()).collect();
        text(&learn::learn(&pairs), pairs.len())
    }

    #[test]
    fn a_pair_is_cut_at_its_last_equals_sign() {
        assert_eq!(pair("5235=8=77"), Ok(("5235=8".to_owned(), "77".to_owned())));
        assert!(["77", "=77", "77="].into_iter().all(|text| pair(text).is_err()));
    }

    #[test]
    fn the_line_for_the_configuration_is_printed_and_can_be_read_back() {
        let text = learned(&["946EBD28=2490285352"]);
        let line = text.lines().map(str::trim).find(|line| line.starts_with("convert = ")).unwrap();
        let table: toml::Table = line.parse().unwrap();
        assert_eq!(table["convert"].as_str(), Some("hex2dec"));
        assert!(text.contains("1 of 3 pairs"), "{text}");
    }

    #[test]
    fn what_fits_only_in_part_has_no_line() {
        let text = learned(&["0F0184F07A=7325489530", "0F0184F07B=4525489531"]);
        assert!(text.starts_with("nothing fits") && !text.contains("agent.toml"), "{text}");
    }
}
