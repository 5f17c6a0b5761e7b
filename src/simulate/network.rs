//! The way of a request to the server and back, with all that may happen to it there.

use jiff::{SignedDuration, Timestamp};
use reqwest::Request;

use super::call::{Call, CallKind};
use super::weather::Weather;
use super::world::{SimulatedWorld, pause, tell, world};
use crate::domain::{Cause, Failure};

/// `server.request_timeout` of every box, in milliseconds.
pub(super) const REQUEST_TIMEOUT: u64 = 10_000;

/// After three times the time limit the server is certainly no longer at work on a request; this is a little less.
const WORKS_ON: u64 = 3 * REQUEST_TIMEOUT - 2_000;

/// An answer, before it is read.
#[derive(Debug)]
pub(crate) struct Exchanged {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<u32>,
    pub(crate) date: Option<Timestamp>,
    pub(crate) body: String,
}

/// Whether and when the server does the work of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ServerWork {
    Never,
    Now,
    /// So many milliseconds after the client has given up.
    Later(u64),
}

/// The end of a request for the client.
#[derive(Clone, Debug)]
enum RequestEnd {
    /// The server's own answer.
    Answered,
    /// Another answer in its place.
    Instead(u16, Option<u32>, String),
    Cut,
    TimedOut,
    Unreachable,
}

#[derive(Clone, Debug)]
struct Fate {
    there: u64,
    work: ServerWork,
    back: u64,
    end: RequestEnd,
}

/// Sends a request of an agent. One of a run that is over has no effect and no end.
pub(crate) async fn exchange(request: Request) -> Result<Exchanged, Failure> {
    let mut call = Call::of(&request);
    let fate = {
        let mut world = world();
        if call.kind == CallKind::Record {
            call.record = world.boxes.get(call.from).and_then(|it| it.disk.marked());
            if world.is_alive(call.from, call.run) {
                world.boxes[call.from].is_recording = true;
            }
        }
        world.is_alive(call.from, call.run).then(|| fate(&mut world, &call))
    };
    let Some(fate) = fate else {
        return std::future::pending().await;
    };
    let result = send(&call, fate).await;
    let alive = {
        let mut world = world();
        let alive = world.is_alive(call.from, call.run);
        if alive && call.kind == CallKind::Record {
            world.boxes[call.from].is_recording = false;
        }
        if alive && call.kind != CallKind::Probe {
            note(&mut world, &call, &result);
        }
        alive
    };
    if alive { result } else { std::future::pending().await }
}

fn note(world: &mut SimulatedWorld, call: &Call, result: &Result<Exchanged, Failure>) {
    let end = match result {
        Ok(answer) if answer.body.contains("errorCode") => {
            format!("{} {}", answer.status, answer.body.get(..24).unwrap_or(&answer.body))
        }
        Ok(answer) => format!("{}", answer.status),
        Err(failure) => failure.detail.clone(),
    };
    let about = match call.kind {
        CallKind::Release => format!(" of {}", call.segment(1)),
        CallKind::Record => format!(" of doc-{}", call.field("colorpages").unwrap_or_default()),
        CallKind::History => format!(" of {}", call.field("username").unwrap_or("a further page")),
        _ => call.user().map(|user| format!(" by user-{user}")).unwrap_or_default(),
    };
    tell!(world, "box {}: {:?}{about} ended: {end}", call.from, call.kind);
}

