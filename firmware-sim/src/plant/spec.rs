//! What a plant is built from: plain validated data. Reading it from TOML is `scenario`'s business.

use super::MAX_FEEDS;
use std::sync::Arc;

/// A row of racks on its feeds.
#[derive(Debug, Clone, PartialEq)]
pub struct PlantSpec {
    /// Name of the site.
    pub site: String,
    /// Seed of all chance in the plant.
    pub seed: u64,
    /// Phase-to-neutral voltage at the UPS outputs.
    pub volts: f64,
    /// Line frequency.
    pub frequency_hz: f64,
    /// Power factor of the racks' supplies at load.
    pub power_factor: f64,
    /// The GPUs, all alike.
    pub gpu: GpuSpec,
    /// Share of a PDU's input lost in it and in the power supplies behind it, 0 to 0.3.
    pub pdu_loss_ratio: f64,
    /// The breaker of each feed.
    pub breaker: BreakerSpec,
    /// The UPS of each feed.
    pub ups: UpsSpec,
    /// Breakers between those of the feeds and the racks, parents before children.
    pub branches: Vec<BranchSpec>,
    /// The racks, in order.
    pub racks: Vec<RackSpec>,
}

impl PlantSpec {
    /// Feeds that something hangs on, counted from the first.
    pub fn feed_count(&self) -> usize {
        let feeds = self.racks.iter().flat_map(RackSpec::feeds);
        feeds.max().map_or(1, |last| last + 1).min(MAX_FEEDS)
    }
}

/// A breaker between a feed's own and racks.
#[derive(Debug, Clone, PartialEq)]
pub struct BranchSpec {
    /// Its name.
    pub id: String,
    /// Number of its feed.
    pub feed: usize,
    /// The branch it hangs on, by number; none: the feed's own breaker.
    pub parent: Option<usize>,
    /// The breaker.
    pub breaker: BreakerSpec,
    /// Numbers of the racks behind it, those behind its children included.
    pub racks: Vec<usize>,
}

/// One GPU model.
#[derive(Debug, Clone, PartialEq)]
pub struct GpuSpec {
    /// Draw without any process.
    pub idle_watts: f64,
    /// Draw with a process loaded that does nothing: clocks up, memory refreshed.
    pub loaded_watts: f64,
    /// Default and highest power limit.
    pub max_watts: f64,
    /// Lowest power limit.
    pub min_watts: f64,
    /// Time constant of the driver's power control.
    pub settle_s: f64,
}

/// The breaker of a feed: three poles, thermal and magnetic release.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerSpec {
    /// Rated current per pole.
    pub rating_amperes: f64,
    /// Time constant of the bimetal.
    pub bimetal_s: f64,
    /// Multiple of the rating at which the magnetic release acts at once.
    pub instantaneous_ratio: f64,
    /// Air around the breaker; it is rated at 30 degrees.
    pub ambient_celsius: f64,
}

/// The UPS of a feed.
#[derive(Debug, Clone, PartialEq)]
pub struct UpsSpec {
    /// Rated active power.
    pub rating_watts: f64,
    /// Runtime at rated power with a new battery, in minutes.
    pub battery_minutes: f64,
    /// Remaining share of the battery's capacity at the start, 0 to 1.
    pub battery_health_ratio: f64,
}

/// One rack.
#[derive(Debug, Clone, PartialEq)]
pub struct RackSpec {
    /// Its name.
    pub id: String,
    /// Number of GPUs, 1 to 64.
    pub gpus: usize,
    /// Most that everything else in the rack draws: processors, network, fans.
    pub overhead_watts: f64,
    /// Most that its cooling unit draws.
    pub cooling_watts: f64,
    /// Numbers of the feeds its cords hang on, one or two; both carry half while both live.
    pub cords: Vec<usize>,
    /// The feed that its only cord goes over to when its own is dead (a transfer switch before the rack).
    pub standby: Option<usize>,
    /// The phase that its cords load, 0 to 2; none: all three alike.
    pub phase: Option<usize>,
    /// The feed its cooling unit hangs on: 0 is a, 1 is b.
    pub cooling_feed: usize,
    /// What carries its heat away.
    pub medium: Medium,
    /// What runs on it.
    pub workload: WorkloadSpec,
    /// How much of it runs when.
    pub envelope: EnvelopeSpec,
}

impl RackSpec {
    /// Every feed that it draws from, or may.
    pub fn feeds(&self) -> impl Iterator<Item = usize> {
        self.cords.iter().copied().chain(self.standby).chain([self.cooling_feed])
    }
}

