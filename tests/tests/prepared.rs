//! Answers that lie ready, over the real protocols with nobody to ask: the controller is killed, then a feed is
//! lost. Every rack sees its dead inlet by itself and holds what the other feed carries. And without anything
//! else: Orders that stay away take back what was lent.

use headroom_tests::parts::until;
use headroom_tests::row::{Row, SAFE_GPU_WATTS, even, scenario};
use std::path::Path;
use std::time::{Duration, Instant};

/// Both feeds carry the row easily; one alone carries 0.7 of it.
const AMPERES: f64 = 25.0;
/// All racks at full load are a third too much for this.
const FEW_AMPERES: f64 = 16.0;
/// The last Orders hold for their lease of 5 s; what came later was no prepared answer.
const WITHIN: Duration = Duration::from_secs(4);

fn row(amperes: f64, level: &str) -> Row {
    let config = |text: String| even(&text).replace("rating_amperes = 16.0", &format!("rating_amperes = {amperes:?}"));
    Row::of(Some(&scenario(amperes, level)), |_: &Path| String::new(), config)
}

fn all(row: &Row, good: impl Fn(f64) -> bool) -> Option<()> {
    let limits = row.limits(None);
    (limits.len() == 32 && limits.iter().all(|w| good(*w))).then_some(())
}

fn tripped(row: &Row, feed: &str) -> bool {
    row.plant.truth()["_plant"]["feeds"][format!("breaker-{feed}")]["tripped"] != false
}

#[test]
fn the_loss_of_each_feed_is_answered_with_the_controller_gone() {
    let mut row = row(AMPERES, "level = [[0, 0.95]]");
    for (lost, left) in [("a", "b"), ("b", "a")] {
        until("the row to draw what only two feeds carry", || {
            let truth = row.plant.truth();
            let racks = (1..=4).filter_map(|r| truth["_plant"]["racks"][format!("rack-{r}")]["inlet_watts"].as_f64());
            let live = row.state()["racks"].as_array()?.iter().all(|r| r["state"] == "live");
            (live && racks.sum::<f64>() > 21_000.0 && all(&row, |w| w > SAFE_GPU_WATTS + 50.0).is_some()).then_some(())
        });
        row.kill("controller");
        row.plant.fault("ups_lost", &format!("ups-{lost}"), None);
        let begun = Instant::now();
        while all(&row, |w| w < SAFE_GPU_WATTS - 10.0).is_none() {
            assert!(begun.elapsed() < WITHIN, "{:?} when the lease ended\n{}", row.limits(None), row.logs());
            std::thread::sleep(Duration::from_millis(5));
        }
        let took = begun.elapsed();
        eprintln!("feed {lost} lost: every limit lowered {} ms after", took.as_millis());
        until("the lease to end in the safe share", || all(&row, |w| (w - SAFE_GPU_WATTS).abs() < 1.0));
        assert!(!tripped(&row, left), "breaker-{left} tripped:\n{}", row.logs());
        row.plant.fault("clear", &format!("ups-{lost}"), None);
        row.begin("controller");
    }
    until("every rack heard again", || {
        let state = row.state();
        let racks = state["racks"].as_array()?;
        (racks.len() == 4 && racks.iter().all(|r| r["state"] == "live")).then_some(())
    });
    let (clean, safe, summary) = row.end();
    assert!(clean && safe && summary["trips"].as_array().is_some_and(Vec::is_empty), "{summary:#}\n{}", row.logs());
}

#[test]
fn what_was_lent_is_taken_back_before_the_lease_ends_with_the_controller_gone() {
    let mut row = row(FEW_AMPERES, "level = [[0, 0.1]]");
    let lent = until("room to ramp that would not last", || {
        all(&row, |w| w > SAFE_GPU_WATTS + 200.0).map(|()| row.limits(None).into_iter().fold(f64::INFINITY, f64::min))
    });
    row.kill("controller");
    let begun = Instant::now();
    while all(&row, |w| w < lent - 10.0).is_none() {
        assert!(begun.elapsed() < WITHIN, "{:?} when the lease ended\n{}", row.limits(None), row.logs());
        std::thread::sleep(Duration::from_millis(5));
    }
    eprintln!("every limit lowered {} ms after the controller's death", begun.elapsed().as_millis());
    until("the lease to end in the safe share", || all(&row, |w| (w - SAFE_GPU_WATTS).abs() < 1.0));
    row.begin("controller");
    until("what is lent to be back", || all(&row, |w| w > SAFE_GPU_WATTS + 200.0));
    let (clean, safe, summary) = row.end();
    assert!(clean && safe && summary["trips"].as_array().is_some_and(Vec::is_empty), "{summary:#}\n{}", row.logs());
}