fn fate(world: &mut SimulatedWorld, call: &Call) -> Fate {
    let weather = &mut world.weather;
    let dice = &mut weather.dice;
    let mut fate = Fate {
        there: dice.between(2, 40),
        work: ServerWork::Now,
        back: dice.between(2, 40),
        end: RequestEnd::Answered,
    };
    if weather.server_away || weather.cut_off.contains(&call.from) {
        let (there, end) = if dice.percent(80) {
            (dice.between(1, 30), RequestEnd::Unreachable)
        } else {
            (3_000, RequestEnd::Unreachable)
        };
        return Fate { there, work: ServerWork::Never, back: 0, end };
    }
    if dice.percent(weather.slow) {
        fate.there = dice.between(100, 4_000);
        fate.back = dice.between(100, 4_000);
    }
    if call.kind == CallKind::Release && dice.percent(weather.flapping) {
        let later = dice.roll(WORKS_ON);
        fate.work = [ServerWork::Never, ServerWork::Now, ServerWork::Later(later)][dice.index(3)];
        fate.end = RequestEnd::Cut;
        cut_off(weather, call.from);
        return fate;
    }
    if dice.percent(weather.rough) {
        let later = dice.roll(WORKS_ON);
        (fate.work, fate.end) = match dice.roll(8) {
            0 => (ServerWork::Never, RequestEnd::Unreachable),
            1 | 2 => (ServerWork::Never, RequestEnd::Cut),
            3 | 4 => (ServerWork::Now, RequestEnd::Cut),
            5 => (ServerWork::Later(later), RequestEnd::Cut),
            6 => (ServerWork::Now, RequestEnd::TimedOut),
            _ => (if dice.percent(50) { ServerWork::Later(later) } else { ServerWork::Never }, RequestEnd::TimedOut),
        };
        return fate;
    }
    if dice.percent(weather.overloaded) {
        let again = dice.percent(70).then(|| dice.between(0, 90) as u32);
        let status = if again.is_some() && dice.percent(50) { 503 } else { 429 };
        // The back end may go on behind the balancer that asks for patience.
        let goes_on = call.kind == CallKind::Release && dice.percent(50);
        fate.work = if goes_on { ServerWork::Later(dice.roll(WORKS_ON)) } else { ServerWork::Never };
        fate.end = RequestEnd::Instead(status, again, String::new());
        return fate;
    }
    if dice.percent(weather.odd) {
        let (work, status, body) = match dice.roll(9) {
            0 => (ServerWork::Now, 200, "<html><body>please log in</body></html>".to_owned()),
            1 => (ServerWork::Never, 200, "[\"maintenance\"".to_owned()),
            2 => (ServerWork::Now, 500, String::new()),
            3 => (ServerWork::Never, 502, String::new()),
            4 => (ServerWork::Later(dice.roll(WORKS_ON)), 504, String::new()),
            5 => (ServerWork::Never, 200, r#"{"errorCode":1042}"#.to_owned()),
            6 => (ServerWork::Never, 200, r#"{"errorCode":"1001"}"#.to_owned()),
            7 => (ServerWork::Never, 400, r#"{"error":"odd"}"#.to_owned()),
            _ => (ServerWork::Now, 302, String::new()),
        };
        (fate.work, fate.end) = (work, RequestEnd::Instead(status, None, body));
        return fate;
    }
    if dice.percent(weather.expired_tokens) && !matches!(call.kind, CallKind::Refresh | CallKind::Probe) {
        (fate.work, fate.end) = (ServerWork::Never, RequestEnd::Instead(401, None, String::new()));
    }
    if weather.history_forbidden && call.kind == CallKind::History {
        (fate.work, fate.end) = (ServerWork::Never, RequestEnd::Instead(403, None, String::new()));
    }
    if weather.printers_not_ready && call.kind == CallKind::Release {
        (fate.work, fate.end) = (ServerWork::Never, RequestEnd::Instead(200, None, r#"{"errorCode":1042}"#.to_owned()));
    }
    fate
}

/// The link of a box goes down with a request, for longer than its person waits, and comes back.
fn cut_off(weather: &mut Weather, number: usize) {
    let back = weather.dice.between(20_000, 240_000);
    weather.cut_off.insert(number);
    tokio::spawn(async move {
        // The request itself comes as far as its fate says.
        pause(back).await;
        world().weather.cut_off.remove(&number);
    });
}

async fn send(call: &Call, fate: Fate) -> Result<Exchanged, Failure> {
    let Fate { there, work, back, end } = fate;
    pause(there).await;
    if matches!(end, RequestEnd::Unreachable) {
        return Err(Failure::new(Cause::Unreachable, "no connection"));
    }
    if call.kind == CallKind::Record && !matches!(end, RequestEnd::Answered) {
        stand_beside(&mut world(), call);
    }
    let own = match work {
        ServerWork::Never => None,
        ServerWork::Now => Some(do_work(&mut world(), call)),
        ServerWork::Later(after) => {
            begin_late_work(call, there, after, &end);
            None
        }
    };
    match end {
        RequestEnd::Unreachable | RequestEnd::Cut => {
            pause(back).await;
            Err(Failure::new(Cause::Lost { at_work: false }, "cut"))
        }
        RequestEnd::TimedOut => {
            pause(REQUEST_TIMEOUT.saturating_sub(there)).await;
            Err(Failure::new(Cause::Lost { at_work: true }, "timed out"))
        }
        RequestEnd::Answered => {
            let (status, body) = own.unwrap_or_default();
            pause(back).await;
            let mut world = world();
            Ok(Exchanged { status, retry_after: None, date: date(&mut world), body })
        }
        RequestEnd::Instead(status, retry_after, body) => {
            pause(back).await;
            let mut world = world();
            Ok(Exchanged { status, retry_after, date: date(&mut world), body })
        }
    }
}

/// The header `Date`: whole seconds, sometimes of the second beside, sometimes none.
fn date(world: &mut SimulatedWorld) -> Option<Timestamp> {
    let now = world.time();
    let weather = &mut world.weather;
    if weather.dice.percent(weather.no_date) {
        return None;
    }
    let beside = if weather.dice.percent(weather.other_second) { weather.dice.roll(3) as i64 - 1 } else { 0 };
    now.checked_add(SignedDuration::from_secs(beside))
        .ok()
        .and_then(|time| Timestamp::from_second(time.as_second()).ok())
}

fn do_work(world: &mut SimulatedWorld, call: &Call) -> (u16, String) {
    let now = world.time();
    match call.kind {
        CallKind::Release if !world.server.is_ready(call) => (200, r#"{"errorCode":1001}"#.to_owned()),
        CallKind::Release => {
            print(world, call);
            (200, r#"{"errorCode":0}"#.to_owned())
        }
        CallKind::Record => {
            record(world, call, 0);
            (200, String::new())
        }
        _ => world.server.answer(call, now),
    }
}

fn print(world: &mut SimulatedWorld, call: &Call) {
    let now = world.time();
    world.server.print(call, now);
    tell!(world, "PAPER: {} at {} for box {}", call.segment(1), call.segment(2), call.from);
}

fn record(world: &mut SimulatedWorld, call: &Call, late: u64) {
    let now = world.time();
    let visible = now.saturating_add(SignedDuration::from_millis(late as i64)).unwrap_or(now);
    let with_port = !world.weather.rows_without_port;
    if let Some(serial) = world.server.record(call, now, visible, with_port) {
        let port = call.field("address").or(call.field("serialnumber")).unwrap_or_default();
        let again = world.books.row(serial, call.from, port, call.record.clone());
        let again = if again { ", AGAIN" } else { "" };
        tell!(world, "HISTORY: a record of doc-{serial} from box {}{again}", call.from);
    }
}

/// Somebody may print the same at another box just now, when an answer is lost.
fn stand_beside(world: &mut SimulatedWorld, call: &Call) {
    let now = world.time();
    if world.weather.strangers && world.weather.dice.percent(25) {
        world.server.same_row(call, now);
        tell!(
            world,
            "HISTORY: a stranger's record that looks like that of doc-{}",
            call.field("colorpages").unwrap_or_default()
        );
    }
}

/// Work that the server took and does when nobody waits for it any more. Nothing shows it until then.
fn begin_late_work(call: &Call, there: u64, after: u64, end: &RequestEnd) {
    let given_up = if matches!(end, RequestEnd::TimedOut) { REQUEST_TIMEOUT - there.min(REQUEST_TIMEOUT) } else { 0 };
    // A record is settled three time limits after it was sent, a release after it was given up.
    let after =
        if call.kind == CallKind::Release { given_up + after } else { after.min(WORKS_ON - there.min(WORKS_ON)) };
    let is_taken = call.kind == CallKind::Record || world().server.is_ready(call);
    if !is_taken {
        return;
    }
    let call = call.clone();
    tokio::spawn(async move {
        pause(after).await;
        let mut world = world();
        match call.kind {
            CallKind::Release => print(&mut world, &call),
            CallKind::Record => record(&mut world, &call, 0),
            _ => {}
        }
    });
}
