//! The Forecasts of a site: for each rack a [`Mixture`] of the model, the baseline and what the rack itself did, second by second as its
//! [`History`] has them. Says for each rack what is expected and who said so: the model, or why not.
//!
//! The model may change from one call to the next: what was learnt of a rack stays, and the new one takes the place of the old one, which it
//! has beaten or which failed. A rack whose power is unknown for longer than [`LAST_WITHIN_S`] gets the baseline's answer alone.

use crate::baseline;
use crate::bound::Sides;
use crate::feature::LAST_WITHIN_S;
use crate::history::History;
use crate::mixture::{Mixture, Newest, Others, Shape};
use crate::predictor::Predictor;
use crate::{HORIZONS_S, OUTPUTS, QUANTILES, Values, WINDOW_S};
use headroom_rack::{Forecast, RackId, Source, UnixMs, Watts};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// Spans of a smoother present, s.
const MEDIANS_S: [f64; 1] = [3.0];
/// Spans that tell the memory the present level, s.
const LEVELS_S: [f64; 2] = [5.0, 60.0];

/// Racks that are forecast one after the other: whole runs of the network's largest plan.
const TOGETHER: usize = crate::net::MANY[0];

/// What is expected of one rack.
#[derive(Debug, Clone, PartialEq)]
pub struct Spoken {
    /// The Forecast.
    pub forecast: Forecast,
    /// What the model said alone, by horizon and quantile; none where it had no say.
    pub model: Option<Values>,
    /// The model spoke, but of inputs outside the range it was trained on: upper quantiles are the baseline's at least.
    pub outside: bool,
}

/// See the module. Empty at first; racks come and go with what is asked.
#[derive(Debug, Clone)]
pub struct Mixtures {
    shape: Arc<Shape>,
    /// As they were asked for the last time.
    racks: Vec<(RackId, Rack)>,
}

#[derive(Debug, Clone)]
struct Rack {
    mixture: Mixture,
    /// The first second that was not observed.
    next: u64,
}

/// What the controller forecasts.
pub fn shape() -> Shape {
    Shape {
        rate_hz: 1.0,
        horizons_s: HORIZONS_S.to_vec(),
        mean: false,
        quantiles: QUANTILES,
        medians_s: MEDIANS_S.to_vec(),
        levels_s: LEVELS_S.to_vec(),
        // The baseline, then the model: where both are there, the model leads.
        outside: 2,
        // A controller that starts does not know how old a run is.
        young_s: 0.0,
        sides: Sides::Upper,
    }
}

impl Default for Mixtures {
    fn default() -> Self {
        Self { shape: Arc::new(shape()), racks: Vec::new() }
    }
}

