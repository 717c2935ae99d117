//! Arrivals of requests to a language model, made into power by a workload model: the simulator's
//! serving engine with continuous batching (`firmware-sim/src/plant/workload/inference.rs`), at full
//! clock. The engine is sized to the trace: in its busiest minutes prompts fill it to 90 %, and every
//! sequence that then runs at once has a place in its batch. `deploy/README.md` documents it for users.

use super::rows::{LEAST_S, MOST_S};
use super::table::Table;
use super::time::seconds;
use super::{Mistake, STEP_S, Trace};
use headroom_sim::plant::spec::{GpuSpec, InferenceSpec};
use headroom_sim::plant::workload::inference::{Arrival, recorded};
use std::sync::Arc;

/// The minutes that count as busiest: the top twentieth.
const BUSY: f64 = 0.95;
/// How full prompts make the engine then.
const FULL: f64 = 0.9;
/// Room in the batch beyond what runs at once on average.
const ROOM: f64 = 1.3;
const MOST_TOKENS: f64 = 1e7;
/// Tokens of prompts and of answers: as Azure publishes them, and BurstGPT (Wang et al., arXiv 2401.17644).
const PROMPT: &[&str] = &["contexttokens", "request tokens"];
const ANSWER: &[&str] = &["generatedtokens", "response tokens"];

/// Whether it has the columns of arrivals.
pub(super) fn is_known(table: &Table) -> bool {
    table.first_of(PROMPT).is_some() && table.first_of(ANSWER).is_some()
}

pub(super) fn read(table: &Table, name: String) -> Result<Vec<Trace>, Vec<Mistake>> {
    let columns = [table.column("timestamp"), table.first_of(PROMPT), table.first_of(ANSWER)];
    let [Some(time), Some(context), Some(generated)] = columns else {
        return Err(vec![(1, "there is no column timestamp beside the tokens".to_owned())]);
    };
    let (mut arrivals, mut mistakes) = (Vec::<Arrival>::new(), Vec::new());
    let mut start = None;
    for (line, cells) in &table.rows {
        let cell = |column: usize| cells.get(column).map_or("", String::as_str);
        let tokens = |column: usize| {
            let number = cell(column).parse::<f64>().ok().filter(|n| (0.0..=MOST_TOKENS).contains(n));
            number.ok_or_else(|| {
                format!("{} = {:?} is no number of tokens from 0 to 1e7", table.columns[column], cell(column))
            })
        };
        match (seconds(cell(time)), tokens(context), tokens(generated)) {
            (Ok(at), Ok(prompt), Ok(answer)) => {
                let at_s = at - *start.get_or_insert(at);
                arrivals.push(Arrival { at_s, prompt_tokens: prompt.max(1.0), answer_tokens: answer.max(1.0) });
            }
            (time, prompt, answer) => {
                let wrong = [time.err(), prompt.err(), answer.err()];
                mistakes.extend(wrong.into_iter().flatten().map(|m| (*line, m)));
            }
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    arrivals.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    let first = arrivals.first().map_or(0.0, |a| a.at_s);
    arrivals.iter_mut().for_each(|a| a.at_s -= first);
    let seconds = arrivals.last().map_or(0.0, |a| a.at_s);
    let last = table.rows.last().map_or(1, |r| r.0);
    if !(LEAST_S..=MOST_S).contains(&seconds) {
        let text =
            format!("the arrivals span {seconds:.1} s; from {LEAST_S} to {MOST_S} s can be used, cut what is longer");
        return Err(vec![(last, text)]);
    }
    let spec = engine(&arrivals, seconds);
    let gpu = GpuSpec::h100();
    let row = |intensity: f64| {
        let base = if intensity > 0.0 { gpu.loaded_watts } else { gpu.idle_watts };
        vec![(base + (gpu.max_watts - base) * intensity.min(1.0)) as f32]
    };
    let watts = recorded(&arrivals, &spec, STEP_S).into_iter().map(row).collect();
    let notes = vec![format!(
        "{} requests in {seconds:.0} s on an engine of {:.0} prompt tokens a second and {} sequences",
        arrivals.len(),
        spec.prefill_tokens_per_s,
        spec.batch_limit
    )];
    let kind = "arrivals through a serving engine";
    Ok(vec![Trace { name, kind, clock_sensitivity: 0.6, watts: Arc::new(watts), parts: Vec::new(), notes }])
}

/// An engine for the trace's busiest minutes.
fn engine(arrivals: &[Arrival], seconds: f64) -> InferenceSpec {
    let minutes = (seconds / 60.0).ceil().max(1.0) as usize;
    let busiest = |value: fn(&Arrival) -> f64| {
        let mut sums = vec![0.0; minutes];
        for arrival in arrivals {
            sums[((arrival.at_s / 60.0) as usize).min(minutes - 1)] += value(arrival);
        }
        sums.sort_by(f64::total_cmp);
        sums[((minutes - 1) as f64 * BUSY) as usize] / 60.0
    };
    let typical = InferenceSpec::typical();
    let running = busiest(|a| a.answer_tokens) / typical.decode_tokens_per_s;
    InferenceSpec {
        requests_per_s: arrivals.len() as f64 / seconds,
        prefill_tokens_per_s: (busiest(|a| a.prompt_tokens) / FULL).max(100.0),
        decode_tokens_per_s: typical.decode_tokens_per_s,
        batch_limit: ((running * ROOM).ceil() as usize).max(4),
    }
}
