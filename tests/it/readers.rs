//! Readers over real pseudo-terminals and sockets. The agent hears exactly the cards that are sent at the other end.
//!
//! Every wait has a limit, and the panic at its end names the test.

use std::net::SocketAddr;
use std::time::Duration;

use print_release_agent::demo::reader::VirtualReader;
use print_release_agent::demo::scene::Scene;
use print_release_agent::domain::{Read, Secret};
use print_release_agent::feedback::Signal;
use print_release_agent::reader::profile::{self, Profile};
use print_release_agent::reader::{EVENT_LIMIT, Fault, Reader, ReaderEvent, ReaderTransport};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{ChildStdout, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::support::{limit, program as program_path, soon};

/// The pause between two tries of something that another program has to make possible.
const PAUSE: Duration = Duration::from_millis(5);

/// A running reader, and the agent's ends of its channel.
struct Station {
    events: mpsc::Receiver<ReaderEvent>,
    signal: watch::Sender<Signal>,
    task: JoinHandle<()>,
}

impl Station {
    fn new(transport: ReaderTransport, profile: &str) -> Self {
        let (sender, events) = mpsc::channel(EVENT_LIMIT);
        let (signal, signals) = watch::channel(Signal::Ready);
        let task = tokio::spawn(Reader::new(transport, load(profile), true).run(sender, signals));
        Self { events, signal, task }
    }

    async fn next(&mut self) -> ReaderEvent {
        soon(self.events.recv()).await.unwrap()
    }

    async fn connected(&mut self) {
        self.first(|event| (event == ReaderEvent::Connected).then_some(())).await;
    }

    async fn disconnected(&mut self) -> String {
        self.first(|event| if let ReaderEvent::Disconnected(why) = event { Some(why) } else { None }).await
    }

    async fn read(&mut self) -> ReaderEvent {
        self.first(|event| matches!(event, ReaderEvent::Read(_)).then_some(event)).await
    }

    /// Skips events up to the first that is wanted.
    async fn first<T>(&mut self, wanted: impl Fn(ReaderEvent) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = wanted(self.events.recv().await.unwrap()) {
                    return found;
                }
            }
        };
        soon(found).await
    }
}

fn load(profile: &str) -> Profile {
    profile::load(profile).unwrap()
}

fn read(text: &str) -> ReaderEvent {
    ReaderEvent::Read(Read(Secret::new(text)))
}

/// Each profile, the bytes for one card (twice if the profile takes two equal frames for a read), and the read.
fn examples() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let rows = include_str!("../vectors/reader_frames.csv").lines().filter(|row| !row.starts_with('#'));
    let example = |row: &'static str| {
        let [profile, hex, text] = row.split(',').collect::<Vec<_>>().try_into().unwrap();
        let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
        let times = if load(profile).frame.twice { 2 } else { 1 };
        (profile, bytes.collect::<Vec<_>>().repeat(times), text)
    };
    rows.skip(1).map(example).collect()
}

fn serial(reader: &VirtualReader) -> ReaderTransport {
    ReaderTransport::Serial { device: reader.path().to_str().unwrap().to_owned(), baud: 9600 }
}

fn here() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// An address on which no program listens yet.
fn free() -> SocketAddr {
    std::net::TcpListener::bind(here()).unwrap().local_addr().unwrap()
}

