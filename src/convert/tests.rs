//! The language of conversions does what the published vectors say, and has rules for the cases that no vector covers.

use proptest::prelude::*;

use super::*;

/// Published and derived cases as `steps,read,expected,source`. A case whose `expected` is `error` must fail.
const VECTORS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/card_vectors.csv"));

/// The steps, the read and the expected number of each vector.
pub(super) fn vectors() -> Vec<(String, String, String)> {
    let row = |line| match &fields(line)[..] {
        [steps, read, expected, _source] => (steps.clone(), read.clone(), expected.clone()),
        other => panic!("not a vector: {other:?}"),
    };
    VECTORS.lines().skip(1).map(row).collect()
}

/// The fields of a CSV line, quoted where they hold commas.
fn fields(line: &str) -> Vec<String> {
    let mut quoted = false;
    let outside = |character: char| {
        quoted ^= character == '"';
        character == ',' && !quoted
    };
    line.split(outside).map(|field| field.trim_matches('"').to_owned()).collect()
}

fn conversion(text: &str) -> Conversion {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn problem(text: &str) -> (usize, String, BadStep) {
    match text.parse::<Conversion>() {
        Err(ParseError::Step { number, text, problem }) => (number, text, problem),
        other => panic!("{text}: {other:?}"),
    }
}

fn fault(steps: &str, read: &str) -> StepFault {
    match conversion(steps).apply(read) {
        Err(ConvertError::Step { fault, .. }) => fault,
        other => panic!("{steps}: {other:?}"),
    }
}

#[test]
fn every_vector_gives_its_number_or_its_error() {
    let mut wrong = Vec::new();
    for (steps, read, expected) in vectors() {
        let result = steps.parse().ok().and_then(|steps: Conversion| steps.apply(&read).ok());
        if result.as_deref().unwrap_or("error") != expected {
            wrong.push((steps, read, expected, result));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_steps_leave_the_read_as_it_is() {
    for text in ["", "  "] {
        assert_eq!(conversion(text).apply(" a|b ").as_deref(), Ok(" a|b "));
    }
}

#[test]
fn a_conversion_is_written_as_it_was_read() {
    for text in ["", "upper | slice( 0, -2 )", "safeq: CardNo + Const(+)", "match(a|b)|match((a)|(b))"] {
        let parsed = conversion(text);
        assert_eq!(parsed.to_string(), text);
        assert_eq!(parsed.to_string().parse(), Ok(parsed));
    }
}

#[test]
fn a_step_ends_at_the_first_parenthesis_that_makes_it_right() {
    for (steps, read, expected) in [
        ("match(a|b)|upper", "xb", "B"),
        ("match((a)|(b))|upper", "xb", "B"),
        ("match(([(|)]+))|append(!)", "1(|)2", "(|)!"),
        ("match(\\)|\\()", "a(", "("),
        ("strip(()|strip())|strip(|)", "((1)|2)", "12"),
        ("prepend())|append(()", "1", ")1("),
        ("prepend(a,b)|append( )", "1", "a,b1 "),
        ("prepend(\"a)|upper\")", "1", "a)|upper1"),
        ("append(\"\"\"\")|append(\" \")", "1", "1\" "),
        ("pad-left( 3 , \" \" )|pad-left(5,\",\")", "1", ",,  1"),
        ("match(\"(a)\")", "xa", "a"),
        (" upper() | match (A) ", "a", "A"),
    ] {
        assert_eq!(conversion(steps).apply(read).as_deref(), Ok(expected), "{steps}");
    }
}

#[test]
fn a_wrong_step_is_named_with_its_number_and_its_text() {
    let error = "upper | pad-left(4)|lower".parse::<Conversion>().expect_err("a character is missing");
    let expected = "step 2 `pad-left(4)`: its arguments are wrong; write pad-left(WIDTH,CHAR), as in pad-left(10,0)";
    assert_eq!(error.to_string(), expected);
    let error = "safeq: CardNo + Const(1);hex2dec".parse::<Conversion>().expect_err("the case is wrong");
    assert_eq!(error.to_string(), "step 3 `hex2dec`: names are case sensitive here; write `Hex2Dec`");
}

#[test]
fn every_wrong_argument_is_refused() {
    for text in [
        "slice",
        "slice()",
        "slice(a)",
        "slice(1,2,3)",
        "slice(4,4)",
        "slice(4,2)",
        "slice(-2,-4)",
        "slice(1025)",
        "strip()",
        "prepend(\"\")",
        "pad-left(0,0)",
        "pad-left(1025,0)",
        "pad-left(4,00)",
        "pad-left(-4,0)",
        "hex2dec(8)",
        "em4100",
        "em4100(8H10D,cn)",
        "wiegand()",
        "wiegand(H10301,id)",
        "wiegand(H10301,cn,middle)",
        "match()",
        "myq: ltrim(-1)",
        "myq: mid(2)",
        "myq: left(0)",
        "myq: right(0)",
        "myq: lpad(0,12,1)",
        "safeq: LeftPadding(10,0)",
        "safeq: Const",
        "safeq: CardNo(1)",
        "papercut: hex2dec(1)",
    ] {
        let (_, _, problem) = problem(text);
        let format = ["em4100", "wiegand()"].contains(&text);
        assert!(matches!(problem, BadStep::Arguments { .. }) || format, "{text}: {problem}");
    }
}

#[test]
fn each_other_mistake_is_told_apart() {
    let known = |text: &str| matches!(problem(text).2, BadStep::Unknown { .. });
    assert!(known("hex2oct") && known("papercut: mod10") && known("myq: foo()") && known("safeq: Hex2Oct"));
    assert_eq!(problem("upper||lower"), (2, String::new(), BadStep::Empty));
    assert_eq!(problem("myq:").2, BadStep::Empty);
    assert_eq!(problem("HEX2DEC").2, BadStep::Case { name: "hex2dec" });
    assert_eq!(problem("slice(2").2, BadStep::Unclosed);
    assert_eq!(problem("prepend(\"a)").2, BadStep::Quotes);
    assert_eq!(problem("prepend(\"a\"b\")").2, BadStep::Quotes);
    assert_eq!(problem("papercut: javascript:custom/card.js").2, BadStep::Script);
    assert_eq!(problem("match((\\d{8}){1000})").2, BadStep::RegexSize);
    assert!(matches!(problem("em4100(9H)").2, BadStep::Format { known } if known.contains("8H10D")));
    assert!(matches!(problem("wiegand(H99999)").2, BadStep::Format { known } if known.contains("C1k48s")));
}

#[test]
fn look_around_is_an_error_that_says_so() {
    for text in ["match((?=a)b)", "match((?<!a)b)"] {
        assert!(matches!(problem(text).2, BadStep::Regex { reason } if reason.contains("look-around")), "{text}");
    }
}

#[test]
fn the_limits_hold() {
    let steps = vec!["upper"; MAX_STEPS].join("|");
    assert!(steps.parse::<Conversion>().is_ok());
    assert_eq!(format!("{steps}|upper").parse::<Conversion>(), Err(ParseError::TooManySteps));
    let sides = vec!["CardNo"; MAX_STEPS + 1].join("+");
    assert_eq!(format!("safeq:{sides}").parse::<Conversion>(), Err(ParseError::TooManySteps));
    assert_eq!("u".repeat(MAX_TEXT + 1).parse::<Conversion>(), Err(ParseError::TooLong));
    assert!(conversion("").apply(&"\u{e9}".repeat(MAX_CHARS)).is_ok());
    assert_eq!(conversion("").apply(&"1".repeat(MAX_CHARS + 1)), Err(ConvertError::LongRead));
    assert_eq!(fault("append(1)", &"1".repeat(MAX_CHARS)), StepFault::TooLong);
    assert_eq!(fault("hex2bin", &"1".repeat(65)), StepFault::TooBig);
}

#[test]
fn half_a_number_is_an_error() {
    assert_eq!(conversion("upper").apply(""), Err(ConvertError::EmptyRead));
    assert_eq!(fault("strip(0)|pad-left(8,0)", "000"), StepFault::Empty);
    assert_eq!(fault("match(^(x?))", "1"), StepFault::Empty);
    for slice in ["slice(-8)", "slice(0,8)", "slice(8)", "slice(4,-4)"] {
        assert_eq!(fault(slice, "1234567"), StepFault::TooShort { length: 7 }, "{slice}");
    }
    assert_eq!(fault("reverse-bytes", "123"), StepFault::HalfByte);
    assert_eq!(fault("em4100(8H10D)", "1234"), StepFault::NotEm4100);
    assert_eq!(fault("ascii-decode", "3900"), StepFault::NotAscii);
}

#[test]
fn the_first_group_that_took_part_is_the_match() {
    for (steps, read, expected) in [
        ("match(\\d+)", "a12b", "12"),
        ("match((\\d{4})=|%(\\d+))", "%12345", "12345"),
        ("match((\\d{8})?x)", "1x", "x"),
    ] {
        assert_eq!(conversion(steps).apply(read).as_deref(), Ok(expected), "{steps}");
    }
    assert_eq!(fault("match(^\\d{8}$)", "1234567"), StepFault::NoMatch);
}

#[test]
fn expressions_know_ascii_only() {
    assert_eq!(conversion("match((?i)ab.)").apply("xAb1").as_deref(), Ok("Ab1"));
    assert_eq!(conversion("match(\u{e9}(\\d))").apply("\u{e9}1").as_deref(), Ok("1"));
    assert_eq!(fault("match(\\d)", "\u{661}"), StepFault::NoMatch);
    assert_eq!(fault("match(.)", "\u{661}"), StepFault::NoMatch);
}

#[test]
fn strings_of_other_products_do_as_their_documents_show() {
    for (steps, read, expected) in [
        ("myq: ltrim(2)", "123456", "3456"),
        ("myq: rtrim(2)", "123456", "1234"),
        ("myq: left(2)", "123456", "12"),
        ("myq: right(2)", "123456", "56"),
        ("myq: mid(2,2)", "123456", "34"),
        ("myq: mid(2,0)", "123456", "3456"),
        ("myq: prepend(AB)", "123456", "AB123456"),
        ("myq: append(AB)", "123456", "123456AB"),
        ("myq: lpad(12,0)", "123456", "000000123456"),
        ("myq: hex2dec()", "1000AB", "1048747"),
        ("myq: dec2hex()", "1048747", "1000AB"),
        ("myq: hex2bin()", "1000AB", "100000000000010101011"),
        ("myq: bin2hex()", "100000000000010101011", "1000AB"),
        ("myq: dec2bin()", "100023", "11000011010110111"),
        ("myq: bin2dec()", "11000011010110111", "100023"),
        ("myq: reverse();hex2dec()", "E43AC9D2", "3536403172"),
        ("safeq: ASCII2Hex;Hex2Dec;Substring(-8)", "3934364542443238", "90285352"),
        ("safeq: ASCII2Hex", "3934FFff", "94"),
        ("safeq: ASCII2Hex", "946EBD28", "946EBD28"),
        ("safeq: LeftPadding(0,3) + Substring(2,6)", "1a2b3c4d", "1a2b3c4d2b3c"),
        ("safeq: Substring(0,2);Hex2Dec;LeftPadding(0,3) + Substring(2,6);Hex2Dec", "1a2b3c", "02611068"),
        ("safeq: Hex2Dec;CardNo + Const(-);RightAppend(+);LeftAppend(=)", "FF", "FF=-+"),
        ("safeq: Dec2Bin;Bin2Dec;Dec2Hex", "255", "FF"),
    ] {
        assert_eq!(conversion(steps).apply(read).as_deref(), Ok(expected), "{steps}");
    }
}

#[test]
fn a_trace_shows_each_step_and_ends_at_the_first_that_fails() {
    let steps = conversion("strip(:)|slice(0,4)|dec2hex|upper");
    let trace = steps.trace("1A:2B:3C");
    assert_eq!(trace[0], ("strip(:)".to_owned(), Ok("1A2B3C".to_owned())));
    assert_eq!(trace[1], ("slice(0,4)".to_owned(), Ok("1A2B".to_owned())));
    let failed = ConvertError::Step { number: 3, name: "dec2hex".to_owned(), fault: fault("dec2hex", "A") };
    assert_eq!(trace[2], ("dec2hex".to_owned(), Err(failed)));
    assert_eq!(trace.len(), 3);
    assert_eq!(steps.trace(""), [("read".to_owned(), Err(ConvertError::EmptyRead))]);
    assert!(conversion("").trace("1").is_empty());
}

/// Steps of every kind, right and wrong.
fn any_steps() -> impl Strategy<Value = String> {
    let step = prop::sample::select(vec![
        "upper",
        "lower",
        "trim",
        "strip(: )",
        "slice(2)",
        "slice(-4,-1)",
        "slice(1,3)",
        "prepend(X)",
        "append(0)",
        "pad-left(9,0)",
        "hex2dec",
        "dec2hex",
        "hex2bin",
        "bin2hex",
        "dec2bin",
        "bin2dec",
        "ascii-decode",
        "reverse-bytes",
        "reverse-bits",
        "complement",
        "match(.(\\w+))",
        "match(()|.)",
        "em4100(2H4H)",
        "wiegand(H10301)",
        "wiegand(C1k48s,fc-cn,left)",
    ]);
    prop::collection::vec(step, 0..6).prop_map(|steps| steps.join("|"))
}

proptest! {
    #[test]
    fn any_text_is_a_conversion_or_an_error(text in "(papercut:|safeq:|myq:|)[a-z2 ()|,\"\\-0-9;+?\\\\\u{e9}]{0,40}") {
        if let Ok(parsed) = text.parse::<Conversion>() {
            prop_assert_eq!(parsed.to_string(), text.trim());
        }
    }

    #[test]
    fn any_read_gives_a_number_or_an_error(steps in any_steps(), read in ".{0,40}") {
        if let Ok(number) = conversion(&steps).apply(&read) {
            prop_assert!(!number.is_empty());
        }
    }

    #[test]
    fn a_trace_ends_with_the_number(steps in any_steps(), read in "[0-9A-F]{1,16}") {
        let steps = conversion(&steps);
        let last = steps.trace(&read).pop().map_or(Ok(read.clone()), |(_, result)| result);
        prop_assert_eq!(last, steps.apply(&read));
    }

    #[test]
    fn no_error_shows_the_read(steps in any_steps(), read in "[^\u{0}-\u{7f}]{8}[0-9]{8}") {
        if let Err(error) = conversion(&steps).apply(&read) {
            let told = format!("{error} {error:?}");
            prop_assert!(told.is_ascii() && !told.contains(&read[read.len() - 8..]), "{}", told);
        }
    }

    #[test]
    fn bytes_turned_twice_are_the_same(read in "([0-9A-F]{2}){1,32}") {
        for step in ["reverse-bytes", "reverse-bits", "complement"] {
            prop_assert_eq!(conversion(&format!("{step}|{step}")).apply(&read), Ok(read.clone()));
        }
    }
}
