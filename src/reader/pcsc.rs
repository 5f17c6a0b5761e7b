//! A reader that pcscd serves. The card is asked for its UID (PC/SC part 3, GET DATA `FF CA 00 00 00`), whatever its kind.
//!
//! pcscd's calls wait, so they have a thread of their own; it ends soon after nobody listens any more.

use std::ffi::{CStr, CString};
use std::time::Duration;

use pcsc::{Card, Context, Disposition, Error, Protocols, ReaderState, Scope, ShareMode, State};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use super::escape;
use super::frame::{Fault, refuse, to_hex};
use super::line::Line;
use super::profile::SignalFormat;
use super::window::Pane;
use super::{EVENT_LIMIT, ReaderError, ReaderEvent};
use crate::domain::{Read, Secret};

/// How often the thread looks whether somebody listens. One wake-up a second is half of what the box may have.
const WAIT: Duration = Duration::from_secs(1);

/// Names of so many bytes, of all readers together, are more than a box has.
const NAMES_LIMIT: usize = 4 * 1024;

const GET_UID: [u8; 5] = [0xFF, 0xCA, 0, 0, 0];

/// UIDs have 4, 7 or 10 bytes (ISO 14443-3) and those of other standards up to 12.
const UID_LENGTHS: std::ops::RangeInclusive<usize> = 4..=12;

/// Tells every card until nobody listens or the reader is gone, and plays the profile's signals meanwhile.
pub(super) async fn serve(name: &str, signal: Option<&SignalFormat>, line: &mut Line) -> Result<(), ReaderError> {
    let (sender, mut receiver) = mpsc::channel(EVENT_LIMIT);
    let (wanted, pane) = (name.to_owned(), line.pane().clone());
    let failed = |source| ReaderError::Pcsc { name: name.to_owned(), source };
    std::thread::Builder::new()
        .name("pcsc".to_owned())
        .spawn(move || {
            if let Err(error) = attend(&wanted, &sender, &pane) {
                // Nobody listens: then nobody needs to know.
                drop(sender.blocking_send(Err(error)));
            }
        })
        .map_err(ReaderError::Broken)?;
    let mut player = JoinSet::new();
    if let Some(format) = signal {
        player.spawn(escape::play(name.to_owned(), format.clone(), line.signals()));
    }
    loop {
        tokio::select! {
            event = receiver.recv() => match event {
                Some(event) => line.tell(event.map_err(failed)?).await?,
                None => return Err(ReaderError::HungUp),
            },
            () = line.closed() => return Err(ReaderError::Unheard),
        }
    }
}

/// Whether pcscd has the reader.
pub(super) fn probe(name: &str) -> Result<(), ReaderError> {
    let found = Context::establish(Scope::System).and_then(|context| find(&context, name));
    found.map(drop).map_err(|source| ReaderError::Pcsc { name: name.to_owned(), source })
}

/// The readers that pcscd has; none where it does not run.
pub fn names() -> Vec<String> {
    let mut buffer = vec![0; NAMES_LIMIT];
    let context = Context::establish(Scope::System);
    let names = context.as_ref().ok().and_then(|context| context.list_readers(&mut buffer).ok());
    names.into_iter().flatten().map(|name| name.to_string_lossy().into_owned()).collect()
}

type Told = mpsc::Sender<Result<ReaderEvent, Error>>;

/// Waits for cards, in the thread.
fn attend(wanted: &str, told: &Told, pane: &Pane) -> Result<(), Error> {
    let context = Context::establish(Scope::System)?;
    let reader = find(&context, wanted)?;
    if told.blocking_send(Ok(ReaderEvent::Connected)).is_err() {
        return Ok(());
    }
    let mut states = [ReaderState::new(reader.clone(), State::UNAWARE)];
    let mut was_there = false;
    while !told.is_closed() {
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
        if is_there && !was_there && told.blocking_send(Ok(read(&context, &reader, pane))).is_err() {
            return Ok(());
        }
        was_there = is_there;
    }
    Ok(())
}

/// The reader of this name, or whose name begins so: pcscd adds numbers that change with the order of plugging in.
pub(super) fn find(context: &Context, wanted: &str) -> Result<CString, Error> {
    let mut buffer = vec![0; NAMES_LIMIT];
    let names: Vec<&CStr> = context.list_readers(&mut buffer)?.collect();
    let begins = |name: &&&CStr| name.to_bytes().starts_with(wanted.as_bytes());
    let exact = names.iter().find(|name| name.to_bytes() == wanted.as_bytes());
    exact.or_else(|| names.iter().find(begins)).map(|name| (*name).to_owned()).ok_or(Error::UnknownReader)
}

fn read(context: &Context, reader: &CStr, pane: &Pane) -> ReaderEvent {
    let ask = |card: Card| {
        let answer = uid(&card, pane);
        leave(card);
        answer
    };
    let card = context.connect(reader, ShareMode::Shared, Protocols::ANY);
    match card.map_err(|_| Fault::Noise).and_then(ask) {
        Ok(read) => ReaderEvent::Read(read),
        Err(fault) => ReaderEvent::Unreadable(fault),
    }
}

/// Closes a connection and leaves the card as it is. Dropped, the connection would reset the card, which takes the time of
/// some taps, and spoils what others ask it meanwhile.
pub(super) fn leave(card: Card) {
    // What cannot be closed is gone.
    drop(card.disconnect(Disposition::LeaveCard));
}

fn uid(card: &Card, pane: &Pane) -> Result<Read, Fault> {
    let mut buffer = Zeroizing::new([0; pcsc::MAX_BUFFER_SIZE]);
    let answer = card.transmit(&GET_UID, &mut buffer[..]).map_err(|_| Fault::Noise)?;
    pane.bytes(answer);
    match answer.strip_suffix(&[0x90, 0x00]) {
        Some(uid) if UID_LENGTHS.contains(&uid.len()) => {
            let text = Zeroizing::new(to_hex(uid));
            refuse(&text, true)?;
            Ok(Read(Secret::new(text.as_str())))
        }
        _ => Err(Fault::Noise),
    }
}
