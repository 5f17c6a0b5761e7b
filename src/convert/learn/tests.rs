//! The solver finds the conversions of real installations, and none for unrelated pairs.

use proptest::prelude::*;

use super::*;

fn pairs(of: &[(&str, &str)]) -> Vec<CardExample> {
    of.iter().map(|(read, number)| ((*read).to_owned(), (*number).to_owned())).collect()
}

fn texts(answers: &[LearnedConversion]) -> Vec<String> {
    answers.iter().map(|answer| answer.conversion.to_string()).collect()
}

/// Random numbers that are the same in every run: the tests below name what the solver finds for just these cards.
struct Dice(u64);

impl Dice {
    /// A random number below `limit` (splitmix64).
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ mixed >> 31) as usize % limit
    }

    fn digits(&mut self, digits: &str, count: usize) -> String {
        (0..count).map(|_| char::from(digits.as_bytes()[self.below(digits.len())])).collect()
    }

    /// `read` with some of its digits changed into others of their kind.
    fn vary(&mut self, read: &str) -> String {
        let holds = |digits: &&str| read.chars().all(|digit| !digit.is_ascii_hexdigit() || digits.contains(digit));
        let kinds = ["01", "0123456789", "0123456789ABCDEF"];
        let digits = kinds.into_iter().find(holds).expect("vectors are in upper case");
        let vary = |digit: char| {
            if digit.is_ascii_hexdigit() && self.below(2) == 0 { self.digits(digits, 1) } else { digit.to_string() }
        };
        read.chars().map(vary).collect()
    }

    /// Another card of the same kind that `conversion` takes, and its number.
    fn card(&mut self, conversion: &Conversion, read: &str) -> CardExample {
        let try_one = |_| {
            let read = self.vary(read);
            conversion.apply(&read).ok().map(|number| (read, number))
        };
        (0..100_000).find_map(try_one).expect("some card of this kind can be converted")
    }
}

/// The number of `cases` (a conversion and a read) for which a conversion that was learned from `count` cards of that kind is
/// right for another card too.
fn right_for_another_card(cases: &[(Conversion, String)], count: usize) -> usize {
    let mut dice = Dice(count as u64);
    let mut right_in = |(conversion, read): &&(Conversion, String)| {
        let cards: Vec<CardExample> = (0..count).map(|_| dice.card(conversion, read)).collect();
        let (read, number) = dice.card(conversion, read);
        learn(&cards).fits.iter().any(|answer| answer.conversion.apply(&read).as_ref() == Ok(&number))
    };
    cases.iter().filter(|case| right_in(case)).count()
}

/// Leaves out the vectors of other products, which are not searched, and one with an optional prefix, which only its own
/// `match` can tell.
#[test]
fn all_60_vectors_in_the_solvers_space_are_learned_from_one_card_and_from_three() {
    let foreign = ["papercut:", "safeq:", "myq:", "match(;?0?"];
    let vectors = crate::convert::tests::vectors().into_iter();
    let own = vectors.filter(|(steps, ..)| !foreign.iter().any(|start| steps.starts_with(start)));
    let numbered = own.filter(|(_, _, expected)| expected != "error");
    let case = |(steps, read, _): (String, String, String)| (steps.parse().expect("it gives a number"), read);
    let cases: Vec<(Conversion, String)> = numbered.map(case).collect();
    assert_eq!(cases.len(), 60);
    assert_eq!(right_for_another_card(&cases, 1), 60);
    assert_eq!(right_for_another_card(&cases, 3), 60);
}

