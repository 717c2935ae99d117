//! The controller above. To it this site is one rack with all of its GPUs: what they say goes up as an
//! agent's Snapshots do, and its Orders bound the site's total for as long as their lease runs. How the
//! bound is shared among the racks stays this controller's decision.

use crate::clock::Clock;
use crate::config::{self, Config};
use crate::picture::Latest;
use crate::session::{self, Listener};
use crate::stop::Stop;
use headroom_controller_core::Decider;
use headroom_controller_core::budget::{Bound, Budget};
use headroom_rack::{
    Answer, DeviceId, Finding, Mode, Mono, NoData, Order, Outcome, Plan, Quality, RackId, Reading, Readings, Receipt,
    Refusal, Severity, Signal, SignalPath, Snapshot, UnixMs, Watts,
};
use headroom_tls::LARGEST_PACKET;
use headroom_wire::{Downlink, Kind, Uplink, topic};
use rumqttc::{AsyncClient, ConnectionError, LastWill, Publish, PublishOptions, QoS};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Messages that may wait for the run loop: the parent sends one in a period.
const QUEUE: usize = 16;
/// A birth with a thousand GPUs is some 300 KiB.
const MAX_PACKET_BYTES: usize = 4 << 20;
/// A bound that falls by more than this share of itself does not wait for the period.
const URGENT: f64 = 0.02;
/// Somebody should know when the site has kept to its safe share for so long.
const SILENT: Duration = Duration::from_secs(10);
/// What a parent decides by, of each GPU.
const SIGNALS: [Signal; 3] = [Signal::GpuPower, Signal::GpuLimitEnforced, Signal::GpuUtilization];

/// What came from above.
#[derive(Debug)]
pub enum Heard {
    /// There is a connection: a birth is due.
    Connected,
    /// A message of the parent, with the answers that lie ready.
    Command(Box<(Downlink, Vec<Answer>)>),
}

/// How things stand, for `/api/state`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    /// The parent's group.
    pub site: String,
    /// What it calls this site.
    pub rack: RackId,
    /// The broker between us is there.
    pub connected: bool,
    /// What this site may draw.
    pub limit_watts: Watts,
    /// Whether that is the parent's bound; otherwise the safe share.
    pub held: bool,
    /// The Plan behind it.
    pub generation: Option<String>,
}

/// The session with its lease.
pub struct Parent {
    config: config::Parent,
    client: AsyncClient,
    heard: mpsc::Receiver<Heard>,
    connected: Arc<AtomicBool>,
    task: JoinHandle<()>,
    budget: Budget,
    gpus: Vec<(RackId, DeviceId)>,
    /// What is not a GPU, as configured and as last told to the parent.
    overhead: [Watts; 2],
    uplink: Uplink,
    birth_due: bool,
    boot: u64,
    seq: u64,
    receipts: Vec<Receipt>,
    /// The Orders of the lease that lives, for their Receipts when it ends.
    orders: Vec<Order>,
    limit: (Watts, Bound),
    safe_since: Option<(Mono, UnixMs)>,
    refused: Option<(Refusal, UnixMs)>,
}

impl Parent {
    /// Starts it, if the config has it. `None`: it has not.
    pub fn start(config: &Config, clock: Clock, stop: Stop) -> Option<Self> {
        let parent = config.parent.clone()?;
        // The will of an earlier run must not be taken for this one's.
        let uplink = Uplink::new((clock.unix().get() / 1000) as u8);
        let death_topic = topic::node(&parent.site, Kind::Death, &parent.rack);
        let broker = &parent.broker;
        let client_id = format!("headroom-{}-{}", parent.site, parent.rack);
        let mut mqtt = headroom_tls::session(&client_id, (&broker.host, broker.port), broker.tls.as_ref());
        mqtt.set_keep_alive(5)
            .set_clean_session(true)
            .set_max_packet_size(LARGEST_PACKET, MAX_PACKET_BYTES)
            .set_last_will(LastWill::new(death_topic.clone(), uplink.death(), QoS::AtLeastOnce, false));
        if let Some(login) = &broker.login {
            mqtt.set_credentials(login.user.clone(), login.password.clone());
        }
        let (client, mut eventloop) = AsyncClient::builder(mqtt).capacity(64).build();
        eventloop.network_options.set_tcp_nodelay(true);
        let (to_loop, heard) = mpsc::channel(QUEUE);
        let connected = Arc::new(AtomicBool::new(false));
        let ear = Ear {
            client: client.clone(),
            commands: topic::node(&parent.site, Kind::Command, &parent.rack),
            death: (death_topic, uplink.death()),
            to_loop,
            connected: Arc::clone(&connected),
        };
        let gpus: Vec<_> =
            config.racks.iter().flat_map(|r| (0..r.gpus).map(|i| (r.id.clone(), DeviceId::gpu(i)))).collect();
        let overhead = config.racks.iter().map(|r| r.overhead).sum();
        Some(Self {
            task: tokio::spawn(session::keep(client.clone(), eventloop, ear, stop)),
            budget: Budget::new(gpus.len() as u32, parent.safe),
            limit: (parent.safe, Bound::Safe),
            config: parent,
            client,
            heard,
            connected,
            gpus,
            overhead: [overhead; 2],
            uplink,
            birth_due: true,
            boot: clock.unix().get(),
            seq: 0,
            receipts: Vec::new(),
            orders: Vec::new(),
            safe_since: Some((clock.now(), clock.unix())),
            refused: None,
        })
    }

