//! Files as they come, and as they should not.

mod gaps;
mod nodes;
mod odd;

use super::rows::highest;
use super::*;
use std::io::Write;

fn file(dir: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    if name.ends_with(".gz") {
        let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        zip.write_all(text.as_bytes()).expect("memory");
        std::fs::write(&path, zip.finish().expect("memory")).expect("a file");
    } else {
        std::fs::write(&path, text).expect("a file");
    }
    path
}

fn read(name: &str, text: &str) -> Result<Vec<Trace>, String> {
    let dir = tempfile::tempdir().expect("a folder");
    load(&[file(&dir, name, text)], &Reading::default())
}

/// What nvidia-smi prints of `gpus` GPUs, ten times a second.
fn smi(gpus: usize, ticks: usize, watts: impl Fn(usize, usize) -> String) -> String {
    let mut text = "timestamp, power.draw [W], utilization.gpu [%]\n".to_owned();
    for tick in 0..ticks {
        for gpu in 0..gpus {
            let ms = tick * 101 + gpu * 2;
            let (minutes, rest) = (ms / 60_000, ms % 60_000);
            let stamp = format!("2025/07/27 00:{minutes:02}:{:02}.{:03}", rest / 1000, rest % 1000);
            text.push_str(&format!("{stamp}, {}, 97 %\n", watts(tick, gpu)));
        }
    }
    text
}

#[test]
fn eight_rows_of_nvidia_smi_are_one_tick_of_eight_gpus() {
    for gpus in [1, 2, 8, 16] {
        let text = smi(gpus, 800, |_, gpu| format!("{}.00 W", 100 + gpu));
        let traces = read("node.csv.gz", &text).expect("sound");
        let trace = &traces[0];
        assert_eq!((trace.name.as_str(), trace.watts[0].len()), ("node", gpus));
        assert_eq!(trace.watts[300][gpus - 1], 100.0 + gpus as f32 - 1.0);
        assert!((trace.seconds() - 80.7).abs() < 0.5, "{}", trace.seconds());
    }
}

#[test]
fn a_reading_that_is_absent_is_the_one_before_and_a_file_cut_off_is_read_to_its_end() {
    let mut text = smi(2, 800, |tick, _| if tick == 9 { "[N/A]".to_owned() } else { format!("{tick}") });
    text.push_str("2025/07/27 00:01:2");
    let traces = read("cut.csv", &text).expect("sound");
    assert!(traces[0].notes.iter().any(|n| n.starts_with("2 reading(s) absent")), "{:?}", traces[0].notes);
    assert_eq!(traces[0].watts[300].len(), 2);
}

#[test]
fn mistakes_name_file_and_line_all_at_once() {
    let mut text = "time_s,power_watts\n".to_owned();
    (0..100).for_each(|s| text.push_str(&format!("{s},{}\n", 1000 + s)));
    let text = text.replace("\n7,1007\n", "\n7,NaN\n").replace("\n9,1009\n", "\n9,much\n").replace("\n30,", "\n12,");
    let why = read("bad.csv", &text).expect_err("three mistakes");
    for said in ["bad.csv:9: power \"NaN\"", "bad.csv:11: power \"much\" is not a number", "bad.csv:32: time_s = 12"] {
        assert!(why.contains(said), "{said}: {why}");
    }
}

#[test]
fn files_that_hold_no_trace_say_what_is_missing() {
    for (text, said) in [
        ("", ":1: the file is empty"),
        ("time_s,power_watts\n", ":1: there is a header and no reading"),
        ("a,b\n1,2\n", "give \"timestamp, power.draw [W]\""),
        ("time_s,power_watts\n0,1\n5,1\n", ":3: the readings end here after 5.0 s"),
        ("time_s,power_watts\n0,0\n9,0\n18,0\n27,0\n36,0\n45,0\n54,0\n63,0\n", "no reading is above 0 W"),
    ] {
        let why = read("odd.csv", text).expect_err(said);
        assert!(why.contains(said), "{said}: {why}");
    }
    let why = load(&[PathBuf::from("/nowhere/at-all.csv")], &Reading::default()).expect_err("no file");
    assert!(why.contains("/nowhere/at-all.csv: cannot be opened"), "{why}");
    let why = read("broken.csv.gz", "").map(|_| ()).expect_err("empty");
    assert!(why.contains("broken.csv.gz:1: the file is empty"), "{why}");
}

#[test]
fn a_gap_is_shortened_and_told() {
    let mut text = "time_s,power_watts\n".to_owned();
    (0..60).for_each(|s| text.push_str(&format!("{s},1000\n")));
    (5000..5060).for_each(|s| text.push_str(&format!("{s},2000\n")));
    let trace = &read("gap.csv", &text).expect("sound")[0];
    assert!((trace.seconds() - 128.0).abs() < 0.2, "{}", trace.seconds());
    assert!(trace.notes[0].starts_with("1 gap(s) longer than 10 s, the first before line 62"), "{:?}", trace.notes);
    assert_eq!((trace.watts[10][0], trace.watts[1000][0]), (350.0, 700.0));
}

#[test]
fn what_the_simulator_writes_is_a_trace_for_each_rack() {
    let mut bytes = Vec::new();
    let plant = headroom_sim::scenario::Scenario::load(None).expect("valid").plant;
    headroom_sim::trace::write(&plant, 1, 90, &mut bytes).expect("memory");
    let traces = read("row.csv", &String::from_utf8(bytes).expect("text")).expect("sound");
    let names: Vec<&str> = traces.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["row/rack-1", "row/rack-2", "row/rack-3", "row/rack-4"]);
    assert!(traces.iter().all(|t| highest(&t.watts) <= 735.0));
}

#[test]
fn arrivals_become_power_between_idle_and_full() {
    let mut text = "TIMESTAMP,ContextTokens,GeneratedTokens\n".to_owned();
    for i in 0..600 {
        let s = f64::from(i) * 0.2;
        let (m, s) = ((s / 60.0) as u32, s % 60.0);
        text.push_str(&format!("2023-11-16 18:{m:02}:{s:010.7},{},{}\n", 500 + i, 100 + i % 90));
    }
    let trace = &read("arrivals.csv", &text).expect("sound")[0];
    let mean = trace.watts.iter().map(|r| f64::from(r[0])).sum::<f64>() / trace.watts.len() as f64;
    assert!((119.0..121.0).contains(&trace.seconds()) && (250.0..690.0).contains(&mean), "{mean}");
    let why = read("arrivals.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:00:00,12,-3\n");
    assert!(why.expect_err("negative").contains("arrivals.csv:2: generatedtokens = \"-3\""));
}

#[test]
fn generated_traces_repeat_by_seed() {
    assert_eq!(builtin(3)[0].watts[500], builtin(3)[0].watts[500]);
    assert!(builtin(3).iter().all(|t| t.seconds() > 890.0));
}
