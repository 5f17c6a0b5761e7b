//! Measures the time from the last byte of a card to its event at the agent, for each way to attach a reader, beside a bare
//! read of the same bytes in the same run. The program prints the times and judges nothing; the bar is 2 ms
//! (docs/measures.md, "Bars"). On a busy machine p99 shows the other programs and not the agent.
//!
//! ```text
//! cargo bench --bench reader                    serial, tcp, http, evdev (decoding only)
//! cargo bench --bench reader --features pcsc    also a card at pcscd (Debian's pcscd and vsmartcard-vpcd)
//! ```
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![cfg_attr(
    feature = "pcsc",
    expect(unreachable_pub, reason = "a benchmark exports nothing; the support of the tests says `pub`")
)]

#[cfg(feature = "pcsc")]
#[path = "../it/support/vpcd.rs"]
mod vpcd;

use std::time::Duration;

use print_release_agent::demo::reader::VirtualReader;
use print_release_agent::feedback::Signal;
use print_release_agent::reader::frame::Framer;
use print_release_agent::reader::keys::KeyDecoder;
use print_release_agent::reader::{EVENT_LIMIT, Reader, ReaderEvent, ReaderTransport, profile};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_serial::SerialPortBuilderExt;

/// The rounds that count.
const ROUNDS: usize = 2_000;
/// The rounds before them, which do not count.
const WARM_UP: usize = 100;

/// The bytes that a reader sends for a card.
const CARD: &[u8] = b"04367F5A2D7280\r";

/// The same card as a request of an IP reader.
const REQUEST: &[u8] = b"GET /card/?cd=04367F5A2D7280&Mac=001BC4 HTTP/1.1\r\nHost: box\r\n\r\n";

/// The key codes of `0002008108` and Enter.
const CODES: [u16; 11] = [11, 11, 11, 3, 11, 11, 9, 2, 11, 9, 28];

/// The size of a `struct input_event` on 64 bits (linux/input.h); type, code and value stand behind its time.
const INPUT_EVENT: usize = 24;

/// A running reader and the agent's end of its channel.
struct Station {
    events: mpsc::Receiver<ReaderEvent>,
    _signal: watch::Sender<Signal>,
}

impl Station {
    fn new(transport: ReaderTransport) -> Self {
        let (sender, events) = mpsc::channel(EVENT_LIMIT);
        let (signal, signals) = watch::channel(Signal::Ready);
        tokio::spawn(Reader::new(transport, profile::load("line").unwrap(), true).run(sender, signals));
        Self { events, _signal: signal }
    }

    async fn connected(&mut self) {
        while self.events.recv().await.unwrap() != ReaderEvent::Connected {}
    }

    async fn read(&mut self) {
        assert!(matches!(self.events.recv().await, Some(ReaderEvent::Read(_))));
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    println!(
        "{:22} {:>10} {:>10} {:>13} {:>10} {:>6}",
        "last byte to event", "median", "p99", "bare median", "p99", "ratio"
    );
    serial().await;
    tcp_server().await;
    tcp_client().await;
    http().await;
    evdev().await;
    #[cfg(feature = "pcsc")]
    pcsc().await;
}

/// Measures both in turns, so that the other work of the machine hits both alike.
async fn measure(
    name: &str,
    rounds: usize,
    mut reader: impl AsyncFnMut() -> Duration,
    mut bare: impl AsyncFnMut() -> Duration,
) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..rounds + WARM_UP {
        let times = (reader().await, bare().await);
        if round >= WARM_UP {
            ours.push(times.0);
            theirs.push(times.1);
        }
    }
    print_row(name, ours, theirs);
}

fn print_row(name: &str, mut ours: Vec<Duration>, mut bare: Vec<Duration>) {
    let micros = |duration: Duration| format!("{:.1} us", duration.as_secs_f64() * 1e6);
    ours.sort();
    bare.sort();
    let [median, p99, bare_median, bare_p99] =
        [(&ours, 50), (&ours, 99), (&bare, 50), (&bare, 99)].map(|(times, percent)| times[times.len() * percent / 100]);
    let ratio = median.as_secs_f64() / bare_median.as_secs_f64();
    let [median, p99, bare_median, bare_p99] = [median, p99, bare_median, bare_p99].map(micros);
    println!("{name:22} {median:>10} {p99:>10} {bare_median:>13} {bare_p99:>10} {ratio:>6.2}");
}

/// Reads as many bytes as `expected` has, and compares them.
async fn take(stream: &mut (impl AsyncRead + Unpin), expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(bytes, expected);
}

async fn serial() {
    let folder = tempfile::tempdir().unwrap();
    let wire = VirtualReader::plug(&folder.path().join("reader")).unwrap();
    let bare_wire = VirtualReader::plug(&folder.path().join("bare")).unwrap();
    let device = |wire: &VirtualReader| wire.path().to_str().unwrap().to_owned();
    let mut station = Station::new(ReaderTransport::Serial { device: device(&wire), baud: 9600 });
    let mut port = tokio_serial::new(device(&bare_wire), 9600).open_native_async().unwrap();
    station.connected().await;
    let reader = async || {
        let sent = Instant::now();
        wire.send(CARD).unwrap();
        station.read().await;
        sent.elapsed()
    };
    let bare = async || {
        let sent = Instant::now();
        bare_wire.send(CARD).unwrap();
        take(&mut port, CARD).await;
        sent.elapsed()
    };
    measure("serial (pty)", ROUNDS, reader, bare).await;
}

/// Both ends of a TCP connection.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (far, _) = listener.accept().await.unwrap();
    near.set_nodelay(true).unwrap();
    (near, far)
}

