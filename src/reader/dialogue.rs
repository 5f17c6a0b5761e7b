//! One connection to a reader: what was heard, what is to be said, and when. Pure: the time comes in.
//!
//! A reader with `[poll]` is asked in turn; after a question nothing else is said until the answer has come, has fallen
//! silent, or is too late. A reader that is too late three times in a row is gone. Signals are said between
//! two questions, so that a beep never holds up a card; a new signal takes the place of the old.
//!
//! Without `[poll]` nothing happens by itself: [`Dialogue::wake`] is `None` while the line is silent.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::frame::{Fault, Frame, Framer};
use super::profile::{Bytes, Profile, SignalFormat};
use crate::feedback::{Colour, Mark, Signal};

/// Questions in a row without an answer, until the reader counts as gone.
const MISSES_LIMIT: u32 = 3;

/// Not every command has an answer; what is not a question is not waited for longer.
const COMMAND_WAIT: Duration = Duration::from_millis(300);

/// The reader was asked and did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silent;

/// What was said last, while its answer is awaited.
#[derive(Debug)]
struct Question {
    /// Too late after this.
    until: Instant,
    /// Whether a missing answer counts.
    counts: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Dialogue {
    profile: Profile,
    framer: Framer,
    /// When the line counts as silent; set while that would change something.
    quiet_at: Option<Instant>,
    question: Option<Question>,
    misses: u32,
    /// Which of the questions is next, and when.
    turn: usize,
    ask_at: Instant,
    /// What is said once.
    start: VecDeque<Bytes>,
    /// The commands of a signal that are still to be said, with the pause after each.
    signal: VecDeque<(Bytes, Duration)>,
    /// The next of them not before this.
    say_at: Instant,
}

impl Dialogue {
    /// A connection that was just made.
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

    /// Bytes came.
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
        self.worth_telling(frames)
    }

    /// A person is to be told something, if the reader can.
    pub fn signal(&mut self, signal: Signal) {
        if let Some(format) = &self.profile.signal {
            self.signal = score(format, signal);
        }
    }

    /// When [`Dialogue::tick`] has something to do.
    pub fn wake(&self) -> Option<Instant> {
        let asked = self.question.as_ref().map(|question| question.until);
        let free = self.question.is_none();
        let say = (free && !self.signal.is_empty()).then_some(self.say_at);
        let ask = (free && self.profile.poll.is_some()).then_some(self.ask_at);
        [self.quiet_at, asked, say, ask].into_iter().flatten().min()
    }

    /// The time has come. Gives out what silence ended, and what to say now.
    ///
    /// # Errors
    /// The reader is gone.
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
        Ok((self.worth_telling(frames), self.next_command(now)))
    }

    /// First the start, then the question whose time has come, and in between what a signal needs.
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

    /// An answer is to come, to a reader that answers; what came before it is none.
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

    /// Of a reader that is asked, most answers say that there is no card: only cards are told.
    fn worth_telling(&self, mut frames: Vec<Frame>) -> Vec<Frame> {
        if self.profile.poll.is_some() {
            frames.retain(|frame| !matches!(frame, Frame::Fault(Fault::Noise)));
        }
        frames
    }
}

