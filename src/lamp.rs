//! The lamps of a station: LEDs of the box, which the kernel shows below `/sys/class/leds`.
//!
//! The lamps play the latest signal; a new signal replaces the one that is being played at once. The writing has a task
//! of its own, so that a slow write does not delay the agent's loop.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use crate::feedback::{Colour, Mark, Signal};

/// The green and the red light of a station, each a folder like `/sys/class/leds/<name>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lamps {
    /// The green light.
    pub green: Option<PathBuf>,
    /// The red light. Both together mean amber.
    pub red: Option<PathBuf>,
}

/// A light, or `None` for dark, and the time for which it is shown; `None` means until the next signal.
type LightStep = (Option<Colour>, Option<Duration>);

impl Lamps {
    /// Shows each signal until the agent ends.
    pub(crate) async fn run(self, mut signals: watch::Receiver<Signal>) {
        if self == Self::default() {
            return;
        }
        let mut works = true;
        loop {
            let signal = *signals.borrow_and_update();
            for (light, length) in steps(signal) {
                let lamps = self.clone();
                let shown = tokio::task::spawn_blocking(move || lamps.show(light)).await;
                if let Ok(Err(error)) = &shown
                    && works
                {
                    tracing::warn!(%error, "a light cannot be set; check station.feedback and its group");
                }
                works = matches!(shown, Ok(Ok(())));
                tokio::select! {
                    changed = signals.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    () = wait(length) => {}
                }
            }
        }
    }

    fn show(&self, light: Option<Colour>) -> io::Result<()> {
        let green = matches!(light, Some(Colour::Green | Colour::Amber));
        let red = matches!(light, Some(Colour::Red | Colour::Amber));
        for (led, on) in [(&self.green, green), (&self.red, red)] {
            if let Some(led) = led {
                set(led, on)
                    .map_err(|error| io::Error::new(error.kind(), format!("set {}: {error}", led.display())))?;
            }
        }
        Ok(())
    }
}

/// Sets one LED. Writing a brightness of 0 also turns the LED's trigger off (leds-class.rst), so that an LED that blinked
/// by itself obeys only the agent after that.
fn set(led: &Path, on: bool) -> io::Result<()> {
    let brightness = if on { std::fs::read_to_string(led.join("max_brightness"))? } else { "0".to_owned() };
    std::fs::write(led.join("brightness"), brightness.trim())
}

/// The lights that show a signal: the elements of its pattern, and at the end the light for "ready".
fn steps(signal: Signal) -> Vec<LightStep> {
    let light = Some(signal.colour());
    let marks = signal.marks().flat_map(|mark| [(light, Some(mark.length())), (None, Some(Mark::GAP))]);
    let last = if signal.pattern().is_empty() { signal } else { Signal::Ready };
    let dark = (!signal.pattern().is_empty()).then_some((None, Some(Mark::GAP)));
    dark.into_iter().chain(marks).chain([(Some(last.colour()), None)]).collect()
}

async fn wait(length: Option<Duration>) {
    match length {
        Some(length) => tokio::time::sleep(length).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn led(folder: &Path, name: &str) -> PathBuf {
        let led = folder.join(name);
        std::fs::create_dir(&led).unwrap();
        std::fs::write(led.join("max_brightness"), "255\n").unwrap();
        std::fs::write(led.join("brightness"), "7").unwrap();
        led
    }

    fn brightness(led: &Path) -> String {
        std::fs::read_to_string(led.join("brightness")).unwrap()
    }

    #[test]
    fn each_colour_is_its_lamps_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let (green, red) = (led(folder.path(), "green"), led(folder.path(), "red"));
        let lamps = Lamps { green: Some(green.clone()), red: Some(red.clone()) };
        for (light, expected) in [
            (Some(Colour::Green), ("255", "0")),
            (Some(Colour::Red), ("0", "255")),
            (Some(Colour::Amber), ("255", "255")),
            (None, ("0", "0")),
        ] {
            lamps.show(light).unwrap();
            assert_eq!((brightness(&green).as_str(), brightness(&red).as_str()), expected);
        }
    }

    #[test]
    fn a_pattern_is_marks_with_gaps_and_ends_ready() {
        let (red, short, long) = (Some(Colour::Red), Mark::Short.length(), Mark::Long.length());
        let gap = (None, Some(Mark::GAP));
        let refused = vec![
            gap,
            (red, Some(short)),
            gap,
            (red, Some(long)),
            gap,
            (red, Some(long)),
            gap,
            (Some(Colour::Green), None),
        ];
        assert_eq!(steps(Signal::Refused), refused);
        assert_eq!(steps(Signal::Reading), [(Some(Colour::Amber), None)]);
    }

    #[test]
    fn a_lamp_that_is_not_there_is_told_by_its_path() {
        let lamps = Lamps { green: Some("/nowhere/green".into()), red: None };
        assert!(lamps.show(Some(Colour::Green)).unwrap_err().to_string().contains("set /nowhere/green"));
    }
}
