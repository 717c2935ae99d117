//! The controller's record as training data: segments `NNNNNNNN.hrec` of frames
//! ([`headroom_rack::record`]). Rack power is the sum over the `pdu-*` devices, the limit the sum of
//! the GPUs' enforced limits, utilisation their mean; one unknown part makes the sum unknown.

use super::{DataError, Nameplates, Series, series};
use headroom_predict::Sample;
use headroom_rack::record::{self, Entry, FrameError};
use headroom_rack::{DeviceId, Signal, Snapshot, Watts};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The series of every rack in the record. A damaged frame costs the rest of its segment, with a
/// line in the log; a torn end is what a running controller leaves and costs nothing.
///
/// # Errors
/// [`DataError`].
pub fn read(dir: &Path, nameplates: &Nameplates) -> Result<Vec<Series>, DataError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| DataError::Read { path, source }
    };
    let mut segments: Vec<PathBuf> = Vec::new();
    for file in std::fs::read_dir(dir).map_err(failed(dir))? {
        let path = file.map_err(failed(dir))?.path();
        if path.extension().is_some_and(|e| e == "hrec") {
            segments.push(path);
        }
    }
    segments.sort();
    let mut rows = BTreeMap::new();
    for segment in segments {
        let bytes = std::fs::read(&segment).map_err(failed(&segment))?;
        walk(&segment, &bytes, &mut rows);
    }
    series(dir, rows, nameplates)
}

fn walk(segment: &Path, bytes: &[u8], rows: &mut BTreeMap<String, BTreeMap<u64, Sample>>) {
    let mut at = 0;
    while at < bytes.len() {
        match record::decode(&bytes[at..]) {
            Ok((Entry::Snapshot(snapshot), length)) => {
                at += length;
                let second = snapshot.at.get() / 1000;
                rows.entry(snapshot.rack.to_string()).or_default().insert(second, sample(&snapshot));
            }
            Ok((_, length)) => at += length,
            Err(FrameError::CutOff) => return,
            Err(why) => {
                tracing::warn!(segment = %segment.display(), at, left = bytes.len() - at, %why,
                    "damaged frame: the rest of the segment is left out");
                return;
            }
        }
    }
}

/// What a Snapshot says about its rack.
fn sample(snapshot: &Snapshot) -> Sample {
    fold(snapshot.readings.iter().map(|(p, reading)| (p.signal, &p.device, reading.ok())))
}

/// A rack's sample from the values of its devices, known or not.
pub(super) fn fold<'a>(readings: impl Iterator<Item = (Signal, &'a DeviceId, Option<f64>)> + Clone) -> Sample {
    let values = |is_of: fn(&DeviceId) -> bool, signal: Signal| -> Option<Vec<f64>> {
        let of_signal = readings.clone().filter(|(s, device, _)| *s == signal && is_of(device));
        of_signal.map(|(_, _, value)| value).collect::<Option<Vec<f64>>>().filter(|v| !v.is_empty())
    };
    let gpu = |device: &DeviceId| device.gpu_index().is_some();
    Sample {
        power: values(|d| d.as_str().starts_with("pdu-"), Signal::PduPower).map(|v| Watts::new(v.iter().sum())),
        limit: values(gpu, Signal::GpuLimitEnforced).map(|v| Watts::new(v.iter().sum())),
        utilization: values(gpu, Signal::GpuUtilization).map(|v| v.iter().sum::<f64>() / v.len() as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headroom_rack::{NoData, RackId, Reading, SignalPath, UnixMs};

    fn snapshot(second: u64, pdu_b: Option<f64>) -> Snapshot {
        let at = UnixMs::new(second * 1000 + 120);
        let path = |device: &str, signal| SignalPath::new(DeviceId::new(device).unwrap(), signal);
        let pdu_b = pdu_b.map_or_else(|| Reading::none(NoData::Timeout, at), |w| Reading::new(w, at));
        let readings = [
            (path("pdu-a", Signal::PduPower), Reading::new(1000.0, at)),
            (path("pdu-b", Signal::PduPower), pdu_b),
            (path("gpu-0", Signal::GpuLimitEnforced), Reading::new(700.0, at)),
            (path("gpu-1", Signal::GpuLimitEnforced), Reading::new(500.0, at)),
            (path("gpu-0", Signal::GpuUtilization), Reading::new(1.0, at)),
            (path("gpu-1", Signal::GpuUtilization), Reading::new(0.5, at)),
        ];
        Snapshot {
            rack: RackId::new("rack-1").unwrap(),
            boot: 1,
            seq: second,
            at,
            historical: false,
            readings: readings.into(),
            receipts: Vec::new(),
        }
    }

    #[test]
    fn snapshots_become_a_series_and_an_unknown_meter_makes_the_power_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let frames = |list: &[(u64, Option<f64>)]| -> Vec<u8> {
            list.iter().flat_map(|(t, w)| record::encode(&Entry::Snapshot(snapshot(*t, *w))).unwrap()).collect()
        };
        std::fs::write(dir.path().join("00000001.hrec"), frames(&[(10, Some(1100.0)), (11, None)])).unwrap();
        let mut torn = frames(&[(12, Some(1200.0)), (13, Some(1.0))]);
        torn.truncate(torn.len() - 3);
        std::fs::write(dir.path().join("00000002.hrec"), torn).unwrap();
        let all = read(dir.path(), &Nameplates::parse(&["7300".into()]).unwrap()).unwrap();
        assert_eq!(all.len(), 1);
        let power: Vec<_> = all[0].samples.iter().map(|s| s.power.map(Watts::get)).collect();
        assert_eq!((all[0].start_s, power), (10, vec![Some(2100.0), None, Some(2200.0)]));
        assert_eq!(all[0].samples[1].limit, Some(Watts::new(1200.0)));
        assert_eq!(all[0].samples[1].utilization, Some(0.75));
    }

    #[test]
    fn a_damaged_frame_costs_the_rest_of_its_segment_only() {
        let dir = tempfile::tempdir().unwrap();
        let frame = |t| record::encode(&Entry::Snapshot(snapshot(t, Some(1000.0)))).unwrap();
        let mut damaged = [frame(1), frame(2), frame(3)].concat();
        let second = frame(1).len();
        damaged[second + 20] ^= 1;
        std::fs::write(dir.path().join("00000001.hrec"), damaged).unwrap();
        std::fs::write(dir.path().join("00000002.hrec"), frame(4)).unwrap();
        let all = read(dir.path(), &Nameplates::parse(&["7300".into()]).unwrap()).unwrap();
        let known = all[0].samples.iter().filter(|s| s.power.is_some()).count();
        assert_eq!((known, all[0].samples.len()), (2, 4));
    }
}
