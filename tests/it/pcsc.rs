//! A card at a real pcscd, whose reader is Debian's virtual one (vsmartcard-vpcd). The test plays the card.

use std::sync::{Arc, Mutex};

use print_release_agent::domain::{Read, Secret};
use print_release_agent::feedback::Signal;
use print_release_agent::reader::{EVENT_LIMIT, Fault, Reader, ReaderEvent, ReaderTransport, profile};
use tokio::sync::{mpsc, watch};

use crate::support::vpcd::{GET_UID, POWER, hold, pcscd};
use crate::support::{limit, soon};

#[tokio::test]
async fn a_card_at_pcscd_is_read_once_while_it_lies_there_and_a_random_uid_is_refused() {
    let _limit = limit();
    let mut daemon = pcscd();
    let (sender, mut events) = mpsc::channel(EVENT_LIMIT);
    let (signal, signals) = watch::channel(Signal::Ready);
    let reader = Reader::new(ReaderTransport::Pcsc("Virtual PCD".to_owned()), profile::load("acr122u").unwrap(), true);
    tokio::spawn(reader.run(sender, signals));
    while soon(events.recv()).await.unwrap() != ReaderEvent::Connected {}
    // This reader has neither light nor beep, and its driver passes no escapes; cards are read all the same.
    signal.send_replace(Signal::ServerUnreachable);
    for (answer, expected) in [
        (&b"\x04\x36\x7F\x5A\x2D\x72\x80\x90\x00"[..], ReaderEvent::Read(Read(Secret::new("04367F5A2D7280")))),
        (b"\x08\x1A\x2B\x3C\x90\x00", ReaderEvent::Unreadable(Fault::RandomUid)),
        (&b"\x6A\x81"[..], ReaderEvent::Unreadable(Fault::Noise)),
    ] {
        let commands = Arc::new(Mutex::new(Vec::new()));
        let heard = commands.clone();
        let held = hold(answer, move |command| heard.lock().unwrap().push(command.to_vec())).await;
        assert_eq!(soon(events.recv()).await.unwrap(), expected);
        let commands = commands.lock().unwrap().clone();
        let asked = commands.iter().position(|command| *command == GET_UID).unwrap();
        let is_power = |command: &Vec<u8>| matches!(command[..], [control] if POWER.contains(&control));
        assert!(!commands[asked..].iter().any(is_power), "the card is not reset before its event");
        drop(held);
    }
    daemon.kill().await.unwrap();
    assert!(matches!(soon(events.recv()).await.unwrap(), ReaderEvent::Disconnected(_)));
}