    /// The next message.
    pub async fn next(&mut self) -> Option<Heard> {
        self.heard.recv().await
    }

    /// Takes it. True: the bound fell, a decision is due at once.
    pub fn hear(&mut self, heard: Heard, mode: Mode, now: Mono, at: UnixMs) -> bool {
        let (command, answers) = match heard {
            Heard::Connected => {
                self.birth_due = true;
                return false;
            }
            Heard::Command(command) => *command,
        };
        self.birth_due |= command.rebirth;
        let orders: Vec<Order> = command.orders().collect();
        if orders.is_empty() {
            return false;
        }
        let taken =
            if mode == Mode::Automatic { self.budget.take(&orders, &answers, now) } else { Err(Refusal::MonitorOnly) };
        let outcome = match taken {
            Ok(_) => {
                self.refused = None;
                self.orders.clone_from(&orders);
                Outcome::Applied
            }
            Err(why) => {
                if self.refused.is_none_or(|(before, _)| before != why) {
                    tracing::warn!(
                        ?why,
                        orders = orders.len(),
                        gpus = self.gpus.len(),
                        "a Plan of the parent is refused"
                    );
                    self.refused = Some((why, at));
                }
                Outcome::Refused(why)
            }
        };
        self.account(&orders, outcome, at);
        self.budget.limit(self.overhead[1], now).0 < self.limit.0 * (1.0 - URGENT)
    }

    /// Before a decision: what the whole site may draw. The line for people when the bound is another's.
    pub fn limit(&mut self, decider: &mut Decider, now: Mono, at: UnixMs) -> Option<String> {
        let before = std::mem::replace(&mut self.limit, self.budget.limit(self.overhead[1], now));
        let (watts, bound) = self.limit;
        decider.set_target(Some(watts));
        let kw = watts.get() / 1000.0;
        match (before.1, bound) {
            (Bound::Safe, Bound::Held(_)) => {
                self.safe_since = None;
                Some(format!("the parent limits this site to {kw:.1} kW"))
            }
            (Bound::Held(_), Bound::Safe) => {
                self.safe_since = Some((now, at));
                let over = std::mem::take(&mut self.orders);
                self.account(&over, Outcome::Expired, at);
                Some(format!("no lease of the parent lives: this site keeps to its safe share of {kw:.1} kW"))
            }
            _ => None,
        }
    }

    fn account(&mut self, orders: &[Order], outcome: Outcome, at: UnixMs) {
        // Of Plans that nobody could be told about only the newest matters.
        self.receipts.clear();
        self.receipts.extend(orders.iter().map(|order| Receipt {
            device: order.device.clone(),
            generation: order.generation,
            outcome,
            at,
        }));
    }

    /// When the lease that lives now runs out.
    pub fn runs_out(&self, now: Mono) -> Option<Mono> {
        self.budget.runs_out(now)
    }

    /// After a decision: tells the parent what there is. `fresh`: how old what a rack said may be.
    pub fn tell(&mut self, plan: &Plan, latest: &HashMap<RackId, Latest>, fresh: Duration, now: Mono, at: UnixMs) {
        let mut readings = Readings::new();
        let mut power = Some(0.0);
        for feed in &self.config.feeds {
            let sum = inlet(feed, plan);
            power = power.zip(sum.ok()).map(|(all, one)| all + one);
            let reading = sum.map_or_else(|why| Reading::none(why, at), |watts| Reading::new(watts, at));
            readings.insert(SignalPath::new(feed.meter.clone(), Signal::PduPower), reading);
        }
        let mut gpu_power = Some(0.0);
        for (number, (rack, device)) in self.gpus.iter().enumerate() {
            let said = latest.get(rack).filter(|l| !l.gone && now.since(l.arrived) <= fresh);
            for signal in SIGNALS {
                let reading = said.map_or(Reading::none(NoData::Stale, at), |l| l.snapshot.reading(device, signal));
                if signal == Signal::GpuPower {
                    gpu_power = gpu_power.zip(reading.ok()).map(|(all, one)| all + one);
                }
                readings.insert(SignalPath::new(DeviceId::gpu(number as u32), signal), reading);
            }
        }
        // As the parent reckons it (`demand::overhead`): what it means for the GPUs alone is for them alone.
        let configured = self.overhead[0];
        let measured = power.zip(gpu_power).map(|(all, gpus)| Watts::new(all - gpus));
        self.overhead[1] = measured.map_or(configured, |w| w.clamp(configured, configured * 2.0));
        self.send(readings, at);
    }

