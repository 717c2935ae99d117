//! Who may say what: a message from the bus is believed only if its sender is configured, its key is the
//! sender's, its signature holds, it is for us and it is fresh. Everything else becomes a refusal with a
//! reason. Remembers nothing; what was seen before is the desk's.

use super::event::{self, Envelope, Trace, source_parts};
use super::jws::{self, JwsError};
use super::key::Trusted;
use super::message::{self, Wish};
use headroom_rack::UnixMs;
use ring::digest::{SHA256, digest};
use std::collections::BTreeMap;
use std::time::Duration;

/// A sender's clock may be ahead by this.
const AHEAD: Duration = Duration::from_secs(60);
/// A day's schedule for every feed is a tenth of it.
const LARGEST: usize = 1 << 20;

/// A party that is heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partner {
    /// Its keys.
    pub keys: Vec<Trusted>,
    /// The feeds it may set; `None`: all.
    pub feeds: Option<Vec<String>>,
}

/// Whom to hear, and as whom.
#[derive(Debug, Clone)]
pub struct Gate {
    /// Our identifier.
    pub identifier: String,
    /// Who may set targets, by identifier.
    pub isvs: BTreeMap<String, Partner>,
    /// Who may tell what it enforced.
    pub infra: BTreeMap<String, Partner>,
    /// The tags of our feeds.
    pub feeds: Vec<String>,
    /// Older messages are refused.
    pub max_age: Duration,
    /// A payload must carry `iat`.
    pub signed_time: bool,
}

/// Why a message is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It is larger than any load target.
    Oversized,
    /// It is not what the contract describes.
    Malformed,
    /// It claims to be from somebody else than its topic says.
    Source,
    /// Its signature is not one of its sender's keys.
    Signature,
    /// It is too old, or its time is over.
    Expired,
    /// It is for somebody else.
    Audience,
    /// It came before.
    Replayed,
    /// A feed that the sender may not set.
    Feed,
    /// There are too many targets already.
    Full,
}

impl Why {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Oversized => "oversized",
            Self::Malformed => "malformed",
            Self::Source => "source",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::Audience => "audience",
            Self::Replayed => "replayed",
            Self::Feed => "feed",
            Self::Full => "full",
        }
    }
}

/// A message that was not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The identifier of its topic.
    pub who: String,
    /// Why.
    pub why: Why,
    /// In words.
    pub detail: String,
}

/// A load target message that is believed, if it is new.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// The sender's identifier.
    pub by: String,
    /// The names under which it must not come again, and until when that matters.
    pub names: Vec<String>,
    /// When nobody would believe it any more.
    pub stale: UnixMs,
    /// The broker says that it may have delivered it before.
    pub again: bool,
    /// What is wished.
    pub wishes: Vec<Wish>,
    /// Its correlation id, or its own.
    pub correlation: String,
    /// The trace it belongs to.
    pub trace: Trace,
}

/// What a message came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// A load target.
    Command(Command),
    /// What another party enforced, in words.
    Enforcement(String),
    /// Not believed.
    Refused(Refused),
}

impl Gate {
    /// The topics to hear.
    pub fn topics(&self) -> Vec<String> {
        let isvs = self.isvs.keys().map(|id| format!("grid/v1/isv/{id}/loadtarget/set"));
        isvs.chain(self.infra.keys().map(|id| format!("grid/v1/infra/{id}/powerbreach/enforcement"))).collect()
    }

    /// Judges one message. `again`: the broker's duplicate flag. `None`: no topic of ours.
    pub fn judge(&self, topic: &str, payload: &[u8], again: bool, now: UnixMs) -> Option<Heard> {
        let path = topic.strip_prefix("grid/v1/")?;
        let (role, rest) = path.split_once('/')?;
        let (who, what) = rest.split_once('/')?;
        let (partners, kind) = match (role, what) {
            ("isv", "loadtarget/set") => (&self.isvs, "grid.loadtarget.set.v1"),
            ("infra", "powerbreach/enforcement") => (&self.infra, "grid.powerbreach.enforcement.v1"),
            _ => return None,
        };
        let partner = partners.get(who)?;
        let judged = self.verified(role, who, kind, partner, payload, now).and_then(|(envelope, payload)| match role {
            "isv" => self.command(who, partner, envelope, &payload, again, now).map(Heard::Command),
            _ => Ok(Heard::Enforcement(enforcement(who, &payload))),
        });
        Some(judged.unwrap_or_else(|(why, detail)| Heard::Refused(Refused { who: who.to_owned(), why, detail })))
    }

