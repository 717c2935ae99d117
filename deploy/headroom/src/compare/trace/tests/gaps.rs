//! Times: slow sampling, gaps, other units.

use super::read;

fn every(step_s: f64, count: usize) -> String {
    let line = |i: usize| format!("{},{}\n", i as f64 * step_s, 1000 + i % 7);
    "time_s,power_watts\n".to_owned() + &(0..count).map(line).collect::<String>()
}

#[test]
fn slow_sampling_keeps_its_length_and_is_told() {
    let trace = &read("slow.csv", &every(15.0, 241)).expect("sound")[0];
    assert!((trace.seconds() - 3600.0).abs() < 0.2, "{}", trace.seconds());
    assert!(
        trace.notes.iter().any(|n| n == "a reading every 15 s: what swings faster is not in it"),
        "{:?}",
        trace.notes
    );
    assert!(!trace.notes.iter().any(|n| n.contains("gap(s)")), "{:?}", trace.notes);
}

#[test]
fn a_gap_in_slow_sampling_is_measured_against_what_is_usual() {
    let late = every(15.0, 100) + "2000,1000\n2015,1000\n";
    let trace = &read("slow.csv", &late).expect("sound")[0];
    assert!(trace.notes[0].starts_with("1 gap(s) longer than 45 s"), "{:?}", trace.notes);
}

#[test]
fn recordings_of_hours_apart_or_mostly_of_gaps_are_refused() {
    let why = read("hours.csv", &every(1000.0, 100)).expect_err("too slow");
    assert!(why.contains("hours.csv:3: readings come every 1000 s; at most every 120 s"), "{why}");
    let line = |i: usize| format!("{},1000\n", i / 3 * 60 + i % 3);
    let text = "time_s,power_watts\n".to_owned() + &(0..99).map(line).collect::<String>();
    let why = read("holes.csv", &text).expect_err("holes");
    assert!(why.contains("holes.csv:5: 32 of 99 readings come more than 10 s after"), "{why}");
}

#[test]
fn milliseconds_since_1970_are_read_as_such_and_told() {
    let line = |i: usize| format!("{}, {} W\n", 1_753_575_747_000_u64 + i as u64 * 1000, 300 + i);
    let text = "timestamp,power.draw [W]\n".to_owned() + &(0..200).map(line).collect::<String>();
    let trace = &read("epoch.csv", &text).expect("sound")[0];
    assert!((trace.seconds() - 199.0).abs() < 0.2, "{}", trace.seconds());
    assert!(trace.notes.iter().any(|n| n.contains("taken for milliseconds since 1970")), "{:?}", trace.notes);
}

#[test]
fn dates_of_several_zones_follow_each_other_in_time() {
    let line = |i: usize| match i {
        0..60 => format!("2025-09-03T10:00:{i:02}-05:00, 300\n"),
        _ => format!("2025-09-03T16:01:{:02}+01:00, 300\n", i - 60),
    };
    let text = "timestamp, power.draw [W]\n".to_owned() + &(0..120).map(line).collect::<String>();
    assert!((read("zones.csv", &text).expect("sound")[0].seconds() - 119.0).abs() < 0.2);
}
