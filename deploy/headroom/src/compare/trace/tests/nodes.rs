//! Which GPU a row is of, and which rack plays it.

use super::{read, smi};

/// Rows of nvidia-smi with columns that say whose they are, `spread_ms` apart within a tick.
fn rows(header: &str, gpus: usize, spread_ms: f64, cells: impl Fn(usize, usize) -> String) -> String {
    let mut text = format!("timestamp, {header}, power.draw [W]\n");
    for tick in 0..700 {
        for gpu in 0..gpus {
            let at = tick as f64 * 0.1 + gpu as f64 * spread_ms / 1000.0;
            text.push_str(&format!("{at:.4}, {}\n", cells(tick, gpu)));
        }
    }
    text
}

#[test]
fn gpus_read_one_after_the_other_are_told_apart_by_their_index_or_uuid() {
    for (header, id) in [("index", ""), ("uuid", "GPU-")] {
        let text = rows(header, 8, 12.5, |_, g| format!("{id}{g}, {} W", 600 + g));
        let trace = &read("even.csv", &text).expect("sound")[0];
        let expected: Vec<f32> = (0..8).map(|g| 600.0 + g as f32).collect();
        assert_eq!(trace.watts[300], expected, "{header}");
        assert!((trace.seconds() - 69.9).abs() < 0.2, "{}", trace.seconds());
    }
}

#[test]
fn rows_too_fast_for_one_gpu_are_told() {
    let text = smi(1, 800, |_, _| "600 W".to_owned()).replace("utilization.gpu", "memory.used");
    assert!(!read("one.csv", &text).expect("sound")[0].notes.iter().any(|n| n.contains("too fast")));
    let text = rows("name", 8, 12.5, |_, g| format!("H100, {} W", 600 + g));
    let notes = &read("even.csv", &text).expect("sound")[0].notes;
    assert!(notes.iter().any(|n| n.contains("record index or uuid")), "{notes:?}");
}

#[test]
fn two_nodes_in_one_file_are_sixteen_gpus_whichever_comes_first_and_racks_play_both() {
    let text = |swapped: bool| {
        rows("hostname, index", 16, 1.0, move |_, g| {
            let g = if swapped { (g + 8) % 16 } else { g };
            format!("node{}, {}, {} W", g / 8, g % 8, 600 + g)
        })
    };
    let trace = read("nodes.csv", &text(false)).expect("sound").remove(0).parted(8);
    assert_eq!(trace.watts[300], read("nodes.csv", &text(true)).expect("sound")[0].watts[300]);
    assert!(trace.notes.iter().any(|n| n.contains("16 GPUs are played in 2 groups of 8")), "{:?}", trace.notes);
    assert_eq!((trace.of_rack(0)[300][0], trace.of_rack(1)[300][0]), (600.0, 608.0));
    // Racks of one band, every third, do not all play the same group.
    assert!((0..12).step_by(3).any(|rack| trace.of_rack(rack)[300][0] != 600.0));
}

#[test]
fn nodes_are_told_apart_by_their_name_alone_too() {
    let text = rows("hostname", 6, 1.0, |_, g| format!("node{}, {} W", g % 2, 600 + g));
    let trace = &read("nodes.csv", &text).expect("sound")[0];
    assert_eq!(trace.watts[300], [600.0, 602.0, 604.0, 601.0, 603.0, 605.0]);
}

#[test]
fn nodes_that_were_recorded_one_after_the_other_in_the_file_are_laid_side_by_side() {
    let half = |node: usize| {
        let text = rows("host, index", 2, 1.0, move |_, g| format!("n{node}, {g}, {} W", 500 + 100 * node + g));
        if node == 0 { text } else { text.split_once('\n').expect("a header").1.to_owned() }
    };
    let trace = &read("joined.csv", &(half(0) + &half(1))).expect("sound")[0];
    assert_eq!(trace.watts[300], [500.0, 501.0, 600.0, 601.0]);
    assert!(trace.seconds() < 71.0, "{}", trace.seconds());
}

#[test]
fn nodes_that_are_not_told_apart_are_refused() {
    let text = rows("index", 16, 1.0, |_, g| format!("{}, 600 W", g % 8));
    let why = read("nodes.csv", &text).expect_err("two of each");
    assert!(why.contains("add a column hostname or uuid"), "{why}");
}

#[test]
fn a_gpu_that_gives_no_reading_is_left_out_and_one_that_begins_late_has_its_first() {
    let text = rows("index", 3, 1.0, |tick, g| match g {
        0 => "0, 500 W".to_owned(),
        1 => "1, [N/A]".to_owned(),
        _ if tick < 300 => "2, [N/A]".to_owned(),
        _ => "2, 400 W".to_owned(),
    });
    let trace = &read("late.csv", &text).expect("sound")[0];
    assert_eq!(trace.watts[10], [500.0, 400.0]);
    for said in ["1 GPU(s) without any reading", "1 of 3 recordings in it begin later", "1000 reading(s) absent"] {
        assert!(trace.notes.iter().any(|n| n.contains(said)), "{said}: {:?}", trace.notes);
    }
}
