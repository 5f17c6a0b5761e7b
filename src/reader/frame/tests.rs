use proptest::prelude::*;

use super::*;
use crate::reader::profile;

/// Each profile, the bytes that its reader sends for one card, and the read.
fn examples() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let rows = include_str!("../../../tests/vectors/reader_frames.csv").lines().filter(|row| !row.starts_with('#'));
    let example = |row: &'static str| {
        let [profile, bytes, text] = row.split(',').collect::<Vec<_>>().try_into().unwrap();
        (profile, from_hex(bytes.as_bytes()).unwrap().to_vec(), text)
    };
    rows.skip(1).map(example).collect()
}

fn framer(profile: &str) -> Framer {
    Framer::new(profile::load(profile).unwrap().frame)
}

fn read(text: &str) -> Frame {
    Frame::Read(Read(Secret::new(text)))
}

/// The bytes for one card: the frame, and once more if the profile takes two equal frames for a read.
fn card(profile: &str, wire: &[u8]) -> Vec<u8> {
    wire.repeat(if profile::load(profile).unwrap().frame.twice { 2 } else { 1 })
}

#[test]
fn every_profile_has_an_example() {
    for (name, _) in profile::BUILT_IN {
        let has = examples().iter().any(|(example, ..)| example == name);
        assert!(has || ["keyboard-no-enter", "acr122u"].contains(name), "{name}: silence ends it");
    }
}

#[test]
fn a_whole_frame_is_one_read() {
    for (profile, wire, text) in examples() {
        assert_eq!(framer(profile).push(&card(profile, &wire)), [read(text)], "{profile}");
    }
}

#[test]
fn a_split_at_any_byte_changes_nothing() {
    for (profile, wire, text) in examples() {
        let wire = card(profile, &wire);
        for at in 0..wire.len() {
            let mut framer = framer(profile);
            let mut frames = framer.push(&wire[..at]);
            frames.extend(framer.push(&wire[at..]));
            assert_eq!(frames, [read(text)], "{profile} at {at}");
        }
    }
}

#[test]
fn two_cards_in_one_piece_are_two_reads() {
    for (profile, wire, text) in examples() {
        let twice = profile::load(profile).unwrap().frame.twice;
        let wire = wire.repeat(if twice { 3 } else { 2 });
        assert_eq!(framer(profile).push(&wire), [read(text), read(text)], "{profile}");
    }
}

#[test]
fn after_noise_at_least_the_second_card_is_read_and_nothing_else_is() {
    for (profile, wire, text) in examples() {
        for noise in [&b"\xF0\x15?"[..], b"\x02\x0A", b"\x00\x00\xFF", b"\xCD\xDC\x00", b"{0x", b"\n"] {
            let mut framer = framer(profile);
            let mut frames = framer.push(&[noise, &card(profile, &wire)[..]].concat());
            frames.extend(framer.idle());
            frames.extend(framer.push(&card(profile, &wire)));
            assert_eq!(frames.pop(), Some(read(text)), "{profile} after {noise:?}");
            // The profile `line` takes any text, so it cannot tell noise that is text from a card.
            let free = profile == "line";
            assert!(free || frames.iter().all(|frame| matches!(frame, Frame::Fault(_)) || *frame == read(text)));
        }
    }
}

#[test]
fn half_a_frame_is_no_read_and_silence_makes_way_for_the_next() {
    for (profile, wire, text) in examples() {
        for length in 1..wire.len() {
            let mut framer = framer(profile);
            // A reader that ends with CR LF has sent the whole card before the LF.
            let mut frames = framer.push(&wire[..length]);
            frames.extend(framer.idle());
            assert!(frames.iter().all(|frame| *frame == Frame::Fault(Fault::Noise)), "{profile} to {length}");
            assert!(!framer.is_partial());
            assert_eq!(framer.push(&card(profile, &wire)), [read(text)], "{profile} after {length}");
        }
    }
}