/// The commands of a signal: its light, its beeps, and in the end the light that says that all is ready.
pub(super) fn score(format: &SignalFormat, signal: Signal) -> VecDeque<(Bytes, Duration)> {
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

    struct Play {
        dialogue: Dialogue,
        now: Instant,
    }

    impl Play {
        fn of(name: &str) -> Self {
            let now = Instant::now();
            Self { dialogue: Dialogue::new(&profile::load(name).unwrap(), now), now }
        }

        /// Goes to the next moment of which the dialogue speaks, and tells what it says there.
        fn next(&mut self) -> (Vec<Frame>, Option<String>) {
            self.now = self.dialogue.wake().expect("something is to come").max(self.now);
            let (frames, command) = self.dialogue.tick(self.now).unwrap();
            (frames, command.map(|command| String::from_utf8(command.0).unwrap()))
        }

        /// What it says, each answered with `answer`.
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
        let said = Play::of("twn4-simple").said(4, "0000\r");
        assert_eq!(said, ["0502FFFFFFFFFFFFFFFF\r", "0400070000\r", "050010\r", "050010\r"]);
        let mut play = Play::of("gwiot-7941w");
        let mut said = Vec::new();
        while said.len() < 3 {
            play.now = play.dialogue.wake().unwrap();
            said.extend(play.dialogue.tick(play.now).unwrap().1);
        }
        assert_eq!((said[0].0[3], said[1].0[3], said[2].0[3]), (0x10, 0x15, 0x10));
    }

    #[test]
    fn an_answer_with_a_card_is_told_at_once_and_the_next_question_waits_for_its_time() {
        let mut play = Play::of("twn4-simple");
        play.said(2, "00\r");
        while play.next().1.is_none() {}
        let asked = play.now;
        assert_eq!(play.dialogue.hear(b"0001802004", asked), []);
        assert_eq!(play.dialogue.hear(b"66CF4DC2\r", asked), card("66CF4DC2"));
        assert_eq!(play.dialogue.wake(), Some(asked + Duration::from_millis(30)), "only to see that it is silent");
        assert_eq!(play.next(), (vec![], None));
        assert_eq!(play.next().1.as_deref(), Some("050010\r"));
        assert_eq!(play.now, asked + Duration::from_millis(100));
    }

    #[test]
    fn no_card_is_nothing_to_tell_and_a_refused_one_is() {
        let mut play = Play::of("twn4-simple");
        play.said(2, "00\r");
        play.next();
        assert_eq!(play.dialogue.hear(b"0000\r", play.now), []);
        while play.next().1.is_none() {}
        let refused = play.dialogue.hear(b"0001802004081A2B3C\r", play.now);
        assert_eq!(refused, [Frame::Fault(Fault::RandomUid)]);
    }

    #[test]
    fn a_reader_that_never_answers_is_gone_after_three_questions() {
        let mut play = Play::of("rfideas-acp");
        let mut questions = 0;
        loop {
            play.now = play.dialogue.wake().unwrap();
            match play.dialogue.tick(play.now) {
                Ok((_, command)) => questions += usize::from(command.is_some_and(|it| it.0.starts_with(b"rfid:qid"))),
                Err(Silent) => break,
            }
        }
        assert_eq!(questions, 3);
    }

    #[test]
    fn a_signal_is_light_beeps_and_the_light_again_with_a_question_after_each() {
        let mut play = Play::of("rfideas-acp");
        play.said(3, "\r\n");
        play.dialogue.signal(Signal::NoDocuments);
        let said = play.said(20, "{0x0000,0,0x00,0;0x00}");
        let place = |nth: usize| said.iter().enumerate().filter(|(_, it)| !it.contains("qid")).nth(nth).unwrap();
        let signal: Vec<_> = (0..4).map(|nth| place(nth).1.as_str()).collect();
        let (long, green) = ("rfid:beep.now=101\r", "rfid:out.led=2\r");
        assert_eq!(signal, [green, long, long, green]);
        assert!(place(2).0 > place(1).0 + 1, "questions go on between two beeps: {said:?}");
    }

    #[test]
    fn the_latest_signal_takes_the_place_of_the_one_before() {
        let mut play = Play::of("rfideas-cdc");
        play.dialogue.signal(Signal::ServerUnreachable);
        assert_eq!(play.next().1.as_deref(), Some("rfid:out.led=1\r"));
        play.dialogue.signal(Signal::Reading);
        assert_eq!(play.next().1.as_deref(), Some("rfid:out.led=3\r"));
        assert_eq!(play.dialogue.wake(), None);
    }

    #[test]
    fn a_reader_that_is_not_asked_causes_nothing_by_itself() {
        let mut play = Play::of("line");
        assert_eq!(play.dialogue.wake(), None);
        assert_eq!(play.dialogue.hear(b"04A1\r", play.now), card("04A1"));
        assert_eq!(play.dialogue.wake(), None);
        play.dialogue.hear(b"04", play.now);
        assert_eq!(play.next(), (vec![Frame::Fault(Fault::Noise)], None));
        assert_eq!(play.dialogue.wake(), None);
    }
}
