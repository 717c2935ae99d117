//! From an event to the limits on every GPU of a row, through agents, bus, controller and back, all on one
//! machine, with the parts of that time. Prints one JSON line. What is seen on the bus is seen by a client of its
//! own, what is set by the plant.
//!
//! * `overload`: the load creeps over what the last Plan lets flow through a row breaker.
//! * `load_target`: a signed DSX Flex target, from its publication.
//! * `feed_lost`: a UPS fails; from the first Snapshot that shows it, with the answers that lie ready.
//! * `rack_local`: overload at a rack's own breakers, from the meter's answer, without a controller.

mod bus;
mod driver;
mod local;
mod row;
mod tap;

use bus::{Bus, Heard};
use headroom_tests::row::Row;
use row::{Gpus, Partner, all_back, creeping, steady};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What can be measured.
const KINDS: [&str; 4] = ["load_target", "feed_lost", "overload", "rack_local"];
/// How long one sample may take.
const GIVE_UP: Duration = Duration::from_secs(60);
/// Orders of one Plan to several racks pass within this.
const ONE_PLAN: Duration = Duration::from_millis(100);

/// What is asked for on the command line.
struct Asked {
    samples: usize,
    only: Option<String>,
    trace: bool,
}

impl Asked {
    fn read() -> Result<Self, String> {
        let mut asked = Self { samples: 20, only: None, trace: false };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut next = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--samples" => asked.samples = number(&next()?)?,
                "--only" => {
                    let kind = next()?;
                    let known = KINDS.contains(&kind.as_str());
                    asked.only =
                        Some(known.then_some(kind).ok_or(format!("--only takes one of {}", KINDS.join(", ")))?);
                }
                "--trace" => asked.trace = true,
                other => asked.samples = number(other)?,
            }
        }
        Ok(asked)
    }

    fn wants(&self, kind: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == kind)
    }

    /// As many samples of a kind as are asked for.
    fn take(&self, kind: &str, mut sample: impl FnMut(usize) -> Vec<Value>) -> Vec<Value> {
        let mut all = Vec::new();
        while self.wants(kind) && all.len() < self.samples {
            for one in sample(all.len()) {
                eprintln!("{kind} {} of {}: {one}", all.len() + 1, self.samples);
                all.push(one);
            }
        }
        all
    }
}

fn number(word: &str) -> Result<usize, String> {
    word.parse().ok().filter(|n| *n > 0).ok_or(format!("{word:?} is no number of samples"))
}

fn main() {
    let usage = format!("reaction [--samples N] [--only {}] [--trace]", KINDS.join("|"));
    if std::env::args().any(|word| matches!(word.as_str(), "-h" | "--help")) {
        println!("From an event at a row to the limits on every GPU of it.\n\n{usage}");
        return;
    }
    let asked = Asked::read().unwrap_or_else(|why| {
        eprintln!("{why}\n{usage}");
        std::process::exit(2)
    });
    let mut line = serde_json::Map::new();
    let mut tell = |kind: &str, samples: Vec<Value>| line.insert(kind.to_owned(), summary(&samples));
    if asked.wants("load_target") || asked.wants("feed_lost") {
        let (mut row, partner) = steady();
        let bus = Bus::listen(&row.plant.broker);
        tell("load_target", asked.take("load_target", |_| vec![load_target(&row, &bus, &partner)]));
        let feed = |n: usize| if n.is_multiple_of(2) { "a" } else { "b" };
        tell("feed_lost", asked.take("feed_lost", |n| vec![feed_lost(&row, &bus, feed(n), asked.trace)]));
        row.end();
    }
    if asked.wants("overload") {
        let mut row = creeping();
        let bus = Bus::listen(&row.plant.broker);
        tell("overload", asked.take("overload", |_| vec![overload(&row, &bus)]));
        row.end();
    }
    tell("rack_local", asked.take("rack_local", |_| local::round()));
    line.retain(|kind, _| asked.wants(kind));
    println!("{}", Value::Object(line));
}

/// Median, p99 and maximum of each part.
fn summary(samples: &[Value]) -> Value {
    let parts: std::collections::BTreeSet<&String> =
        samples.iter().filter_map(Value::as_object).flat_map(|o| o.keys()).collect();
    let mut all = json!({ "samples": samples.len() });
    for part in parts {
        let mut values: Vec<f64> = samples.iter().filter_map(|s| s[part].as_f64()).collect();
        values.sort_by(f64::total_cmp);
        let at = |q: f64| values.get((q * values.len().saturating_sub(1) as f64).ceil() as usize).copied();
        all[part] = json!({ "median": at(0.5), "p99": at(0.99), "max": at(1.0) });
    }
    all
}

pub(crate) fn ms(from: Instant, to: Option<Instant>) -> Value {
    to.map_or(Value::Null, |to| json!((to.saturating_duration_since(from).as_secs_f64() * 1e4).round() / 10.0))
}

