//! What can be wrong with a conversion's text, and with a read that it meets. None of it shows a read.

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
        /// Which step, from 1.
        number: usize,
        /// The step as it was written.
        text: String,
        /// What is wrong and what to write instead.
        problem: BadStep,
    },
}

/// Why a step's text is wrong, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadStep {
    /// There is nothing between two separators.
    #[error("there is no step here; remove the separator")]
    Empty,
    /// No step has this name.
    #[error("no step has this name; write one of {known}")]
    Unknown {
        /// All names that would do.
        known: String,
    },
    /// The name differs only in case from one that exists.
    #[error("names are case sensitive here; write `{name}`")]
    Case {
        /// The name in its right case.
        name: &'static str,
    },
    /// The arguments are not what the step takes.
    #[error("its arguments are wrong; write {usage}")]
    Arguments {
        /// What a right one looks like.
        usage: &'static str,
    },
    /// The step's parenthesis is open.
    #[error("its parenthesis is not closed; end it with `)`")]
    Unclosed,
    /// A quoted argument does not end, or holds a single quote character.
    #[error("its quotes do not close; end with `\"` and write `\"\"` for one inside")]
    Quotes,
    /// The regular expression is wrong.
    #[error("its regular expression is wrong: {reason}")]
    Regex {
        /// What the regular expression engine says.
        reason: String,
    },
    /// The regular expression would take too much memory.
    #[error("its regular expression is too large; lower the repetitions")]
    RegexSize,
    /// There is no such format.
    #[error("no format has this name; write one of {known}")]
    Format {
        /// All names that would do.
        known: String,
    },
    /// The Wiegand format has no facility code.
    #[error("this format has no facility code; leave the field out or write cn")]
    NoFacility,
    /// A program of the product, which is not there to run.
    #[error("a script cannot run here; write its work as steps of this agent, or find them with `card learn`")]
    Script,
}

/// Why a read gives no card number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// The reader delivered nothing.
    #[error("the read is empty; hold the card to the reader again")]
    EmptyRead,
    /// The read is longer than [`MAX_CHARS`].
    #[error("the read is longer than {MAX_CHARS} characters; check the reader's profile")]
    LongRead,
    /// A step cannot work on what it was given.
    #[error("step {number} ({name}): {fault}")]
    Step {
        /// Which step, from 1.
        number: usize,
        /// The step's name.
        name: String,
        /// What is wrong.
        fault: Fault,
    },
}

/// What is wrong with the input or the result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing is left, which is no card number.
    #[error("its result is empty; check what the steps before it remove")]
    Empty,
    /// The result is longer than [`MAX_CHARS`].
    #[error("its result is longer than {MAX_CHARS} characters; slice before it")]
    TooLong,
    /// Some character is no digit of this base.
    #[error("its input is not a {0} number; strip or slice the other characters first")]
    NotDigits(Base),
    /// The number does not fit.
    #[error("its input is a number of more than {MAX_BITS} bits; slice it first")]
    TooBig,
    /// Half a byte is missing.
    #[error("its input has an odd number of hexadecimal digits; use pad-left or slice first")]
    HalfByte,
    /// The bytes are no printable ASCII.
    #[error("its input is not the hexadecimal form of ASCII text; leave this step out")]
    NotAscii,
    /// A slice reaches past the input.
    #[error("its input has only {length} characters; this card needs another slice")]
    TooShort {
        /// Characters of the input.
        length: usize,
    },
    /// The regular expression found nothing.
    #[error("its regular expression does not match; compare it with `readers watch`")]
    NoMatch,
    /// Not a whole EM4100 tag.
    #[error("its input is not the 10 hexadecimal digits of an EM4100 tag; use pad-left or slice first")]
    NotEm4100,
    /// Too few bits for a left-aligned format.
    #[error("its input has {has} bits and {format} has {needs}; choose another format")]
    FewBits {
        /// The format's name.
        format: &'static str,
        /// Its bits.
        needs: usize,
        /// Bits of the input.
        has: usize,
    },
    /// There are bits beside the format's own which are neither padding nor a sentinel.
    #[error("its input has bits beside the {needs} of {format}; choose another format or alignment")]
    OtherBits {
        /// The format's name.
        format: &'static str,
        /// Its bits.
        needs: usize,
    },
    /// A parity bit is wrong.
    #[error("the parity of {format} is wrong; choose another format or alignment, or read again")]
    Parity {
        /// The format's name.
        format: &'static str,
    },
}