    fn verified(
        &self,
        role: &str,
        who: &str,
        kind: &str,
        partner: &Partner,
        payload: &[u8],
        now: UnixMs,
    ) -> Result<(Envelope, serde_json::Value), (Why, String)> {
        if payload.len() > LARGEST {
            return Err((Why::Oversized, format!("it has {} bytes; at most {LARGEST} are read", payload.len())));
        }
        let malformed = |faults: Vec<String>| (Why::Malformed, faults.join("; "));
        let envelope = event::read(payload).map_err(malformed)?;
        if envelope.kind != kind {
            return Err((Why::Malformed, format!("it is of type {:?}; {kind:?} belongs on this topic", envelope.kind)));
        }
        if source_parts(&envelope.source) != Some((role, who)) {
            return Err((Why::Source, format!("it says it is from {:?} on the topic of {who:?}", envelope.source)));
        }
        let signed = jws::verify(&envelope.data, &partner.keys).map_err(|why| match why {
            JwsError::Form(_) => (Why::Malformed, format!("its data {why}")),
            _ => (Why::Signature, format!("its data {why}")),
        })?;
        let json = message::object(&signed).map_err(malformed)?;
        let claims = message::claims(&json).map_err(malformed)?;
        let ours = format!("//grid/v1/dsx-flex-agent/{}", self.identifier);
        if !claims.audience.is_empty() && !claims.audience.iter().any(|a| *a == self.identifier || *a == ours) {
            return Err((Why::Audience, format!("it is for {}, not for {ours}", claims.audience.join(", "))));
        }
        if self.signed_time && claims.issued.is_none() {
            return Err((Why::Malformed, "its signed payload has no \"iat\", which signed_time demands".to_owned()));
        }
        for (what, time) in [("made", Some(envelope.time)), ("signed", claims.issued)] {
            let Some(time) = time else { continue };
            if now > after(time, self.max_age) {
                let age = (now.get() - time.get()) / 1000;
                return Err((Why::Expired, format!("it was {what} {age} s ago, more than {:?}", self.max_age)));
            }
            if time > after(now, AHEAD) {
                return Err((
                    Why::Expired,
                    format!("it was {what} {} s in the future", (time.get() - now.get()) / 1000),
                ));
            }
        }
        if claims.expires.is_some_and(|expires| now >= expires) {
            return Err((Why::Expired, "its \"exp\" is over".to_owned()));
        }
        if claims.not_before.is_some_and(|begin| begin > after(now, AHEAD)) {
            return Err((Why::Expired, "its \"nbf\" has not come".to_owned()));
        }
        Ok((envelope, json))
    }

    fn command(
        &self,
        who: &str,
        partner: &Partner,
        envelope: Envelope,
        json: &serde_json::Value,
        again: bool,
        now: UnixMs,
    ) -> Result<Command, (Why, String)> {
        let mut wishes = message::wishes(json).map_err(|faults| (Why::Malformed, faults.join("; ")))?;
        for wish in &mut wishes {
            let allowed = partner.feeds.as_ref().unwrap_or(&self.feeds);
            if wish.feeds.is_empty() {
                wish.feeds.clone_from(allowed);
            }
            if let Some(strange) = wish.feeds.iter().find(|f| !self.feeds.contains(f)) {
                let ours = self.feeds.join(", ");
                return Err((Why::Feed, format!("feed {strange:?} is not one of ours: {ours}")));
            }
            if let Some(foreign) = wish.feeds.iter().find(|f| !allowed.contains(f)) {
                return Err((Why::Feed, format!("feed {foreign:?} is not for {who} to set")));
            }
        }
        wishes.retain(|wish| wish.end.is_none_or(|end| end > now));
        if wishes.is_empty() {
            return Err((Why::Expired, "every interval in it is over".to_owned()));
        }
        let mut names = vec![format!("{who}/{}", envelope.id)];
        // The envelope is not signed: with the same signed text under another id somebody in between could
        // repeat it. A text with its own time is unique; one without may be meant twice.
        if json.get("iat").is_some() {
            let digest: String =
                digest(&SHA256, envelope.data.as_bytes()).as_ref().iter().map(|b| format!("{b:02x}")).collect();
            names.push(format!("{who}/{digest}"));
        }
        Ok(Command {
            by: who.to_owned(),
            names,
            stale: after(now, self.max_age + AHEAD),
            again,
            wishes,
            correlation: envelope.correlation.unwrap_or(envelope.id),
            trace: envelope.trace,
        })
    }
}