/// An address on which no program listens yet.
fn free() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn tcp_server() {
    let address = free();
    let mut station = Station::new(ReaderTransport::TcpListen(address));
    assert!(matches!(station.events.recv().await, Some(ReaderEvent::Disconnected(_))), "it listens");
    let wire = TcpStream::connect(address).await.unwrap();
    tcp("tcp, reader connects", station, wire).await;
}

async fn tcp_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let station = Station::new(ReaderTransport::TcpConnect { host: "127.0.0.1".to_owned(), port });
    let (wire, _) = listener.accept().await.unwrap();
    tcp("tcp, agent connects", station, wire).await;
}

async fn tcp(name: &str, mut station: Station, mut wire: TcpStream) {
    wire.set_nodelay(true).unwrap();
    station.connected().await;
    let (mut bare_wire, mut bare_end) = pair().await;
    let reader = async || {
        let sent = Instant::now();
        wire.write_all(CARD).await.unwrap();
        station.read().await;
        sent.elapsed()
    };
    let bare = async || {
        let sent = Instant::now();
        bare_wire.write_all(CARD).await.unwrap();
        take(&mut bare_end, CARD).await;
        sent.elapsed()
    };
    measure(name, ROUNDS, reader, bare).await;
}

/// Each card is a connection of its own. In both measurements it is made before the clock starts.
async fn http() {
    let address = free();
    let mut station = Station::new(ReaderTransport::Http { listen: address, mac: None });
    station.connected().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bare_address = listener.local_addr().unwrap();
    let reader = async || {
        let mut wire = TcpStream::connect(address).await.unwrap();
        let sent = Instant::now();
        wire.write_all(REQUEST).await.unwrap();
        station.read().await;
        let elapsed = sent.elapsed();
        wire.read_to_end(&mut Vec::new()).await.unwrap();
        elapsed
    };
    let bare = async || {
        let mut wire = TcpStream::connect(bare_address).await.unwrap();
        let sent = Instant::now();
        wire.write_all(REQUEST).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        take(&mut stream, REQUEST).await;
        sent.elapsed()
    };
    measure("http", ROUNDS, reader, bare).await;
}

/// Key events as the kernel delivers them, sent through a socket, because the machine need not have a keyboard.
async fn evdev() {
    let event = |code: u16, value: i32| {
        let mut event = [0; INPUT_EVENT];
        event[16..18].copy_from_slice(&1_u16.to_ne_bytes());
        event[18..20].copy_from_slice(&code.to_ne_bytes());
        event[20..].copy_from_slice(&value.to_ne_bytes());
        event
    };
    let typed: Vec<u8> = CODES.into_iter().flat_map(|code| [event(code, 1), event(code, 0)]).flatten().collect();
    let (mut wire, mut end) = UnixStream::pair().unwrap();
    let (mut bare_wire, mut bare_end) = UnixStream::pair().unwrap();
    let mut keys = KeyDecoder::default();
    let mut framer = Framer::new(profile::load("keyboard").unwrap().frame);
    let reader = async || {
        let sent = Instant::now();
        wire.write_all(&typed).await.unwrap();
        let mut frames = Vec::new();
        let mut event = [0; INPUT_EVENT];
        while frames.is_empty() {
            end.read_exact(&mut event).await.unwrap();
            let half = |at: usize| u16::from_ne_bytes([event[at], event[at + 1]]);
            let value = i32::from_ne_bytes([event[20], event[21], event[22], event[23]]);
            let byte = keys.event(half(16), half(18), value);
            frames = framer.push(byte.as_slice());
        }
        let elapsed = sent.elapsed();
        end.read_exact(&mut event).await.unwrap();
        elapsed
    };
    let bare = async || {
        let sent = Instant::now();
        bare_wire.write_all(&typed).await.unwrap();
        let mut event = [0; INPUT_EVENT];
        for _ in 0..CODES.len() * 2 {
            bare_end.read_exact(&mut event).await.unwrap();
        }
        sent.elapsed()
    };
    measure("evdev (decoding)", ROUNDS, reader, bare).await;
}

/// Measures from the card's answer to the event, beside the same question over a bare connection to pcscd. pcscd looks for
/// cards at its own pace, so there are fewer rounds.
#[cfg(feature = "pcsc")]
async fn pcsc() {
    use pcsc::{Context, Protocols, Scope, ShareMode};

    const CARDS: usize = 20;
    let _daemon = vpcd::pcscd();
    let mut station = Station::new(ReaderTransport::Pcsc("Virtual PCD".to_owned()));
    station.connected().await;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..CARDS {
        let (answers, mut answered) = mpsc::channel(EVENT_LIMIT);
        let hears = move |command: &[u8]| {
            if command == vpcd::GET_UID {
                answers.try_send(Instant::now()).unwrap();
            }
        };
        let _held = vpcd::hold(b"\x04\x36\x7F\x5A\x2D\x72\x80\x90\x00", hears).await;
        station.read().await;
        ours.push(answered.recv().await.unwrap().elapsed());
        let answer = tokio::task::spawn_blocking(|| {
            let context = Context::establish(Scope::User).unwrap();
            let mut names = [0; 4096];
            let name = context.list_readers(&mut names).unwrap().next().unwrap();
            let card = context.connect(name, ShareMode::Shared, Protocols::ANY).unwrap();
            card.transmit(&vpcd::GET_UID, &mut [0; 64]).unwrap();
            Instant::now()
        });
        let answered_at = answer.await.unwrap();
        bare.push(answered_at - answered.recv().await.unwrap());
    }
    print_row("pcsc", ours, bare);
}