impl Mixtures {
    /// A Forecast for each rack, in the order given, of a model or with the reason why there is none.
    pub fn forecast(
        &mut self,
        model: Result<&Predictor, &str>,
        racks: &[(&RackId, &History)],
        at: UnixMs,
    ) -> Vec<Spoken> {
        self.prepare(racks);
        let parts = cores().min(racks.len().div_ceil(TOGETHER)).max(1);
        // Whole runs of the network to each part, so that no answer depends on the number of parts.
        let each = racks.len().div_ceil(TOGETHER).div_ceil(parts) * TOGETHER;
        let mut spoken = Vec::with_capacity(racks.len());
        let mut work = self.racks.chunks_mut(each.max(1)).zip(racks.chunks(each.max(1)));
        let mine = work.next();
        std::thread::scope(|scope| {
            let others: Vec<_> = work.map(|(own, racks)| scope.spawn(move || part(own, model, racks, at))).collect();
            if let Some((own, racks)) = mine {
                spoken.extend(part(own, model, racks, at));
            }
            for other in others {
                spoken.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
        });
        spoken
    }

    /// Brings the racks into the order in which they are asked for; those that are not are let go.
    fn prepare(&mut self, racks: &[(&RackId, &History)]) {
        let same = self.racks.iter().map(|(id, _)| id).eq(racks.iter().map(|(id, _)| *id));
        if same {
            return;
        }
        let mut known: BTreeMap<RackId, Rack> = std::mem::take(&mut self.racks).into_iter().collect();
        let rack = |(id, history): &(&RackId, &History)| {
            let new = || {
                let ceiling = history.nameplate().get() as f32;
                let mixture = Mixture::new(Arc::clone(&self.shape), Others { ceiling, highest: 0.0 }, self.shape.led());
                Rack { mixture, next: 0 }
            };
            ((*id).clone(), known.remove(*id).unwrap_or_else(new))
        };
        self.racks = racks.iter().map(rack).collect();
    }
}

/// Cores that this process may use.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// The Forecasts of a part of the site, so many racks at a time that what is known of them stays near.
fn part(
    own: &mut [(RackId, Rack)],
    model: Result<&Predictor, &str>,
    racks: &[(&RackId, &History)],
    at: UnixMs,
) -> Vec<Spoken> {
    let name = model.map(Predictor::name);
    let mut spoken = Vec::with_capacity(racks.len());
    for (own, racks) in own.chunks_mut(TOGETHER).zip(racks.chunks(TOGETHER)) {
        let now: Vec<_> = racks.iter().map(|(_, history)| history.until(at)).collect();
        let answers = match model {
            Ok(model) => model.values(&now.iter().map(|history| &**history).collect::<Vec<_>>()),
            Err(why) => racks.iter().map(|_| Err(why.to_owned())).collect(),
        };
        for (((id, own), history), answer) in own.iter_mut().zip(&now).zip(answers) {
            let (model, outside, source) = match (answer, name) {
                (Ok((values, outside)), Ok(name)) => (Some(values), outside, Source::Model(name.to_owned())),
                (Err(why), _) => (None, false, Source::Baseline(why)),
                (Ok(_), Err(why)) => (None, false, Source::Baseline(why.to_owned())),
            };
            let values = own.say(history, model.as_ref(), outside, at).map(Vec::from).to_vec();
            let (horizons_s, quantiles) = (HORIZONS_S.to_vec(), QUANTILES.to_vec());
            let forecast = Forecast { rack: id.clone(), at, horizons_s, quantiles, values, source };
            spoken.push(Spoken { forecast, model, outside });
        }
    }
    spoken
}

impl Rack {
    /// Takes in the seconds that are over, and the present one once it has a value. A clock set back, or a silence longer than the history,
    /// begins a new run.
    fn follow(&mut self, history: &History, now: u64) -> Newest {
        let power = |second| history.power_at(second).map(|power| power.get() as f32);
        let oldest = now.saturating_sub(WINDOW_S as u64 - 1);
        if self.next > now + 1 || self.next < oldest {
            self.mixture.forget();
            self.next = oldest;
        }
        for second in self.next..now {
            self.mixture.observe(power(second));
        }
        self.next = self.next.max(now);
        if self.next == now
            && let Some(power) = power(now)
        {
            self.mixture.observe(Some(power));
            self.next = now + 1;
        }
        if self.next > now { Newest::Observed } else { Newest::Open }
    }

    fn say(&mut self, history: &History, model: Option<&Values>, outside: bool, at: UnixMs) -> Values {
        let newest = self.follow(history, at.get() / 1000);
        let reactive = baseline::values(history);
        let Some(last) = history.last_power(LAST_WITHIN_S) else { return reactive };
        let rows = [Some(flat(&reactive)), model.map(flat)];
        let given = [0, 1].map(|i: usize| rows[i].as_ref().map(|row| &row[..]));
        let Some(said) = self.mixture.say(newest, &given) else { return reactive };
        let top = history.nameplate().max(last);
        let mut values = reactive;
        for (row, said) in values.iter_mut().zip(&said) {
            let mut floor = Watts::ZERO;
            for (q, reactive) in row.iter_mut().enumerate() {
                let value = if q + 1 == QUANTILES.len() { said.bound } else { said.quantiles[q] };
                let value = Watts::new(value.into()).min(top);
                floor = floor.max(if outside && q > 0 { value.max(*reactive) } else { value });
                *reactive = floor;
            }
        }
        values
    }
}

/// By horizon and quantile.
fn flat(values: &Values) -> [f32; OUTPUTS] {
    std::array::from_fn(|i| values.as_flattened()[i].get() as f32)
}

#[cfg(test)]
mod tests;
