//! Everything the interfaces show, as one immutable picture that the run loop replaces after each
//! decision. Readers never hold up the loop.

use crate::counts::Counts;
use crate::events::Events;
use crate::history::History;
use crate::{alert, influx, learning, record};
use headroom_rack::{Finding, Forecast, Mono, Plan, RackId, Score, Snapshot, Watts};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// The newest Snapshot of a rack and when it arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Latest {
    /// The Snapshot.
    pub snapshot: Arc<Snapshot>,
    /// Arrival by the controller's clock.
    pub arrived: Mono,
    /// The agent's session ended after it.
    pub gone: bool,
}

/// Which forecaster is at work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelStatus {
    /// Whether the last Forecasts came from a model.
    pub used: bool,
    /// The model's name, if one is loaded.
    pub name: Option<String>,
    /// Why it is not used.
    pub reason: Option<String>,
    /// Racks whose inputs lie outside the range it was trained on.
    pub outside: BTreeSet<RackId>,
}

/// The picture.
#[derive(Debug, Clone, Default)]
pub struct Picture {
    /// The last decision.
    pub plan: Option<Arc<Plan>>,
    /// What each rack said last.
    pub latest: HashMap<RackId, Latest>,
    /// What is expected of each rack.
    pub forecasts: Arc<BTreeMap<RackId, Forecast>>,
    /// Open matters.
    pub findings: Vec<Finding>,
    /// What the loop counted.
    pub counts: Counts,
    /// What it costs the racks now that the loss of any one feed, UPS or cooling unit is survived.
    pub redundancy_cost: headroom_rack::Watts,
    /// What the last decision saw of the batteries.
    pub batteries: Arc<Vec<headroom_controller_core::BatteryView>>,
    /// Racks whose coolant would be at its limit within an hour.
    pub coolants: Arc<Vec<headroom_controller_core::CoolantView>>,
    /// What the supply of each cooler could be set to.
    pub advice: Arc<Vec<headroom_controller_core::CoolingAdvice>>,
    /// The policy in force.
    pub policy: crate::policy::Status,
    /// What stands over the automation.
    pub hands: crate::hands::State,
    /// The forecaster.
    pub model: ModelStatus,
    /// The controller above, if any.
    pub parent: Option<crate::parent::Shown>,
    /// The feeds of load-flexibility partners with their targets.
    pub flex: Arc<Vec<crate::flex::desk::Shown>>,
    /// Trainings and the model in use.
    pub learning: learning::Shown,
    /// How good Forecasts turned out so far, without the margins.
    pub score: Option<Arc<Score>>,
    /// What is added to each rack's quantiles while an Order takes to act, by index of the quantile.
    pub margins: Arc<BTreeMap<RackId, Vec<Watts>>>,
    /// Alert deliveries.
    pub alerts: alert::Counts,
    /// The record.
    pub record: record::Stats,
    /// InfluxDB, if configured.
    pub influx: Option<influx::Counts>,
    /// Frames dropped, by reason.
    pub drops: Vec<(&'static str, u64)>,
    /// Whether the broker is there.
    pub connected: bool,
    /// How long the last decision took, in seconds.
    pub decide_s: f64,
}

/// Where the loop hangs the picture and the interfaces look at it.
#[derive(Debug, Default)]
pub struct Board {
    picture: RwLock<Arc<Picture>>,
    events: Mutex<Events>,
    history: Mutex<History>,
}

impl Board {
    /// The picture of now.
    pub fn picture(&self) -> Arc<Picture> {
        Arc::clone(&self.picture.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the picture.
    pub fn hang(&self, picture: Picture) {
        *self.picture.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(picture);
    }

    /// The lines of what happened.
    pub fn events(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last minutes.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
