//! Light and beep of a reader that pcscd serves: the commands of its profile, sent as escape commands to its driver.
//!
//! They are sent beside the reading, each in a call of its own, so that a card waits at most for the one command that the
//! reader is busy with. A driver that passes no escape commands is logged once; the next try is made when the reader
//! connects again.

use std::collections::VecDeque;
use std::time::Duration;

use pcsc::{Context, Error, Protocols, Scope, ShareMode, ctl_code};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::SignalReceiver;
use super::dialogue::signal_commands;
use super::pcsc::{disconnect, find};
use super::profile::{Bytes, SignalFormat};
use super::station_channel::sleep_until;

/// The driver's control code for "pass this to the reader" (libccid and acsccid, ccid_ifdhandler.h).
const ESCAPE_CODE: u32 = 1;

/// A reader that took a command answers 90, perhaps followed by the state of its lights.
const TAKEN: u8 = 0x90;

/// Plays each signal until the agent sends no more or the driver refuses.
pub(super) async fn play(reader: String, format: SignalFormat, mut signals: SignalReceiver) {
    let mut commands: VecDeque<(Bytes, Duration)> = VecDeque::new();
    loop {
        let next = match commands.pop_front() {
            Some((command, pause)) => {
                let (reader, next) = (reader.clone(), Instant::now() + pause);
                match spawn_blocking(move || send(&reader, &command.0)).await {
                    Ok(Ok(true)) => {}
                    Ok(Ok(false)) => tracing::debug!("the reader did not take a command for its light or beep"),
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "the reader's light and beep are not used: its driver passes no escapes");
                        return;
                    }
                    Err(_) => return,
                }
                Some(next)
            }
            None => None,
        };
        tokio::select! {
            changed = signals.changed() => match changed {
                // The latest signal replaces the one before.
                Ok(()) => commands = signal_commands(&format, *signals.borrow_and_update()),
                Err(_) => return,
            },
            () = sleep_until(next) => {}
        }
    }
}

/// Passes a command to the reader, with or without a card on it. True if the reader took it.
fn send(reader: &str, command: &[u8]) -> Result<bool, Error> {
    let context = Context::establish(Scope::System)?;
    let reader = context.connect(&find(&context, reader)?, ShareMode::Direct, Protocols::UNDEFINED)?;
    let mut buffer = [0; pcsc::MAX_BUFFER_SIZE];
    let taken =
        reader.control(ctl_code(ESCAPE_CODE.into()), command, &mut buffer).map(|answer| answer.first() == Some(&TAKEN));
    disconnect(reader);
    taken
}