/// The last of the first Orders to each rack that lower it, after `from`.
fn ordered(bus: &Bus, from: Instant) -> Option<Instant> {
    let heard = bus.since(from);
    let of = |rack: &String| {
        heard
            .iter()
            .find(|h| matches!(&h.what, Heard::Orders { rack: r, lowered, .. } if r == rack && !lowered.is_empty()))
            .map(|h| h.at)
    };
    bus.racks().iter().map(of).collect::<Option<Vec<_>>>()?.into_iter().max()
}

fn load_target(row: &Row, bus: &Bus, partner: &Partner) -> Value {
    all_back(row);
    let mut gpus = Gpus::now(row);
    let from = bus.publish(&partner.topic(), partner.target(Some(13.4)));
    let done = gpus.watch(row, GIVE_UP);
    let orders = ordered(bus, from);
    bus.publish(&partner.topic(), partner.target(None));
    assert!(done, "a GPU was not lowered:\n{}", row.logs());
    let (set, enforced) = gpus.last(|_, _| true);
    json!({
        "ms": ms(from, set), "decided_and_ordered_ms": ms(from, orders),
        "set_by_agents_ms": orders.map_or(Value::Null, |orders| ms(orders, set)),
        "settling_ms": set.map_or(Value::Null, |set| ms(set, enforced)),
    })
}

fn feed_lost(row: &Row, bus: &Bus, feed: &str, trace: bool) -> Value {
    all_back(row);
    let mut gpus = Gpus::now(row);
    let begun = Instant::now();
    row.plant.fault("ups_lost", &format!("ups-{feed}"), None);
    let done = gpus.watch(row, GIVE_UP);
    row.plant.fault("clear", &format!("ups-{feed}"), None);
    assert!(done, "a GPU was not lowered:\n{}", row.logs());
    let other = if feed == "a" { "pdu-b" } else { "pdu-a" };
    let told = bus.first_step(begun, other);
    let (set, enforced) = gpus.last(|_, _| true);
    let told_at = told.unwrap_or(begun);
    let orders = ordered(bus, told_at);
    if trace {
        tell_all(bus, &gpus, told_at, set);
    }
    json!({
        "from_loss_ms": ms(begun, set), "read_and_told_ms": ms(begun, told), "ms": ms(told_at, set),
        "decided_and_ordered_ms": ms(told_at, orders),
        "first_rack_set_ms": ms(told_at, bus.racks().iter().filter_map(|rack| Some(gpus.of(rack)?.1)).min()),
        "settling_ms": set.map_or(Value::Null, |set| ms(set, enforced)),
    })
}

/// Everything that passed around an event, for who looks for lost time.
fn tell_all(bus: &Bus, gpus: &Gpus, told: Instant, set: Option<Instant>) {
    let since = |at: Instant| {
        let before = told.saturating_duration_since(at).as_secs_f64();
        (at.saturating_duration_since(told).as_secs_f64() - before) * 1e3
    };
    for message in bus
        .since(told - Duration::from_millis(150))
        .iter()
        .filter(|m| set.is_none_or(|set| m.at <= set + Duration::from_millis(300)))
    {
        eprintln!("{:8.1} ms  {:?}", since(message.at), message.what);
    }
    for rack in bus.racks() {
        let [first, last] = gpus.of(&rack).map_or([f64::NAN; 2], |(first, last)| [first, last].map(since));
        eprintln!("{first:8.1} to {last:.1} ms  the GPUs of {rack} set");
    }
}

fn overload(row: &Row, bus: &Bus) -> Value {
    row::low(row);
    let begun = Instant::now();
    let Some((over, mut gpus)) = row::over_its_limit(row, GIVE_UP) else {
        // Caps came before the load: nothing ever flowed beyond what a Plan allowed.
        return json!({ "anticipated": 1 });
    };
    gpus.watch(row, row::watched());
    let lowered: Vec<(Instant, String, Vec<u64>)> = bus
        .since(over)
        .into_iter()
        .filter_map(|m| match m.what {
            Heard::Orders { rack, lowered, .. } if !lowered.is_empty() => Some((m.at, rack, lowered)),
            _ => None,
        })
        .collect();
    assert!(!lowered.is_empty(), "no rack was lowered {:?} after the start:\n{}", begun.elapsed(), row.logs());
    // The Orders of one Plan leave together. As the load creeps on, later ones lower others.
    let first = lowered[0].0;
    let plan = || lowered.iter().take_while(|(at, ..)| at.duration_since(first) < ONE_PLAN);
    let orders = plan().map(|(at, ..)| *at).max();
    let is_meant = |rack: &str, gpu: u64| plan().any(|(_, r, gpus)| r == rack && gpus.contains(&gpu));
    let (set, enforced) = gpus.last(is_meant);
    json!({
        "ms": ms(over, enforced), "read_decided_and_ordered_ms": ms(over, orders),
        "set_by_agents_ms": orders.map_or(Value::Null, |orders| ms(orders, set)),
        "settling_ms": set.map_or(Value::Null, |set| ms(set, enforced)),
    })
}
