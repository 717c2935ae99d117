//! Forecasts on a thread of their own with a deadline: a late answer is not used, and whatever is
//! wrong with the model, each rack gets a Forecast, with the reason. That thread keeps what the mix has
//! learnt of each rack; a late answer is not lost to it. A second thread asks the baseline and the
//! challenger, only to see how they would have done; nobody waits for it.

use crate::config;
use crate::picture::ModelStatus;
use headroom_predict::{History, Method, Mixtures, Predictor, Spoken, Values, baseline, store};
use headroom_rack::{Forecast, RackId, Source, UnixMs};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// After a panic in it: the baseline serves on.
const ENDED: &str = "the forecasting thread ended";

/// The last minute of every rack. Shared rack by rack: what is heard while somebody still reads costs a copy of
/// that rack only.
pub type Histories = Arc<BTreeMap<RackId, Arc<History>>>;

struct Request {
    /// The model in use, or why there is none.
    model: Result<Arc<Predictor>, String>,
    histories: Histories,
    at: UnixMs,
    answer: oneshot::Sender<Vec<Spoken>>,
}

struct Question {
    challenger: Option<Arc<Predictor>>,
    histories: Histories,
    at: UnixMs,
}

/// What was said beside the Forecast that is used.
#[derive(Debug)]
pub struct Beside {
    /// When.
    pub at: UnixMs,
    /// Who said what of which rack, by horizon and quantile.
    pub said: Vec<(Method, RackId, Values)>,
}

#[derive(Debug, Clone)]
struct Models {
    champion: Option<Arc<Predictor>>,
    /// Why there is none.
    why_not: String,
    challenger: Option<Arc<Predictor>>,
}

/// The forecaster. Copies are the same one.
#[derive(Debug, Clone)]
pub struct Forecaster {
    models: Arc<Mutex<Models>>,
    requests: SyncSender<Request>,
    questions: SyncSender<Question>,
    beside: Arc<Mutex<Receiver<Beside>>>,
    deadline: Duration,
}

/// What came of one request.
#[derive(Debug)]
pub struct Answer {
    /// One per rack.
    pub forecasts: BTreeMap<RackId, Forecast>,
    /// What the model said alone, by horizon and quantile, of the racks where it had a say.
    pub alone: BTreeMap<RackId, Values>,
    /// What to show about the model.
    pub status: ModelStatus,
    /// The model did not answer in time.
    pub late: bool,
}