#[test]
fn one_flipped_bit_is_never_another_card_where_there_is_a_check() {
    for (profile, wire, text) in examples() {
        if profile::load(profile).unwrap().frame.check.is_none() {
            continue;
        }
        for bit in 0..wire.len() * 8 {
            let mut wire = wire.clone();
            wire[bit / 8] ^= 1 << (bit % 8);
            let mut framer = framer(profile);
            let frames = framer.push(&card(profile, &wire));
            // One bit decides the case of a hexadecimal digit, which does not make it another card.
            let same = |frame: &Frame| match frame {
                Frame::Read(found) => found.0.expose().eq_ignore_ascii_case(text),
                Frame::Fault(_) => true,
            };
            assert!(frames.iter().all(same), "{profile} bit {bit}");
        }
    }
}

#[test]
fn a_frame_that_must_come_twice_is_no_read_alone() {
    let wire = b"\x0267003B51C6CB\x03";
    let mut framer = framer("rdm6300");
    assert_eq!(framer.push(wire), []);
    assert_eq!(framer.idle(), None);
    assert_eq!(framer.push(wire), [], "the one before is too long ago");
    assert_eq!(framer.push(wire), [read("67003B51C6")]);
}

#[test]
fn a_wrong_checksum_is_told_as_such() {
    assert_eq!(framer("rdm6300").push(b"\x0202004DB005FC\x03"), [Frame::Fault(Fault::Checksum)]);
}

#[test]
fn zeros_random_and_incomplete_uids_are_refused_by_their_own_names() {
    for (profile, wire, fault) in [
        ("rdm6300", &b"\x02000000000000\x03"[..], Fault::AllZero),
        ("line", b"0000\r", Fault::AllZero),
        ("twn4-simple", b"0001802004081A2B3C\r", Fault::RandomUid),
        ("twn4-simple", b"000180200488041A2B\r", Fault::IncompleteUid),
        ("gwiot-7941w", b"\xCD\xDC\x00\x81\x04\x08\x22\x33\x44\xD8", Fault::RandomUid),
    ] {
        assert_eq!(framer(profile).push(wire), [Frame::Fault(fault)], "{profile}");
    }
    assert_eq!(framer("twn4-simple").push(b"0001803807081A2B3C4D5E6F\r"), [read("081A2B3C4D5E6F")], "7 bytes are not");
}

#[test]
fn a_count_that_does_not_fit_is_no_read() {
    assert_eq!(framer("twn4-simple").push(b"000180200466CF4D\r"), [Frame::Fault(Fault::Noise)]);
}

#[test]
fn a_reader_that_says_that_there_is_no_card_is_no_read() {
    for (profile, wire) in [
        ("twn4-simple", &b"0000\r"[..]),
        ("rfideas-acp", b"\r\nRF IDeas>{0xFFFF,0,0x00,0;0x00}"),
        ("rfideas-acp", b"{0x0000,0,0x00,0;0x00}"),
        ("rfideas-acp", b"{0x1000,2,0x0000,80;0x000000801DD1910B2F04}"),
        ("gwiot-7941w", b"\xCD\xDC\x00\x81\x00\x81"),
        ("pn532", b"\x00\x00\xFF\x00\xFF\x00\x00\x00\xFF\x03\xFD\xD5\x4B\x00\xE0\x00"),
    ] {
        let frames = framer(profile).push(wire);
        assert!(frames.iter().all(|frame| *frame == Frame::Fault(Fault::Noise)), "{profile}: {frames:?}");
    }
}

#[test]
fn a_pn532_is_understood_behind_its_acknowledgement_and_with_more_behind_the_uid() {
    let with_ats = b"\x00\x00\xFF\x00\xFF\x00\x00\x00\xFF\x11\xEF\xD5\x4B\x01\x01\x03\x44\x20\x07\x04\x36\x7F\x5A\x2D\x72\x80\x02\x80\xBC\x00";
    assert_eq!(framer("pn532").push(with_ats), [read("04367F5A2D7280")]);
}

