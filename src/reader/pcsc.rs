//! A reader that pcscd serves. The card is asked for its UID (PC/SC part 3, GET DATA `FF CA 00 00 00`), whatever its kind.
//!
//! The calls of pcscd block, so they have a thread of their own. It ends soon after the agent stops listening.

use std::ffi::{CStr, CString};
use std::time::Duration;

use pcsc::{Card, Context, Disposition, Error, Protocols, ReaderState, Scope, ShareMode, State};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use super::escape;
use super::frame::{Fault, refuse, to_hex};
use super::monitor::MonitorSender;
use super::profile::SignalFormat;
use super::station_channel::StationChannel;
use super::{EVENT_LIMIT, ReaderError, ReaderEvent};
use crate::domain::{Read, Secret};

/// The interval at which the thread checks that the agent still listens. One wake-up a second is half of what an idle box
/// may have (docs/measures.md, "Bars").
const WAIT: Duration = Duration::from_secs(1);

/// The names of all readers of a box together need fewer bytes than this.
const NAMES_LIMIT: usize = 4 * 1024;

const GET_UID: [u8; 5] = [0xFF, 0xCA, 0, 0, 0];

/// UIDs have 4, 7 or 10 bytes (ISO 14443-3) and those of other standards up to 12.
const UID_LENGTHS: std::ops::RangeInclusive<usize> = 4..=12;

/// Sends an event for every card until the agent stops listening or the reader is gone, and plays the profile's signals
/// meanwhile.
pub(super) async fn serve(
    name: &str,
    signal: Option<&SignalFormat>,
    channel: &mut StationChannel,
) -> Result<(), ReaderError> {
    let (sender, mut receiver) = mpsc::channel(EVENT_LIMIT);
    let (wanted, monitor) = (name.to_owned(), channel.monitor().clone());
    let failed = |source| ReaderError::Pcsc { name: name.to_owned(), source };
    std::thread::Builder::new()
        .name("pcsc".to_owned())
        .spawn(move || {
            if let Err(error) = wait_for_cards(&wanted, &sender, &monitor) {
                // It fails only if the agent has stopped listening, and then the error matters to nobody.
                drop(sender.blocking_send(Err(error)));
            }
        })
        .map_err(ReaderError::Broken)?;
    let mut player = JoinSet::new();
    if let Some(format) = signal {
        player.spawn(escape::play(name.to_owned(), format.clone(), channel.signals()));
    }
    loop {
        tokio::select! {
            event = receiver.recv() => match event {
                Some(event) => channel.send_event(event.map_err(failed)?).await?,
                None => return Err(ReaderError::HungUp),
            },
            () = channel.closed() => return Err(ReaderError::Unheard),
        }
    }
}

/// Checks that pcscd has the reader.
pub(super) fn probe(name: &str) -> Result<(), ReaderError> {
    let found = Context::establish(Scope::System).and_then(|context| find(&context, name));
    found.map(drop).map_err(|source| ReaderError::Pcsc { name: name.to_owned(), source })
}

/// The readers that pcscd has; none if pcscd does not run.
pub fn names() -> Vec<String> {
    let mut buffer = vec![0; NAMES_LIMIT];
    let context = Context::establish(Scope::System);
    let names = context.as_ref().ok().and_then(|context| context.list_readers(&mut buffer).ok());
    names.into_iter().flatten().map(|name| name.to_string_lossy().into_owned()).collect()
}

type CardEventSender = mpsc::Sender<Result<ReaderEvent, Error>>;

/// Waits for cards; runs in the thread.
fn wait_for_cards(wanted: &str, events: &CardEventSender, monitor: &MonitorSender) -> Result<(), Error> {
    let context = Context::establish(Scope::System)?;
    let reader = find(&context, wanted)?;
    if events.blocking_send(Ok(ReaderEvent::Connected)).is_err() {
        return Ok(());
    }
    let mut states = [ReaderState::new(reader.clone(), State::UNAWARE)];
    let mut was_there = false;
    while !events.is_closed() {
        match context.get_status_change(WAIT, &mut states) {
            Err(Error::Timeout) => continue,
            result => result?,
        }
        let [state] = &mut states;
        let now = state.event_state();
        state.sync_current_state();
        if now.intersects(State::UNKNOWN | State::UNAVAILABLE) {
            return Err(Error::ReaderUnavailable);
        }
        let is_there = now.contains(State::PRESENT) && !now.contains(State::MUTE);
        if is_there && !was_there && events.blocking_send(Ok(read(&context, &reader, monitor))).is_err() {
            return Ok(());
        }
        was_there = is_there;
    }
    Ok(())
}

/// The reader with this name, or else the first whose name begins with it: pcscd adds numbers that change with the order
/// of plugging in.
pub(super) fn find(context: &Context, wanted: &str) -> Result<CString, Error> {
    let mut buffer = vec![0; NAMES_LIMIT];
    let names: Vec<&CStr> = context.list_readers(&mut buffer)?.collect();
    let begins = |name: &&&CStr| name.to_bytes().starts_with(wanted.as_bytes());
    let exact = names.iter().find(|name| name.to_bytes() == wanted.as_bytes());
    exact.or_else(|| names.iter().find(begins)).map(|name| (*name).to_owned()).ok_or(Error::UnknownReader)
}

fn read(context: &Context, reader: &CStr, monitor: &MonitorSender) -> ReaderEvent {
    let ask = |card: Card| {
        let answer = uid(&card, monitor);
        disconnect(card);
        answer
    };
    let card = context.connect(reader, ShareMode::Shared, Protocols::ANY);
    match card.map_err(|_| Fault::Noise).and_then(ask) {
        Ok(read) => ReaderEvent::Read(read),
        Err(fault) => ReaderEvent::Unreadable(fault),
    }
}

/// Closes a connection and leaves the card as it is. A dropped connection would reset the card, which takes as long as
/// several taps and disturbs other programs that talk with the card.
pub(super) fn disconnect(card: Card) {
    // It fails only if the card or the reader is gone, which closes the connection too.
    drop(card.disconnect(Disposition::LeaveCard));
}

fn uid(card: &Card, monitor: &MonitorSender) -> Result<Read, Fault> {
    let mut buffer = Zeroizing::new([0; pcsc::MAX_BUFFER_SIZE]);
    let answer = card.transmit(&GET_UID, &mut buffer[..]).map_err(|_| Fault::Noise)?;
    monitor.publish_bytes(answer);
    match answer.strip_suffix(&[0x90, 0x00]) {
        Some(uid) if UID_LENGTHS.contains(&uid.len()) => {
            let text = Zeroizing::new(to_hex(uid));
            refuse(&text, true)?;
            Ok(Read(Secret::new(text.as_str())))
        }
        _ => Err(Fault::Noise),
    }
}