async fn connect(address: SocketAddr) -> TcpStream {
    soon(async {
        loop {
            match TcpStream::connect(address).await {
                Ok(stream) => return stream,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    })
    .await
}

#[tokio::test]
async fn every_profile_that_is_not_asked_reads_over_a_serial_line() {
    let _limit = limit();
    let folder = tempfile::tempdir().unwrap();
    for (profile, bytes, text) in examples().into_iter().filter(|(profile, ..)| load(profile).poll.is_none()) {
        let wire = VirtualReader::plug(&folder.path().join(profile)).unwrap();
        let mut station = Station::new(serial(&wire), profile);
        station.connected().await;
        wire.send(&bytes).unwrap();
        assert_eq!(station.next().await, read(text), "{profile} whole");
        for byte in &bytes {
            wire.send(&[*byte]).unwrap();
            // Lets the reader's task run, so that bytes come one by one.
            tokio::task::yield_now().await;
        }
        assert_eq!(station.next().await, read(text), "{profile} byte by byte");
        // Half a card ends in silence, and the next is whole. If the profile takes two equal frames, this half is about one
        // whole frame, which is not enough.
        wire.send(&bytes[..bytes.len() / 2 - 1]).unwrap();
        // If two frames are a read, the third and the fourth frame were each a further read.
        let event = station.first(|event| (event != read(text)).then_some(event)).await;
        assert_eq!(event, ReaderEvent::Unreadable(Fault::Noise), "{profile} truncated");
        wire.send(&bytes).unwrap();
        assert_eq!(station.next().await, read(text), "{profile} after that");
    }
}

#[tokio::test]
async fn every_profile_that_is_not_asked_reads_two_cards_in_one_piece_and_a_card_after_noise() {
    let _limit = limit();
    let folder = tempfile::tempdir().unwrap();
    for (profile, bytes, text) in examples().into_iter().filter(|(profile, ..)| load(profile).poll.is_none()) {
        for (noise, at_least) in [(&b""[..], 2), (b"\xF0\x15?", 1)] {
            let wire = VirtualReader::plug(&folder.path().join(profile)).unwrap();
            let mut station = Station::new(serial(&wire), profile);
            station.connected().await;
            wire.send(&[noise, &bytes, &bytes].concat()).unwrap();
            let mut reads = 0;
            while reads < at_least {
                match station.next().await {
                    ReaderEvent::Unreadable(_) => assert!(!noise.is_empty(), "{profile}"),
                    event => {
                        assert_eq!(event, read(text), "{profile} after {noise:?}");
                        reads += 1;
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn a_reader_that_babbles_keeps_no_other_from_its_taps() {
    let _limit = limit();
    let address = free();
    let scene = Scene::set(program_path()).await.unwrap();
    let babbling = format!(
        "[[station]]\nname = \"babbling\"\n[station.reader]\ntype = \"tcp\"\nlisten = \"{address}\"\nprofile = \"rdm6300\"\n\
         [station.printer]\noutput_port = \"192.0.2.11\"",
    );
    scene.configure("", &[&babbling]).unwrap();
    let agent = scene.start().await.unwrap();
    let mut reader = connect(address).await;
    let babble = tokio::spawn(async move { while reader.write_all(&b"\x02no\x03".repeat(1_000)).await.is_ok() {} });
    for _ in 0..3 {
        assert_eq!(scene.tap(&agent, "ada").await.unwrap()["event"], "released");
    }
    assert!(!babble.is_finished(), "it babbled all the time");
}

/// Every profile whose reader is polled, with the reader's answer when there is no card.
const ASKED: [(&str, &[u8]); 4] = [
    ("twn4-simple", b"0000\r"),
    ("rfideas-acp", b"{0xFFFF,0,0x00,0;0x00}\r\n"),
    ("gwiot-7941w", b"\xCD\xDC\x00\x80\x00\x80"),
    ("pn532", b"\x00\x00\xFF\x00\xFF\x00\x00\x00\xFF\x03\xFD\xD5\x4B\x00\xE0\x00"),
];

/// Receives the agent's commands up to the next poll, which stays unanswered; the others are answered with `none`.
async fn question(stream: &mut TcpStream, profile: &Profile, none: &[u8]) -> Vec<u8> {
    let mut said = Vec::new();
    let asks = &profile.poll.as_ref().unwrap().ask;
    loop {
        assert_ne!(soon(stream.read_buf(&mut said)).await.unwrap(), 0);
        if asks.iter().any(|ask| said.ends_with(&ask.0)) {
            return said;
        }
        stream.write_all(none).await.unwrap();
    }
}

#[tokio::test]
async fn every_profile_that_is_asked_reads_over_a_connection_that_the_agent_made() {
    let _limit = limit();
    for (name, none) in ASKED {
        let (_, bytes, text) = examples().into_iter().find(|(profile, ..)| *profile == name).unwrap();
        let profile = load(name);
        let listener = TcpListener::bind(here()).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut station = Station::new(ReaderTransport::TcpConnect { host: "127.0.0.1".to_owned(), port }, name);
        let (mut reader, _) = soon(listener.accept()).await.unwrap();
        station.connected().await;
        let mut start = question(&mut reader, &profile, none).await;
        for command in &profile.poll.as_ref().unwrap().start {
            assert!(start.starts_with(&command.0), "{name} is set up first");
            start.drain(..command.0.len());
        }
        reader.write_all(none).await.unwrap();
        question(&mut reader, &profile, none).await;
        reader.write_all(&bytes).await.unwrap();
        assert_eq!(station.next().await, read(text), "{name}");
        drop(reader);
        assert!(matches!(station.next().await, ReaderEvent::Disconnected(_)), "{name}");
        let (mut reader, _) = soon(listener.accept()).await.unwrap();
        station.connected().await;
        question(&mut reader, &profile, none).await;
        reader.write_all(&bytes).await.unwrap();
        assert_eq!(station.next().await, read(text), "{name} after it came back");
    }
}

#[tokio::test]
async fn a_signal_is_played_between_questions_and_a_card_is_read_meanwhile() {
    let _limit = limit();
    let listener = TcpListener::bind(here()).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut station = Station::new(ReaderTransport::TcpConnect { host: "127.0.0.1".to_owned(), port }, "twn4-simple");
    let (mut reader, _) = soon(listener.accept()).await.unwrap();
    station.connected().await;
    station.signal.send_replace(Signal::ServerUnreachable);
    station.signal.send_replace(Signal::Done);
    let (mut said, mut reads) = (Vec::new(), 0);
    soon(async {
        while said.iter().filter(|line: &&String| line.starts_with("0407")).count() < 2 || reads == 0 {
            let mut line = Vec::new();
            while line.last() != Some(&b'\r') {
                line.push(reader.read_u8().await.unwrap());
            }
            let answer: &[u8] = if line == b"050010\r" { b"000180200466CF4DC2\r" } else { b"00\r" };
            reader.write_all(answer).await.unwrap();
            said.push(String::from_utf8(line).unwrap());
            while let Ok(event) = station.events.try_recv() {
                assert_eq!(event, read("66CF4DC2"));
                reads += 1;
            }
        }
    })
    .await;
    assert!(said.contains(&"040202\r".to_owned()), "green: {said:?}");
    assert!(!said.contains(&"040201\r".to_owned()), "the signal before was overtaken: {said:?}");
    assert!(!said.iter().any(|line| line.contains("5E01")), "{said:?}");
}

#[tokio::test]
async fn readers_that_connect_have_a_buffer_each_and_a_limit() {
    let _limit = limit();
    let address = free();
    let mut station = Station::new(ReaderTransport::TcpListen(address), "line");
    assert!(station.disconnected().await.contains("none has connected"));
    let (mut one, mut two) = (connect(address).await, connect(address).await);
    station.connected().await;
    one.write_all(b"04").await.unwrap();
    two.write_all(b"99\r").await.unwrap();
    assert_eq!(station.read().await, read("99"));
    one.write_all(b"A1\r").await.unwrap();
    assert_eq!(station.read().await, read("04A1"));
    let (_three, _four) = (connect(address).await, connect(address).await);
    let mut five = connect(address).await;
    assert_eq!(soon(five.read(&mut [0])).await.unwrap(), 0, "one too many is closed at once");
    two.write_all(b"98\r").await.unwrap();
    assert_eq!(station.read().await, read("98"), "and disturbs nobody");
}

#[tokio::test]
async fn a_connection_that_babbles_is_bounded_and_the_next_card_is_read() {
    let _limit = limit();
    let address = free();
    let mut station = Station::new(ReaderTransport::TcpListen(address), "rdm6300");
    station.disconnected().await;
    let mut reader = connect(address).await;
    let card = examples().into_iter().find(|(profile, ..)| *profile == "rdm6300").unwrap();
    tokio::spawn(async move {
        reader.write_all(&[0x02, b'7', 0xFF].repeat(100_000)).await.unwrap();
        reader.write_all(&card.1).await.unwrap();
        std::future::pending::<()>().await;
    });
    assert_eq!(station.read().await, read(card.2));
}

async fn request(address: SocketAddr, text: &str) -> String {
    let mut stream = connect(address).await;
    stream.write_all(format!("{text} HTTP/1.1\r\nHost: box\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    answer.lines().next().unwrap().to_owned()
}

#[tokio::test]
async fn a_reader_that_calls_the_print_server_is_answered_in_its_place() {
    let _limit = limit();
    let address = free();
    let mut station = Station::new(ReaderTransport::Http { listen: address, mac: Some("00:1B:C4".to_owned()) }, "line");
    station.connected().await;
    assert_eq!(request(address, "GET /card/?cd=04A1&Mac=001bc4").await, "HTTP/1.1 200 OK");
    assert_eq!(station.next().await, read("04A1"));
    assert_eq!(request(address, "POST /card?cd=04A2&Mac=00-1b-c4").await, "HTTP/1.1 200 OK");
    assert_eq!(station.next().await, read("04A2"));
    for wrong in ["GET /card/?cd=04A1", "GET /card/?Mac=001BC4", "GET /card/?cd=04A1&Mac=other"] {
        assert_eq!(request(address, wrong).await, "HTTP/1.1 400 Bad Request", "{wrong}");
    }
    for card in 0..EVENT_LIMIT {
        assert_eq!(request(address, &format!("GET /card/?cd=A{card}&Mac=001bc4")).await, "HTTP/1.1 200 OK");
    }
    let full = request(address, "GET /card/?cd=04A1&Mac=001bc4").await;
    assert_eq!(full, "HTTP/1.1 503 Service Unavailable", "a card that is not taken is not said to be");
}

/// Set in the process that plugs a reader a thousand times, so that it does not count the files and memory of other tests.
const ALONE: &str = "PRINT_RELEASE_TEST_ALONE";

/// Memory may grow by so much from the hundredth to the thousandth time, because an allocator keeps some freed memory. A leak
/// of a reader's smallest buffer (1 KiB) would be 900 KiB.
const MEMORY_SLACK_KIB: usize = 256;

/// The number of file descriptors of this process.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The memory of this process in KiB, without the pages of its program, which are loaded when they are first run.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_reader_unplugged_and_plugged_a_thousand_times_leaks_nothing() {
    let _limit = limit();
    if std::env::var_os(ALONE).is_none() {
        let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
        alone.args(["--exact", "readers::a_reader_unplugged_and_plugged_a_thousand_times_leaks_nothing"]);
        assert!(alone.env(ALONE, "1").status().unwrap().success());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut wire = VirtualReader::plug(&folder.path().join("reader")).unwrap();
    let mut station = Station::new(serial(&wire), "line");
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let mut held = Vec::new();
    for round in 1..=1_000 {
        // A limit of `soon` would end at once, because the paused clock jumps to it. The watchdog has the limit.
        while station.events.recv().await.unwrap() != ReaderEvent::Connected {}
        wire.hold("04A1").unwrap();
        assert_eq!(station.events.recv().await.unwrap(), read("04A1"), "round {round}");
        if [100, 1_000].contains(&round) {
            held.push((descriptors(), tasks(), memory()));
        }
        wire.unplug();
        assert!(matches!(station.events.recv().await.unwrap(), ReaderEvent::Disconnected(_)));
        wire.plug_again().unwrap();
    }
    let [(open, alive, small), (open_at_last, alive_at_last, large)] = held[..] else { panic!() };
    assert_eq!((open_at_last, alive_at_last), (open, alive));
    assert!(large <= small + MEMORY_SLACK_KIB, "{small} KiB after 100 times, {large} KiB after 1,000");
}

#[tokio::test]
async fn a_reader_ends_when_nobody_listens_any_more() {
    let _limit = limit();
    let folder = tempfile::tempdir().unwrap();
    let wire = VirtualReader::plug(&folder.path().join("reader")).unwrap();
    for transport in [
        serial(&wire),
        ReaderTransport::Serial { device: "/nowhere".to_owned(), baud: 9600 },
        ReaderTransport::TcpListen(free()),
        ReaderTransport::Http { listen: free(), mac: None },
    ] {
        let mut station = Station::new(transport, "line");
        station.next().await;
        drop(station.events);
        soon(station.task).await.unwrap();
    }
}

#[tokio::test]
async fn a_device_that_somebody_holds_and_one_that_types_nothing_are_told_as_such() {
    let _limit = limit();
    let folder = tempfile::tempdir().unwrap();
    let wire = VirtualReader::plug(&folder.path().join("reader")).unwrap();
    let mut first = Station::new(serial(&wire), "line");
    first.connected().await;
    let mut second = Station::new(serial(&wire), "line");
    let why = second.disconnected().await;
    assert!(why.contains("another program holds it"), "{why}");
    let device = wire.path().to_str().unwrap().to_owned();
    let why = Station::new(ReaderTransport::Hid { device }, "keyboard").disconnected().await;
    assert!(why.contains("open"), "{why}");
}

/// The program with a configuration whose one station has `wire` as its reader.
fn program(folder: &std::path::Path, wire: &VirtualReader, words: &[&str]) -> Command {
    let config = folder.join("agent.toml");
    let text = format!(
        "[agent]\nstate_dir = {state:?}\ncontrol_socket = {socket:?}\n[server]\nurl = \"http://127.0.0.1:9/api/v1\"\napi_key = \"k\"\n\
         [[station]]\nname = \"lobby\"\n[station.reader]\ntype = \"serial\"\ndevice = {device:?}\nconvert = \"hex2dec|slice(-8)\"\n\
         [station.printer]\noutput_port = \"192.0.2.10\"\n",
        state = folder.join("state"),
        socket = folder.join("control.sock"),
        device = wire.path(),
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(program_path());
    command.arg("--config").arg(config).args(words).kill_on_drop(true).stdout(std::process::Stdio::piped());
    command
}

/// The next line of the program that contains `wanted`.
async fn until(lines: &mut Lines<BufReader<ChildStdout>>, wanted: &str) -> String {
    soon(async {
        loop {
            let line = lines.next_line().await.unwrap().unwrap();
            if line.contains(wanted) {
                return line;
            }
        }
    })
    .await
}

#[tokio::test]
async fn watch_shows_bytes_read_and_every_step() {
    let _limit = limit();
    let folder = tempfile::tempdir().unwrap();
    let wire = VirtualReader::plug(&folder.path().join("reader")).unwrap();
    let mut child = program(folder.path(), &wire, &["--json", "readers", "watch"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    until(&mut lines, "connected").await;
    wire.hold("946EBD28").unwrap();
    assert_eq!(until(&mut lines, "bytes").await, r#"{"bytes":"39343645424432380D"}"#);
    let read: serde_json::Value = serde_json::from_str(&until(&mut lines, "read").await).unwrap();
    assert_eq!(read["read"], "946EBD28");
    assert_eq!(read["steps"], serde_json::json!([["hex2dec", "2490285352"], ["slice(-8)", "90285352"]]));
}

/// Reads up to this text, which need not be at the end of a line.
async fn hear(stream: &mut (impl AsyncReadExt + Unpin), wanted: &str) {
    let mut text = Vec::new();
    soon(async {
        while !text.ends_with(wanted.as_bytes()) {
            text.push(stream.read_u8().await.unwrap());
        }
    })
    .await;
}

#[tokio::test]
async fn learn_asks_for_numbers_and_prints_the_line() {
    let _limit = limit();
    let folder = tempfile::tempdir().unwrap();
    let wire = VirtualReader::plug(&folder.path().join("reader")).unwrap();
    let mut command = program(folder.path(), &wire, &["readers", "learn"]);
    let mut child = command.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut asked = BufReader::new(child.stderr.take().unwrap());
    let mut typed = child.stdin.take().unwrap();
    hear(&mut asked, "connected").await;
    wire.hold("946EBD28").unwrap();
    hear(&mut asked, "was all): ").await;
    typed.write_all(b"2490285352\n").await.unwrap();
    hear(&mut asked, "hold card 2").await;
    wire.hold("0184F07A").unwrap();
    hear(&mut asked, "was all): ").await;
    typed.write_all(b"\n").await.unwrap();
    let output = soon(child.wait_with_output()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("convert = \"hex2dec\""), "{text}");
}

/// Runs `readers watch` for the station `lobby` beside the agent of a scene.
async fn watch_beside(scene: &Scene) -> (tokio::process::Child, Lines<BufReader<ChildStdout>>) {
    let mut command = Command::new(program_path());
    command.args(["--json", "readers", "watch", "lobby", "--config"]).arg(scene.config());
    let mut child = command.kill_on_drop(true).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    until(&mut lines, "connected").await;
    (child, lines)
}

#[tokio::test]
async fn watch_beside_the_running_agent_shows_every_step_while_the_tap_is_served_and_no_log_has_the_read() {
    let _limit = limit();
    let scene = Scene::set(program_path()).await.unwrap();
    scene.configure("", &["[log]\nlevel = \"trace\""]).unwrap();
    let text = std::fs::read_to_string(scene.config()).unwrap();
    std::fs::write(
        scene.config(),
        text.replace("type = \"serial\"", "type = \"serial\"\nconvert = \"slice(2)|upper\""),
    )
    .unwrap();
    let agent = scene.start().await.unwrap();
    let (mut child, mut lines) = watch_beside(&scene).await;
    let last = scene.hold(&agent, "zz0025489530").await.unwrap();
    assert_eq!(last["event"], "released", "{last}");
    assert_eq!(until(&mut lines, "bytes").await, r#"{"bytes":"7A7A303032353438393533300D"}"#);
    let read: serde_json::Value = serde_json::from_str(&until(&mut lines, "read").await).unwrap();
    let steps = serde_json::json!([["slice(2)", "0025489530"], ["upper", "0025489530"]]);
    assert_eq!(read, serde_json::json!({ "read": "zz0025489530", "steps": steps }));
    agent.terminate().await.unwrap();
    assert_eq!(soon(child.wait()).await.unwrap().code(), Some(69), "it ends with the agent");
    let log = crate::support::log(&scene);
    assert!(log.contains("is shown at the control socket") && !log.contains("0025489530"), "{log}");
}

#[tokio::test]
async fn a_watcher_that_reads_nothing_is_dropped_and_the_reader_goes_on() {
    let _limit = limit();
    let scene = Scene::set(program_path()).await.unwrap();
    let agent = scene.start().await.unwrap();
    let mut sleeping = tokio::net::UnixStream::connect(scene.dir().join("control.sock")).await.unwrap();
    let request = b"GET /readers/lobby/watch HTTP/1.1\r\nHost: agent\r\n\r\n";
    sleeping.write_all(request).await.unwrap();
    hear(&mut sleeping, "connected\":\"\"}\n").await;
    // More than the socket's buffers hold.
    for _ in 0..3_000 {
        scene.reader.send(&[b'7'; 500]).unwrap();
    }
    scene.reader.send(b"\r").unwrap();
    assert_eq!(scene.tap(&agent, "ada").await.unwrap()["event"], "released");
    hear(&mut sleeping, "it sends faster than this is read\"}\n").await;
}
