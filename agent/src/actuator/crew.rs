//! One actuator thread per GPU, started with its first wish.

use super::{Handoff, Lever, Wishes, run};
use headroom_rack::{DeviceId, Generation, Outcome};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

type Report = Arc<dyn Fn(&DeviceId, Generation, Outcome) + Send + Sync>;

#[derive(Default)]
struct Hands {
    lever: Option<Arc<dyn Lever + Send + Sync>>,
    by_gpu: BTreeMap<DeviceId, Arc<Handoff>>,
}

/// The threads that act.
pub struct Crew {
    report: Report,
    hands: Mutex<Hands>,
}

impl Crew {
    /// Nobody acts before [`Crew::equip`]. `report` hears what became of each Order, once.
    pub fn new(report: impl Fn(&DeviceId, Generation, Outcome) + Send + Sync + 'static) -> Self {
        Self { report: Arc::new(report), hands: Mutex::default() }
    }

    /// Gives the crew its lever.
    pub fn equip(&self, lever: Arc<dyn Lever + Send + Sync>) {
        self.hands.lock().unwrap_or_else(PoisonError::into_inner).lever = Some(lever);
    }

    /// Replaces what was wished for, for the GPUs named. Forgotten while there is no lever:
    /// wishes are repeated.
    pub fn wish(&self, wishes: &Wishes) {
        let mut hands = self.hands.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(lever) = hands.lever.clone() else { return };
        for (device, wish) in wishes {
            if !hands.by_gpu.contains_key(device) {
                let handoff = Arc::new(Handoff::default());
                if let Err(error) = start(device.clone(), lever.clone(), handoff.clone(), self.report.clone()) {
                    tracing::error!(%device, %error, "no thread to set its limit; trying again");
                    continue;
                }
                hands.by_gpu.insert(device.clone(), handoff);
            }
            if let Some(handoff) = hands.by_gpu.get(device) {
                handoff.wish(*wish);
            }
        }
    }

    /// Waits until all wishes are in force or have failed. Names the GPUs for which it took too
    /// long.
    pub fn wait_idle(&self, timeout: Duration) -> Vec<DeviceId> {
        let by_gpu = self.hands.lock().unwrap_or_else(PoisonError::into_inner).by_gpu.clone();
        let until = Instant::now() + timeout;
        let late = |h: &Handoff| !h.wait_idle(until.saturating_duration_since(Instant::now()));
        by_gpu.iter().filter(|(_, handoff)| late(handoff)).map(|(device, _)| device.clone()).collect()
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        let hands = self.hands.get_mut().unwrap_or_else(PoisonError::into_inner);
        hands.by_gpu.values().for_each(|handoff| handoff.close());
    }
}

fn start(
    device: DeviceId,
    lever: Arc<dyn Lever + Send + Sync>,
    handoff: Arc<Handoff>,
    report: Report,
) -> std::io::Result<()> {
    std::thread::Builder::new().name(format!("set-{device}")).spawn(move || {
        run(&*lever, &device, &handoff, |generation, outcome| report(&device, generation, outcome));
    })?;
    Ok(())
}
