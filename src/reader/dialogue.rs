//! The protocol with one connected reader: which bytes to send, and when, and which reads its bytes contain. Pure: the
//! time is an argument.
//!
//! A reader whose profile has `[poll]` is sent its commands in turn. After a command the dialogue sends nothing else until
//! the answer has come, has fallen silent, or is too late. A reader that is too late three times in a row counts as gone.
//! The commands of a signal are sent between two polls, so that a beep never delays a card; a new signal replaces the old
//! one.
//!
//! Without `[poll]` no timer runs while the line is silent: [`Dialogue::wake`] is `None`.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::frame::{Fault, Frame, Framer};
use super::profile::{Bytes, Profile, SignalFormat};
use crate::feedback::{Colour, Mark, Signal};

/// The reader counts as gone after this many polls in a row without an answer.
const MISSES_LIMIT: u32 = 3;

/// The longest wait for the answer to a command that is not a poll: not every command has an answer.
const COMMAND_WAIT: Duration = Duration::from_millis(300);

/// The reader did not answer [`MISSES_LIMIT`] polls in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silent;

/// The command that was sent last, while its answer is awaited.
#[derive(Debug)]
struct Question {
    /// An answer after this moment is too late.
    until: Instant,
    /// True for a poll: a missing answer counts towards [`MISSES_LIMIT`].
    counts: bool,
}

/// The protocol state of one connection; a new connection begins with a new one.
#[derive(Debug)]
pub struct Dialogue {
    profile: Profile,
    framer: Framer,
    /// The line counts as silent at this moment; set only while silence would change something.
    quiet_at: Option<Instant>,
    question: Option<Question>,
    misses: u32,
    /// Counts the polls: the profile's commands take turns.
    turn: usize,
    /// The next poll is sent at this moment.
    ask_at: Instant,
    /// Commands that set the reader up, each sent once before the first poll.
    start: VecDeque<Bytes>,
    /// The commands of the signal that are still to be sent, with the pause after each.
    signal: VecDeque<(Bytes, Duration)>,
    /// The next command of the signal is not sent before this moment.
    say_at: Instant,
}

impl Dialogue {
    /// Begins the dialogue on a connection that was just made.
    pub fn new(profile: &Profile, now: Instant) -> Self {
        let start = profile.poll.iter().flat_map(|poll| &poll.start);
        Self {
            framer: Framer::new(profile.frame.clone()),
            quiet_at: None,
            question: None,
            misses: 0,
            turn: 0,
            ask_at: now,
            start: start.cloned().collect(),
            signal: VecDeque::new(),
            say_at: now,
            profile: profile.clone(),
        }
    }

    /// Takes in bytes from the reader and gives out the frames that end in them.
    pub fn hear(&mut self, bytes: &[u8], now: Instant) -> Vec<Frame> {
        self.misses = 0;
        let frames = self.framer.push(bytes);
        let waits = self.framer.is_partial() || self.question.is_some();
        self.quiet_at = waits.then(|| now + self.profile.frame.idle());
        let is_card = |frame: &Frame| match frame {
            Frame::Read(_) => true,
            Frame::Fault(fault) => fault.is_refusal(),
        };
        if self.question.is_some() && frames.iter().any(is_card) {
            self.answered(now);
        }
        self.without_empty_answers(frames)
    }

    /// Replaces the signal to the person; without effect if the profile has no lights and beeps.
    pub fn signal(&mut self, signal: Signal) {
        if let Some(format) = &self.profile.signal {
            self.signal = signal_commands(format, signal);
        }
    }

    /// The moment at which [`Dialogue::tick`] has something to do.
    pub fn wake(&self) -> Option<Instant> {
        let asked = self.question.as_ref().map(|question| question.until);
        let free = self.question.is_none();
        let say = (free && !self.signal.is_empty()).then_some(self.say_at);
        let ask = (free && self.profile.poll.is_some()).then_some(self.ask_at);
        [self.quiet_at, asked, say, ask].into_iter().flatten().min()
    }

    /// Acts on the timers that are due. Gives out the frames that silence ended, and the next command to send.
    ///
    /// # Errors
    /// The reader has not answered for so long that it counts as gone.
    pub fn tick(&mut self, now: Instant) -> Result<(Vec<Frame>, Option<Bytes>), Silent> {
        let mut frames = Vec::new();
        if self.quiet_at.is_some_and(|at| at <= now) {
            self.quiet_at = None;
            frames.extend(self.framer.idle());
            if self.question.is_some() {
                self.answered(now);
            }
        }
        if let Some(question) = self.question.take_if(|question| question.until <= now) {
            self.misses += u32::from(question.counts);
            if self.misses >= MISSES_LIMIT {
                return Err(Silent);
            }
        }
        Ok((self.without_empty_answers(frames), self.next_command(now)))
    }

