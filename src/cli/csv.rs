//! Lines of CSV (RFC 4180) for a person with a spreadsheet. The values are cleaned as for a person; JSON has every value exactly.

use serde_json::Value;

use super::shown::Shown;

/// A spreadsheet takes a cell that begins with one of these for a formula. The last four are their wide forms, which some take too.
const FORMULA_STARTS: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// Joins the values to one line, with its end. A missing value is an empty cell.
pub(super) fn line<'a>(values: impl IntoIterator<Item = Option<&'a Value>>) -> String {
    let cells: Vec<_> = values.into_iter().map(|value| value.map(cell).unwrap_or_default()).collect();
    cells.join(",") + "\n"
}

fn cell(value: &Value) -> String {
    let text = match value {
        Value::String(text) => harmless(&Shown(text).to_string()),
        Value::Null => String::new(),
        value => harmless(&Shown(value).to_string()),
    };
    if text.contains(['"', ',', ';']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// Puts an apostrophe before the beginning of a formula, because anybody can choose a document's title. A spreadsheet of
/// a country with decimal commas ends cells at semicolons, so that a formula can begin there as well.
fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    let mut begins_a_cell = true;
    for character in text.chars() {
        if begins_a_cell && FORMULA_STARTS.contains(&character) {
            harmless.push('\'');
        }
        // Blanks and quotation marks before a formula may be dropped.
        begins_a_cell = character == ';' || begins_a_cell && [' ', '"'].contains(&character);
        harmless.push(character);
    }
    harmless
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_cell_is_a_formula_and_none_leaves_its_place() {
        for (value, cell) in [
            (json!("Letter"), "Letter"),
            (json!("=1+1"), "'=1+1"),
            (json!("+1"), "'+1"),
            (json!("-1"), "'-1"),
            (json!("@SUM(A1)"), "'@SUM(A1)"),
            (json!("＝1"), "'＝1"),
            (json!(" =1"), " '=1"),
            (json!("a;=1+1;b"), "\"a;'=1+1;b\""),
            (json!("a; \"=1"), "\"a; \"\"'=1\""),
            (json!("=a, \"x\"\n"), "\"'=a, \"\"x\"\"\\n\""),
            (json!("a=b - c"), "a=b - c"),
            (json!("\t=1"), "\\t=1"),
            (json!(-7), "'-7"),
            (json!(7), "7"),
            (json!(false), "false"),
            (json!(null), ""),
        ] {
            assert_eq!(line([Some(&value), None]), format!("{cell},\n"), "{value}");
        }
    }
}
