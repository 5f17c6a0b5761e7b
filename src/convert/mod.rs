//! Turns a read into a card number by a checked list of text steps, and finds such a list for given cards (`learn`). The
//! steps are explained, each with an example, in docs/conversion.md.
//!
//! Invariants: a [`Conversion`] exists only if every step is known and its arguments are right. Applying one gives a text
//! that is not empty, or an error, but never a part of a number. No error and no `Debug` shows a read.
//!
//! This module has no I/O and no clock, and it does not find the reads in a reader's bytes (that is the task of `reader`).

mod em4100;
mod error;
mod hex;
pub mod learn;
mod number;
mod parse;
mod products;
mod step;
mod wiegand;

use std::fmt;
use std::str::FromStr;

pub use error::{BadStep, ConvertError, ParseError, StepFault};
pub use number::Base;
use step::ConversionStep;

/// The longest read and the longest result of a step, in characters.
pub const MAX_CHARS: usize = 1024;
/// The most steps of a conversion.
pub const MAX_STEPS: usize = 32;
/// The longest text of a conversion, in bytes.
pub const MAX_TEXT: usize = 1024;

/// A checked list of steps that turns a read into a card number.
///
/// It is written as steps joined by `|`, or as a whole string of another product after `papercut:`, `safeq:` or
/// `myq:`. The empty text leaves a read unchanged. Two conversions are equal if their texts are.
#[derive(Clone, Debug)]
pub struct Conversion {
    text: String,
    /// Every chain runs on the read, and the results are joined. Only SAFEQ's `+` makes more than one chain.
    chains: Vec<Vec<ConversionStep>>,
}

impl FromStr for Conversion {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        if text.len() > MAX_TEXT {
            return Err(ParseError::TooLong);
        }
        let chains = match products::chains(text) {
            Some(chains) => chains?,
            None => vec![parse::steps(text)?],
        };
        if chains.iter().map(Vec::len).sum::<usize>() > MAX_STEPS {
            return Err(ParseError::TooManySteps);
        }
        Ok(Self { text: text.to_owned(), chains })
    }
}

impl PartialEq for Conversion {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Conversion {}

impl fmt::Display for Conversion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Conversion {
    /// The card number of `read`.
    ///
    /// # Errors
    /// The error names the step that cannot work on this read, and the reason; it never shows the read.
    pub fn apply(&self, read: &str) -> Result<String, ConvertError> {
        self.run(read, |_, _| {})
    }

    /// The text of each step with its result, up to the first that fails, for the technician who looks at his own card.
    ///
    /// A read that no step may see (empty, too long) is one entry named `read`. The results are as secret as the
    /// read.
    #[must_use]
    pub fn trace(&self, read: &str) -> Vec<(String, Result<String, ConvertError>)> {
        let mut seen = Vec::new();
        let end = self.run(read, |step, result| seen.push((step.text.clone(), result.clone())));
        match end {
            Err(error) if seen.is_empty() => vec![("read".to_owned(), Err(error))],
            _ => seen,
        }
    }

    fn run(
        &self,
        read: &str,
        mut watch: impl FnMut(&ConversionStep, &Result<String, ConvertError>),
    ) -> Result<String, ConvertError> {
        if read.is_empty() {
            return Err(ConvertError::EmptyRead);
        }
        if read.chars().count() > MAX_CHARS {
            return Err(ConvertError::LongRead);
        }
        let mut number = String::new();
        for chain in &self.chains {
            let mut text = read.to_owned();
            for step in chain {
                let result = step.run(&text, read);
                watch(step, &result);
                text = result?;
            }
            number.push_str(&text);
        }
        Ok(number)
    }

    fn steps(&self) -> impl Iterator<Item = &ConversionStep> {
        self.chains.iter().flatten()
    }
}

/// The names of all steps.
#[must_use]
pub fn step_names() -> Vec<&'static str> {
    parse::STEPS.names()
}

/// The names of the formats that `em4100` knows.
#[must_use]
pub fn em4100_format_names() -> Vec<&'static str> {
    em4100::FORMATS.iter().map(|format| format.name).collect()
}

/// The names of the formats that `wiegand` knows, the most common ones first.
#[must_use]
pub fn wiegand_format_names() -> Vec<&'static str> {
    wiegand::FORMATS.iter().map(|format| format.name).collect()
}

/// The other products whose strings are known, each with the names of its commands.
#[must_use]
pub fn product_commands() -> Vec<(&'static str, Vec<&'static str>)> {
    products::PRODUCTS.iter().map(|(product, commands)| (*product, commands.names())).collect()
}

#[cfg(test)]
mod tests;