    /// The set-up commands come first, then the poll that is due, and between polls the commands of the signal.
    fn next_command(&mut self, now: Instant) -> Option<Bytes> {
        if self.question.is_some() {
            return None;
        }
        if let Some(command) = self.start.pop_front() {
            self.expect(false, now);
            return Some(command);
        }
        if let Some(poll) = self.profile.poll.as_ref().filter(|_| self.ask_at <= now) {
            let command = poll.ask.get(self.turn % poll.ask.len())?.clone();
            self.turn = self.turn.wrapping_add(1);
            self.expect(true, now);
            return Some(command);
        }
        if now < self.say_at {
            return None;
        }
        let (command, pause) = self.signal.pop_front()?;
        self.say_at = now + pause;
        self.expect(false, now);
        Some(command)
    }

    /// Begins to wait for an answer, if the reader is polled. Bytes that came before are not part of the answer.
    fn expect(&mut self, counts: bool, now: Instant) {
        if let Some(poll) = &self.profile.poll {
            self.framer.reset();
            self.quiet_at = None;
            let timeout = Duration::from_millis(poll.timeout_ms);
            let wait = if counts { timeout } else { timeout.min(COMMAND_WAIT) };
            self.question = Some(Question { until: now + wait, counts });
        }
    }

    fn answered(&mut self, now: Instant) {
        let counted = self.question.take().is_some_and(|question| question.counts);
        if let Some(poll) = self.profile.poll.as_ref().filter(|_| counted) {
            self.ask_at = now + Duration::from_millis(poll.interval_ms);
        }
    }

    /// Drops the noise of a polled reader: most of its answers only say that there is no card.
    fn without_empty_answers(&self, mut frames: Vec<Frame>) -> Vec<Frame> {
        if self.profile.poll.is_some() {
            frames.retain(|frame| !matches!(frame, Frame::Fault(Fault::Noise)));
        }
        frames
    }
}