#[test]
fn the_simplest_answer_is_the_one_that_installations_have() {
    for (read, number, expected) in [
        ("0801161DD6", "0801161DD6", ""),
        ("01026F6C3A", "0040856634", "em4100(8H10D)"),
        ("0F0184F07A", "13261562", "em4100(2H4H)|strip(,)"),
        ("0B3E3636", "06213878", "pad-left(10,0)|em4100(2H4H)|strip(,)"),
        ("E43AC9D2", "3536403172", "reverse-bytes|hex2dec"),
        ("1E:A6:86:71", "1904649758", "strip(:)|reverse-bytes|hex2dec"),
        ("0514229873", "1904649758", "dec2hex|pad-left(8,0)|reverse-bytes|hex2dec"),
        ("04:36:7f:5a:2d:72:80", "04367F5A2D7280", "strip(:)|upper"),
        ("04367F5A2D7280", "04367f5a2d7280", "lower"),
        ("04367F5A2D7280", "1512927872", "slice(-8)|hex2dec"),
        ("7384CF12", "8C7B30ED", "complement"),
        ("3934364542443238", "2490285352", "ascii-decode|hex2dec"),
        ("3934364542443238", "90285352", "ascii-decode|hex2dec|slice(-8)"),
        (";5235092385=8?", "5235092385", "match(;([0-9A-Za-z]+))"),
        ("123456", "123456AB", "append(AB)"),
        ("2006F623AE", "123-4567", "wiegand(H10301,fc-cn)"),
        ("06BD88EB80", "123-4567", "slice(-8)|wiegand(H10301,fc-cn,left)"),
        ("2408D65025", "74131474", "hex2bin|slice(-34)|slice(1,33)|bin2dec"),
    ] {
        let learned = learn(&pairs(&[(read, number)]));
        assert_eq!(texts(&learned.fits).first().map(String::as_str), Some(expected), "{read} {number}");
        assert!(learned.partial.is_empty());
    }
}

#[test]
fn another_pair_decides_what_one_leaves_open() {
    let open = learn(&pairs(&[("00436F6C36", "1131375670")]));
    assert!(texts(&open.fits).starts_with(&["hex2dec".to_owned(), "em4100(8H10D)".to_owned()]), "{open:?}");
    let decided = learn(&pairs(&[("00436F6C36", "1131375670"), ("01026F6C3A", "0040856634")]));
    assert_eq!(texts(&decided.fits)[0], "em4100(8H10D)");
    assert!(!texts(&decided.fits).contains(&"hex2dec".to_owned()));
}

#[test]
fn padding_is_found_although_the_longest_number_needs_none() {
    let learned = learn(&pairs(&[("E43AC9D2", "3536403172"), ("05000000", "0000000005")]));
    assert_eq!(texts(&learned.fits), ["reverse-bytes|hex2dec|pad-left(10,0)"]);
    let learned = learn(&pairs(&[("6117450058", "16CA0E14A"), ("0013988465", "00D57271")]));
    assert_eq!(texts(&learned.fits), ["dec2hex|pad-left(8,0)"]);
}

#[test]
fn reads_of_different_lengths_are_cut_from_the_end_that_fits_all() {
    let learned = learn(&pairs(&[("118:1603", "1603"), ("7:12345", "12345"), ("22:5", "5")]));
    assert_eq!(texts(&learned.fits), ["match(:([0-9A-Za-z]+))"]);
    let learned = learn(&pairs(&[("04AABBCCDD", "AABBCCDD"), ("0411223344556677", "11223344556677")]));
    assert_eq!(texts(&learned.fits), ["slice(2)"]);
    let learned = learn(&pairs(&[("04AABBCCDD", "AABBCCDD"), ("0411223344556677", "44556677")]));
    assert_eq!(texts(&learned.fits), ["slice(-8)"]);
}

#[test]
fn an_answer_says_what_it_is_and_what_to_beware_of() {
    let note = |read: &str, number: &str| learn(&pairs(&[(read, number)])).fits.swap_remove(0).note;
    for (read, number, expected) in [
        ("01026F6C3A", "0040856634", "the usual 8H10D print of an EM4100 tag; drops 1 of 5 bytes, as these prints do"),
        ("E43AC9D2", "3536403172", "bytes in the other order, in decimal"),
        ("04367F5A2D7280", "7F5A2D7280", "a part of the read; drops 4 of 14 characters: two cards may share a number"),
        ("2408D65025", "74131474", "a part of the read, in decimal; leaves out 4 of 38 bits; leaves out 2 of 34 bits"),
        (
            "2006F623AE",
            "4567",
            "the card number of a Wiegand H10301 card; without the facility code two cards may share a number; \
             few characters, so perhaps chance: add a pair",
        ),
        ("0013961168", "0013961168-7", "the read; adds a constant: check it with another card"),
    ] {
        assert_eq!(note(read, number), expected);
    }
}

#[test]
fn digits_are_those_that_come_from_the_read() {
    let digits = |read: &str, number: &str| learn(&pairs(&[(read, number)])).fits[0].digits;
    assert_eq!(digits("01026F6C3A", "0040856634"), 10);
    assert_eq!(digits("0002008108", "001EA42C"), 6);
    assert_eq!(digits("123456", "AB123456"), 6);
}

