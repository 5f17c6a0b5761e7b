//! Debian's virtual PC/SC reader (vsmartcard-vpcd) at a real pcscd; this module plays the card.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

/// The address where vpcd waits for its first card (/etc/reader.conf.d/vpcd of its package).
const VPCD: &str = "127.0.0.1:35963";

/// An ISO 14443-4 card's answer to reset (PC/SC part 3, 3.1.3.2.3).
const ATR: [u8; 5] = [0x3B, 0x80, 0x80, 0x01, 0x01];

/// pcscd takes a while to start its virtual reader, but never this long.
const CONNECT_LIMIT: Duration = Duration::from_secs(60);

/// The pause between two tries to connect.
const CONNECT_PAUSE: Duration = Duration::from_millis(10);

/// vpcd's control bytes for power off, power on and reset.
pub const POWER: [u8; 3] = [0, 1, 2];
const GET_ATR: u8 = 4;

/// The question for the UID (PC/SC part 3, 3.2.2.1.3).
pub const GET_UID: [u8; 5] = [0xFF, 0xCA, 0, 0, 0];

/// Starts pcscd with the virtual reader.
pub fn pcscd() -> Child {
    let mut command = Command::new("/usr/sbin/pcscd");
    command.arg("--foreground").stdout(Stdio::null()).stderr(Stdio::null());
    command.kill_on_drop(true).spawn().expect("pcscd is installed")
}

/// Holds a card to the virtual reader until it is dropped. It answers every question for its UID with `answer`, and
/// `hears` is called with every command before its answer.
pub async fn hold(answer: &'static [u8], hears: impl Fn(&[u8]) + Send + 'static) -> JoinSet<()> {
    let connected = tokio::time::timeout(CONNECT_LIMIT, async {
        loop {
            match TcpStream::connect(VPCD).await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(CONNECT_PAUSE).await,
            }
        }
    });
    let mut stream = connected.await.expect("pcscd starts its virtual reader within a minute");
    let mut card = JoinSet::new();
    card.spawn(async move {
        while let Ok(length) = stream.read_u16().await {
            let mut command = vec![0; length.into()];
            stream.read_exact(&mut command).await.unwrap();
            hears(&command);
            let reply: &[u8] = match command[..] {
                [control] if POWER.contains(&control) => continue,
                [GET_ATR] => &ATR,
                [0xFF, 0xCA, 0, 0, 0] => answer,
                _ => &[0x6D, 0x00],
            };
            let whole = [&(reply.len() as u16).to_be_bytes()[..], reply].concat();
            stream.write_all(&whole).await.unwrap();
        }
    });
    card
}