    fn send(&mut self, readings: Readings, at: UnixMs) {
        if !self.connected.load(Ordering::Relaxed) {
            return;
        }
        self.seq += 1;
        let rack = self.config.rack.clone();
        let receipts = std::mem::take(&mut self.receipts);
        let snapshot = Snapshot { rack, boot: self.boot, seq: self.seq, at, historical: false, readings, receipts };
        let (kind, bytes) = match self.uplink.data(&snapshot) {
            Ok(bytes) if !self.birth_due => (Kind::Data, bytes),
            _ => (Kind::Birth, self.uplink.birth(&snapshot)),
        };
        let topic = topic::node(&self.config.site, kind, &self.config.rack);
        let sent = self.client.try_publish(topic, bytes, PublishOptions::at_most_once()).is_ok();
        self.birth_due = !sent;
    }

    /// What people should look at.
    pub fn findings(&self, now: Mono) -> Vec<Finding> {
        let matter = |kind: &str, title: &str, detail: String, since| Finding {
            key: format!("{kind}:{}", self.config.site),
            kind: kind.to_owned(),
            subject: self.config.site.clone(),
            severity: Severity::Warning,
            title: title.to_owned(),
            detail,
            since,
        };
        let silent = self.safe_since.filter(|(since, _)| now.since(*since) >= SILENT).map(|(_, since)| {
            let kw = self.config.safe.get() / 1000.0;
            let detail = format!(
                "this site keeps to its safe share of {kw:.1} kW: look whether the parent runs, and at the broker of [parent]"
            );
            matter("parent_silent", "no lease of the controller above lives", detail, since)
        });
        let refused = self.refused.map(|(why, since)| {
            let detail = match why {
                Refusal::UnknownDevice => format!(
                    "its Plans are not for the {} GPUs of this site: correct gpus of {} in the parent's config",
                    self.gpus.len(),
                    self.config.rack
                ),
                Refusal::MonitorOnly => {
                    "this controller does not act itself (its mode): its agents keep to their safe share".to_owned()
                }
                why => format!("its Plans are refused: {why:?}"),
            };
            matter("parent_refused", "the controller above is not obeyed", detail, since)
        });
        silent.into_iter().chain(refused).collect()
    }

    /// What this site may draw in all.
    pub fn limit_watts(&self) -> Watts {
        self.limit.0
    }

    /// How things stand.
    pub fn shown(&self) -> Shown {
        let (limit_watts, bound) = self.limit;
        Shown {
            site: self.config.site.clone(),
            rack: self.config.rack.clone(),
            connected: self.connected.load(Ordering::Relaxed),
            limit_watts,
            held: bound != Bound::Safe,
            generation: match bound {
                Bound::Held(generation) => Some(generation.to_string()),
                Bound::Safe => None,
            },
        }
    }

    /// Ends after the loop.
    pub async fn stop(self) {
        let _ = self.task.await;
    }
}

/// What flows through an inlet: the sum of its nodes as far as meters tell.
fn inlet(feed: &config::ParentFeed, plan: &Plan) -> Result<f64, NoData> {
    let mut sum = 0.0;
    for id in &feed.nodes {
        let node = plan.nodes.iter().find(|n| n.node == *id).ok_or(NoData::NotYetRead)?;
        if !matches!(node.quality, Quality::Measured | Quality::Summed) {
            return Err(NoData::Stale);
        }
        sum += node.power.get();
    }
    Ok(sum)
}

struct Ear {
    client: AsyncClient,
    commands: String,
    death: (String, Vec<u8>),
    to_loop: mpsc::Sender<Heard>,
    connected: Arc<AtomicBool>,
}

impl Ear {
    fn tell(&self, heard: Heard) {
        if self.to_loop.try_send(heard).is_err() {
            tracing::warn!("too many messages of the parent at once; the next Plan repeats it");
        }
    }
}

impl Listener for Ear {
    fn connected(&mut self) {
        tracing::info!("connected to the broker of the controller above");
        self.connected.store(true, Ordering::Relaxed);
        if let Err(why) = self.client.try_subscribe(self.commands.clone(), QoS::AtLeastOnce) {
            tracing::error!(topic = self.commands, %why, "cannot subscribe");
        }
        self.tell(Heard::Connected);
    }

    fn heard(&mut self, topic: &str, message: &Publish) {
        if message.payload.len() > MAX_PACKET_BYTES {
            tracing::warn!(topic, bytes = message.payload.len(), "a command is too large to be one; it is dropped");
            return;
        }
        match Downlink::decode_with_answers(&message.payload) {
            Ok(command) => self.tell(Heard::Command(Box::new(command))),
            Err(why) => tracing::warn!(topic, %why, "a command that cannot be read is dropped"),
        }
    }

    fn lost(&mut self, why: &ConnectionError, failures: u32) {
        if self.connected.swap(false, Ordering::Relaxed) || failures == 1 {
            tracing::warn!(%why, "no connection to the broker of the controller above; trying again");
        }
    }

    fn goodbye(&mut self) -> bool {
        let connected = self.connected.load(Ordering::Relaxed);
        if connected {
            let (topic, bytes) = self.death.clone();
            if let Err(why) = self.client.try_publish(topic, bytes, PublishOptions::at_least_once()) {
                tracing::warn!(%why, "the parent learns of the stop by the lease alone");
            }
        }
        connected
    }
}
