//! Tries the language of conversions with an input of steps, a line feed and a read. A parsed conversion can be written and
//! parsed again, a number is never empty or endless, and the trace shows the same result as the conversion gives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use print_release_agent::convert::{Conversion, MAX_CHARS, MAX_STEPS};

fuzz_target!(|text: &str| {
    let (steps, read) = text.split_once('\n').unwrap_or((text, "0F0184F07A"));
    let Ok(conversion) = steps.parse::<Conversion>() else { return };
    assert_eq!(conversion.to_string().parse().as_ref(), Ok(&conversion));
    let number = conversion.apply(read);
    let trace = conversion.trace(read);
    assert!(trace.len() <= MAX_STEPS);
    match &number {
        Ok(number) => {
            // SAFEQ's `+` joins the results of at most so many chains.
            assert!(!number.is_empty() && number.chars().count() <= MAX_CHARS * MAX_STEPS);
            assert!(trace.iter().all(|(_, result)| result.is_ok()));
        }
        Err(error) => assert_eq!(trace.last().and_then(|(_, result)| result.as_ref().err()), Some(error)),
    }
});
