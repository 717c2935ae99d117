//! What happened, in words, for the console: the newest lines, numbered.

use headroom_rack::UnixMs;
use serde::Serialize;
use std::collections::VecDeque;

/// Lines kept.
const KEPT: usize = 2000;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// Counts up by one from 1.
    pub seq: u64,
    /// When.
    pub at_ms: UnixMs,
    /// What kind: `cap`, `release`, `trip_near`, ...
    pub kind: String,
    /// Words for people.
    pub text: String,
}

/// The newest lines.
#[derive(Debug, Default)]
pub struct Events {
    lines: VecDeque<Line>,
    last: u64,
}

impl Events {
    /// Adds a line; the oldest makes room.
    pub fn push(&mut self, at: UnixMs, kind: &str, text: String) {
        self.last += 1;
        self.lines.push_back(Line { seq: self.last, at_ms: at, kind: kind.to_owned(), text });
        if self.lines.len() > KEPT {
            self.lines.pop_front();
        }
    }

    /// Lines after number `seq`, oldest first.
    pub fn after(&self, seq: u64) -> Vec<Line> {
        // A number from before a restart of the controller: the reader starts anew.
        let seq = if seq > self.last { 0 } else { seq };
        self.lines.iter().filter(|l| l.seq > seq).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_gets_each_line_once_and_starts_anew_after_a_restart() {
        let mut events = Events::default();
        for i in 0..3 {
            events.push(UnixMs::new(i), "cap", format!("line {i}"));
        }
        assert_eq!(events.after(1).iter().map(|l| l.seq).collect::<Vec<_>>(), [2, 3]);
        assert!(events.after(3).is_empty());
        assert_eq!(events.after(900).len(), 3);
    }
}
