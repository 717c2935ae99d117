//! Files that are nearly what they should be, boards of another size, and files of one name.

use super::super::*;
use super::{file, read, smi};

#[test]
fn boards_are_scaled_by_the_limit_that_the_file_tells_and_otherwise_it_is_noted() {
    let limited = |limit: &str| {
        smi(8, 700, |_, _| "385.5 W".to_owned())
            .replace("utilization.gpu [%]", "power.limit [W]")
            .replace("97 %", limit)
    };
    let trace = &read("a100.csv", &limited("400.00 W")).expect("sound")[0];
    assert_eq!(trace.watts[300][0], 385.5 / 400.0 * 700.0);
    assert!(trace.notes.iter().any(|n| n.starts_with("400 W in the file count as 700 W")), "{:?}", trace.notes);
    for same in ["700.00 W", "[N/A]"] {
        assert_eq!(read("h100.csv", &limited(same)).expect("sound")[0].watts[300][0], 385.5);
    }
    let notes = &read("a100.csv", &smi(8, 700, |_, _| "385.5 W".to_owned())).expect("sound")[0].notes;
    assert!(notes.iter().any(|n| n.contains("highest reading is 386 W") && n.contains("--top-watts")), "{notes:?}");
}

#[test]
fn one_reading_far_above_all_others_scales_nothing_and_is_told_with_its_line() {
    let line = |i: usize| format!("{i},{}\n", if i == 77 { 3_000_000 } else { 3000 });
    let text = "time_s,power_watts\n".to_owned() + &(0..200).map(line).collect::<String>();
    let trace = &read("huge.csv", &text).expect("sound")[0];
    assert!(trace.watts.iter().all(|row| row[0] == 700.0));
    assert!(trace.notes.iter().any(|n| n.contains("the first 3000000 W on line 79")), "{:?}", trace.notes);
    // A short peak of a GPU that idles is none.
    let text = smi(1, 1200, |tick, _| if tick == 500 { "690 W".to_owned() } else { "75 W".to_owned() });
    assert_eq!(super::highest(&read("peak.csv", &text).expect("sound")[0].watts), 690.0);
}

#[test]
fn nothing_but_zeros_or_absent_readings_is_refused() {
    for (watts, said) in
        [("0 W", "no reading from here on is above 0 W"), ("[N/A]", "no reading from here on is a number")]
    {
        let why = read("none.csv", &smi(2, 700, |_, _| watts.to_owned())).expect_err(said);
        assert!(why.contains("none.csv:2: ") && why.contains(said), "{why}");
    }
}

#[test]
fn a_negative_reading_is_a_mistake_on_the_last_line_too() {
    for end in ["\n", ""] {
        let text = smi(2, 700, |_, _| "300 W".to_owned()).replace(", utilization.gpu [%]", "").replace(", 97 %", "");
        let why = read("neg.csv", &(text + "2025/07/27 00:01:20.000, -5 W" + end)).expect_err("negative");
        assert!(why.contains("neg.csv:1402: power \"-5 W\" is no power"), "{why}");
    }
}

#[test]
fn a_file_cut_off_anywhere_in_its_last_line_is_read_to_the_line_before() {
    let power = smi(2, 700, |_, _| "300.25 W".to_owned());
    let last_is_time = "power.draw [W], timestamp\n".to_owned()
        + &(0..70).map(|s| format!("300 W, 2025/07/27 00:{:02}:{:02}.000\n", 10 + s / 60, s % 60)).collect::<String>();
    let arrivals = "TIMESTAMP,ContextTokens,GeneratedTokens\n".to_owned()
        + &(0..300).map(|i| format!("{},{},{}\n", f64::from(i) * 0.5, 500 + i, 90)).collect::<String>();
    for text in [power, last_is_time, arrivals] {
        let whole = read("whole.csv", &text).expect("sound");
        let last = text.trim_end().rfind('\n').expect("lines") + 1;
        for end in last + 1..text.len() - 4 {
            let cut = read("cut.csv", &text[..end]).unwrap_or_else(|why| panic!("{:?}: {why}", &text[last..end]));
            let note = format!("the last line, {}, is cut off and left out", text.lines().count());
            assert!(cut[0].notes.contains(&note) || end > text.len() - 7, "{:?}: {:?}", &text[last..end], cut[0].notes);
            assert!((cut[0].seconds() - whole[0].seconds()).abs() < 1.1);
        }
    }
}

#[test]
fn what_is_no_gzip_or_half_of_one_says_so_and_what_to_do() {
    let dir = tempfile::tempdir().expect("a folder");
    let text = smi(2, 700, |tick, gpu| format!("{} W", 300 + tick * 7 % 13 + gpu));
    let whole = file(&dir, "whole.csv.gz", &text);
    let bytes = std::fs::read(&whole).expect("a file");
    let put = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        load(&[path], &Reading::default()).map(|t| t[0].name.clone())
    };
    assert!(
        put("half.csv.gz", &bytes[..bytes.len() / 2])
            .expect_err("half")
            .contains("cut off inside its gzip; fetch it again")
    );
    assert!(put("text.csv.gz", b"a,b\n1,2\n").expect_err("text").contains("text.csv.gz: is not gzip although"));
    assert_eq!(put("RUN.CSV.GZ", &bytes), Ok("RUN".to_owned()));
    assert_eq!(put("zipped.csv", &bytes), Ok("zipped".to_owned()));
}

#[test]
fn a_header_that_comes_again_is_skipped() {
    let text = smi(2, 400, |_, _| "300 W".to_owned());
    let again = text.clone()
        + text.lines().next().expect("a header")
        + "\n"
        + &text.lines().skip(1).map(|l| format!("{}\n", l.replace("27 00:00", "27 00:01"))).collect::<String>();
    let notes = &read("again.csv", &again).expect("sound")[0].notes;
    assert!(notes.contains(&"1 repeated header(s) left out".to_owned()), "{notes:?}");
}

#[test]
fn other_columns_of_the_same_are_known() {
    let power: String = (0..100).map(|i| format!("2023-11-16 18:{:02}:{:02},300\n", 15 + i / 60, i % 60)).collect();
    assert!(read("iso.csv", &("timestamp,power_watts\n".to_owned() + &power)).is_ok());
    let line = |i: u32| format!("{},ChatGPT,{},{},{},Conversation log\n", i / 2, 500 + i, 100, 600 + i);
    let burst = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n".to_owned()
        + &(0..200).map(line).collect::<String>();
    assert_eq!(read("burst.csv", &burst).expect("sound")[0].kind, "arrivals through a serving engine");
}

#[test]
fn files_of_one_name_are_told_apart_by_their_folder() {
    let dir = tempfile::tempdir().expect("a folder");
    let text = smi(2, 700, |_, _| "300 W".to_owned());
    let mut paths = Vec::new();
    for folder in ["a", "b"] {
        std::fs::create_dir(dir.path().join(folder)).expect("a folder");
        paths.push(file(&dir, &format!("{folder}/run.csv"), &text));
    }
    paths.push(file(&dir, "a/other.csv", &text));
    paths.push(paths[1].clone());
    let traces = load(&paths, &Reading::default()).expect("sound");
    let names: Vec<&str> = traces.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["a/run", "b/run (1)", "other", "b/run (2)"]);
}
