//! Tries the decoder of every profile. It gives the same reads however the bytes are split, and silence leaves nothing behind.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use print_release_agent::reader::frame::{Frame, Framer};
use print_release_agent::reader::profile::{self, Profile};

/// Loaded once, because the target tries the decoder and not the loading of profiles.
static PROFILES: LazyLock<Vec<Profile>> = LazyLock::new(|| {
    let load = |(name, _): &(&str, &str)| profile::load(name).expect("it is built in");
    profile::BUILT_IN.iter().map(load).collect()
});

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (which, piece, bytes) = input;
    let format = PROFILES[usize::from(which) % PROFILES.len()].frame.clone();
    let (mut whole, mut split) = (Framer::new(format.clone()), Framer::new(format));
    let frames = whole.push(bytes);
    let pieces: Vec<Frame> = bytes.chunks(usize::from(piece).max(1)).flat_map(|piece| split.push(piece)).collect();
    assert_eq!(frames, pieces);
    for frame in &frames {
        if let Frame::Read(read) = frame {
            let read = read.0.expose();
            assert!(!read.is_empty() && read.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    }
    assert_eq!(whole.idle(), split.idle());
    assert!(!whole.is_partial());
});
