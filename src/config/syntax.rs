//! TOML text to a table in spite of mistakes, so that the rest of the file can be checked too.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

/// A text as far as it could be read.
pub(super) struct Syntax<'t> {
    /// The tables of the text, with a guess in place of a broken value.
    pub(super) root: DeTable<'t>,
    /// The mistakes, each with its byte.
    pub(super) errors: Vec<(usize, String)>,
    /// Whether `root` has every key of the text. A broken value still has its key; after a broken header or
    /// bracket, keys may be lost.
    pub(super) is_whole: bool,
}

impl<'t> Syntax<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        let (root, errors) = DeTable::parse_recoverable(text);
        let root = root.into_inner();
        let values = line_values(&root, text);
        let broken_value = |at: usize| values.range(..=at).next_back().filter(|(_, end)| at <= **end);
        let errors = errors.into_iter().map(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let is_bare_word = |start: usize| text[start..].starts_with(|first: char| first.is_alphabetic());
            match broken_value(at) {
                Some((start, _)) if is_bare_word(*start) => (at, "text must be in quotes".to_owned()),
                _ => (at, error.message().to_owned()),
            }
        });
        let errors: Vec<_> = errors.collect();
        let is_whole = errors.iter().all(|(at, _)| broken_value(*at).is_some());
        Self { root, errors, is_whole }
    }
}

/// Start and end of every value that is neither a table nor a list and keeps to one line: one that does not
/// may have swallowed others.
fn line_values(root: &DeTable<'_>, text: &str) -> BTreeMap<usize, usize> {
    let mut values = BTreeMap::new();
    let mut open: Vec<_> = root.values().collect();
    while let Some(value) = open.pop() {
        match value.get_ref() {
            DeValue::Table(table) => open.extend(table.values()),
            DeValue::Array(array) => open.extend(array.iter()),
            _ => {
                let span = value.span();
                if text.get(span.clone()).is_some_and(|value| !value.contains('\n')) {
                    values.insert(span.start, span.end);
                }
            }
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_value_loses_no_key() {
        for text in ["a = 2s\nb = 1", "a = \"x\nb = 1", "a = 'x'y\nb = 1", "a = 09\nb = 1", "a =\nb = 1"] {
            let syntax = Syntax::of(text);
            assert_eq!((syntax.errors.len(), syntax.is_whole), (1, true), "{text}: {:?}", syntax.errors);
            assert!(syntax.root.contains_key("a") && syntax.root.contains_key("b"), "{text}");
        }
    }

    #[test]
    fn what_may_lose_keys_is_known() {
        for text in ["a 1\nb = 1", "[a\nb = 1\n[c]\nd = 1", "a = [1\nb = 1", "a = \"\"\"x\nb = 1", "a = {x = 1\nb = 1"]
        {
            let syntax = Syntax::of(text);
            assert!(!syntax.errors.is_empty() && !syntax.is_whole, "{text}: {:?}", syntax.errors);
        }
    }

    #[test]
    fn forgotten_quotes_are_told_in_plain_words() {
        for text in ["a = info", "a = 1\nb = https://example.com", "a = trueish"] {
            let errors = Syntax::of(text).errors;
            assert!(errors.iter().any(|(_, message)| message == "text must be in quotes"), "{text}: {errors:?}");
        }
    }
}
