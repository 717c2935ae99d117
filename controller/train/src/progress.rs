//! What a person sees while it learns: on a terminal a bar that moves, elsewhere one plain line per
//! epoch. Both on stderr. It is a [`Watch`] of the engine.

use crate::engine::{Epoch, Step, Watch};
use crate::stop::Stop;
use anyhow::Result;
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
    /// What is counted.
    unit: &'static str,
    /// Before each epoch's line: which network, which seed.
    name: String,
    stop: Stop,
}

impl Progress {
    /// Starts at step `before` of `total`.
    pub fn new(total: usize, before: usize) -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            total,
            before,
            started: Instant::now(),
            drawn: None,
            unit: "rows",
            name: String::new(),
            stop: Stop::default(),
        }
    }

    /// Ends the training when the flag is raised.
    pub fn stopped_by(mut self, stop: &Stop) -> Self {
        self.stop = stop.clone();
        self
    }

    /// Says `unit` instead of rows.
    pub fn counting(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    /// Starts each line with a name, such as that of the network and the seed.
    pub fn named(mut self, name: &str) -> Self {
        self.name = format!("{name}  ");
        self
    }

    fn left_s(&self, done: usize) -> f64 {
        let here = done.saturating_sub(self.before).max(1);
        self.started.elapsed().as_secs_f64() / here as f64 * self.total.saturating_sub(done) as f64
    }
}

impl Watch for Progress {
    fn step(&mut self, step: &Step) -> Result<()> {
        self.stop.check()?;
        self.total = step.total;
        if !self.terminal || self.drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW) {
            return Ok(());
        }
        self.drawn = Some(Instant::now());
        let filled = (BAR * step.done / self.total.max(1)).min(BAR);
        let _ = write!(
            std::io::stderr(),
            "\r\x1b[K{}[{}{}] {:>3} %  loss {:.5}  rate {:.1e}  {:.0} {}/s  {} left",
            self.name,
            "#".repeat(filled),
            ".".repeat(BAR - filled),
            100 * step.done / self.total.max(1),
            step.loss,
            step.rate,
            step.rows_per_s,
            self.unit,
            clock(self.left_s(step.done)),
        );
        Ok(())
    }

    fn epoch(&mut self, epoch: &Epoch, better: bool, done: usize) -> Result<()> {
        let Epoch { epoch: number, train_loss, validation_loss, rate, rows_per_s } = epoch;
        let (clear, mark) = (if self.terminal { "\r\x1b[K" } else { "" }, if better { " *" } else { "" });
        let _ = writeln!(
            std::io::stderr(),
            "{clear}{}epoch {number:>3}  loss {train_loss:.5}  validation {validation_loss:.5}{mark:<2}  rate {rate:.1e}  {rows_per_s:.0} {}/s  {} left",
            self.name,
            self.unit,
            clock(self.left_s(done)),
        );
        Ok(())
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
