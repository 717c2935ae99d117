//! Power over time: `time_s,power_watts`, or what `headroom-sim trace` writes, which has a rack and
//! the limits that were in force.

use super::merge::merge;
use super::rows::{Drawn, highest, rows, scale, without_slips};
use super::table::{TIMES, Table, watts};
use super::time::seconds;
use super::{Mistake, Reading, Tick, Trace};
use headroom_sim::plant::spec::GpuSpec;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A rack that draws this share of its limits may have wanted more.
const HELD: f64 = 0.92;
/// What a rack of the simulator draws besides its GPUs, W, and what its PDUs pass on.
const OVERHEAD_WATTS: f64 = 1500.0;
const PASSED_ON: f64 = 0.98;

#[derive(Default)]
struct Rack {
    drawn: Vec<Drawn>,
    limit_watts: f64,
    held: usize,
}

pub(super) fn read(table: &Table, name: String, reading: &Reading) -> Result<Vec<Trace>, Vec<Mistake>> {
    let (Some(time), Some(power)) = (table.first_of(&TIMES), table.column("power_watts")) else {
        return Err(vec![(1, "there is no column time_s or timestamp beside power_watts".to_owned())]);
    };
    let (rack, limit) = (table.column("rack"), table.column("limit_watts"));
    let mut racks: BTreeMap<String, Rack> = BTreeMap::new();
    let mut mistakes = Vec::new();
    for (line, cells) in &table.rows {
        let cell = |column: usize| cells.get(column).map_or("", String::as_str);
        let of = racks.entry(rack.map_or(String::new(), |c| cell(c).to_owned())).or_default();
        let limit = limit.map(|c| watts(cell(c))).transpose().map(Option::flatten);
        match (seconds(cell(time)), watts(cell(power)), limit) {
            (Ok(at), Ok(power), Ok(limit)) => match of.drawn.last() {
                Some(last) if at <= last.time_s => {
                    let time = &table.columns[time];
                    mistakes
                        .push((*line, format!("{time} = {at} does not follow {} of line {}", last.time_s, last.line)));
                }
                _ => {
                    let gpus = |all: f64| (all * PASSED_ON - OVERHEAD_WATTS).max(0.0);
                    if let Some(limit) = limit {
                        of.limit_watts = of.limit_watts.max(limit);
                        of.held += usize::from(power.is_some_and(|power| gpus(power) > limit * HELD));
                    }
                    let watts = power.map(|power| if limit.is_some() { gpus(power) } else { power });
                    of.drawn.push(Drawn { line: *line, time_s: at, watts });
                }
            },
            (time, power, limit) => {
                let wrong = [time.err(), power.err(), limit.err()];
                mistakes.extend(wrong.into_iter().flatten().map(|m| (*line, m)));
            }
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    racks.into_iter().map(|(id, rack)| trace(&name, &id, rack, reading)).collect()
}

fn trace(file: &str, id: &str, mut rack: Rack, reading: &Reading) -> Result<Trace, Vec<Mistake>> {
    let mut notes = Vec::new();
    without_slips(std::slice::from_mut(&mut rack.drawn), 0.0, &mut notes);
    let absent = rack.drawn.iter().filter(|d| d.watts.is_none()).count();
    let tick = |d: &Drawn| Tick { line: d.line, time_s: d.time_s, watts: vec![d.watts.map_or(f32::NAN, |w| w as f32)] };
    let ticks = merge(&[rack.drawn.iter().map(tick).collect()], &mut Vec::new());
    let first = rack.drawn.first().map_or(1, |d| d.line);
    if absent == rack.drawn.len() {
        return Err(vec![(first, "no reading from here on is a number of watts".to_owned())]);
    }
    let mut rows = rows(&ticks, &mut notes)?;
    if absent > 0 {
        notes.push(format!("{absent} reading(s) absent, the value before taken"));
    }
    if rack.held > 0 {
        let share = 100.0 * rack.held as f64 / rack.drawn.len() as f64;
        notes.push(format!(
            "limits held it in {share:.0} % of the readings: what it wanted there is not known, what it drew is taken"
        ));
    }
    if highest(&rows) <= 0.0 {
        return Err(vec![(first, "no reading is above 0 W".to_owned())]);
    }
    let told = Some(rack.limit_watts).filter(|w| *w > 0.0);
    let top = reading.top_watts.or(told).unwrap_or_else(|| highest(&rows));
    scale(&mut rows, top, &GpuSpec::h100(), &mut notes);
    let name = if id.is_empty() { file.to_owned() } else { format!("{file}/{id}") };
    let kind = "power of a rack";
    Ok(Trace { name, kind, clock_sensitivity: 0.9, watts: Arc::new(rows), parts: Vec::new(), notes })
}
