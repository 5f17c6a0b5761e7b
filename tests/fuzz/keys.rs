//! Key events of the kernel: at most one byte each, and a read never spans events that were lost.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use print_release_agent::reader::frame::{Frame, Framer};
use print_release_agent::reader::keys::{KeyDecoder, LOST};
use print_release_agent::reader::profile::{self, Profile};

/// Read once: what is tried is the decoder.
static KEYBOARD: LazyLock<Profile> = LazyLock::new(|| profile::load("keyboard").expect("it is built in"));

fuzz_target!(|events: Vec<(u16, u16, i32)>| {
    let mut keys = KeyDecoder::default();
    let mut framer = Framer::new(KEYBOARD.frame.clone());
    for (kind, code, value) in events {
        // Most codes are no keys: fold them into the table, so that something is typed.
        for code in [code, code % 100] {
            let Some(byte) = keys.event(kind % 4, code, value) else { continue };
            for frame in framer.push(&[byte]) {
                assert_ne!(byte, LOST);
                assert!(!matches!(frame, Frame::Read(read) if read.0.expose().bytes().any(|byte| byte == LOST)));
            }
        }
    }
});
