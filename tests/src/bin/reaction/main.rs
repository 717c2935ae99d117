//! From an event to the limits on every GPU of a row, through agents, bus, controller and back, all on one
//! machine, with the parts of that time. Prints one JSON line. What is seen on the bus is seen by a client of its
//! own, what is set by the plant.
//!
//! * `overload`: the load creeps over what the last Plan lets flow through a row breaker.
//! * `load_target`: a signed DSX Flex target, from its publication.
//! * `feed_lost`: a UPS fails; from the first Snapshot that shows it, with the answers that lie ready.

mod bus;
mod row;

use bus::{Bus, Heard};
use headroom_tests::row::Row;
use row::{Gpus, Partner, all_back, creeping, steady};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long one sample may take.
const GIVE_UP: Duration = Duration::from_secs(60);
/// Orders of one Plan to several racks pass within this.
const ONE_PLAN: Duration = Duration::from_millis(100);

fn main() {
    let mut words = std::env::args().skip(1);
    let samples: usize = words.next().map_or(20, |n| n.parse().expect("how many samples of each kind"));
    let (mut targets, mut feeds, mut overloads) = (Vec::new(), Vec::new(), Vec::new());
    {
        let (mut row, partner) = steady();
        let bus = Bus::listen(&row.plant.broker);
        for n in 1..=samples {
            targets.push(load_target(&row, &bus, &partner));
            eprintln!("load target {n} of {samples}: {}", targets[n - 1]);
        }
        for n in 1..=samples {
            feeds.push(feed_lost(&row, &bus, if n % 2 == 0 { "b" } else { "a" }));
            eprintln!("feed lost {n} of {samples}: {}", feeds[n - 1]);
        }
        row.end();
    }
    {
        let mut row = creeping();
        let bus = Bus::listen(&row.plant.broker);
        for n in 1..=samples {
            overloads.push(overload(&row, &bus));
            eprintln!("overload {n} of {samples}: {}", overloads[n - 1]);
        }
        row.end();
    }
    let line = json!({
        "overload": summary(&overloads), "load_target": summary(&targets), "feed_lost": summary(&feeds),
    });
    println!("{line}");
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

fn ms(from: Instant, to: Option<Instant>) -> Value {
    to.map_or(Value::Null, |to| json!((to.saturating_duration_since(from).as_secs_f64() * 1e4).round() / 10.0))
}

/// The last of the first Orders to each rack that lower it, after `from`.
fn ordered(bus: &Bus, from: Instant) -> Option<Instant> {
    let heard = bus.since(from);
    let of = |rack: &String| {
        heard.iter().find(|h| matches!(&h.what, Heard::Orders { rack: r, lowered: true } if r == rack)).map(|h| h.at)
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
    let (set, enforced) = gpus.last(&bus.racks());
    json!({
        "ms": ms(from, set), "decided_and_ordered_ms": ms(from, orders),
        "set_by_agents_ms": orders.map_or(Value::Null, |orders| ms(orders, set)),
        "settling_ms": set.map_or(Value::Null, |set| ms(set, enforced)),
    })
}

fn feed_lost(row: &Row, bus: &Bus, feed: &str) -> Value {
    all_back(row);
    let mut gpus = Gpus::now(row);
    let begun = Instant::now();
    row.plant.fault("ups_lost", &format!("ups-{feed}"), None);
    let done = gpus.watch(row, GIVE_UP);
    row.plant.fault("clear", &format!("ups-{feed}"), None);
    assert!(done, "a GPU was not lowered:\n{}", row.logs());
    let other = if feed == "a" { "pdu-b" } else { "pdu-a" };
    let told = bus.first_step(begun, other);
    let (set, enforced) = gpus.last(&bus.racks());
    let told_at = told.unwrap_or(begun);
    let orders = ordered(bus, told_at);
    json!({
        "from_loss_ms": ms(begun, set), "read_and_told_ms": ms(begun, told), "ms": ms(told_at, set),
        "decided_and_ordered_ms": ms(told_at, orders), "settling_ms": set.map_or(Value::Null, |set| ms(set, enforced)),
    })
}

fn overload(row: &Row, bus: &Bus) -> Value {
    row::low(row);
    let begun = Instant::now();
    let Some((over, mut gpus)) = row::over_its_limit(row, GIVE_UP) else {
        // Caps came before the load: nothing ever flowed beyond what a Plan allowed.
        return json!({ "anticipated": 1 });
    };
    gpus.watch(row, row::watched());
    let lowered: Vec<(Instant, String)> = bus
        .since(over)
        .into_iter()
        .filter_map(|m| match m.what {
            Heard::Orders { rack, lowered: true } => Some((m.at, rack)),
            _ => None,
        })
        .collect();
    assert!(!lowered.is_empty(), "no rack was lowered {:?} after the start:\n{}", begun.elapsed(), row.logs());
    // The Orders of one Plan leave together.
    let first = lowered[0].0;
    let plan = lowered.iter().take_while(|(at, _)| at.duration_since(first) < ONE_PLAN);
    let (racks, orders): (Vec<String>, Vec<Instant>) = plan.map(|(at, rack)| (rack.clone(), *at)).unzip();
    let orders = orders.into_iter().max();
    let (set, enforced) = gpus.last(&racks);
    json!({
        "ms": ms(over, enforced), "read_decided_and_ordered_ms": ms(over, orders),
        "set_by_agents_ms": orders.map_or(Value::Null, |orders| ms(orders, set)),
        "settling_ms": set.map_or(Value::Null, |set| ms(set, enforced)),
    })
}
