//! Which model is in use: whether it still deserves it, and what takes its place.

use super::{Origin, TRIAL, Worker};
use crate::forecaster;
use headroom_predict::{Predictor, store, verdict};
use headroom_rack::Mono;
use std::sync::Arc;

impl Worker {
    /// Whether the model in use still deserves it.
    pub(super) fn watch(&mut self, now: Mono) {
        if self.origin == Origin::Nowhere || now.since(self.crowned) < TRIAL {
            return;
        }
        let report = self.handle.lock().report.clone();
        if let (Some(model), Some(baseline)) = (&report.model, &report.baseline)
            && let Some(why) = verdict::drifted(model, baseline)
        {
            self.demote(&why);
        }
    }

    /// Takes the model in use out of use: back to the one before, then to the config's, then to the
    /// baseline.
    pub(super) fn demote(&mut self, why: &str) {
        let out = self.forecaster.champion().map_or_else(|| "the model".to_owned(), |m| m.id());
        match self.origin {
            Origin::Store => {
                if let Err(error) = self.store.step_back() {
                    tracing::error!(%error, "the store of models cannot be changed; what it names serves after a restart");
                }
                if !self.crown_from_store() {
                    self.crown_from_config(why);
                }
            }
            Origin::Config => {
                self.forecaster.crown(Err(format!("{out} was taken out of use: {why}")));
                self.origin = Origin::Nowhere;
            }
            Origin::Nowhere => return,
        }
        self.crowned = self.clock.now();
        let now_in_use = self.forecaster.champion().map_or_else(|| "the baseline".to_owned(), |m| m.id());
        let words = format!("{out} is out of use, forecasts come from {now_in_use}: {why}");
        self.note(words.clone());
        self.show(|s| {
            s.demotions += 1;
            s.last = Some(words);
        });
    }

    /// Whether the store has a model that serves now.
    pub(super) fn crown_from_store(&mut self) -> bool {
        let folder = match self.store.pointer() {
            Ok(pointer) => pointer.and_then(|p| p.champion),
            Err(why) => {
                self.note(format!("the store of models cannot be used: {why}"));
                None
            }
        };
        let Some(folder) = folder else { return false };
        match store::load(&self.store.folder(&folder)) {
            Ok(model) => {
                self.crown(model, Origin::Store);
                true
            }
            Err(why) => {
                self.note(format!("the promoted model is refused: {why}"));
                false
            }
        }
    }

    fn crown_from_config(&mut self, why: &str) {
        match forecaster::load(&self.config.model) {
            Ok(model) => self.crown(model, Origin::Config),
            Err(refused) => {
                self.forecaster.crown(Err(format!("{why}; and {refused}")));
                self.origin = Origin::Nowhere;
            }
        }
    }

    fn crown(&mut self, model: Predictor, origin: Origin) {
        self.forecaster.crown(Ok(Arc::new(model)));
        (self.origin, self.crowned) = (origin, self.clock.now());
    }
}
