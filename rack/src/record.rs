//! How one entry of the record looks in bytes: `[length u32][crc32 u32][version u8][postcard]`,
//! little-endian; length counts version and body, the checksum (CRC-32/ISO-HDLC) covers both.
//! Pure: files, segments and fsync are the controller's. Training reads the same frames.

mod before;

use crate::finding::Finding;
use crate::forecast::Forecast;
use crate::plan::Plan;
use crate::score::Score;
use crate::snapshot::Snapshot;
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};

/// Version of the entry encoding. Raise it when a type below changes; a field that is left out when it is empty cannot
/// be read back. Version 2 added [`Entry::Score`], version 3 the batteries in [`Entry::Plan`], and nothing else, so all
/// other kinds are still written as version 1 and an older program reads them.
pub const VERSION: u8 = 3;
/// The first version whose Plans know of batteries.
const BATTERIES: u8 = 3;
/// The number of [`Entry::Plan`], which is its first byte.
const PLAN: u8 = 1;
/// The oldest version that is read.
const OLDEST: u8 = 1;
/// Bytes before the version byte.
pub const HEADER: usize = 8;
/// No entry is longer: a larger length is corruption.
pub const MAX_BODY: usize = 16 << 20;

/// One thing worth keeping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Entry {
    /// What an agent saw.
    Snapshot(Snapshot),
    /// What the controller decided.
    Plan(Plan),
    /// What was expected.
    Forecast(Forecast),
    /// What a person should look at.
    Finding(Finding),
    /// A line for the audit log.
    Note {
        /// When.
        at: UnixMs,
        /// What kind: `cap`, `release`, `model`, `fault`, ...
        kind: String,
        /// Words for people.
        text: String,
    },
    /// How good Forecasts turned out so far.
    Score(Score),
}

impl Entry {
    /// The version that first had this kind.
    fn version(&self) -> u8 {
        match self {
            Self::Snapshot(_) | Self::Forecast(_) | Self::Finding(_) | Self::Note { .. } => OLDEST,
            Self::Score(_) => 2,
            Self::Plan(_) => BATTERIES,
        }
    }
}

/// Why bytes are not an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes end inside a frame: an unfinished write, or more is still to come.
    #[error("the frame is cut off")]
    CutOff,
    /// The length is impossible.
    #[error("a frame cannot be {0} bytes long")]
    Length(usize),
    /// The checksum does not fit.
    #[error("the checksum does not fit")]
    Checksum,
    /// Written by another version.
    #[error("the frame has version {0}, this program reads {OLDEST} to {VERSION}")]
    Version(u8),
    /// The body does not decode.
    #[error("the body does not decode: {0}")]
    Body(String),
}

/// The frame of one entry.
///
/// # Errors
/// [`FrameError::Body`] if the entry cannot be encoded, [`FrameError::Length`] if it is longer than [`MAX_BODY`].
pub fn encode(entry: &Entry) -> Result<Vec<u8>, FrameError> {
    let mut bytes = Vec::new();
    append(&mut bytes, entry)?;
    Ok(bytes)
}

/// Puts the frame of one entry behind others.
///
/// # Errors
/// As [`encode`]; the bytes are what they were then.
pub fn append(bytes: &mut Vec<u8>, entry: &Entry) -> Result<(), FrameError> {
    frame(bytes, entry, entry.version())
}

/// The same of [`Entry::Snapshot`], of one that others hold too.
///
/// # Errors
/// As [`append`].
pub fn append_snapshot(bytes: &mut Vec<u8>, snapshot: &Snapshot) -> Result<(), FrameError> {
    frame(bytes, &Shared(0, "Snapshot", snapshot), OLDEST)
}

/// The same of [`Entry::Plan`], of one that others hold too.
///
/// # Errors
/// As [`append`].
pub fn append_plan(bytes: &mut Vec<u8>, plan: &Plan) -> Result<(), FrameError> {
    frame(bytes, &Shared(PLAN.into(), "Plan", plan), BATTERIES)
}

/// An [`Entry`] of one kind, by number and name, around something borrowed.
struct Shared<'a, T>(u32, &'static str, &'a T);

impl<T: Serialize> Serialize for Shared<'_, T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_variant("Entry", self.0, self.1, self.2)
    }
}

