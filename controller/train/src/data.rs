//! Power series of racks at one value per second, from the simulator's traces ([`csv`]) and from the
//! controller's record ([`record`]) and from InfluxDB ([`influx`]); [`inspect`] tells people what is in them.

pub mod csv;
pub mod influx;
pub mod inspect;
pub mod parts;
pub mod record;

use headroom_predict::{Sample, WINDOW_S};
use headroom_rack::Watts;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What one rack did, second by second. A pause longer than the window starts another series.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The file or directory it came from.
    pub source: String,
    /// The rack.
    pub rack: String,
    /// What the rack draws at most.
    pub nameplate: Watts,
    /// Time of the first sample, s, on the source's clock.
    pub start_s: u64,
    /// One per second; gaps are samples without values.
    pub samples: Vec<Sample>,
}

/// Why data cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Lines of a CSV file are wrong.
    #[error("{path} is not a power trace:{}", .mistakes.iter().map(|m| format!("\n  {m}")).collect::<String>())]
    Csv {
        /// Which.
        path: PathBuf,
        /// Line, what was wrong and what would be right.
        mistakes: Vec<String>,
    },
    /// Lines of an InfluxDB export are wrong.
    #[error("{path} is not an InfluxDB export of Headroom's metrics:{}", .mistakes.iter().map(|m| format!("\n  {m}")).collect::<String>())]
    Influx {
        /// Which.
        path: PathBuf,
        /// Line, what was wrong and what would be right.
        mistakes: Vec<String>,
    },
    /// A file cannot be written.
    #[error("{path} cannot be written")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Nothing in it.
    #[error("{0} has no power values of any rack")]
    Empty(PathBuf),
    /// A rack without a nameplate.
    #[error(
        "the nameplate of {0} is not given: add --nameplate-watts WATTS for all racks or --nameplate-watts {0}=WATTS"
    )]
    Nameplate(String),
}

/// Nameplates as given: one for all racks and exceptions by name.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Nameplates {
    /// For racks not named.
    pub all: Option<f64>,
    /// For racks named.
    pub racks: BTreeMap<String, f64>,
}

impl Nameplates {
    /// From `WATTS` and `RACK=WATTS` in any order.
    ///
    /// # Errors
    /// What is wrong with the first bad one.
    pub fn parse(texts: &[String]) -> Result<Self, String> {
        let mut nameplates = Self::default();
        for text in texts {
            let (rack, watts) = text.rsplit_once('=').map_or((None, text.as_str()), |(r, w)| (Some(r), w));
            let watts = watts.parse().ok().filter(|w: &f64| w.is_finite() && *w > 0.0);
            let watts = watts.ok_or_else(|| format!("{text:?} is not WATTS or RACK=WATTS with a positive number"))?;
            match rack {
                None => nameplates.all = Some(watts),
                Some(rack) => drop(nameplates.racks.insert(rack.to_owned(), watts)),
            }
        }
        Ok(nameplates)
    }

    fn of(&self, rack: &str) -> Result<Watts, DataError> {
        let watts = self.racks.get(rack).copied().or(self.all);
        watts.map(Watts::new).ok_or_else(|| DataError::Nameplate(rack.to_owned()))
    }
}

/// All series of the given CSV files and record directory, in order of file and rack.
///
/// # Errors
/// The first [`DataError`].
pub fn load(csv: &[PathBuf], record: Option<&Path>, nameplates: &Nameplates) -> Result<Vec<Series>, DataError> {
    let mut all = Vec::new();
    for path in csv {
        all.extend(csv::read(path, nameplates)?);
    }
    if let Some(dir) = record {
        all.extend(record::read(dir, nameplates)?);
    }
    Ok(all)
}

/// Puts samples of one source on the grid of one second. `rows` is by rack and second.
fn series(
    source: &Path,
    rows: BTreeMap<String, BTreeMap<u64, Sample>>,
    nameplates: &Nameplates,
) -> Result<Vec<Series>, DataError> {
    // The name alone: a run folder must not tell where on a machine the data lay.
    let name = source.file_name().unwrap_or(source.as_os_str()).to_string_lossy().into_owned();
    let mut all: Vec<Series> = Vec::new();
    for (rack, seconds) in rows {
        let nameplate = nameplates.of(&rack)?;
        let mut before: Option<u64> = None;
        for (second, sample) in seconds {
            let gap = before.map(|b| (second - b - 1) as usize).filter(|gap| *gap < WINDOW_S);
            match (gap, all.last_mut()) {
                (Some(gap), Some(current)) => {
                    current.samples.extend(std::iter::repeat_n(Sample::default(), gap));
                    current.samples.push(sample);
                }
                _ => all.push(Series {
                    source: name.clone(),
                    rack: rack.clone(),
                    nameplate,
                    start_s: second,
                    samples: vec![sample],
                }),
            }
            before = Some(second);
        }
    }
    if all.iter().all(|s| s.samples.iter().all(|s| s.power.is_none())) {
        return Err(DataError::Empty(source.to_owned()));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_pause_is_a_gap_and_a_long_one_starts_another_series() {
        let sample = Sample { power: Some(Watts::new(1.0)), ..Sample::default() };
        let rows = [("r".to_owned(), [0, 1, 4, 200].map(|t| (t, sample)).into())].into();
        let all = series(Path::new("a/b.csv"), rows, &Nameplates::parse(&["10".into()]).unwrap()).unwrap();
        assert_eq!(all.iter().map(|s| (s.start_s, s.samples.len())).collect::<Vec<_>>(), [(0, 5), (200, 1)]);
        assert_eq!((all[0].samples[2], all[0].source.as_str()), (Sample::default(), "b.csv"));
    }

    #[test]
    fn a_rack_without_nameplate_is_named() {
        let given = Nameplates::parse(&["rack-1=7300".into()]).unwrap();
        assert_eq!(given.of("rack-1").unwrap(), Watts::new(7300.0));
        assert!(given.of("rack-2").unwrap_err().to_string().contains("--nameplate-watts rack-2=WATTS"));
        assert!(Nameplates::parse(&["rack-1=-3".into()]).is_err());
    }
}
