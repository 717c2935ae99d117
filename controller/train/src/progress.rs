//! What a person sees while it learns: on a terminal a bar that moves, elsewhere one plain line per
//! epoch. Both on stderr.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// A terminal is redrawn at most this often.
const REDRAW: Duration = Duration::from_millis(200);
const BAR: usize = 24;

/// The display of one training.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    total: usize,
    /// Steps an earlier run had done: they took no time of this one.
    before: usize,
    started: Instant,
    drawn: Option<Instant>,
}

impl Progress {
    /// Starts at step `before` of `total`.
    pub fn new(total: usize, before: usize) -> Self {
        Self { terminal: std::io::stderr().is_terminal(), total, before, started: Instant::now(), drawn: None }
    }

    /// Time since the start of this run, s.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// One more step: `done` of all.
    pub fn step(&mut self, done: usize, loss: f64, rate: f64, samples_per_s: f64) {
        if !self.terminal || self.drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW) {
            return;
        }
        self.drawn = Some(Instant::now());
        let filled = (BAR * done / self.total.max(1)).min(BAR);
        let _ = write!(
            std::io::stderr(),
            "\r\x1b[K[{}{}] {:>3} %  loss {loss:.5}  rate {rate:.1e}  {samples_per_s:.0} windows/s  {} left",
            "#".repeat(filled),
            ".".repeat(BAR - filled),
            100 * done / self.total.max(1),
            clock(self.left_s(done)),
        );
    }

    /// The end of an epoch.
    pub fn epoch(&mut self, done: usize, line: &str) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        let _ = writeln!(std::io::stderr(), "{clear}{line}  {} left", clock(self.left_s(done)));
    }

    fn left_s(&self, done: usize) -> f64 {
        let here = done.saturating_sub(self.before).max(1);
        self.seconds() / here as f64 * self.total.saturating_sub(done) as f64
    }
}

/// Minutes and seconds.
fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_minutes_and_seconds() {
        assert_eq!((clock(59.6), clock(61.0), clock(3600.0)), ("1:00".into(), "1:01".into(), "60:00".into()));
    }
}