#[test]
fn a_uid_at_pcscd_is_what_stands_before_90_00() {
    for (answer, expected) in [
        (&b"\x66\xCF\x4D\xC2\x90\x00"[..], read("66CF4DC2")),
        (b"\x04\x36\x7F\x5A\x2D\x72\x80\x90\x00", read("04367F5A2D7280")),
        (b"\x08\x1A\x2B\x3C\x90\x00", Frame::Fault(Fault::RandomUid)),
        (b"\x6A\x81", Frame::Fault(Fault::Noise)),
    ] {
        let mut framer = framer("acr122u");
        assert_eq!((framer.push(answer), framer.idle()), (vec![], Some(expected)));
    }
}

#[test]
fn cr_lf_or_both_end_a_line() {
    for end in ["\r", "\n", "\r\n"] {
        assert_eq!(framer("line").push(format!("04A1{end}").as_bytes()), [read("04A1")], "{end:?}");
    }
}

#[test]
fn what_is_too_long_is_dropped_up_to_its_end_and_the_next_read_is_whole() {
    let mut framer = framer("line");
    assert_eq!(framer.push(&[b'7'; 5_000]), []);
    assert_eq!(framer.push(b"\r04A1\r"), [Frame::Fault(Fault::Noise), read("04A1")]);
}

#[test]
fn silence_ends_a_card_only_where_the_profile_says_so() {
    for (profile, expected) in [("keyboard", Frame::Fault(Fault::Noise)), ("keyboard-no-enter", read("0002008108"))] {
        let mut framer = framer(profile);
        assert_eq!(framer.push(b"0002008108"), []);
        assert_eq!(framer.idle(), Some(expected), "{profile}");
        assert_eq!(framer.idle(), None);
    }
}

fn is_bounded(framer: &Framer) -> bool {
    framer.buffer.len() <= framer.format.max_bytes && framer.buffer.capacity() <= framer.format.max_bytes
}

/// `PRINT_RELEASE_SEED` sets the random numbers; without it they are the same in every run.
#[test]
fn a_million_random_bytes_never_panic_and_never_grow() {
    let seed = std::env::var("PRINT_RELEASE_SEED").map_or(1, |seed| seed.parse().unwrap());
    // The output of a test is shown when it fails.
    println!("PRINT_RELEASE_SEED={seed}");
    let mut dice: u64 = seed;
    let mut random = || {
        // Knuth's linear congruential generator (MMIX).
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        dice.to_be_bytes()[0]
    };
    for (profile, _) in profile::BUILT_IN {
        let mut framer = framer(profile);
        for _ in 0..1_000 {
            let bytes: Vec<u8> = (0..1_000).map(|_| random()).collect();
            framer.push(&bytes);
            assert!(is_bounded(&framer), "{profile}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_never_panic_and_never_grow(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        for (profile, _) in profile::BUILT_IN {
            let mut framer = framer(profile);
            framer.push(&bytes);
            prop_assert!(is_bounded(&framer), "{}", profile);
            framer.idle();
            prop_assert!(!framer.is_partial());
        }
    }

    /// The same, with pieces of real frames.
    #[test]
    fn pieces_of_frames_never_panic_and_never_grow(
        cuts in proptest::collection::vec((0usize..17, 0usize..20, 0usize..20), 0..40)
    ) {
        let bytes: Vec<u8> = cuts.into_iter().flat_map(|(which, from, to)| {
            examples()[which].1.clone().into_iter().skip(from).take(to)
        }).collect();
        for (profile, _) in profile::BUILT_IN {
            let mut framer = framer(profile);
            framer.push(&bytes);
            prop_assert!(is_bounded(&framer), "{}", profile);
        }
    }

    #[test]
    fn any_text_on_a_line_is_read_as_it_is(text in "[ -~]{1,40}", at in 0usize..42) {
        prop_assume!(!text.bytes().all(|byte| byte == b'0'));
        let bytes = format!("{text}\r\n").into_bytes();
        let (head, tail) = bytes.split_at(at.min(bytes.len()));
        let mut framer = framer("line");
        let mut frames = framer.push(head);
        frames.extend(framer.push(tail));
        prop_assert_eq!(frames, vec![read(&text)]);
    }
}
