//! One `[[rack]]`.

use super::super::document::{Mistakes, Table};
use super::super::value::{one_of, ranged};
use super::names::Cord;
use super::{Feed, Names, Rack, What, id, positive};
use headroom_controller_core::topology::BALANCED;
use headroom_rack::Watts;

pub(super) fn read(table: &Table<'_>, bands: Option<&[String]>, names: &mut Names, m: &Mistakes) -> Option<Rack> {
    let name = table.need::<String>("id", "\"rack-1\"");
    names.take(name.as_ref(), What::Rack, m);
    let example = bands.and_then(|b| b.first()).map_or("training", String::as_str);
    let priority = table.need::<String>("priority", &format!("{example:?}")).and_then(|p| {
        let Some(bands) = bands else { return Some(p.value) };
        let choices: Vec<(&str, &str)> = bands.iter().map(|b| (b.as_str(), b.as_str())).collect();
        one_of(&p, "priority", &choices, m).map(str::to_owned)
    });
    let weight = ranged(table.get("weight"), 1.0, 0.001, 1000.0, "weight", m);
    let gpus = table.need::<u64>("gpus", "8").filter(|g| {
        let good = (1..=1024).contains(&g.value);
        if !good {
            m.add(g.at, format!("gpus = {} in one rack", g.value), "write the number of GPUs this rack's agent reads");
        }
        good
    });
    let overhead = ranged(table.need("overhead_watts", "1700"), 0.0, 0.0, 1e6, "overhead_watts", m);
    let gpu_max = positive(table, "gpu_max_watts", "700", m);
    let safe = table.need::<f64>("safe_gpu_watts", "400");
    if let (Some(safe), Some(max)) = (safe, gpu_max)
        && !(safe.value > 0.0 && safe.value <= max)
    {
        let problem = format!("safe_gpu_watts = {} is not between 0 and gpu_max_watts = {max}", safe.value);
        m.add(safe.at, problem, "write what every GPU may draw at once without any breaker tripping");
    }
    let cooling = table.get::<String>("cooling").and_then(|c| id(Some(&c), "cooling", m));
    let coolant_liters =
        table.get::<f64>("coolant_liters").map(|s| ranged(Some(s), 1.0, 0.1, 10_000.0, "coolant_liters", m));
    let feed_tables = table.tables("feeds");
    let feeds: Vec<Feed> = feed_tables.iter().filter_map(|f| feed(f, names, m)).collect();
    table.refuse_unknown();
    let example = "feeds = [{ node = \"breaker-a\", share = 1.0, meter = \"pdu-a\" }]";
    if feed_tables.is_empty() {
        m.add(table.at(), "a rack hangs on nothing", format!("add {example}"));
    } else if feeds.len() == feed_tables.len() {
        for (i, (table, feed)) in feed_tables.iter().zip(&feeds).enumerate() {
            if feeds[..i].iter().any(|other| other.meter == feed.meter) {
                let problem = format!("meter = {:?} is the meter of another feed of this rack", feed.meter.as_str());
                m.add(table.at(), problem, "name the meter of this cord; a meter of both cannot tell them apart");
            }
        }
        let sum: f64 = feeds.iter().map(|f| f.share).sum();
        if (sum - 1.0).abs() > 1e-6 {
            let problem = format!("the shares of the rack's feeds add up to {sum}");
            m.add(feed_tables[0].at(), problem, "let them add up to 1");
        }
    }
    Some(Rack {
        id: id(name.as_ref(), "id", m)?,
        priority: priority?,
        weight,
        gpus: gpus?.value as u32,
        overhead: Watts::new(overhead),
        gpu_max: Watts::new(gpu_max?),
        safe_gpu: Watts::new(safe?.value),
        feeds,
        cooling,
        coolant_liters,
    })
}

fn feed(table: &Table<'_>, names: &mut Names, m: &Mistakes) -> Option<Feed> {
    let node = table.need::<String>("node", "\"breaker-a\"");
    names.hung.extend(node.clone());
    let share = ranged(table.need("share", "0.5"), 1.0, 0.001, 1.0, "share", m);
    let meter = table.need::<String>("meter", "\"pdu-a\"").and_then(|d| id(Some(&d), "meter", m));
    let phases = phases(table, m);
    if let (Some(node), Ok(phases)) = (&node, phases) {
        names.cords.push(Cord { at: table.at(), node: node.value.clone(), phases });
    }
    table.refuse_unknown();
    Some(Feed {
        node: id(node.as_ref(), "node", m)?,
        share,
        meter: meter?,
        phases: phases.ok().flatten().unwrap_or(BALANCED),
    })
}

/// Shares of a cord on L1, L2, L3, if it says: `"L2"` for one phase, `"L1-L2"` for a load between two lines, or three
/// numbers that add up to 1. An error is one that was told.
fn phases(table: &Table<'_>, m: &Mistakes) -> Result<Option<[f64; 3]>, ()> {
    table.ignore(&["phases"]);
    if !table.has("phases") {
        return Ok(None);
    }
    if table.is_text("phases") {
        let spot = table.get::<String>("phases").ok_or(())?;
        let on: Option<Vec<usize>> =
            spot.value.split('-').map(|line| ["L1", "L2", "L3"].iter().position(|l| *l == line)).collect();
        match on.as_deref() {
            Some([one]) => return Ok(Some(std::array::from_fn(|p| if p == *one { 1.0 } else { 0.0 }))),
            // P between two lines is a current of P / (sqrt(3) U) in both, where a phase alone has P / U.
            Some([one, other]) if one != other => {
                let each = 1.0 / 3.0_f64.sqrt();
                return Ok(Some(std::array::from_fn(|p| if p == *one || p == *other { each } else { 0.0 })));
            }
            Some([a, b, c]) if a != b && b != c && a != c => return Ok(Some(BALANCED)),
            _ => {}
        }
        m.add(
            spot.at,
            format!("phases = {:?} is not known", spot.value),
            "write \"L1\", \"L1-L2\", or leave it out for all three",
        );
        return Err(());
    }
    let spot = table.get::<Vec<f64>>("phases").ok_or(())?;
    let sum: f64 = spot.value.iter().sum();
    match <[f64; 3]>::try_from(spot.value.clone()) {
        Ok(shares) if shares.iter().all(|s| *s >= 0.0) && (sum - 1.0).abs() < 1e-3 => Ok(Some(shares.map(|s| s / sum))),
        _ => {
            let remedy = "write three shares of L1, L2, L3 that add up to 1, or \"L1\" for a plug of one phase";
            m.add(spot.at, format!("phases = {:?} are no three shares", spot.value), remedy);
            Err(())
        }
    }
}
