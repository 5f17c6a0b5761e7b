//! Light and beep of a reader that pcscd serves: the commands of its profile, as escapes to its driver.
//!
//! They are played beside the reading, each in a call of its own, so that a card waits at most for the one command that the
//! reader is busy with. A driver that passes no escapes is told once, and asked again when the reader comes again.

use std::collections::VecDeque;
use std::time::Duration;

use pcsc::{Context, Error, Protocols, Scope, ShareMode, ctl_code};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::Signals;
use super::dialogue::score;
use super::line::sleep_until;
use super::pcsc::{find, leave};
use super::profile::{Bytes, SignalFormat};

/// The driver's number for "pass this to the reader" (libccid and acsccid, ccid_ifdhandler.h).
const PASS: u32 = 1;

/// A reader that took a command answers 90 and perhaps the state of its lights.
const TAKEN: u8 = 0x90;

/// Plays what comes until nothing can come any more, or the driver refuses.
pub(super) async fn play(reader: String, format: SignalFormat, mut signals: Signals) {
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
                // The latest signal takes the place of the one before.
                Ok(()) => commands = score(&format, *signals.borrow_and_update()),
                Err(_) => return,
            },
            () = sleep_until(next) => {}
        }
    }
}

/// Passes a command to the reader, with or without a card; tells whether it took it.
fn send(reader: &str, command: &[u8]) -> Result<bool, Error> {
    let context = Context::establish(Scope::System)?;
    let reader = context.connect(&find(&context, reader)?, ShareMode::Direct, Protocols::UNDEFINED)?;
    let mut buffer = [0; pcsc::MAX_BUFFER_SIZE];
    let taken =
        reader.control(ctl_code(PASS.into()), command, &mut buffer).map(|answer| answer.first() == Some(&TAKEN));
    leave(reader);
    taken
}
