//! The epochs of networks that are trained one after another, for a run folder: shown while they come, and kept after each as
//! `metrics.csv` (with the network's number) and `loss.svg` (the mean of the networks by epoch). Where each stands is kept under `networks`, and
//! a training that is resumed goes on from there: networks that were ready are not trained again.

use super::{chart, checkpoint, write_whole};
use crate::engine::{Checkpoint, Epoch, Step, Watch};
use crate::progress::Progress;
use crate::stop::Stop;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// See the module.
#[derive(Debug)]
pub struct Networks {
    dir: PathBuf,
    stop: Stop,
    /// Whether what was kept counts.
    resumed: bool,
    /// The display of the present network.
    progress: Option<Progress>,
    /// By network.
    epochs: Vec<Vec<Epoch>>,
}

impl Networks {
    /// For the folder at `dir`, which must be there when the first epoch ends.
    pub fn new(dir: &Path, stop: &Stop, resumed: bool) -> Self {
        Self { dir: dir.to_owned(), stop: stop.clone(), resumed, progress: None, epochs: Vec::new() }
    }

    /// Where the present network is kept.
    fn place(&self) -> PathBuf {
        self.dir.join("networks").join(self.epochs.len().to_string())
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
    fn begin(&mut self) -> Result<Option<Checkpoint>> {
        self.epochs.push(Vec::new());
        self.progress = None;
        let place = self.place();
        if !(self.resumed && place.exists()) {
            return Ok(None);
        }
        // A training that was ended before the first whole checkpoint begins anew.
        let Ok(kept) = checkpoint::read(&place) else { return Ok(None) };
        if let Some(epochs) = self.epochs.last_mut() {
            epochs.clone_from(&kept.state.epochs);
        }
        Ok(Some(kept))
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        let name = format!("network {}", self.epochs.len());
        let begin = || Progress::new(step.total, step.done.saturating_sub(1)).stopped_by(&self.stop).named(&name);
        self.progress.get_or_insert_with(begin).step(step)
    }

    fn epoch(&mut self, epoch: &Epoch, better: bool, done: usize) -> Result<()> {
        if let Some(epochs) = self.epochs.last_mut() {
            epochs.push(*epoch);
        }
        self.write()?;
        self.progress.as_mut().map_or(Ok(()), |progress| progress.epoch(epoch, better, done))
    }

    fn keep(&mut self, checkpoint: &dyn Fn() -> Checkpoint) -> Result<()> {
        let place = self.place();
        std::fs::create_dir_all(&place).with_context(|| format!("{} cannot be made", place.display()))?;
        checkpoint::write(&checkpoint(), &place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_networks_are_told_apart_and_drawn_as_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut networks = Networks::new(dir.path(), &Stop::default(), false);
        for loss in [1.0, 3.0] {
            assert!(networks.begin().unwrap().is_none());
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
    fn each_network_goes_on_from_where_it_stood_and_only_where_that_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let epoch = Epoch { epoch: 1, train_loss: 2.0, validation_loss: 1.0, rate: 0.1, rows_per_s: 5.0 };
        let kept = |steps| {
            let mut checkpoint = Checkpoint { weights: vec![vec![0.1, -3.5]], steps, ..Checkpoint::default() };
            checkpoint.state.epochs.push(epoch);
            checkpoint
        };
        let mut first = Networks::new(dir.path(), &Stop::default(), false);
        for steps in [3, 5] {
            first.begin().unwrap();
            first.keep(&|| kept(steps)).unwrap();
        }
        let mut resumed = Networks::new(dir.path(), &Stop::default(), true);
        let all = [(); 3].map(|()| resumed.begin().unwrap());
        assert_eq!(all, [Some(kept(3)), Some(kept(5)), None]);
        assert_eq!(resumed.epochs, [vec![epoch], vec![epoch], vec![]]);
        assert_eq!(Networks::new(dir.path(), &Stop::default(), false).begin().unwrap(), None);
    }

    #[test]
    fn a_raised_flag_ends_the_training() {
        let stop = Stop::default();
        let mut networks = Networks::new(Path::new("."), &stop, false);
        let step = Step { done: 1, total: 2, loss: 1.0, rate: 0.1, rows_per_s: 1.0 };
        assert!(networks.step(&step).is_ok());
        stop.raise();
        assert!(networks.step(&step).is_err());
    }
}