impl Forecaster {
    /// Loads the model and starts the threads; without a usable model the baseline is used and the
    /// log says why.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(model: &config::Model, deadline: Duration) -> std::io::Result<Self> {
        let (champion, why_not) = match load(model) {
            Ok(predictor) => {
                tracing::info!(model = predictor.id(), "the model is loaded");
                (Some(Arc::new(predictor)), String::new())
            }
            Err(why_not) => {
                tracing::warn!(why_not, "no model: forecasts come from the baseline");
                (None, why_not)
            }
        };
        // One request at a time: a second one would be late anyway.
        let (requests, receiver) = sync_channel(1);
        std::thread::Builder::new().name("forecast".into()).spawn(move || work(&receiver))?;
        let (questions, receiver) = sync_channel(1);
        let (sender, beside) = sync_channel(4);
        std::thread::Builder::new().name("beside".into()).spawn(move || ask_beside(&receiver, &sender))?;
        let models = Models { champion, why_not, challenger: None };
        Ok(Self {
            models: Arc::new(Mutex::new(models)),
            requests,
            questions,
            beside: Arc::new(Mutex::new(beside)),
            deadline,
        })
    }

    fn models(&self) -> MutexGuard<'_, Models> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The model in use.
    pub fn champion(&self) -> Option<Arc<Predictor>> {
        self.models().champion.clone()
    }

    /// The model that is tried.
    pub fn challenger(&self) -> Option<Arc<Predictor>> {
        self.models().challenger.clone()
    }

    /// Puts another model in use, or none and why; it serves from the next request on.
    pub fn crown(&self, model: Result<Arc<Predictor>, String>) {
        let mut models = self.models();
        (models.champion, models.why_not) = match model {
            Ok(model) => (Some(model), String::new()),
            Err(why_not) => (None, why_not),
        };
    }

    /// Tries a model beside the one in use, or ends that.
    pub fn challenge(&self, model: Option<Arc<Predictor>>) {
        self.models().challenger = model;
    }

    /// A Forecast for each rack, within the deadline.
    pub async fn forecast(&self, histories: &Histories, at: UnixMs) -> Answer {
        let Models { champion, why_not, challenger } = self.models().clone();
        // Left out while the one before is still at work: then those seconds are not scored.
        let _ = self.questions.try_send(Question { challenger, histories: Arc::clone(histories), at });
        let name = champion.as_ref().map(|model| model.name().to_owned());
        let model = champion.ok_or(why_not);
        let (answer, answered) = oneshot::channel();
        let request = Request { model: model.clone(), histories: Arc::clone(histories), at, answer };
        match self.requests.try_send(request) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return Self::baseline(name, histories, at, "an earlier forecast is still being made", true);
            }
            Err(TrySendError::Disconnected(_)) => return Self::baseline(name, histories, at, ENDED, false),
        }
        match tokio::time::timeout(self.deadline, answered).await {
            Ok(Ok(spoken)) => Self::answer(name, model.err(), spoken, histories, at),
            Ok(Err(_)) => Self::baseline(name, histories, at, ENDED, false),
            Err(_) => {
                let reason = format!("the forecast took longer than {} ms", self.deadline.as_millis());
                Self::baseline(name, histories, at, &reason, true)
            }
        }
    }

    /// What was said beside since the last call.
    pub fn take_beside(&self) -> Vec<Beside> {
        self.beside.lock().unwrap_or_else(PoisonError::into_inner).try_iter().collect()
    }

    fn answer(
        name: Option<String>,
        why_not: Option<String>,
        spoken: Vec<Spoken>,
        histories: &Histories,
        at: UnixMs,
    ) -> Answer {
        let (mut forecasts, mut alone, mut outside) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        for Spoken { forecast, model, outside: is_outside } in spoken {
            let rack = forecast.rack.clone();
            outside.extend(is_outside.then(|| rack.clone()));
            alone.extend(model.map(|values| (rack.clone(), values)));
            forecasts.insert(rack, forecast);
        }
        for (rack, history) in histories.iter() {
            forecasts
                .entry(rack.clone())
                .or_insert_with(|| baseline::forecast(history, rack, at, "the model left this rack out"));
        }
        let used = forecasts.values().any(|f| matches!(f.source, Source::Model(_)));
        let of_a_rack = || {
            forecasts.values().find_map(|f| match &f.source {
                Source::Baseline(why) => Some(format!("{}: {why}", f.rack)),
                Source::Model(_) => None,
            })
        };
        let reason = why_not.or_else(of_a_rack);
        Answer { status: ModelStatus { used, name, reason, outside }, forecasts, alone, late: false }
    }

    fn baseline(name: Option<String>, histories: &Histories, at: UnixMs, reason: &str, late: bool) -> Answer {
        let forecasts =
            histories.iter().map(|(rack, h)| (rack.clone(), baseline::forecast(h, rack, at, reason))).collect();
        let status = ModelStatus { used: false, name, reason: Some(reason.to_owned()), outside: BTreeSet::new() };
        Answer { forecasts, alone: BTreeMap::new(), status, late }
    }
}

fn work(requests: &Receiver<Request>) {
    let mut mixtures = Mixtures::default();
    for request in requests {
        let histories: Vec<(&RackId, &History)> = request.histories.iter().map(|(rack, h)| (rack, &**h)).collect();
        let model = request.model.as_deref().map_err(String::as_str);
        // Nobody waits for a late answer: the receiver is gone then.
        let _ = request.answer.send(mixtures.forecast(model, &histories, request.at));
    }
}

fn ask_beside(questions: &Receiver<Question>, answers: &SyncSender<Beside>) {
    for Question { challenger, histories, at } in questions {
        let now: Vec<_> = histories.iter().map(|(rack, h)| (rack, h.until(at))).collect();
        let mut said: Vec<(Method, RackId, Values)> =
            now.iter().map(|(rack, h)| (Method::Baseline, (*rack).clone(), baseline::values(h))).collect();
        if let Some(challenger) = challenger {
            let windows: Vec<&History> = now.iter().map(|(_, h)| &**h).collect();
            let answers = challenger.values(&windows).into_iter().zip(&now);
            said.extend(
                answers.filter_map(|(values, (rack, _))| Some((Method::Challenger, (*rack).clone(), values.ok()?.0))),
            );
        }
        let _ = answers.try_send(Beside { at, said });
    }
}

