//! Tries the decoder of key events together with the profile `keyboard`. Each event types at most one byte, and a read never
//! spans events that were lost.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use print_release_agent::reader::frame::{Frame, Framer};
use print_release_agent::reader::keys::{KeyDecoder, LOST};
use print_release_agent::reader::profile::{self, Profile};

/// Loaded once, because the target tries the decoder and not the loading of profiles.
static KEYBOARD: LazyLock<Profile> = LazyLock::new(|| profile::load("keyboard").expect("it is built in"));

fuzz_target!(|events: Vec<(u16, u16, i32)>| {
    let mut keys = KeyDecoder::default();
    let mut framer = Framer::new(KEYBOARD.frame.clone());
    for (kind, code, value) in events {
        // Most codes are no keys, so each is also folded into the table, to have something typed.
        for code in [code, code % 100] {
            let Some(byte) = keys.event(kind % 4, code, value) else { continue };
            for frame in framer.push(&[byte]) {
                assert_ne!(byte, LOST);
                assert!(!matches!(frame, Frame::Read(read) if read.0.expose().bytes().any(|byte| byte == LOST)));
            }
        }
    }
});
