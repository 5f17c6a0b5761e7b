//! docs/conversion.md tells the truth: its examples give what it says, and it names exactly what the program knows.

use std::collections::BTreeSet;

use print_release_agent::convert::learn::learn;
use print_release_agent::convert::{self, Conversion};
use print_release_agent::reader::profile;

use crate::support::limit;

const DOCUMENT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/conversion.md"));

/// One row of a table, with the section and the table that it stands in.
struct Row {
    section: &'static str,
    columns: Vec<String>,
    cells: Vec<String>,
}

impl Row {
    /// The cell of a column, if the table has that column.
    fn cell(&self, column: &str) -> Option<&str> {
        let place = self.columns.iter().position(|name| name == column)?;
        Some(&self.cells[place])
    }

    fn example(&self) -> Option<(String, String, &str)> {
        Some((code(self.cell("steps")?), code(self.cell("read")?), self.cell("result")?))
    }
}

/// The cells of a table's row. Markdown writes a bar inside of a cell as `\|`.
fn cells(line: &str) -> Vec<String> {
    let inside = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')).unwrap();
    inside.replace("\\|", "\0").split('|').map(|cell| cell.trim().replace('\0', "|")).collect()
}

/// All rows of all tables.
fn rows() -> Vec<Row> {
    let (mut rows, mut section, mut columns) = (Vec::new(), "", Vec::new());
    for line in DOCUMENT.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading;
        }
        if !line.starts_with('|') {
            columns.clear();
        } else if columns.is_empty() {
            columns = cells(line);
        } else if !line.starts_with("|---") {
            let cells = cells(line);
            assert_eq!(cells.len(), columns.len(), "{line}");
            rows.push(Row { section, columns: columns.clone(), cells });
        }
    }
    rows
}

/// The text of a cell that is written as code; `(none)` stands for the empty text. A text that contains backquotes stands
/// between two of them on either side, with a space if it ends in one.
fn code(cell: &str) -> String {
    if cell == "(none)" {
        return String::new();
    }
    let between = |quotes| cell.strip_prefix(quotes).and_then(|cell| cell.strip_suffix(quotes));
    let inside = match between("``") {
        Some(inside) if inside.ends_with("` ") => inside.strip_suffix(' '),
        Some(inside) => Some(inside),
        None => between("`"),
    };
    inside.unwrap_or_else(|| panic!("{cell} is no code")).to_owned()
}

/// The name in a cell such as `slice(FROM,TO)`.
fn name(cell: &str) -> String {
    code(cell).split('(').next().unwrap().to_owned()
}

/// The names in the first column of the tables of a section that begin with the column `column`.
fn names(column: &str, wanted: impl Fn(&Row) -> bool) -> BTreeSet<String> {
    let rows = rows();
    let named = rows.iter().filter(|row| row.columns[0] == column && wanted(row));
    named.map(|row| name(&row.cells[0])).collect()
}

fn set(names: Vec<&'static str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn every_example_gives_its_result() {
    let _limit = limit();
    let rows = rows();
    let examples: Vec<_> = rows.iter().filter_map(Row::example).collect();
    assert!(examples.len() > 80, "the tables are found");
    for (steps, read, result) in examples {
        let given = match steps.parse::<Conversion>() {
            Ok(conversion) => conversion.apply(&read).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let expected = match result.strip_prefix("error: ") {
            Some(message) => Err(code(message)),
            None => Ok(code(result)),
        };
        assert_eq!(given, expected, "{steps} of {read}");
    }
}

#[test]
fn every_step_format_and_command_is_explained_and_nothing_else_is() {
    let _limit = limit();
    assert_eq!(names("step", |_| true), set(convert::step_names()));
    assert_eq!(names("format", |row| row.section == "EM4100 formats"), set(convert::em4100_format_names()));
    assert_eq!(names("format", |row| row.section == "Wiegand formats"), set(convert::wiegand_format_names()));
    for (product, commands) in convert::product_commands() {
        let of_product = |row: &Row| row.example().unwrap().0.starts_with(&format!("{product}:"));
        assert_eq!(names("command", of_product), set(commands), "{product}");
    }
}

#[test]
fn every_explanation_has_an_example_that_uses_it() {
    let _limit = limit();
    for row in rows().iter().filter(|row| ["step", "format", "command"].contains(&&*row.columns[0])) {
        let (steps, _, _) = row.example().unwrap();
        let name = name(&row.cells[0]);
        let used = steps.split(['|', ';', '+', ':', '(', ')', ',', ' ']).any(|word| word == name);
        assert!(used, "{name} is not used in {steps}");
    }
}

#[test]
fn the_conversions_that_are_said_to_be_found_are_found_first() {
    let _limit = limit();
    let mut found = 0;
    for row in rows() {
        let Some(expected) = row.cell("first conversion") else { continue };
        let pair = (code(row.cell("read").unwrap()), code(row.cell("number").unwrap()));
        assert_eq!(learn(&[pair]).fits[0].conversion.to_string(), code(expected), "{:?}", row.cells);
        found += 1;
    }
    assert!(found > 5, "the table is found");
}

#[test]
fn every_built_in_profile_is_listed_and_nothing_else_is() {
    let _limit = limit();
    let built_in = profile::BUILT_IN.iter().map(|(name, _)| *name).collect();
    assert_eq!(names("profile", |_| true), set(built_in));
}

#[test]
fn the_headings_that_comments_refer_to_are_there() {
    let _limit = limit();
    let headings: BTreeSet<_> = DOCUMENT.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    for heading in ["Steps", "Wiegand formats", "EM4100 formats", "Other products' strings", "Finding a conversion"] {
        assert!(headings.contains(heading), "{heading}");
    }
}