/// The commands that show a signal: its light, its beeps, and at the end the light for "ready". Each has the pause that
/// follows it.
pub(super) fn signal_commands(format: &SignalFormat, signal: Signal) -> VecDeque<(Bytes, Duration)> {
    let light = |colour| {
        let commands = match colour {
            Colour::Green => &format.green,
            Colour::Amber => &format.amber,
            Colour::Red => &format.red,
        };
        commands.iter().map(|command| (command.clone(), Duration::ZERO))
    };
    let beep = |mark: Mark| {
        let command = if mark == Mark::Long { &format.long } else { &format.short };
        (command.clone(), mark.length() + Mark::GAP)
    };
    let mut commands: VecDeque<_> = light(signal.colour()).chain(signal.marks().map(beep)).collect();
    if !signal.pattern().is_empty() {
        commands.extend(light(Signal::Ready.colour()));
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Read, Secret};
    use crate::reader::profile;

    /// Moves the clock from one timer of a dialogue to the next.
    struct DialogueDriver {
        dialogue: Dialogue,
        now: Instant,
    }

    impl DialogueDriver {
        fn of(name: &str) -> Self {
            let now = Instant::now();
            Self { dialogue: Dialogue::new(&profile::load(name).unwrap(), now), now }
        }

        /// Advances to the next moment at which the dialogue acts; gives its frames and its command.
        fn next(&mut self) -> (Vec<Frame>, Option<String>) {
            self.now = self.dialogue.wake().expect("something is to come").max(self.now);
            let (frames, command) = self.dialogue.tick(self.now).unwrap();
            (frames, command.map(|command| String::from_utf8(command.0).unwrap()))
        }

        /// The next `count` commands, each answered with `answer`.
        fn said(&mut self, count: usize, answer: &str) -> Vec<String> {
            let mut said = Vec::new();
            while said.len() < count {
                if let (_, Some(command)) = self.next() {
                    said.push(command);
                    self.dialogue.hear(answer.as_bytes(), self.now);
                }
            }
            said
        }
    }

    fn card(text: &str) -> Vec<Frame> {
        vec![Frame::Read(Read(Secret::new(text)))]
    }

    #[test]
    fn a_reader_is_set_up_and_then_asked_in_turn() {
        let said = DialogueDriver::of("twn4-simple").said(4, "0000\r");
        assert_eq!(said, ["0502FFFFFFFFFFFFFFFF\r", "0400070000\r", "050010\r", "050010\r"]);
        let mut driver = DialogueDriver::of("gwiot-7941w");
        let mut said = Vec::new();
        while said.len() < 3 {
            driver.now = driver.dialogue.wake().unwrap();
            said.extend(driver.dialogue.tick(driver.now).unwrap().1);
        }
        assert_eq!((said[0].0[3], said[1].0[3], said[2].0[3]), (0x10, 0x15, 0x10));
    }

    #[test]
    fn an_answer_with_a_card_is_told_at_once_and_the_next_question_waits_for_its_time() {
        let mut driver = DialogueDriver::of("twn4-simple");
        driver.said(2, "00\r");
        while driver.next().1.is_none() {}
        let asked = driver.now;
        assert_eq!(driver.dialogue.hear(b"0001802004", asked), []);
        assert_eq!(driver.dialogue.hear(b"66CF4DC2\r", asked), card("66CF4DC2"));
        assert_eq!(driver.dialogue.wake(), Some(asked + Duration::from_millis(30)), "only to see that it is silent");
        assert_eq!(driver.next(), (vec![], None));
        assert_eq!(driver.next().1.as_deref(), Some("050010\r"));
        assert_eq!(driver.now, asked + Duration::from_millis(100));
    }

    #[test]
    fn no_card_is_nothing_to_tell_and_a_refused_one_is() {
        let mut driver = DialogueDriver::of("twn4-simple");
        driver.said(2, "00\r");
        driver.next();
        assert_eq!(driver.dialogue.hear(b"0000\r", driver.now), []);
        while driver.next().1.is_none() {}
        let refused = driver.dialogue.hear(b"0001802004081A2B3C\r", driver.now);
        assert_eq!(refused, [Frame::Fault(Fault::RandomUid)]);
    }

    #[test]
    fn a_reader_that_never_answers_is_gone_after_three_questions() {
        let mut driver = DialogueDriver::of("rfideas-acp");
        let mut questions = 0;
        loop {
            driver.now = driver.dialogue.wake().unwrap();
            match driver.dialogue.tick(driver.now) {
                Ok((_, command)) => questions += usize::from(command.is_some_and(|it| it.0.starts_with(b"rfid:qid"))),
                Err(Silent) => break,
            }
        }
        assert_eq!(questions, 3);
    }

    #[test]
    fn a_signal_is_light_beeps_and_the_light_again_with_a_question_after_each() {
        let mut driver = DialogueDriver::of("rfideas-acp");
        driver.said(3, "\r\n");
        driver.dialogue.signal(Signal::NoDocuments);
        let said = driver.said(20, "{0x0000,0,0x00,0;0x00}");
        let place = |nth: usize| said.iter().enumerate().filter(|(_, it)| !it.contains("qid")).nth(nth).unwrap();
        let signal: Vec<_> = (0..4).map(|nth| place(nth).1.as_str()).collect();
        let (long, green) = ("rfid:beep.now=101\r", "rfid:out.led=2\r");
        assert_eq!(signal, [green, long, long, green]);
        assert!(place(2).0 > place(1).0 + 1, "questions go on between two beeps: {said:?}");
    }

    #[test]
    fn the_latest_signal_takes_the_place_of_the_one_before() {
        let mut driver = DialogueDriver::of("rfideas-cdc");
        driver.dialogue.signal(Signal::ServerUnreachable);
        assert_eq!(driver.next().1.as_deref(), Some("rfid:out.led=1\r"));
        driver.dialogue.signal(Signal::Reading);
        assert_eq!(driver.next().1.as_deref(), Some("rfid:out.led=3\r"));
        assert_eq!(driver.dialogue.wake(), None);
    }

    #[test]
    fn a_reader_that_is_not_asked_causes_nothing_by_itself() {
        let mut driver = DialogueDriver::of("line");
        assert_eq!(driver.dialogue.wake(), None);
        assert_eq!(driver.dialogue.hear(b"04A1\r", driver.now), card("04A1"));
        assert_eq!(driver.dialogue.wake(), None);
        driver.dialogue.hear(b"04", driver.now);
        assert_eq!(driver.next(), (vec![Frame::Fault(Fault::Noise)], None));
        assert_eq!(driver.dialogue.wake(), None);
    }
}
