//! Lines of comma-separated values (RFC 4180), each with the number of the line of the file on which it begins. Pure.

/// One record of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CsvRecord {
    /// The line on which it begins; the header is line 1.
    pub(super) line: usize,
    /// Its values.
    pub(super) fields: Vec<String>,
}

/// A line that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub(super) struct CsvError {
    /// The line.
    pub(super) line: usize,
    /// The fault.
    pub(super) why: &'static str,
}

/// Reads all records. Empty lines are left out; line ends are LF or CRLF; a mark at the beginning of the file counts for nothing.
///
/// # Errors
/// A quote stands where none can stand, or has no end.
pub(super) fn records(text: &str) -> Result<Vec<CsvRecord>, CsvError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = CsvReader { rest: text, line: 1 };
    let mut found = Vec::new();
    while !reader.rest.is_empty() {
        let line = reader.line;
        let fields = reader.record()?;
        if fields.iter().any(|field| !field.is_empty()) || fields.len() > 1 {
            found.push(CsvRecord { line, fields });
        }
    }
    Ok(found)
}

struct CsvReader<'t> {
    rest: &'t str,
    line: usize,
}

impl CsvReader<'_> {
    fn record(&mut self) -> Result<Vec<String>, CsvError> {
        let mut fields = Vec::new();
        loop {
            fields.push(self.field()?);
            if let Some(rest) = self.rest.strip_prefix(',') {
                self.rest = rest;
                continue;
            }
            let rest = self.rest.strip_prefix("\r\n").or(self.rest.strip_prefix('\n'));
            if let Some(rest) = rest {
                self.rest = rest;
                self.line += 1;
            }
            return Ok(fields);
        }
    }

    fn field(&mut self) -> Result<String, CsvError> {
        let Some(quoted) = self.rest.strip_prefix('"') else {
            let end = self.rest.find([',', '\n', '"']).unwrap_or(self.rest.len());
            let (field, rest) = self.rest.split_at(end);
            if rest.starts_with('"') {
                return Err(CsvError {
                    line: self.line,
                    why: "has a quote inside a value that does not begin with one",
                });
            }
            // The carriage return of a line end belongs to the line end.
            let ends = rest.is_empty() || rest.starts_with('\n');
            let field = if ends { field.strip_suffix('\r').unwrap_or(field) } else { field };
            self.rest = rest;
            return Ok(field.to_owned());
        };
        let (begin, mut field, mut rest) = (self.line, String::new(), quoted);
        loop {
            let Some(end) = rest.find('"') else {
                return Err(CsvError { line: begin, why: "has a quote without an end" });
            };
            field.push_str(&rest[..end]);
            rest = &rest[end + 1..];
            match rest.strip_prefix('"') {
                Some(more) => {
                    field.push('"');
                    rest = more;
                }
                None => break,
            }
        }
        self.line += field.matches('\n').count();
        self.rest = rest;
        match rest.is_empty() || rest.starts_with([',', '\n']) || rest.starts_with("\r\n") {
            true => Ok(field),
            false => Err(CsvError { line: self.line, why: "goes on behind the quote at the end of a value" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Vec<(usize, Vec<String>)> {
        records(text).unwrap().into_iter().map(|record| (record.line, record.fields)).collect()
    }

    fn record(line: usize, fields: &[&str]) -> (usize, Vec<String>) {
        (line, fields.iter().map(|field| (*field).to_owned()).collect())
    }

    #[test]
    fn a_record_has_the_number_of_its_line() {
        let expected =
            [record(1, &["a", "b"]), record(2, &["1", ""]), record(4, &["x\ny\"", "2"]), record(6, &["z", ""])];
        for end in ["\n", "\r\n"] {
            let text = format!("\u{feff}a,b{end}1,{end}{end}\"x\ny\"\"\",2{end}z,");
            assert_eq!(read(&text), expected, "{end:?}");
            assert_eq!(read(&format!("{text}{end}")), expected, "{end:?}");
        }
        assert_eq!(read(""), []);
        assert_eq!(read("a\r"), [record(1, &["a"])]);
    }

    #[test]
    fn a_quote_in_the_wrong_place_is_told_with_its_line() {
        for (text, line) in [("a\nb\"c\n", 2), ("a\n\"b", 2), ("a\n\n\"b\nc\"d\n", 4)] {
            assert_eq!(records(text).unwrap_err().line, line, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_values_come_back(rows in prop::collection::vec(prop::collection::vec("[a,\"\n\r ü]{0,5}", 2), 0..6)) {
            let quoted = |field: &String| format!("\"{}\"", field.replace('"', "\"\""));
            let lines = rows.iter().map(|row| row.iter().map(quoted).collect::<Vec<_>>().join(","));
            let text: String = lines.map(|line| format!("{line}\n")).collect();
            let back: Vec<_> = records(&text).unwrap().into_iter().map(|record| record.fields).collect();
            prop_assert_eq!(back, rows);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[a,\"\n\r]{0,20}") {
            let _ = records(&text);
        }
    }
}
