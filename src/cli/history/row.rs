//! A row of the history as one line (docs/print-server-api.md, "DocumentInfo").

use serde_json::{Value, json};

use crate::cli::csv;
use crate::cli::queue::ExportFormat;
use crate::cli::shown::harmless_json;

/// Every column of the CSV, with its field in the row.
const COLUMNS: [(&str, &str); 15] = [
    ("time", "dateTime"),
    ("document", "uuid"),
    ("user", "userName"),
    ("provider", "providerId"),
    ("title", "documentName"),
    ("status", "status"),
    ("job", "jobType"),
    ("printer", "outputPortName"),
    ("pages", "totalPages"),
    ("color_pages", "colorPages"),
    ("grayscale", "grayscale"),
    ("copies", "copies"),
    ("duplex", "duplex"),
    ("paper_size", "paperSize"),
    ("storage_online", "storageOnline"),
];

/// The names of the numbers of `status`.
const STATUSES: [&str; 10] = [
    "READY",
    "PRINTED",
    "DELETED",
    "EXPIRED",
    "FAILED",
    "RECEIVED",
    "AWAITING_CONVERSION",
    "CONVERTING",
    "CONVERSION_FAILED",
    "STORED",
];

/// The names of the numbers of `duplex`, as in the entries of the queue.
const SIDES: [&str; 3] = ["simplex", "long-edge", "short-edge"];

/// The line before the rows, if the format has one.
pub(super) fn header(format: ExportFormat) -> String {
    match format {
        ExportFormat::Jsonl => String::new(),
        ExportFormat::Csv => COLUMNS.map(|(name, _)| name).join(",") + "\n",
    }
}

pub(super) fn line(format: ExportFormat, row: &Value) -> String {
    match format {
        ExportFormat::Jsonl => format!("{}\n", harmless_json(&row.to_string())),
        ExportFormat::Csv => {
            let values = COLUMNS.map(|(_, field)| row.get(field).map(|value| named(field, value)));
            csv::line(values.iter().map(Option::as_ref))
        }
    }
}

/// The value as a person reads it. One that is not known stays as it is.
fn named(field: &str, value: &Value) -> Value {
    let word = |words: &[&str]| {
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        number.and_then(|number| words.get(number)).map(|word| json!(word))
    };
    let named = match field {
        "dateTime" => super::window::time_of(value).map(|time| json!(time)),
        "status" => word(&STATUSES),
        "duplex" => word(&SIDES),
        _ => None,
    };
    named.unwrap_or_else(|| value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_told_in_words_and_an_odd_one_as_it_is() {
        let row = json!({
            "uuid": "u", "userName": "ada", "documentName": "=1,2", "status": 1, "jobType": "PRINT", "totalPages": 3,
            "duplex": 2, "dateTime": 1_790_000_000_123_i64, "new": 1, "providerId": 65, "grayscale": false,
        });
        let csv = line(ExportFormat::Csv, &row);
        assert_eq!(csv, "2026-09-21T14:13:20.123Z,u,ada,65,\"'=1,2\",PRINTED,PRINT,,3,,false,,short-edge,,\n");
        assert_eq!(header(ExportFormat::Csv).split(',').count(), csv.replace("1,2", "12").split(',').count());
        let odd = json!({ "status": 77, "dateTime": "soon", "duplex": "x", "uuid": 9 });
        assert_eq!(line(ExportFormat::Csv, &odd), "soon,9,,,,77,,,,,,,x,,\n");
        assert_eq!(line(ExportFormat::Csv, &json!("maintenance")), ",,,,,,,,,,,,,,\n");
        assert_eq!(serde_json::from_str::<Value>(&line(ExportFormat::Jsonl, &row)).unwrap(), row);
    }
}