#[test]
fn a_constant_never_stands_for_much_of_a_number() {
    let constants = |read: &str, number: &str| texts(&learn(&pairs(&[(read, number)])).fits).join(" ");
    assert_eq!(constants("123456", "ABC123456"), "prepend(ABC)");
    assert_eq!(constants("123456", "ABCD123456"), "");
    assert!(!constants("0F0184F07A", "7AF084010F").contains("pend("));
}

#[test]
fn unrelated_pairs_fit_nothing() {
    let mut dice = Dice(0);
    for _ in 0..20 {
        let mut pair = || (dice.digits("0123456789ABCDEF", 10), dice.digits("0123456789", 10));
        let learned = learn(&[pair()]);
        assert_eq!(texts(&learned.fits), [""; 0]);
        let learned = learn(&[pair(), pair(), pair()]);
        assert_eq!(learned, Learned::default());
    }
}

#[test]
fn one_mistyped_pair_of_three_is_named_wherever_it_is() {
    let right = [("E43AC9D2", "3536403172"), ("322B3DF6", "4131203890"), ("529D06E3", "3808861522")];
    for wrong in 0..3 {
        let mut pairs = pairs(&right);
        pairs[wrong].1 = "1234567890".to_owned();
        let learned = learn(&pairs);
        assert!(learned.fits.is_empty());
        assert_eq!(texts(&learned.partial)[0], "reverse-bytes|hex2dec");
        let expected = format!("fits all pairs but number {}: check that one; ", wrong + 1);
        assert!(learned.partial[0].note.starts_with(&expected), "{}", learned.partial[0].note);
    }
}

#[test]
fn agreement_in_part_is_told_where_nothing_fits() {
    let ends = [("E43AC9D2", "9936403172"), ("322B3DF6", "9931203890"), ("529D06E3", "9908861522")];
    let learned = learn(&pairs(&ends));
    assert_eq!(texts(&learned.partial), ["reverse-bytes|hex2dec"]);
    assert_eq!((learned.partial[0].digits, &*learned.partial[0].note), (8, "the last 8 of 10 characters agree"));
    let starts = [("AABBCCDDEE", "AABBCC1122"), ("1122334455", "1122339988")];
    assert_eq!(learn(&pairs(&starts)).partial[0].note, "the first 6 of 10 characters agree");
}

#[test]
fn what_cannot_be_a_pair_fits_nothing() {
    let long = "1".repeat(crate::convert::MAX_CHARS + 1);
    for pair in [("", "1"), ("1", ""), ("", ""), (&*long, &*long), ("\u{e9}\u{1f600}", "12345678")] {
        assert_eq!(learn(&pairs(&[pair])), Learned::default());
        assert_eq!(learn(&pairs(&[pair, ("E43AC9D2", "3536403172")])).fits, []);
    }
    assert_eq!(learn(&[]), Learned::default());
    let same = learn(&pairs(&[("E43AC9D2", "3536403172"), ("E43AC9D2", "3536403173")]));
    assert!(same.fits.is_empty());
}

#[test]
fn no_answer_shows_a_read_or_a_number() {
    for (read, number) in [("E43AC9D2", "3536403172"), ("E43AC9D2", "9936403172"), ("04AABBCCDD", "7AABBCCDD")] {
        let told = format!("{:?}", learn(&pairs(&[(read, number)])));
        assert!(!told.contains(read) && !told.contains(number) && !told.contains(&number[4..]), "{told}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_is_asked_every_fit_fits_every_pair(
        pairs in prop::collection::vec(("[0-9A-Fa-f:;]{0,12}", "[0-9A-Fa-f]{0,3}"), 0..4),
        part: prop::sample::Index,
    ) {
        // The numbers are parts of the reads, so that there is something to find.
        let cut = |(read, extra): (String, String)| (read.clone(), read[part.index(read.len() + 1)..].to_owned() + &extra);
        let pairs: Vec<CardExample> = pairs.into_iter().map(cut).collect();
        let learned = learn(&pairs);
        prop_assert!(learned.fits.len() <= MAX_ANSWERS && learned.partial.len() <= MAX_ANSWERS);
        for answer in &learned.fits {
            for (read, number) in &pairs {
                prop_assert_eq!(&answer.conversion.apply(read).expect("it fits"), number);
            }
        }
    }
}