fn frame(bytes: &mut Vec<u8>, entry: &impl Serialize, version: u8) -> Result<(), FrameError> {
    let begin = bytes.len();
    bytes.extend_from_slice(&[0; HEADER]);
    bytes.push(version);
    let written = postcard::serialize_with_flavor(entry, Behind(bytes)).map_err(|e| FrameError::Body(e.to_string()));
    let length = bytes.len() - begin - HEADER;
    let fits = if length > MAX_BODY { Err(FrameError::Length(length)) } else { Ok(()) };
    if let Err(why) = written.and(fits) {
        bytes.truncate(begin);
        return Err(why);
    }
    let frame = &mut bytes[begin..];
    let crc = crc32fast::hash(&frame[HEADER..]);
    frame[..4].copy_from_slice(&(length as u32).to_le_bytes());
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// Writes behind what is there.
struct Behind<'b>(&'b mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Behind<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// The first entry in `bytes` and how many bytes it took.
///
/// # Errors
/// See [`FrameError`]; after anything but [`FrameError::CutOff`] the rest of the file is suspect.
pub fn decode(bytes: &[u8]) -> Result<(Entry, usize), FrameError> {
    let word = |at: usize| -> Option<u32> { Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?)) };
    let length = word(0).ok_or(FrameError::CutOff)? as usize;
    let crc = word(4).ok_or(FrameError::CutOff)?;
    if length == 0 || length > MAX_BODY {
        return Err(FrameError::Length(length));
    }
    let body = bytes.get(HEADER..HEADER + length).ok_or(FrameError::CutOff)?;
    if crc32fast::hash(body) != crc {
        return Err(FrameError::Checksum);
    }
    if !(OLDEST..=VERSION).contains(&body[0]) {
        return Err(FrameError::Version(body[0]));
    }
    let entry = match body {
        [..BATTERIES, PLAN, plan @ ..] => {
            postcard::from_bytes::<before::PlanBefore>(plan).map(|plan| Entry::Plan(plan.into()))
        }
        _ => postcard::from_bytes(&body[1..]),
    };
    let entry = entry.map_err(|e| FrameError::Body(e.to_string()))?;
    Ok((entry, HEADER + length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::MethodScore;

    fn note() -> Entry {
        Entry::Note { at: UnixMs::new(7), kind: "cap".into(), text: "rack-1 held".into() }
    }

    #[test]
    fn an_entry_survives_its_frame() {
        let bytes = encode(&note()).expect("encodes");
        assert_eq!(decode(&bytes), Ok((note(), bytes.len())));
    }

    #[test]
    fn what_others_hold_too_has_the_frame_of_an_entry() {
        let rack = crate::id::RackId::new("r").expect("valid");
        let at = UnixMs::new(7);
        let snapshot = Snapshot {
            rack: rack.clone(),
            boot: 1,
            seq: 2,
            at,
            historical: false,
            readings: Default::default(),
            receipts: vec![],
        };
        let generation = crate::order::Generation { epoch: 3, counter: 4 };
        let plan = Plan { generation, at, mode: crate::plan::Mode::Automatic, caps: vec![], nodes: vec![] };
        let (mut shared, mut alone) = (Vec::new(), Vec::new());
        append_snapshot(&mut shared, &snapshot).expect("encodes");
        append_plan(&mut alone, &plan).expect("encodes");
        assert_eq!(Ok(shared), encode(&Entry::Snapshot(snapshot)));
        assert_eq!(Ok(alone), encode(&Entry::Plan(plan)));
    }

    #[test]
    fn plans_are_read_back_with_and_without_batteries_and_as_older_programs_wrote_them() {
        use crate::plan::{BatteryLeft, LimitKind, Mode, NodeView, Plan, Quality};
        use crate::units::Watts;
        let node = |battery| NodeView {
            node: crate::id::NodeId::new("ups-a").expect("valid"),
            power: Watts::new(8000.0),
            quality: Quality::Measured,
            expected: Watts::new(8100.0),
            limit: Watts::new(9000.0),
            limit_kind: LimitKind::UpsOverload,
            rating: Watts::new(10_000.0),
            time_to_trip_s: Some(3.5),
            trip_used: 0.25,
            battery,
        };
        let plan = |batteries: &[Option<BatteryLeft>]| {
            let nodes = batteries.iter().map(|battery| node(*battery)).collect();
            let generation = crate::order::Generation { epoch: 3, counter: 4 };
            Plan { generation, at: UnixMs::new(7), mode: Mode::Automatic, caps: vec![], nodes }
        };
        let left = |on_s| Some(BatteryLeft { charge: 0.5, on_s });
        let all = plan(&[None, left(None), left(Some(12.5))]);
        let mut bytes = Vec::new();
        append_plan(&mut bytes, &all).expect("encodes");
        assert_eq!(decode(&bytes), Ok((Entry::Plan(all), bytes.len())));
        let NodeView { node, power, quality, expected, limit, limit_kind, rating, time_to_trip_s, trip_used, .. } =
            node(None);
        let nodes = vec![before::NodeBefore {
            node,
            power,
            quality,
            expected,
            limit,
            limit_kind,
            rating,
            time_to_trip_s,
            trip_used,
        }];
        let Plan { generation, at, mode, caps, .. } = plan(&[]);
        let old = before::PlanBefore { generation, at, mode, caps, nodes };
        for version in [1, 2] {
            let mut bytes = Vec::new();
            frame(&mut bytes, &Shared(1, "Plan", &old), version).expect("encodes");
            assert_eq!(decode(&bytes), Ok((Entry::Plan(plan(&[None])), bytes.len())));
        }
    }

    #[test]
    fn a_torn_or_altered_frame_is_never_an_entry() {
        let bytes = encode(&note()).expect("encodes");
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), Err(FrameError::CutOff), "cut at {cut}");
        }
        for at in 4..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x40;
            assert!(decode(&bad).is_err(), "byte {at} altered and accepted");
        }
    }

    /// These bytes are on customers' disks. Do not change the test: raise [`VERSION`].
    #[test]
    fn the_bytes_of_version_1_are_frozen() {
        let hex: String = encode(&note()).expect("encodes").iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "13000000aabe7f65010407036361700b7261636b2d312068656c64");
    }
    /// As above.
    #[test]
    fn the_bytes_of_version_2_are_frozen() {
        let score = Entry::Score(Score {
            at: UnixMs::new(7),
            horizons_s: vec![1],
            quantiles: vec![0.5],
            methods: vec![MethodScore { method: "used".into(), model: None, total: vec![], recent: vec![] }],
            margins: vec![(crate::id::RackId::new("r").expect("valid"), vec![0.25])],
        });
        let bytes = encode(&score).expect("encodes");
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "23000000203de31f020507010101000000000000e03f01047573656400000001017201000000000000d03f");
        assert_eq!(decode(&bytes), Ok((score, bytes.len())));
    }
}
