//! The Forecasts of a site: for each rack a [`Mixture`] of the model, the baseline and what the rack itself did, second by second as its
//! [`History`] has them. Says for each rack what is expected and who said so: the model, or why not.
//!
//! The model may change from one call to the next: what was learnt of a rack stays, and the new one takes the place of the old one, which it
//! has beaten or which failed. A rack whose power is unknown for longer than [`LAST_WITHIN_S`] gets the baseline's answer alone.

use crate::baseline;
use crate::bound::Sides;
use crate::feature::LAST_WITHIN_S;
use crate::history::History;
use crate::mixture::{Mixture, Newest, Others, Said, Shape};
use crate::predictor::Predictor;
use crate::{HORIZONS_S, OUTPUTS, QUANTILES, WINDOW_S};
use headroom_rack::{Forecast, RackId, Source, UnixMs, Watts};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Spans of a smoother present, s.
const MEDIANS_S: [f64; 1] = [3.0];
/// Spans that tell the memory the present level, s.
const LEVELS_S: [f64; 2] = [5.0, 60.0];

/// What is expected of one rack.
#[derive(Debug, Clone, PartialEq)]
pub struct Spoken {
    /// The Forecast.
    pub forecast: Forecast,
    /// What the model said alone, by horizon and quantile; none where it had no say.
    pub model: Option<Vec<Vec<Watts>>>,
    /// The model spoke, but of inputs outside the range it was trained on: upper quantiles are the baseline's at least.
    pub outside: bool,
}

/// See the module. Empty at first; racks come and go with what is asked.
#[derive(Debug, Clone)]
pub struct Mixtures {
    shape: Arc<Shape>,
    racks: BTreeMap<RackId, Rack>,
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
        Self { shape: Arc::new(shape()), racks: BTreeMap::new() }
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
        let now: Vec<_> = racks.iter().map(|(_, history)| history.until(at)).collect();
        let answers = match model {
            Ok(model) => model.values(&now.iter().map(|history| &**history).collect::<Vec<_>>()),
            Err(why) => racks.iter().map(|_| Err(why.to_owned())).collect(),
        };
        let name = model.map(Predictor::name);
        let spoken: Vec<Spoken> = racks
            .iter()
            .zip(&now)
            .zip(answers)
            .map(|(((id, _), history), answer)| {
                let (model, outside, source) = match (answer, name) {
                    (Ok((values, outside)), Ok(name)) => (Some(values), outside, Source::Model(name.to_owned())),
                    (Err(why), _) => (None, false, Source::Baseline(why)),
                    (Ok(_), Err(why)) => (None, false, Source::Baseline(why.to_owned())),
                };
                let values = self.rack(id, history).say(history, model.as_deref(), outside, at);
                let (horizons_s, quantiles) = (HORIZONS_S.to_vec(), QUANTILES.to_vec());
                let forecast = Forecast { rack: (*id).clone(), at, horizons_s, quantiles, values, source };
                Spoken { forecast, model, outside }
            })
            .collect();
        if self.racks.len() > spoken.len() {
            self.racks.retain(|id, _| racks.iter().any(|(asked, _)| *asked == id));
        }
        spoken
    }

    fn rack(&mut self, id: &RackId, history: &History) -> &mut Rack {
        if !self.racks.contains_key(id) {
            let ceiling = history.nameplate().get() as f32;
            let mixture = Mixture::new(Arc::clone(&self.shape), Others { ceiling, highest: 0.0 }, self.shape.led());
            self.racks.insert(id.clone(), Rack { mixture, next: 0 });
        }
        self.racks.get_mut(id).expect("invariant: just put there")
    }
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

    fn say(&mut self, history: &History, model: Option<&[Vec<Watts>]>, outside: bool, at: UnixMs) -> Vec<Vec<Watts>> {
        let newest = self.follow(history, at.get() / 1000);
        let reactive = baseline::values(history);
        let Some(last) = history.last_power(LAST_WITHIN_S) else { return reactive };
        let rows = [Some(flat(&reactive)), model.map(flat)];
        let given = [0, 1].map(|i: usize| rows[i].as_ref().map(|row| &row[..]));
        let Some(said) = self.mixture.say(newest, &given) else { return reactive };
        let top = history.nameplate().max(last);
        let row = |(said, reactive): (&Said, &Vec<Watts>)| {
            let mut floor = Watts::ZERO;
            let quantile = |q: usize| {
                let value = if q + 1 == QUANTILES.len() { said.bound } else { said.quantiles[q] };
                let value = Watts::new(value.into()).min(top);
                floor = floor.max(if outside && q > 0 { value.max(reactive[q]) } else { value });
                floor
            };
            (0..QUANTILES.len()).map(quantile).collect()
        };
        said.iter().zip(&reactive).map(row).collect()
    }
}

/// By horizon and quantile.
fn flat(values: &[Vec<Watts>]) -> [f32; OUTPUTS] {
    let mut flat = [f32::NAN; OUTPUTS];
    let all = values.iter().flatten().map(|value| value.get() as f32);
    flat.iter_mut().zip(all).for_each(|(place, value)| *place = value);
    flat
}

#[cfg(test)]
mod tests;
