//! The predictor on its own thread with a deadline: a late answer is not used, and whatever is
//! wrong with the model, each rack gets a Forecast: the baseline's, with the reason.

use crate::config;
use crate::picture::ModelStatus;
use headroom_predict::{History, Predictor, baseline};
use headroom_rack::{Forecast, RackId, Source, UnixMs};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use tokio::sync::oneshot;

/// After a panic in the model: the baseline serves on.
const ENDED: &str = "the model's thread ended";

struct Request {
    histories: BTreeMap<RackId, History>,
    at: UnixMs,
    answer: oneshot::Sender<Vec<Forecast>>,
}

/// The forecaster.
#[derive(Debug)]
pub struct Forecaster {
    requests: Option<SyncSender<Request>>,
    name: Option<String>,
    /// Why no model is loaded.
    why_not: String,
    deadline: Duration,
}

/// What came of one request.
#[derive(Debug)]
pub struct Answer {
    /// One per rack.
    pub forecasts: BTreeMap<RackId, Forecast>,
    /// What to show about the model.
    pub status: ModelStatus,
    /// The model did not answer in time.
    pub late: bool,
}

impl Forecaster {
    /// Loads the model and starts its thread; without a usable model the baseline is used and
    /// the log says why.
    pub fn start(model: &config::Model, deadline: Duration) -> Self {
        let loaded = match (&model.path, model.enabled) {
            (_, false) => Err("switched off by [model] enabled = false".to_owned()),
            (None, true) => Predictor::embedded().map_err(|why| format!("the shipped model is refused: {why}")),
            (Some(dir), true) => load(dir),
        };
        let predictor = match loaded {
            Ok(predictor) => predictor,
            Err(why_not) => {
                tracing::warn!(why_not, "no model: forecasts come from the baseline");
                return Self { requests: None, name: None, why_not, deadline };
            }
        };
        let name = predictor.name().to_owned();
        // One request at a time: a second one would be late anyway.
        let (requests, receiver) = sync_channel(1);
        let thread = std::thread::Builder::new().name("forecast".into()).spawn(move || work(&predictor, &receiver));
        match thread {
            Ok(_) => {
                tracing::info!(name, "the model is loaded");
                Self { requests: Some(requests), name: Some(name), why_not: String::new(), deadline }
            }
            Err(why) => {
                let why_not = format!("its thread cannot start: {why}");
                tracing::error!(why_not, "no model: forecasts come from the baseline");
                Self { requests: None, name: None, why_not, deadline }
            }
        }
    }

    /// A Forecast for each rack, within the deadline.
    pub async fn forecast(&self, histories: &BTreeMap<RackId, History>, at: UnixMs) -> Answer {
        let Some(requests) = &self.requests else {
            return self.baseline(histories, at, &self.why_not, false);
        };
        let (answer, answered) = oneshot::channel();
        let request = Request { histories: histories.clone(), at, answer };
        match requests.try_send(request) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return self.baseline(histories, at, "the model is still busy with an earlier request", true);
            }
            Err(TrySendError::Disconnected(_)) => return self.baseline(histories, at, ENDED, false),
        }
        match tokio::time::timeout(self.deadline, answered).await {
            Ok(Ok(forecasts)) => self.answer(forecasts, histories, at),
            Ok(Err(_)) => self.baseline(histories, at, ENDED, false),
            Err(_) => {
                let reason = format!("the model took longer than {} ms", self.deadline.as_millis());
                self.baseline(histories, at, &reason, true)
            }
        }
    }

    fn answer(&self, forecasts: Vec<Forecast>, histories: &BTreeMap<RackId, History>, at: UnixMs) -> Answer {
        let mut by_rack: BTreeMap<RackId, Forecast> = forecasts.into_iter().map(|f| (f.rack.clone(), f)).collect();
        for (rack, history) in histories {
            by_rack
                .entry(rack.clone())
                .or_insert_with(|| baseline::forecast(history, rack, at, "the model left this rack out"));
        }
        let used = by_rack.values().any(|f| matches!(f.source, Source::Model(_)));
        let reason = by_rack.values().find_map(|f| match &f.source {
            Source::Baseline(why) => Some(format!("{}: {why}", f.rack)),
            Source::Model(_) => None,
        });
        Answer { forecasts: by_rack, status: ModelStatus { used, name: self.name.clone(), reason }, late: false }
    }

    fn baseline(&self, histories: &BTreeMap<RackId, History>, at: UnixMs, reason: &str, late: bool) -> Answer {
        let forecasts =
            histories.iter().map(|(rack, h)| (rack.clone(), baseline::forecast(h, rack, at, reason))).collect();
        let status = ModelStatus { used: false, name: self.name.clone(), reason: Some(reason.to_owned()) };
        Answer { forecasts, status, late }
    }
}

fn work(predictor: &Predictor, requests: &Receiver<Request>) {
    for request in requests {
        let histories: Vec<(&RackId, &History)> = request.histories.iter().collect();
        // Nobody waits for a late answer: the receiver is gone then.
        let _ = request.answer.send(predictor.forecast(&histories, request.at));
    }
}

fn load(dir: &Path) -> Result<Predictor, String> {
    let failed = |what: &Path, why: &dyn std::fmt::Display| format!("{}: {why}", what.display());
    let mut models = Vec::new();
    for file in std::fs::read_dir(dir).map_err(|why| failed(dir, &why))? {
        let path: PathBuf = file.map_err(|why| failed(dir, &why))?.path();
        if path.extension().is_some_and(|e| e == "onnx") {
            models.push(path);
        }
    }
    let [onnx] = &models[..] else {
        return Err(failed(dir, &format!("has {} .onnx files, must have one", models.len())));
    };
    let manifest = onnx.with_extension("manifest.json");
    let read = |path: &Path| std::fs::read(path).map_err(|why| failed(path, &why));
    Predictor::load(&read(onnx)?, &read(&manifest)?).map_err(|why| failed(onnx, &why))
}