/// What carries the heat of a rack away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Medium {
    /// Coolant through cold plates.
    #[default]
    Liquid,
    /// Air through heat sinks.
    Air,
}

/// The kinds of workload.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkloadSpec {
    /// Synchronous training steps with checkpoints.
    Training(TrainingSpec),
    /// Serving of a language model.
    Inference(InferenceSpec),
    /// Independent jobs, one per GPU.
    Batch(BatchSpec),
    /// Recorded power.
    Replay(ReplaySpec),
    /// Nothing at all.
    Idle,
}

impl WorkloadSpec {
    /// The word used in scenario files.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Training(_) => "training",
            Self::Inference(_) => "inference",
            Self::Batch(_) => "batch",
            Self::Replay(spec) => spec.word,
            Self::Idle => "idle",
        }
    }
}

/// Synchronous training. Intensities are shares of the range between loaded and maximum power.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingSpec {
    /// Length of one step at full clock.
    pub step_s: f64,
    /// Share of a step spent in collectives.
    pub collective_ratio: f64,
    /// Intensity while computing; above 1 the power limit bites even uncapped.
    pub compute_intensity: f64,
    /// Intensity in collectives.
    pub collective_intensity: f64,
    /// Time between checkpoints.
    pub checkpoint_every_s: f64,
    /// Length of a checkpoint.
    pub checkpoint_s: f64,
}

/// Serving of a language model over all GPUs of the rack.
#[derive(Debug, Clone, PartialEq)]
pub struct InferenceSpec {
    /// Requests per second at level 1.
    pub requests_per_s: f64,
    /// Prompt tokens per second the rack can take at full clock.
    pub prefill_tokens_per_s: f64,
    /// Tokens per second and sequence at full clock.
    pub decode_tokens_per_s: f64,
    /// Sequences served at once.
    pub batch_limit: usize,
}

/// Independent jobs.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchSpec {
    /// Mean length of a job.
    pub job_s: f64,
    /// Mean pause between two jobs of a GPU.
    pub gap_s: f64,
    /// Least and greatest intensity of a job.
    pub intensity: (f64, f64),
}

/// Recorded power, wanted again.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplaySpec {
    /// The kind of workload it stands for.
    pub word: &'static str,
    /// Rows of power by GPU, W; with more GPUs than columns they repeat.
    pub watts: Arc<Vec<Vec<f32>>>,
    /// Time from row to row.
    pub step_s: f64,
    /// Where in the recording it starts.
    pub start_s: f64,
    /// How work follows the clock, as in [`super::gpu::Demand`].
    pub clock_sensitivity: f64,
}

/// Level of activity over time: straight lines between points, 0 nothing, 1 everything.
#[derive(Debug, Clone, PartialEq)]
pub struct EnvelopeSpec {
    /// Points `(seconds, level)`, times ascending, at least one.
    pub points: Vec<(f64, f64)>,
    /// After the last point the envelope starts again here.
    pub repeat_from_s: Option<f64>,
}

impl GpuSpec {
    /// H100 SXM5 80 GB: limits 200 to 700 W and 72 to 101 W idle (captures of `nvidia-smi -a`);
    /// about 120 W with an idle process and the clocks up (seen on an 8 x H100 node at 10 Hz).
    pub fn h100() -> Self {
        Self { idle_watts: 75.0, loaded_watts: 120.0, max_watts: 700.0, min_watts: 200.0, settle_s: 0.3 }
    }
}

impl TrainingSpec {
    /// A step of two seconds, collectives at 70 % (power swings of synchronous training: Choukse et
    /// al., "Power Stabilization for AI Training Datacenters", arXiv 2508.14318).
    pub fn typical() -> Self {
        Self {
            step_s: 2.0,
            collective_ratio: 0.15,
            compute_intensity: 1.03,
            collective_intensity: 0.7,
            checkpoint_every_s: 90.0,
            checkpoint_s: 4.0,
        }
    }
}

impl InferenceSpec {
    /// A 70 B class model over eight GPUs, near its limit at level 1.
    pub fn typical() -> Self {
        Self { requests_per_s: 50.0, prefill_tokens_per_s: 60_000.0, decode_tokens_per_s: 30.0, batch_limit: 512 }
    }
}

impl BatchSpec {
    /// Jobs of a minute, nearly back to back.
    pub fn typical() -> Self {
        Self { job_s: 60.0, gap_s: 1.5, intensity: (0.9, 1.05) }
    }
}