/// The model the config names: the one inside the program, a folder's, or a store's champion.
///
/// # Errors
/// Why there is none.
pub fn load(model: &config::Model) -> Result<Predictor, String> {
    match (&model.path, model.enabled) {
        (_, false) => Err("switched off by [model] enabled = false".to_owned()),
        (None, true) => Predictor::embedded().map_err(|why| format!("the shipped model is refused: {why}")),
        (Some(dir), true) => store::load(dir).map_err(|why| why.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headroom_predict::Sample;
    use headroom_rack::Watts;

    const SHIPPED: config::Model = config::Model { enabled: true, path: None };

    fn busy(racks: usize) -> Histories {
        let mut history = History::new(Watts::new(7300.0));
        for t in 0..60 {
            let power = Some(Watts::new(3000.0 + 40.0 * (t % 7) as f64));
            let sample = Sample { power, limit: Some(Watts::new(5600.0)), utilization: Some(0.7) };
            history.push(UnixMs::new(t * 1000), sample);
        }
        let history = Arc::new(history);
        Arc::new((0..racks).map(|i| (RackId::new(format!("r{i}")).unwrap(), Arc::clone(&history))).collect())
    }

    #[tokio::test]
    async fn a_late_answer_is_not_used_and_the_baseline_speaks() {
        let forecaster = Forecaster::start(&SHIPPED, Duration::ZERO).unwrap();
        let answer = forecaster.forecast(&busy(5000), UnixMs::new(59_500)).await;
        assert!(answer.late && !answer.status.used && answer.forecasts.len() == 5000);
        let reason = answer.status.reason.unwrap();
        assert!(reason.contains("longer than 0 ms"), "{reason}");
        assert!(answer.forecasts.values().all(|f| matches!(f.source, Source::Baseline(_))));
    }

    #[tokio::test]
    async fn a_model_in_time_is_used_and_what_others_would_have_said_follows() {
        let forecaster = Forecaster::start(&SHIPPED, Duration::from_secs(60)).unwrap();
        forecaster.challenge(forecaster.champion());
        let answer = forecaster.forecast(&busy(3), UnixMs::new(59_500)).await;
        assert!(answer.status.used && !answer.late, "{:?}", answer.status);
        let end = std::time::Instant::now() + Duration::from_secs(60);
        let said = loop {
            let mut beside = forecaster.take_beside();
            if let Some(beside) = beside.pop() {
                break beside.said;
            }
            assert!(std::time::Instant::now() < end, "nothing was said beside");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let by = |method| said.iter().filter(|s| s.0 == method).count();
        assert_eq!((by(Method::Baseline), by(Method::Challenger)), (3, 3));
        let (_, rack, values) = said.iter().find(|s| s.0 == Method::Challenger).unwrap();
        assert_eq!(*values, answer.alone[rack]);
        // Nothing has come true yet: the model is followed.
        let pairs = values.iter().flatten().zip(answer.forecasts[rack].values.iter().flatten());
        pairs.for_each(|(alone, used)| assert!((*alone - *used).get().abs() < 0.01, "{alone} {used}"));
    }

    #[tokio::test]
    async fn inputs_the_model_was_not_trained_on_raise_a_flag() {
        let forecaster = Forecaster::start(&SHIPPED, Duration::from_secs(60)).unwrap();
        let mut strange = History::new(Watts::new(7300.0));
        for t in 0..60 {
            strange.push(UnixMs::new(t * 1000), Sample { power: Some(Watts::new(29_000.0)), ..Sample::default() });
        }
        let mut histories = (*busy(1)).clone();
        let rack = RackId::new("strange").unwrap();
        histories.insert(rack.clone(), Arc::new(strange));
        let answer = forecaster.forecast(&Arc::new(histories), UnixMs::new(59_500)).await;
        assert_eq!(answer.status.outside, [rack].into());
    }

    /// A load that goes up and down as a job does, 28 s and 19 s; second by second from 0 on.
    fn job(second: u64) -> Sample {
        let power = if second % 47 < 28 { 5200.0 } else { 1800.0 } + 37.0 * (second % 7) as f64;
        Sample { power: Some(Watts::new(power)), limit: Some(Watts::new(5600.0)), utilization: Some(0.7) }
    }

    /// What a forecaster says of that load in each second, and what the mixtures of the predictor say of the same.
    async fn played(forecaster: &Forecaster, seconds: std::ops::Range<u64>) -> Vec<(Answer, Spoken)> {
        let rack = RackId::new("r").unwrap();
        let (mut mixtures, mut history, mut all) = (Mixtures::default(), History::new(Watts::new(7300.0)), Vec::new());
        for second in seconds {
            let at = UnixMs::new(second * 1000 + 300);
            history.push(at, job(second));
            let champion = forecaster.champion();
            let answer = forecaster.forecast(&Arc::new([(rack.clone(), Arc::new(history.clone()))].into()), at).await;
            let model = champion.as_deref().ok_or("no model");
            all.push((answer, mixtures.forecast(model, &[(&rack, &history)], at).remove(0)));
        }
        all
    }

    #[tokio::test]
    async fn the_forecast_in_use_is_the_predictors_mix_and_learns_a_cycle_that_the_baseline_does_not_know() {
        let none = config::Model { enabled: false, path: None };
        let forecaster = Forecaster::start(&none, Duration::from_secs(60)).unwrap();
        let all = played(&forecaster, 1000..1600).await;
        let rack = RackId::new("r").unwrap();
        let (mut ours, mut last) = (0.0, 0.0);
        for (second, (answer, spoken)) in (1000_u64..).zip(&all) {
            assert_eq!(answer.forecasts[&rack].values, spoken.forecast.values);
            if second > 1300 {
                // 10 s ahead, the median.
                let (said, came) = (answer.forecasts[&rack].values[3][0], job(second + 10).power.unwrap());
                ours += (said - came).get().abs();
                last += (job(second).power.unwrap() - came).get().abs();
            }
        }
        assert!(ours < 0.5 * last, "{ours} {last}");
    }

    #[tokio::test]
    async fn another_model_takes_its_place_in_what_was_learnt() {
        let forecaster = Forecaster::start(&SHIPPED, Duration::from_secs(60)).unwrap();
        let rack = RackId::new("r").unwrap();
        let all = played(&forecaster, 1000..1300).await;
        let before = &all.last().unwrap().0;
        assert_ne!(before.forecasts[&rack].values[3], before.alone[&rack][3], "the mix is more than the model");
        // The same file again, as after a promotion: nothing that was learnt is lost or in its way.
        forecaster.crown(Ok(Arc::new(Predictor::embedded().unwrap())));
        let mut history = History::new(Watts::new(7300.0));
        (1240..1301).for_each(|second| history.push(UnixMs::new(second * 1000 + 300), job(second)));
        let histories: Histories = Arc::new([(rack.clone(), Arc::new(history))].into());
        let after = forecaster.forecast(&histories, UnixMs::new(1_300_300)).await;
        assert_ne!(after.forecasts[&rack].values[3], after.alone[&rack][3]);
        forecaster.crown(Err("it drifted".to_owned()));
        let without = forecaster.forecast(&histories, UnixMs::new(1_300_300)).await;
        assert!(without.alone.is_empty());
        let values = without.forecasts[&rack].values.iter();
        values.for_each(|row| assert!(row.is_sorted() && row.iter().all(|w| w.is_finite()), "{row:?}"));
    }

    #[tokio::test]
    async fn another_model_or_none_serves_from_the_next_request_on() {
        let forecaster =
            Forecaster::start(&config::Model { enabled: false, path: None }, Duration::from_secs(60)).unwrap();
        let histories = busy(1);
        let at = UnixMs::new(59_500);
        assert!(!forecaster.forecast(&histories, at).await.status.used);
        forecaster.crown(Ok(Arc::new(Predictor::embedded().unwrap())));
        assert!(forecaster.forecast(&histories, at).await.status.used);
        forecaster.crown(Err("it drifted".to_owned()));
        let answer = forecaster.forecast(&histories, at).await;
        assert_eq!((answer.status.used, answer.status.reason), (false, Some("it drifted".to_owned())));
    }
}
