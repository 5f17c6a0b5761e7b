//! The request of an IP reader: a card is never empty, never long, and never has a control character.
#![no_main]

use libfuzzer_sys::fuzz_target;
use print_release_agent::reader::http::{Answer, answer};

fuzz_target!(|head: &[u8]| {
    for mac in [None, Some("00:1B:C4")] {
        if let Answer::Card(read) = answer(head, mac) {
            let read = read.0.expose();
            assert!((1..=256).contains(&read.len()) && read.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    }
});
