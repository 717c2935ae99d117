//! DSX Flex 1.7: load targets of grid partners in, power state, breach alerts and what was enforced out;
//! CloudEvents whose data is a signed JWS, over MQTT. What a target does is the decision's; which one is in
//! force is `headroom-controller-core`'s.

pub mod der;
pub mod desk;
pub mod event;
pub mod gate;
pub mod jws;
pub mod key;
pub mod message;
mod reach;
mod session;

pub use session::{Ends, Voice};

use crate::clock::Clock;
use crate::config::Config;
use crate::kept::Keeper;
use crate::stop::Stop;
use desk::{Desk, RackSeen};
use gate::Heard;
use headroom_controller_core::{Decider, Topology};
use headroom_rack::{Finding, Mono, Plan, RackId, UnixMs};
use reach::Reach;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The desk with its session and its file.
pub struct Flex {
    desk: Desk,
    ends: Ends,
    keeper: Keeper<desk::State>,
    reach: Reach,
}

impl Flex {
    /// Starts it, if the config has it. `None`: it has not.
    pub fn start(config: &Config, topology: &Topology, clock: Clock, stop: Stop) -> Option<Self> {
        let flex = config.flex.as_ref()?;
        let (keeper, state) = Keeper::open(config.record.dir.join("flex/state.json"), "the load targets");
        Some(Self {
            desk: Desk::new(flex.desk.clone(), topology.clone(), state),
            ends: session::start(&flex.broker, flex.voice(), flex.gate.clone(), clock, stop),
            keeper,
            reach: Reach::default(),
        })
    }

    /// Tells the decision which groups may be limited.
    pub fn introduce(&self, config: &Config, decider: &mut Decider) {
        let feeds = config.flex.iter().flat_map(|f| &f.desk.feeds);
        feeds.for_each(|feed| decider.add_group(feed.group.clone(), &feed.nodes));
    }

    /// The next message that passed the gate, or did not.
    pub async fn next(&mut self) -> Option<Heard> {
        self.ends.heard.recv().await
    }

    /// Takes it. The line for people, and whether a decision is due at once.
    pub fn hear(&mut self, heard: Heard, at: UnixMs) -> (String, bool) {
        let refused = match heard {
            Heard::Enforcement(text) => return (text, false),
            Heard::Refused(refused) => refused,
            Heard::Command(command) => match self.desk.hear(&command, at) {
                Ok(text) => {
                    self.save();
                    return (text, true);
                }
                Err(None) => return (format!("{} sends again what was taken", command.by), false),
                Err(Some(refused)) => refused,
            },
        };
        let text = format!("a load target of {} is refused ({}): {}", refused.who, refused.why.word(), refused.detail);
        tracing::warn!(who = refused.who, why = refused.why.word(), detail = refused.detail, "a message is refused");
        self.desk.note(refused, at);
        (text, false)
    }

    /// Before a decision: what is in force now.
    pub fn limit(&mut self, decider: &mut Decider, at: UnixMs) {
        for (group, target, gentle) in self.desk.limits(at) {
            decider.set_group(&group, target, gentle);
        }
    }

    /// When next a target begins or ends.
    pub fn next_change(&self, at: UnixMs) -> Option<Duration> {
        self.desk.next_change(at).map(|next| Duration::from_millis(next.get().saturating_sub(at.get())))
    }

    /// After a decision: tells the partners.
    pub fn tell(&mut self, plan: &Plan, seen: &BTreeMap<RackId, RackSeen>, now: Mono, at: UnixMs) {
        for telling in self.desk.tell(plan, seen, now, at) {
            if self.ends.tell.try_send(telling).is_err() {
                tracing::warn!("too much to tell the load-flexibility partners at once; a message is lost");
            }
        }
        self.save();
        let line = &self.ends.line;
        self.reach.see(line.connected.load(Ordering::Relaxed), line.losses.load(Ordering::Relaxed), now, at);
    }

    /// What people should look at.
    pub fn findings(&self, at: UnixMs) -> Vec<Finding> {
        let mut findings = self.desk.findings(at);
        findings.extend(self.reach.lost_since().map(|since| Finding {
            key: "flex_unreachable:broker".to_owned(),
            kind: "flex_unreachable".to_owned(),
            subject: "flex".to_owned(),
            severity: headroom_rack::Severity::Warning,
            title: "the load-flexibility partners cannot be reached".to_owned(),
            detail:
                "targets that are set stay in force; new ones do not arrive: look at the broker of [flex]".to_owned(),
            since,
        }));
        findings
    }

    /// The feeds with their targets.
    pub fn shown(&self, plan: Option<&Plan>, at: UnixMs) -> Vec<desk::Shown> {
        self.desk.shown(plan, at)
    }

    fn save(&mut self) {
        if let Some(state) = self.desk.to_save() {
            self.keeper.save(state);
        }
    }

    /// Ends after the loop, with everything kept.
    pub async fn stop(mut self) {
        let _ = self.ends.task.await;
        self.keeper.stop().await;
    }
}
