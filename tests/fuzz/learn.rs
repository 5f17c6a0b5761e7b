//! Tries the solver with lines of `READ=NUMBER`. Every conversion that it gives out as fitting fits all pairs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use print_release_agent::convert::learn::{MAX_ANSWERS, learn};

fuzz_target!(|text: &str| {
    let pair = |line: &str| line.split_once('=').map(|(read, number)| (read.to_owned(), number.to_owned()));
    let pairs: Vec<_> = text.lines().filter_map(pair).take(4).collect();
    let learned = learn(&pairs);
    assert!(learned.fits.len() <= MAX_ANSWERS && learned.partial.len() <= MAX_ANSWERS);
    for answer in learned.fits {
        for (read, number) in &pairs {
            assert_eq!(answer.conversion.apply(read).as_ref(), Ok(number), "{}", answer.conversion);
        }
    }
});
