//! Lease, generation, answers and two controllers at once, explored exhaustively: every order in which
//! messages are sent, delayed, doubled, lost and delivered, the agent restarts, time passes and an inlet dies,
//! within small bounds, over the real `Failsafe`. An old leader and a new one both send; nobody tells the old
//! one. What may be in force is computed beside it from nothing but what was delivered.

use headroom_agent_core::failsafe::{Bounds, Failsafe};
use headroom_rack::{Answer, Condition, DeviceId, Generation, Mono, Order, Setting, Signal, Watts};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashSet};
use std::hash::{Hash, Hasher};
use std::time::Duration;

const SAFE: Watts = Watts::new(400.0);
const BOUNDS: Bounds = Bounds { min: Watts::new(200.0), max: Watts::new(700.0) };
/// One step of time, and how many there are: a lease of two can begin, run out and begin again.
const STEP_MS: u64 = 1000;
const STEPS: u64 = 4;
const LEASE_MS: u32 = 2000;
/// What each controller sends, in its order: above the safe share, then below it.
const SENDS: [f64; 2] = [700.0, 300.0];
const ANSWER: f64 = 250.0;
/// What is left when no Order arrived for so long.
const UNHEARD_MS: u32 = 1000;
const UNHEARD: f64 = 550.0;
const AT_ONCE: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Message {
    generation: Generation,
    watts: u32,
    doubled: bool,
}

fn gpu() -> DeviceId {
    DeviceId::gpu(0)
}

fn inlet() -> Condition {
    Condition::InletDead(DeviceId::new("pdu-a").expect("an id"))
}

/// What is explored; the broken ones below show that the search finds what is wrong.
trait Subject: Clone + std::fmt::Debug {
    fn new() -> Self;
    fn deliver(&mut self, message: Message, now: Mono);
    fn look(&mut self, dead: bool, now: Mono);
    fn limit(&self, now: Mono) -> Watts;
}

fn order(watts: f64, generation: Generation, lease_ms: u32) -> Order {
    Order { device: gpu(), setting: Setting::PowerLimit(Watts::new(watts)), generation, lease_ms }
}

impl Subject for Failsafe {
    fn new() -> Self {
        Self::new(SAFE, true)
    }

    fn deliver(&mut self, message: Message, now: Mono) {
        let known: BTreeMap<_, _> = [(gpu(), BOUNDS)].into();
        let _ = self.accept(&order(f64::from(message.watts), message.generation, LEASE_MS), &known, now);
        for (when, watts) in [(inlet(), ANSWER), (Condition::NoOrders(UNHEARD_MS), UNHEARD)] {
            let answer = Answer { when, order: order(watts, message.generation, LEASE_MS) };
            let _ = self.prepare(&answer, &known, now);
        }
    }

    fn look(&mut self, dead: bool, now: Mono) {
        let volts = (if dead { 0.0 } else { 230.0 }, Duration::ZERO);
        Self::look(self, |_, signal| (signal == Signal::PduVoltageL1).then_some(volts), |_| false, now);
        self.expire(now);
    }

    fn limit(&self, now: Mono) -> Watts {
        self.effective(&gpu(), BOUNDS, None, now).limit
    }
}

/// Takes whatever comes last, as an agent without generations would.
#[derive(Debug, Clone)]
struct Forgetful(Failsafe, u64);

impl Subject for Forgetful {
    fn new() -> Self {
        Self(Subject::new(), 0)
    }

    fn deliver(&mut self, message: Message, now: Mono) {
        self.1 += 1;
        let generation = Generation { epoch: 9, counter: self.1 };
        self.0.deliver(Message { generation, ..message }, now);
    }

    fn look(&mut self, dead: bool, now: Mono) {
        Subject::look(&mut self.0, dead, now);
    }

    fn limit(&self, now: Mono) -> Watts {
        self.0.limit(now)
    }
}

/// Lets a repeated message renew its lease although a newer one has come.
#[derive(Debug, Clone)]
struct Undying(Option<(Message, Mono)>);

impl Subject for Undying {
    fn new() -> Self {
        Self(None)
    }

    fn deliver(&mut self, message: Message, now: Mono) {
        if self.0.is_none_or(|(held, _)| held.generation <= message.generation) {
            self.0 = Some((message, now));
        }
    }

    fn look(&mut self, _: bool, _: Mono) {}

    fn limit(&self, _: Mono) -> Watts {
        self.0.map_or(SAFE, |(message, _)| Watts::new(message.watts.into()))
    }
}

/// What was delivered to this run of the agent, from which follows what may be in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Truth {
    newest: Option<(Generation, u32, u64)>,
    /// Step at which the inlet was last seen dead, and since when the newest answer is there.
    dead_at: Option<u64>,
}

impl Truth {
    fn live(&self, step: u64) -> Option<u32> {
        let (_, watts, at) = self.newest?;
        let age_ms = (step - at) * STEP_MS;
        let left = if age_ms < u64::from(UNHEARD_MS) { watts } else { watts.min(UNHEARD as u32) };
        (age_ms < u64::from(LEASE_MS)).then_some(left)
    }
}

