//! `promote`: puts a run's model in use in a store of models, if it passes every check and beats
//! what is in use there; `--back` undoes it. The store itself is `headroom_predict::store`.

use crate::compare::{self, Comparison, Data};
use crate::options::Usage;
use anyhow::{Context, Result, bail};
use clap::Args;
use headroom_predict::store::{self, Store};
use std::path::PathBuf;

/// Options of `promote`.
#[derive(Debug, Args)]
pub struct Promote {
    /// The run folder with model.onnx, manifest.json and probes.json.
    #[arg(long, value_name = "DIR", required_unless_present = "back")]
    run: Option<PathBuf>,
    /// The store, made if missing: name it under [model] path in the controller's config.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Data to compare on; not needed with --force or --back.
    #[command(flatten)]
    data: Data,
    /// Do not ask whether it beats the model in use; manifest, hash and probes are checked all the same.
    #[arg(long)]
    force: bool,
    /// Go back to the model before.
    #[arg(long, conflicts_with_all = ["run", "force"])]
    back: bool,
}

/// Runs the command; the last line on stdout is JSON.
///
/// # Errors
/// The model is refused or not better, or the store cannot be written; what was in use still is.
pub fn run(options: &Promote) -> Result<()> {
    let store = Store::new(&options.to);
    let before = store.pointer()?.and_then(|p| p.champion);
    let Some(run) = options.run.as_ref().filter(|_| !options.back) else {
        if before.is_none() {
            return Err(Usage(format!("{} has no model in use to go back from", options.to.display())).into());
        }
        let now = store.step_back()?;
        println!("{}", serde_json::json!({ "in_use": now, "before": before }));
        return Ok(());
    };
    let challenger = store::verify(run).context("the model is not fit for use")?;
    let comparison = if options.force { None } else { Some(judge(options, &challenger)?) };
    if let Some(Comparison { against: Some(why), .. }) = &comparison {
        bail!("{} is not better than what is in use: {why} (--force promotes it all the same)", challenger.id());
    }
    let name = store.promote(run)?;
    println!(
        "{}",
        serde_json::json!({ "in_use": name, "before": before, "model": challenger.id(), "comparison": comparison })
    );
    Ok(())
}

/// Against the model in use, or against the baseline alone where there is none.
fn judge(options: &Promote, challenger: &headroom_predict::Predictor) -> Result<Comparison> {
    if options.data.csv.is_empty() && options.data.record.is_none() {
        let words = "give --csv FILE or --record DIR to compare on, or --force to promote without comparing";
        return Err(Usage(words.to_owned()).into());
    }
    let mut models = vec![("the run", challenger)];
    let champion = match store::load(&options.to) {
        Ok(champion) => Some(champion),
        Err(store::StoreError::Models { found: 0, .. }) => None,
        Err(store::StoreError::Io { .. }) if !options.to.exists() => None,
        Err(why) => {
            tracing::warn!(%why, "the model in use cannot be run: compared with the baseline alone");
            None
        }
    };
    models.extend(champion.as_ref().map(|c| ("in use", c)));
    compare::compare(&models, &options.data)
}