fn after(time: UnixMs, by: Duration) -> UnixMs {
    UnixMs::new(time.get().saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
}

/// What another infrastructure agent did, as a line for people.
fn enforcement(who: &str, json: &serde_json::Value) -> String {
    let text = |key: &str| json[key].as_str().unwrap_or("?").to_owned();
    let results = json["results"].as_array().map_or(0, Vec::len);
    let (action, feed, code) = (text("action"), text("feed_tag"), text("code"));
    format!("{who} {action} its measures on {feed}: {code}, {results} resources; breach {}", text("breach_id"))
}

#[cfg(test)]
mod tests {
    use super::super::event::{Chance, write};
    use super::super::key::Signer;
    use super::*;
    use serde_json::{Value, json};

    const NOW: UnixMs = UnixMs::new(1_795_463_740_000);
    const TOPIC: &str = "grid/v1/isv/acme/loadtarget/set";

    struct Play {
        signer: Signer,
        gate: Gate,
    }

    impl Play {
        fn new() -> Self {
            let signer = Signer::from_pem("k1", super::super::key::tests::p256().as_bytes()).unwrap();
            let partner = |feeds| Partner { keys: vec![signer.trusted()], feeds };
            let gate = Gate {
                identifier: "site-1".into(),
                isvs: [
                    ("acme".to_owned(), partner(None)),
                    ("small".to_owned(), partner(Some(vec!["main-b".to_owned()]))),
                ]
                .into(),
                infra: [("ima".to_owned(), partner(None))].into(),
                feeds: vec!["main-a".into(), "main-b".into()],
                max_age: Duration::from_secs(300),
                signed_time: false,
            };
            Self { signer, gate }
        }

        fn message(&self, payload: &Value, change: impl FnOnce(&mut Envelope)) -> String {
            let mut envelope = Envelope {
                id: Chance::new().uuid(),
                source: "//grid/v1/isv/acme".into(),
                kind: "grid.loadtarget.set.v1".into(),
                time: NOW,
                correlation: None,
                trace: Trace::default(),
                data: jws::sign(payload.to_string().as_bytes(), &self.signer).unwrap(),
            };
            change(&mut envelope);
            write(&envelope, &Chance::new())
        }

        fn judge(&self, payload: &Value, change: impl FnOnce(&mut Envelope)) -> Result<Command, Why> {
            match self.gate.judge(TOPIC, self.message(payload, change).as_bytes(), false, NOW).unwrap() {
                Heard::Command(command) => Ok(command),
                Heard::Refused(refused) => Err(refused.why),
                Heard::Enforcement(text) => panic!("{text}"),
            }
        }
    }

    fn target(more: &Value) -> Value {
        let mut json =
            json!({ "targets": [{ "interval": {}, "load_constraint": { "value": 9, "unit": "kilowatt" } }] });
        json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json
    }

    #[test]
    fn a_signed_target_is_for_all_feeds_unless_it_names_some() {
        let play = Play::new();
        let command = play.judge(&target(&json!({})), |_| {}).unwrap();
        assert_eq!(command.wishes[0].feeds, ["main-a", "main-b"]);
        let named = json!({ "targets": [{ "interval": {}, "load_constraint": null, "feed_tags": ["main-b"] }] });
        assert_eq!(play.judge(&named, |_| {}).unwrap().wishes[0].feeds, ["main-b"]);
        let strange = json!({ "targets": [{ "interval": {}, "load_constraint": null, "feed_tags": ["x"] }] });
        assert_eq!(play.judge(&strange, |_| {}), Err(Why::Feed));
    }

    #[test]
    fn each_reason_to_refuse_is_told_apart() {
        let play = Play::new();
        let plain = target(&json!({}));
        let other = Signer::from_pem("k2", super::super::key::tests::p256().as_bytes()).unwrap();
        let seconds = |s: i64| UnixMs::new(NOW.get().checked_add_signed(s * 1000).unwrap());
        let judge = |change: &dyn Fn(&mut Envelope)| play.judge(&plain, |e| change(e)).unwrap_err();
        assert_eq!(judge(&|e| e.data = jws::sign(b"{}", &other).unwrap()), Why::Signature);
        assert_eq!(judge(&|e| e.data = plain.to_string()), Why::Malformed, "unsigned");
        assert_eq!(judge(&|e| e.source = "//grid/v1/isv/small".into()), Why::Source);
        assert_eq!(judge(&|e| e.source = "//grid/v1/infra/acme".into()), Why::Source);
        assert_eq!(judge(&|e| e.kind = "grid.powerstate.status.v1".into()), Why::Malformed);
        assert_eq!(judge(&|e| e.time = seconds(-301)), Why::Expired);
        assert_eq!(judge(&|e| e.time = seconds(61)), Why::Expired);
        let now_s = NOW.get() / 1000;
        let with = |claims: Value| play.judge(&target(&claims), |_| {}).map(|c| c.names.len());
        assert_eq!(with(json!({ "aud": "another-site" })), Err(Why::Audience));
        assert_eq!(with(json!({ "aud": ["x", "//grid/v1/dsx-flex-agent/site-1"] })), Ok(1));
        assert_eq!(with(json!({ "exp": now_s })), Err(Why::Expired));
        assert_eq!(with(json!({ "nbf": now_s + 120 })), Err(Why::Expired));
        assert_eq!(with(json!({ "iat": now_s - 400 })), Err(Why::Expired));
        assert_eq!(with(json!({ "iat": now_s })), Ok(2), "a text with its own time must not come under another id");
        let over =
            json!({ "targets": [{ "load_constraint": null, "interval": { "end_time": "2026-11-23T00:00:00Z" } }] });
        assert_eq!(play.judge(&over, |_| {}), Err(Why::Expired));
        assert_eq!(play.judge(&json!({ "targets": [] }), |_| {}), Err(Why::Malformed));
        assert_eq!(play.judge(&target(&json!({ "padding": "x".repeat(LARGEST) })), |_| {}), Err(Why::Oversized));
    }

    #[test]
    fn a_demanded_time_must_be_in_the_signed_part() {
        let mut play = Play::new();
        play.gate.signed_time = true;
        assert_eq!(play.judge(&target(&json!({})), |_| {}), Err(Why::Malformed));
        assert!(play.judge(&target(&json!({ "iat": NOW.get() / 1000 })), |_| {}).is_ok());
    }

    #[test]
    fn a_partner_sets_only_its_own_feeds_and_what_is_not_ours_is_passed_over() {
        let play = Play::new();
        let send = |topic: &str, source: &str, payload: &Value| {
            play.gate.judge(topic, play.message(payload, |e| e.source = source.into()).as_bytes(), false, NOW)
        };
        let small = "grid/v1/isv/small/loadtarget/set";
        let Some(Heard::Command(command)) = send(small, "//grid/v1/isv/small", &target(&json!({}))) else {
            panic!("refused");
        };
        assert_eq!(command.wishes[0].feeds, ["main-b"]);
        let foreign = json!({ "targets": [{ "interval": {}, "load_constraint": null, "feed_tags": ["main-a"] }] });
        assert!(matches!(send(small, "//grid/v1/isv/small", &foreign), Some(Heard::Refused(r)) if r.why == Why::Feed));
        for topic in ["grid/v1/isv/nobody/loadtarget/set", "grid/v1/isv/acme/other", "grid/v1", "x/y/z"] {
            assert_eq!(send(topic, "//grid/v1/isv/acme", &target(&json!({}))), None);
        }
    }
}
