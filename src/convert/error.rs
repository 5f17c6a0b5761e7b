//! The errors of a conversion: mistakes in its text, and reads that it cannot convert. No error shows a read.

use super::number::{Base, MAX_BITS};
use super::{MAX_CHARS, MAX_STEPS, MAX_TEXT};

/// Why a text is not a conversion.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The text is longer than [`MAX_TEXT`].
    #[error("the conversion is longer than {MAX_TEXT} bytes; shorten it")]
    TooLong,
    /// There are more than [`MAX_STEPS`] steps.
    #[error("the conversion has more than {MAX_STEPS} steps; join or drop some")]
    TooManySteps,
    /// One step is wrong.
    #[error("step {number} `{text}`: {problem}")]
    Step {
        /// The position of the step, counted from 1.
        number: usize,
        /// The step as it was written.
        text: String,
        /// The mistake, and the way to write it right.
        problem: BadStep,
    },
}

/// The mistake in a step's text. Its message says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadStep {
    /// There is nothing between two separators.
    #[error("there is no step here; remove the separator")]
    Empty,
    /// No step has this name.
    #[error("no step has this name; write one of {known}")]
    Unknown {
        /// The names of all steps.
        known: String,
    },
    /// The name differs only in case from the name of a step.
    #[error("names are case sensitive here; write `{name}`")]
    Case {
        /// The right name.
        name: &'static str,
    },
    /// The step does not take these arguments.
    #[error("its arguments are wrong; write {usage}")]
    Arguments {
        /// The right form of the step.
        usage: &'static str,
    },
    /// The closing parenthesis is missing.
    #[error("its parenthesis is not closed; end it with `)`")]
    Unclosed,
    /// A quoted argument does not end, or holds a single quote character.
    #[error("its quotes do not close; end with `\"` and write `\"\"` for one inside")]
    Quotes,
    /// The regular expression is wrong.
    #[error("its regular expression is wrong: {reason}")]
    Regex {
        /// The message of the regular expression engine.
        reason: String,
    },
    /// The regular expression would take too much memory.
    #[error("its regular expression is too large; lower the repetitions")]
    RegexSize,
    /// There is no such EM4100 or Wiegand format.
    #[error("no format has this name; write one of {known}")]
    Format {
        /// The names of all formats of that kind.
        known: String,
    },
    /// The Wiegand format has no facility code.
    #[error("this format has no facility code; leave the field out or write cn")]
    NoFacility,
    /// The step is a script of another product, which this agent cannot run.
    #[error("a script cannot run here; write its work as steps of this agent, or find them with `card learn`")]
    Script,
}

/// The reason why a read gives no card number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// The reader delivered nothing.
    #[error("the read is empty; hold the card to the reader again")]
    EmptyRead,
    /// The read is longer than [`MAX_CHARS`].
    #[error("the read is longer than {MAX_CHARS} characters; check the reader's profile")]
    LongRead,
    /// A step cannot work on its input.
    #[error("step {number} ({name}): {fault}")]
    Step {
        /// The position of the step, counted from 1.
        number: usize,
        /// The name of the step.
        name: String,
        /// The fault of its input or its result.
        fault: StepFault,
    },
}

/// A fault of the input or the result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepFault {
    /// The result is empty, and so it is no card number.
    #[error("its result is empty; check what the steps before it remove")]
    Empty,
    /// The result is longer than [`MAX_CHARS`].
    #[error("its result is longer than {MAX_CHARS} characters; slice before it")]
    TooLong,
    /// At least one character is no digit of this base.
    #[error("its input is not a {0} number; strip or slice the other characters first")]
    NotDigits(Base),
    /// The number has more than [`MAX_BITS`] bits.
    #[error("its input is a number of more than {MAX_BITS} bits; slice it first")]
    TooBig,
    /// The number of hexadecimal digits is odd, so half a byte is missing.
    #[error("its input has an odd number of hexadecimal digits; use pad-left or slice first")]
    HalfByte,
    /// The bytes are not all printable ASCII characters.
    #[error("its input is not the hexadecimal form of ASCII text; leave this step out")]
    NotAscii,
    /// The slice reaches past the input.
    #[error("its input has only {length} characters; this card needs another slice")]
    TooShort {
        /// The number of characters of the input.
        length: usize,
    },
    /// The regular expression does not match the input.
    #[error("its regular expression does not match; compare it with `readers watch`")]
    NoMatch,
    /// The input is not the number of an EM4100 tag.
    #[error("its input is not the 10 hexadecimal digits of an EM4100 tag; use pad-left or slice first")]
    NotEm4100,
    /// The input has too few bits for a left-aligned card of this format.
    #[error("its input has {has} bits and {format} has {needs}; choose another format")]
    FewBits {
        /// The name of the format.
        format: &'static str,
        /// The number of bits of the format.
        needs: usize,
        /// The number of bits of the input.
        has: usize,
    },
    /// The input has further bits beside those of the format, and they are neither padding nor a sentinel.
    #[error("its input has bits beside the {needs} of {format}; choose another format or alignment")]
    OtherBits {
        /// The name of the format.
        format: &'static str,
        /// The number of bits of the format.
        needs: usize,
    },
    /// A parity bit of the card is wrong.
    #[error("the parity of {format} is wrong; choose another format or alignment, or read again")]
    Parity {
        /// The name of the format.
        format: &'static str,
    },
}
