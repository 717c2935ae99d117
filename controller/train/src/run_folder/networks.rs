//! The epochs of networks that are trained one after another, for a run folder: shown while they come, and kept after each as
//! `metrics.csv` (with the network's number) and `loss.svg` (the mean of the networks by epoch).

use super::{chart, write_whole};
use crate::engine::{Epoch, Step, Watch};
use crate::progress::Progress;
use crate::stop::Stop;
use anyhow::Result;
use std::path::{Path, PathBuf};

/// See the module.
#[derive(Debug)]
pub struct Networks {
    dir: PathBuf,
    stop: Stop,
    /// The display of the present network, and its steps so far.
    progress: Option<(Progress, usize)>,
    /// By network.
    epochs: Vec<Vec<Epoch>>,
}

impl Networks {
    /// For the folder at `dir`, which must be there when the first epoch ends.
    pub fn new(dir: &Path, stop: &Stop) -> Self {
        Self { dir: dir.to_owned(), stop: stop.clone(), progress: None, epochs: Vec::new() }
    }

    fn write(&self) -> Result<()> {
        let mut text = "network,epoch,train_loss,validation_loss,rate,rows_per_s\n".to_owned();
        for (number, epochs) in (1..).zip(&self.epochs) {
            for e in epochs {
                text += &format!(
                    "{number},{},{:.6},{:.6},{:.3e},{:.0}\n",
                    e.epoch, e.train_loss, e.validation_loss, e.rate, e.rows_per_s
                );
            }
        }
        write_whole(&self.dir.join("metrics.csv"), text.as_bytes())?;
        write_whole(&self.dir.join("loss.svg"), chart::svg(&self.means()).as_bytes())
    }

    fn means(&self) -> Vec<Epoch> {
        let longest = self.epochs.iter().map(Vec::len).max().unwrap_or(0);
        let mean = |i: usize| {
            let all: Vec<&Epoch> = self.epochs.iter().filter_map(|epochs| epochs.get(i)).collect();
            let of = |pick: fn(&Epoch) -> f64| all.iter().map(|e| pick(e)).sum::<f64>() / all.len() as f64;
            Epoch {
                epoch: i + 1,
                train_loss: of(|e| e.train_loss),
                validation_loss: of(|e| e.validation_loss),
                rate: of(|e| e.rate),
                rows_per_s: of(|e| e.rows_per_s),
            }
        };
        (0..longest).map(mean).collect()
    }
}

impl Watch for Networks {
    fn step(&mut self, step: &Step) -> Result<()> {
        if self.progress.as_ref().is_none_or(|(_, done)| step.done < *done) {
            self.epochs.push(Vec::new());
            let progress = Progress::new(step.total, 0).stopped_by(&self.stop);
            self.progress = Some((progress.named(&format!("network {}", self.epochs.len())), 0));
        }
        let Some((progress, done)) = &mut self.progress else { return Ok(()) };
        *done = step.done;
        progress.step(step)
    }

    fn epoch(&mut self, epoch: &Epoch, better: bool, done: usize) -> Result<()> {
        if let Some(epochs) = self.epochs.last_mut() {
            epochs.push(*epoch);
        }
        self.write()?;
        self.progress.as_mut().map_or(Ok(()), |(progress, _)| progress.epoch(epoch, better, done))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_networks_are_told_apart_and_drawn_as_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut networks = Networks::new(dir.path(), &Stop::default());
        for loss in [1.0, 3.0] {
            for epoch in 1..=2 {
                let step = Step { done: epoch * 10, total: 20, loss, rate: 0.1, rows_per_s: 5.0 };
                networks.step(&step).unwrap();
                let epoch = Epoch { epoch, train_loss: loss, validation_loss: 2.0 * loss, rate: 0.1, rows_per_s: 5.0 };
                networks.epoch(&epoch, true, step.done).unwrap();
            }
        }
        let text = std::fs::read_to_string(dir.path().join("metrics.csv")).unwrap();
        let rows: Vec<&str> = text.lines().collect();
        assert!(rows.len() == 5 && rows[1].starts_with("1,1,1.0") && rows[4].starts_with("2,2,3.0"), "{text}");
        let means = networks.means();
        assert_eq!((means.len(), means[1].train_loss, means[1].validation_loss), (2, 2.0, 4.0));
        assert!(std::fs::read_to_string(dir.path().join("loss.svg")).unwrap().contains("<svg"));
    }

    #[test]
    fn a_raised_flag_ends_the_training() {
        let stop = Stop::default();
        let mut networks = Networks::new(Path::new("."), &stop);
        let step = Step { done: 1, total: 2, loss: 1.0, rate: 0.1, rows_per_s: 1.0 };
        assert!(networks.step(&step).is_ok());
        stop.raise();
        assert!(networks.step(&step).is_err());
    }
}
