//! Tries the request of an IP reader. A card is never empty, never too long, and never has a control character.
#![no_main]

use libfuzzer_sys::fuzz_target;
use print_release_agent::reader::http::{ReaderReply, reply_to};

fuzz_target!(|head: &[u8]| {
    for mac in [None, Some("00:1B:C4")] {
        if let ReaderReply::CardTaken(read) = reply_to(head, mac) {
            let read = read.0.expose();
            assert!((1..=256).contains(&read.len()) && read.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    }
});