#[derive(Debug, Clone)]
struct World<S> {
    step: u64,
    agent: S,
    truth: Truth,
    flying: Vec<Message>,
    sent: [usize; 2],
    restarts: u8,
    dead: bool,
    deaths: u8,
}

impl<S: Subject> World<S> {
    fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        format!("{self:?}").hash(&mut hasher);
        hasher.finish()
    }

    fn now(&self) -> Mono {
        Mono::from_ms(self.step * STEP_MS)
    }

    fn deliver(&mut self, message: Message) {
        let now = self.now();
        self.agent.deliver(message, now);
        if self.truth.newest.is_none_or(|(newest, ..)| message.generation >= newest) {
            self.truth.newest = Some((message.generation, message.watts, self.step));
        }
    }

    /// Every world that may come next.
    fn next(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let mut with = |change: &dyn Fn(&mut Self)| {
            let mut world = self.clone();
            change(&mut world);
            // Whatever happened, the agent's loop goes round.
            let (dead, now) = (world.dead, world.now());
            world.agent.look(dead, now);
            if dead {
                world.truth.dead_at = Some(world.step);
            }
            world.flying.sort();
            all.push(world);
        };
        if self.step < STEPS {
            with(&|w| w.step += 1);
        }
        for leader in 0..2 {
            if self.sent[leader] < SENDS.len() && self.flying.len() < AT_ONCE {
                with(&|w| {
                    let counter = w.sent[leader];
                    let generation = Generation { epoch: 1 + leader as u64, counter: counter as u64 };
                    w.flying.push(Message { generation, watts: SENDS[counter] as u32, doubled: false });
                    w.sent[leader] += 1;
                });
            }
        }
        for i in 0..self.flying.len() {
            with(&|w| _ = w.flying.remove(i));
            with(&|w| {
                let message = w.flying.remove(i);
                w.deliver(message);
            });
            if !self.flying[i].doubled {
                with(&|w| {
                    w.deliver(w.flying[i]);
                    w.flying[i].doubled = true;
                });
            }
        }
        if self.restarts == 0 {
            with(&|w| (w.agent, w.truth, w.restarts) = (S::new(), Truth::default(), 1));
        }
        if self.deaths == 0 || self.dead {
            with(&|w| (w.dead, w.deaths) = (!w.dead, 1));
        }
        all
    }

    /// What is wrong, if anything.
    fn fault(&self) -> Option<String> {
        let limit = self.agent.limit(self.now());
        let live = self.truth.live(self.step);
        let allowed = live.map_or(SAFE, |watts| Watts::new(watts.into()));
        if limit > SAFE && live.is_none() {
            return Some(format!("{limit} is above the safe share without a live lease"));
        }
        if limit > allowed {
            return Some(format!("{limit} is more than what holds of the newest Order, {allowed}"));
        }
        if live.is_some() && self.dead && limit > Watts::new(ANSWER) {
            return Some(format!("{limit} in spite of a prepared answer"));
        }
        if limit < BOUNDS.min {
            return Some(format!("{limit} is under the board's least"));
        }
        // Nothing but an answer may hold it lower.
        (limit < allowed && self.truth.dead_at.is_none()).then(|| format!("{limit} though {allowed} is ordered"))
    }
}

/// The number of different worlds, or the first that is wrong and how it came about.
fn explore<S: Subject>() -> Result<usize, String> {
    let first = World {
        step: 0,
        agent: S::new(),
        truth: Truth::default(),
        flying: Vec::new(),
        sent: [0; 2],
        restarts: 0,
        dead: false,
        deaths: 0,
    };
    let mut seen = HashSet::from([first.key()]);
    let mut open = vec![first];
    while let Some(world) = open.pop() {
        if let Some(fault) = world.fault() {
            return Err(format!("{fault}: {world:?}"));
        }
        open.extend(world.next().into_iter().filter(|next| seen.insert(next.key())));
    }
    Ok(seen.len())
}

#[test]
fn no_interleaving_leaves_a_gpu_above_the_safe_share_without_a_live_lease() {
    let worlds = explore::<Failsafe>().unwrap_or_else(|fault| panic!("{fault}"));
    assert!(worlds > 10_000, "only {worlds} worlds were explored");
    eprintln!("{worlds} worlds");
}

#[test]
fn the_search_finds_an_agent_without_generations_and_one_without_leases() {
    let forgetful = explore::<Forgetful>().unwrap_err();
    assert!(forgetful.contains("more than what holds of the newest Order"), "{forgetful}");
    let undying = explore::<Undying>().unwrap_err();
    let words = ["without a live lease", "prepared answer", "what holds of the newest", "though 400 W is ordered"];
    assert!(words.iter().any(|w| undying.contains(w)), "{undying}");
}
