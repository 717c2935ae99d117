//! A training from its beginning to a model in use, and every way in which it ends before. The
//! trainer is a script that leaves the shipped model behind, or does not.

use super::*;
use crate::config;
use crate::learning::{Learning as Steward, NotNow};
use headroom_predict::Standing;
use std::time::Instant;

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models");

struct Bench {
    dir: tempfile::TempDir,
    forecaster: Forecaster,
    steward: Option<Steward>,
}

impl Bench {
    /// `fit` and `compare` are shell commands; `$out` is the run folder, `$models` the shipped ones.
    fn new(fit: &str, compare: &str, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("trainer");
        let text = format!(
            "#!/bin/sh\nmodels={MODELS}\nshift\ncase $1 in\nfit) out=$3; {fit} ;;\ncompare) {compare} ;;\nesac\n"
        );
        std::fs::write(&program, text).unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let config = config::DEFAULT.replace("dir = \"record\"", &format!("dir = {:?}", dir.path()))
            + &format!("\n[learning]\nevery_hours = 0\nshadow_minutes = 0.01\nprogram = {program:?}\n{more}\n");
        let config = Arc::new(config::parse("c", &config).unwrap());
        let forecaster = Forecaster::start(&config.model, Duration::from_secs(60)).unwrap();
        let steward = Some(Steward::start(&config, Clock::start(), &forecaster).unwrap());
        Self { dir, forecaster, steward }
    }

    fn handle(&self) -> Handle {
        self.steward.as_ref().unwrap().handle()
    }

