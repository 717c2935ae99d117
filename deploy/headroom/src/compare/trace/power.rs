//! Power over time: `time_s,power_watts`, or what `headroom-sim trace` writes, which has a rack and
//! the limits that were in force.

use super::table::{Table, seconds, watts};
use super::{Mistake, Reading, Tick, Trace, highest, rows, scale};
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
    ticks: Vec<Tick>,
    limit_watts: f64,
    held: usize,
    absent: usize,
}

pub(super) fn read(table: &Table, name: String, reading: &Reading) -> Result<Vec<Trace>, Vec<Mistake>> {
    let (Some(time), Some(power)) = (table.column("time_s"), table.column("power_watts")) else {
        return Err(vec![(1, "there is no column time_s beside power_watts".to_owned())]);
    };
    let (rack, limit) = (table.column("rack"), table.column("limit_watts"));
    let mut racks: BTreeMap<String, Rack> = BTreeMap::new();
    let mut mistakes = Vec::new();
    for (line, cells) in &table.rows {
        let cell = |column: usize| cells.get(column).map_or("", String::as_str);
        let of = racks.entry(rack.map_or(String::new(), |c| cell(c).to_owned())).or_default();
        let limit = limit.map(|c| watts(cell(c))).transpose().map(Option::flatten);
        match (seconds(cell(time)), watts(cell(power)), limit) {
            (Ok(at), Ok(power), Ok(limit)) => match of.ticks.last() {
                Some(last) if at <= last.time_s => {
                    mistakes
                        .push((*line, format!("time_s = {at} does not follow {} of line {}", last.time_s, last.line)));
                }
                last => {
                    let power = power.or(last.map(|l| f64::from(l.watts[0])));
                    of.absent += usize::from(power.is_none());
                    let gpus = limit.map(|_| (power.unwrap_or(0.0) * PASSED_ON - OVERHEAD_WATTS).max(0.0));
                    if let (Some(gpus), Some(limit)) = (gpus, limit) {
                        of.limit_watts = of.limit_watts.max(limit);
                        of.held += usize::from(gpus > limit * HELD);
                    }
                    let watts = vec![gpus.or(power).unwrap_or(0.0) as f32];
                    of.ticks.push(Tick { line: *line, time_s: at, watts });
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
    let gpu = GpuSpec::h100();
    let one = |(id, rack): (String, Rack)| {
        let mut notes = Vec::new();
        let mut rows = rows(&rack.ticks, &mut notes)?;
        if rack.held > 0 {
            let share = 100.0 * rack.held as f64 / rack.ticks.len() as f64;
            notes.push(format!(
                "limits held it in {share:.0} % of the readings: what it wanted there is not known, what it drew is taken"
            ));
        }
        let told = Some(rack.limit_watts).filter(|w| *w > 0.0);
        let top = reading.top_watts.or(told).unwrap_or_else(|| highest(&rows));
        if top <= 0.0 {
            return Err(vec![(rack.ticks[0].line, "no reading is above 0 W".to_owned())]);
        }
        scale(&mut rows, top, &gpu, &mut notes);
        let name = if id.is_empty() { name.clone() } else { format!("{name}/{id}") };
        Ok(Trace { name, kind: "power of a rack", clock_sensitivity: 0.9, watts: Arc::new(rows), notes })
    };
    racks.into_iter().map(one).collect()
}
