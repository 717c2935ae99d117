//! `headroom-controller curves`: the families of protective devices that ship, and the earliest and latest
//! trip of one of them by load.

use clap::Args;
use headroom_controller_core::trip::{Confidence, Family, FamilyError, Protection, Settings, families, family};
use serde_json::{Value, json};
use std::sync::Arc;

/// Loads at which a curve is told, as shares of the rating.
const RATIOS: [f64; 16] = [1.0, 1.05, 1.1, 1.13, 1.2, 1.25, 1.3, 1.35, 1.45, 1.5, 1.6, 2.0, 2.55, 3.0, 5.0, 10.0];

/// Which curve, and the settings of the device.
#[derive(Debug, Args)]
pub struct Options {
    /// A family; all of them are listed without it.
    name: Option<String>,
    /// Rated current; decides the row of a fuse, and the latest trip.
    #[arg(long, value_name = "A")]
    amperes: Option<f64>,
    /// Temperature of the air around the device.
    #[arg(long, value_name = "CELSIUS", allow_negative_numbers = true)]
    ambient: Option<f64>,
    /// Long-time delay at 6 Ir of an electronic trip unit, in seconds.
    #[arg(long, value_name = "S")]
    tr: Option<f64>,
    /// Its short-time pickup, in Ir.
    #[arg(long, value_name = "RATIO")]
    isd: Option<f64>,
    /// Its short-time delay, in seconds.
    #[arg(long, value_name = "S")]
    tsd: Option<f64>,
    /// Its instantaneous pickup, in Ir; that of an adjustable coil, in In.
    #[arg(long, value_name = "RATIO")]
    ii: Option<f64>,
    /// Load the device carried for long before, as a share of its rating: 0 is cold.
    #[arg(long, value_name = "RATIO", default_value_t = 0.0)]
    before: f64,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// The answer.
///
/// # Errors
/// In words: no such family, or settings that give no curve.
pub fn tell(options: &Options) -> Result<String, String> {
    let Some(name) = &options.name else { return Ok(list(options.json)) };
    let found = family(name).ok_or_else(|| {
        let names: Vec<&str> = families().iter().map(|f| f.name.as_str()).collect();
        format!("there is no family {name:?}; write one of {}", names.join(", "))
    })?;
    let settings = Settings {
        amperes: options.amperes,
        ambient_celsius: options.ambient,
        tr_s: options.tr,
        isd: options.isd,
        tsd_s: options.tsd,
        ii: options.ii,
    };
    let mistakes = found.mistakes(&settings);
    if !mistakes.is_empty() {
        return Err(mistakes.iter().map(told).collect::<Vec<_>>().join("\n"));
    }
    let curve = Arc::new(found.curve(&settings).map_err(|why| told(&why))?);
    let left = options.ambient.map_or(1.0, |celsius| found.ambient_factor(celsius));
    let device = Protection::at(curve, options.before / left);
    let rows: Vec<(f64, Option<f64>)> = RATIOS.iter().map(|r| (*r, device.time_to_trip_s(r / left))).collect();
    if options.json {
        let one = |(r, s): &(f64, Option<f64>)| json!({ "ratio": r, "earliest_s": s, "latest_s": found.latest_s(&settings, *r) });
        let trips: Vec<Value> = rows.iter().map(one).collect();
        let curve = json!({ "rating_left_ratio": left, "used_ratio": device.used(), "earliest": trips });
        let mut about = about(found, &settings);
        about["curve"] = curve;
        return Ok(format!("{about}\n"));
    }
    let mut text = format!("{}: {}\nsource: {} ({})\n", found.name, found.words, found.source, word(found.confidence));
    if let Some(unverified) = &found.unverified {
        text.push_str(&format!("not found in print: {unverified}\n"));
    }
    if let (Some(reference), Some(source)) = (found.reference_celsius, &found.ambient_source) {
        text.push_str(&format!(
            "rating at {reference} degrees Celsius; {:.0} % of it left here ({source})\n",
            left * 100.0
        ));
    }
    text.push_str(&format!("\n  load   earliest trip   latest trip      {:.0} % used up\n", device.used() * 100.0));
    for (ratio, seconds) in rows {
        let earliest = seconds.map_or_else(|| "never".to_owned(), |s| format!("{s:.2} s"));
        let latest = found.latest_s(&settings, ratio).map_or_else(|| "not stated".to_owned(), |s| format!("{s:.2} s"));
        text.push_str(&format!("{:>5.0} %  {earliest:<14}  {latest}\n", ratio * 100.0));
    }
    match found.no_latest() {
        Some(why) => text.push_str(&format!("no latest trip: {why}\n")),
        None => text.push_str("latest: cold, at the reference temperature, by the highest stated load below\n"),
    }
    Ok(text)
}

fn told(why: &FamilyError) -> String {
    let flag = match why.setting() {
        "tr_s" => "tr",
        "tsd_s" => "tsd",
        "rating_amperes" => "amperes",
        other => other,
    };
    match why {
        FamilyError::Unused { .. } => format!("{why}; leave out --{flag}"),
        _ => format!("{why}; give it as --{flag}"),
    }
}

fn list(json: bool) -> String {
    if json {
        return format!("{}\n", Value::from_iter(families().iter().map(|f| about(f, &Settings::default()))));
    }
    let line = |f: &Family| format!("{:<24} {:<9} {}\n", f.name, word(f.confidence), f.words);
    let mut text: String = families().iter().map(line).collect();
    text.push_str(
        "\n`headroom-controller curves NAME` tells the source, and the earliest and the latest trip by load.\n",
    );
    text
}

fn about(f: &Family, settings: &Settings) -> Value {
    let unset = f.is_electronic() && settings.tr_s.is_none();
    let missing = if unset { Some("it depends on the settings: tr_s, isd, tsd_s and ii") } else { f.no_latest() };
    json!({
        "name": f.name, "words": f.words, "source": f.source, "confidence": word(f.confidence),
        "unverified": f.unverified,
        "reference_celsius": f.reference_celsius, "ambient_source": f.ambient_source,
        "latest": f.latest(settings), "latest_missing": missing,
    })
}

fn word(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Standard => "standard",
        Confidence::Vendor => "vendor",
        Confidence::Estimate => "estimate",
    }
}
