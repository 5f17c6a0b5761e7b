//! A card at a real pcscd: its reader is Debian's virtual one (vsmartcard-vpcd), the card is played here.

use std::process::Stdio;

use print_release_agent::domain::{Read, Secret};
use print_release_agent::feedback::Signal;
use print_release_agent::reader::{EVENT_LIMIT, Fault, Reader, ReaderEvent, Transport, profile};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};

/// Where vpcd waits for its first card (its package's /etc/reader.conf.d/vpcd).
const VPCD: &str = "127.0.0.1:35963";

/// An ISO 14443-4 card's answer to reset (PC/SC part 3, 3.1.3.2.3).
const ATR: [u8; 5] = [0x3B, 0x80, 0x80, 0x01, 0x01];

/// pcscd takes a while to start.
const CONNECT_LIMIT: usize = 1_000_000;

/// vpcd's control bytes.
const POWER: [u8; 3] = [0, 1, 2];
const GET_ATR: u8 = 4;

fn pcscd() -> Child {
    let mut command = Command::new("/usr/sbin/pcscd");
    command.arg("--foreground").stdout(Stdio::null()).stderr(Stdio::null());
    command.kill_on_drop(true).spawn().expect("pcscd is installed")
}

/// Holds a card to the virtual reader until it is dropped: every command is answered with `answer`.
async fn card(answer: &'static [u8]) -> tokio::task::JoinSet<()> {
    let mut tries = 0..CONNECT_LIMIT;
    let mut stream = loop {
        tries.next().expect("pcscd has started its virtual reader");
        match TcpStream::connect(VPCD).await {
            Ok(stream) => break stream,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let mut held = tokio::task::JoinSet::new();
    held.spawn(async move {
        while let Ok(length) = stream.read_u16().await {
            let mut command = vec![0; length.into()];
            stream.read_exact(&mut command).await.unwrap();
            let reply: &[u8] = match command[..] {
                [control] if POWER.contains(&control) => continue,
                [GET_ATR] => &ATR,
                [0xFF, 0xCA, 0, 0, 0] => answer,
                _ => &[0x6D, 0x00],
            };
            stream.write_u16(reply.len() as u16).await.unwrap();
            stream.write_all(reply).await.unwrap();
        }
    });
    held
}

#[tokio::test]
async fn a_card_at_pcscd_is_read_once_while_it_lies_there_and_a_random_uid_is_refused() {
    let mut daemon = pcscd();
    let (sender, mut events) = mpsc::channel(EVENT_LIMIT);
    let (_signal, signals) = watch::channel(Signal::Ready);
    let reader = Reader::new(Transport::Pcsc("Virtual PCD".to_owned()), profile::load("line").unwrap(), true);
    tokio::spawn(reader.run(sender, signals));
    while events.recv().await.unwrap() != ReaderEvent::Connected {}
    for (answer, expected) in [
        (&b"\x04\x36\x7F\x5A\x2D\x72\x80\x90\x00"[..], ReaderEvent::Read(Read(Secret::new("04367F5A2D7280")))),
        (b"\x08\x1A\x2B\x3C\x90\x00", ReaderEvent::Unreadable(Fault::RandomUid)),
        (&b"\x6A\x81"[..], ReaderEvent::Unreadable(Fault::Noise)),
    ] {
        let held = card(answer).await;
        assert_eq!(events.recv().await.unwrap(), expected);
        drop(held);
    }
    daemon.kill().await.unwrap();
    assert!(matches!(events.recv().await.unwrap(), ReaderEvent::Disconnected(_)));
}
