use super::*;

const GOOD: &str = "description = \"x\"\n[frame]\nend = [\"\\r\"]\nmax_bytes = 9\nidle_ms = 5\n";

#[test]
fn every_built_in_profile_is_valid() {
    for (name, _) in BUILT_IN {
        load(name).unwrap();
    }
}

#[test]
fn every_file_of_the_folder_is_built_in() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware-config/readers");
    for file in std::fs::read_dir(folder).unwrap().flatten() {
        let path = file.path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(BUILT_IN.iter().any(|(known, _)| *known == name), "{name}");
    }
}

#[test]
fn a_profile_of_ones_own_is_read_from_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.toml");
    std::fs::write(&path, GOOD).unwrap();
    assert_eq!(load(path.to_str().unwrap()).unwrap().frame.max_bytes, 9);
}

#[test]
fn what_is_wrong_with_a_profile_is_told() {
    for (from, to, told) in [
        ("max_bytes = 9", "max_bytes = 0", "max_bytes must be 1 to 1024"),
        ("idle_ms = 5", "idle_ms = 0", "idle_ms must be 1 to 5000"),
        ("end = [\"\\r\"]\n", "", "either end or length"),
        ("end = [\"\\r\"]", "end = [\"€\"]", "one byte each"),
        ("max_bytes", "start = \"€\"\nmax_bytes", "no byte"),
        ("max_bytes", "pattern = '(.'\nmax_bytes", "unclosed group"),
        ("max_bytes", "pattern = 'x'\nmax_bytes", "no group holds the read"),
        ("max_bytes", "pattern = '(?<id>x)'\nmax_bytes", "a group is called \"id\""),
        ("max_bytes", "check = \"xor-read\"\nmax_bytes", "belong together"),
        ("max_bytes", "raw = true\nmax_bytes", "raw needs a pattern"),
        ("max_bytes", "length = { plus = 3 }\nmax_bytes", "either end or length"),
        ("max_bytes", "end_more = 9\nmax_bytes", "leaves no room"),
        ("[frame]", "[poll]\nask = []\ninterval_ms = 50\ntimeout_ms = 50\n[frame]", "at least one command"),
        ("[frame]", "[poll]\nask = [\"\"]\ninterval_ms = 50\ntimeout_ms = 50\n[frame]", "of 1 to 64 bytes"),
        ("[frame]", "[poll]\nask = [\"a\"]\ninterval_ms = 5\ntimeout_ms = 50\n[frame]", "interval_ms must be 20"),
    ] {
        let error = parse(&GOOD.replace(from, to)).unwrap_err();
        assert!(error.contains(told), "{to}: {error}");
    }
}

#[test]
fn an_unknown_profile_names_those_that_there_are() {
    assert!(load("lime").unwrap_err().to_string().contains("built in are line"));
}

#[test]
fn the_lights_of_an_acr122u_are_those_of_the_signal_and_its_long_beep_is_longer() {
    let signal = load("acr122u").unwrap().signal.unwrap();
    let fields = |command: &Bytes| <[u8; 9]>::try_from(&command.0[..]).unwrap();
    for (commands, red, green) in [(&signal.green, 0, 1), (&signal.amber, 1, 1), (&signal.red, 1, 0)] {
        let [command] = &commands[..] else { panic!("one command sets both lights") };
        let both_count = 0b1100;
        assert_eq!(fields(command), [0xFF, 0, 0x40, both_count | green << 1 | red, 4, 0, 0, 0, 0]);
    }
    let [short, long] = [&signal.short, &signal.long].map(fields);
    for [class, ins, p1, lights, length, on, _, times, beep] in [short, long] {
        assert_eq!([class, ins, p1, lights, length, times, beep], [0xFF, 0, 0x40, 0, 4, 1, 1]);
        assert!(on > 0);
    }
    assert!(short[5] * 2 <= long[5]);
}

#[test]
fn the_frames_that_are_sent_to_a_pn532_add_up() {
    let poll = load("pn532").unwrap().poll.unwrap();
    for command in poll.start.iter().chain(&poll.ask) {
        let begin = command.0.windows(2).position(|pair| pair == [0, 0xFF]).unwrap() + 2;
        let (length, data) = (usize::from(command.0[begin]), &command.0[begin + 2..]);
        assert_eq!(command.0[begin].wrapping_add(command.0[begin + 1]), 0);
        assert_eq!(data[..=length].iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0);
        assert_eq!(&data[length + 1..], [0]);
    }
}
