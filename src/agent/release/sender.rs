//! Carries a tap's attempt out: sends, asks and waits as [`Attempt`] says, and nothing else.

use std::time::Instant;

use super::attempt::{Attempt, AttemptEvent, AttemptStep};
use super::register::Register;
use crate::domain::{Release, ReleaseOptions};
use crate::print_server::Session;
use crate::random;
use crate::station::Ending;

/// Releases one document, until its outcome is known or nobody can tell before the deadline.
pub(in crate::agent) async fn send(
    register: &Register,
    session: &Session,
    release: &Release,
    options: &ReleaseOptions,
    deadline: Instant,
) -> Ending {
    let (tap, uuid) = (release.tap, &release.document.uuid);
    let sent_before = register.sent_before(uuid);
    let mut attempt = Attempt::of_tap(release.retain, deadline, sent_before, session.settled_after());
    let mut event = AttemptEvent::Due;
    loop {
        event = match attempt.handle(event, Instant::now(), random::word()) {
            AttemptStep::Send => {
                let answer = session.release(uuid, &release.port, options).await;
                if let Err(failure) = &answer {
                    tracing::warn!(%tap, document = uuid, error = %failure, "release not acknowledged");
                }
                AttemptEvent::Answered(answer.map_err(|failure| failure.cause))
            }
            AttemptStep::AskStatus => {
                AttemptEvent::Status(session.status_of(uuid).await.map_err(|failure| failure.cause))
            }
            AttemptStep::Wait(until) => {
                tokio::time::sleep_until(until.into()).await;
                AttemptEvent::Due
            }
            AttemptStep::End(outcome) => return Ending::Ended(outcome),
            AttemptStep::LeaveOpen(reason) => return Ending::LeftOpen(reason),
        };
    }
}