    fn until(&self, what: &str, good: impl Fn(&super::super::Shown) -> bool) -> super::super::Shown {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let shown = self.handle().shown();
            if good(&shown) {
                return shown;
            }
            assert!(Instant::now() < end, "waited in vain for {what}: {shown:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn ended(&self, how: &str) -> String {
        let shown = self.until(how, |s| s.phase == Phase::Rest && s.trainings.contains_key(how));
        let (last, notes) = (shown.last.unwrap(), self.handle().take_notes());
        assert!(notes.contains(&last), "not in the audit log: {last}; it has {notes:?}");
        last
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.steward.take().unwrap().stop();
    }
}

const LEAVE_A_MODEL: &str = "cp $models/rack-power.onnx $out/model.onnx; cp $models/rack-power.manifest.json $out/manifest.json; cp $models/rack-power.probes.json $out/probes.json";
const BETTER: &str =
    "echo '{\"better\": true, \"methods\": [{\"name\": \"m/1\", \"all\": {\"pinball_watts\": 10.5}}]}'";

fn standing(pinball_watts: f64, outcomes: f64) -> Option<Standing> {
    Some(Standing { outcomes, pinball_watts, mae_watts: 1.0, coverage: vec![0.5, 0.9, 0.99] })
}

#[test]
fn a_better_model_is_promoted_after_its_shadow_and_a_step_back_takes_it_out_again() {
    let bench = Bench::new(LEAVE_A_MODEL, BETTER, "");
    let duel = [standing(10.0, 4000.0), standing(20.0, 4000.0), standing(30.0, 4000.0)];
    bench.handle().report(Report { duel, ..Report::default() });
    bench.handle().command(Command::Now).unwrap();
    bench.until("the shadow", |s| s.phase == Phase::Shadow);
    assert!(bench.forecaster.challenger().is_some());
    assert_eq!(bench.handle().command(Command::Now), Err(NotNow::Busy(Phase::Shadow)));
    let words = bench.ended("promoted");
    assert!(words.contains("is in use: pinball loss 10.0 W, the baseline's 30.0 W"), "{words}");
    assert!(bench.forecaster.challenger().is_none());
    let store = Store::new(&bench.dir.path().join("learning/models"));
    assert!(store.pointer().unwrap().unwrap().champion.is_some());
    bench.handle().command(Command::Back).unwrap();
    let shown = bench.until("the step back", |s| s.demotions == 1);
    assert!(shown.last.unwrap().contains("somebody asked to go back"));
    assert_eq!(store.pointer().unwrap().unwrap().champion, None);
    assert!(shown.champion.is_some(), "the shipped model serves again");
    bench.handle().command(Command::Back).unwrap();
    let shown = bench.until("the baseline", |s| s.demotions == 2);
    assert_eq!((shown.champion, bench.forecaster.champion().is_none()), (None, true));
}

#[test]
fn a_model_that_is_worse_on_the_record_or_beside_the_one_in_use_is_not_used() {
    let bench = Bench::new(LEAVE_A_MODEL, "echo '{\"better\": false, \"against\": \"its loss is higher\"}'", "");
    bench.handle().command(Command::Now).unwrap();
    assert!(bench.ended("rejected").contains("on the newest part of the record its loss is higher"));
    let bench = Bench::new(LEAVE_A_MODEL, BETTER, "");
    let duel = [standing(25.0, 4000.0), standing(20.0, 4000.0), standing(30.0, 4000.0)];
    bench.handle().report(Report { duel, ..Report::default() });
    bench.handle().command(Command::Now).unwrap();
    let words = bench.ended("rejected");
    assert!(words.contains("beside the model in use") && words.contains("champion's 20.0 W"), "{words}");
    assert!(!bench.dir.path().join("learning/models").exists());
}

#[test]
fn a_training_that_fails_hangs_or_leaves_rubbish_is_told_and_ended() {
    for (fit, more, words) in [
        ("echo 'too little data' >&2; exit 2", "", "failed: exit code 2: too little data"),
        ("while :; do sleep 0.1; done", "time_limit_minutes = 0.02", "was ended after 0 min, as configured"),
        ("echo rubbish > $out/model.onnx; echo {} > $out/manifest.json", "", "is refused"),
    ] {
        let bench = Bench::new(fit, BETTER, more);
        bench.handle().command(Command::Now).unwrap();
        let last = bench.ended("failed");
        assert!(last.contains(words), "{last}");
        assert!(bench.forecaster.champion().is_some(), "what was in use still is");
    }
}

#[test]
fn old_runs_take_no_room_for_ever() {
    let bench = Bench::new("exit 1", BETTER, "keep_runs = 2");
    for n in 1..=4 {
        bench.handle().command(Command::Now).unwrap();
        bench.until("a failure", |s| s.phase == Phase::Rest && s.trainings.get("failed") == Some(&n));
    }
    bench.until("the removal", |_| std::fs::read_dir(bench.dir.path().join("learning/runs")).unwrap().count() == 2);
}

#[test]
fn a_model_that_drifts_is_taken_out_of_use_but_not_before_its_trial_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let config = config::DEFAULT.replace("dir = \"record\"", &format!("dir = {:?}", dir.path()));
    let config = Arc::new(config::parse("c", &config).unwrap());
    let forecaster = Forecaster::start(&config.model, Duration::from_secs(60)).unwrap();
    let (commands, _receiver) = std::sync::mpsc::sync_channel(1);
    let handle = Handle { commands, shared: Arc::default() };
    assert_eq!(handle.command(Command::Now), Err(NotNow::Off), "no [learning]");
    let mut worker = Worker::new(config, Clock::start(), forecaster.clone(), handle.clone());
    worker.begin();
    handle.report(Report { model: standing(50.0, 9000.0), baseline: standing(20.0, 9000.0), ..Report::default() });
    worker.watch(Mono::from_ms(899_000));
    assert!(forecaster.champion().is_some());
    worker.watch(Mono::from_ms(2_000_000));
    assert!(forecaster.champion().is_none());
    let notes = handle.take_notes();
    assert!(
        notes[0].contains("50.0 W is above the baseline's 20.0 W") && notes[0].contains("the baseline"),
        "{notes:?}"
    );
    worker.watch(Mono::from_ms(9_000_000));
    assert!(handle.take_notes().is_empty(), "it is told once");
}
