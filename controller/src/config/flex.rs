//! `[flex]`: the load-flexibility partners, their keys and ours, and the feeds they may limit. Key files are
//! read when the config is, so that `check` finds what is wrong with them.

use super::document::{Mistakes, Spot, Table};
use super::value::ranged;
use super::{Broker, Node, group};
use crate::flex::Voice;
use crate::flex::desk;
use crate::flex::gate::{Gate, Partner};
use crate::flex::key::{Signer, Trusted};
use headroom_controller_core::target::breach::Rule;
use headroom_rack::{NodeId, Watts};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What a breach may suggest, from the least to the most disruptive (the contract's enumeration).
const ACTIONS: [&str; 4] = ["SHUTDOWN_NODES", "SHUTDOWN_RACKS", "CUT_DATA_FEEDS", "TRIP_BREAKERS"];

/// The load-flexibility partners.
#[derive(Debug, Clone)]
pub struct Flex {
    /// The broker they are reached by.
    pub broker: Broker,
    /// Whom to believe.
    pub gate: Gate,
    /// What to do.
    pub desk: desk::Options,
    infra_identifier: String,
    signer: Arc<Signer>,
}

impl Flex {
    /// Who speaks.
    pub fn voice(&self) -> Voice {
        let (identifier, infra_identifier) = (self.gate.identifier.clone(), self.infra_identifier.clone());
        Voice { identifier, infra_identifier, signer: Arc::clone(&self.signer) }
    }
}

pub(super) fn read(t: &Table<'_>, main: Option<&Broker>, nodes: &[Node], m: &Mistakes) -> Option<Flex> {
    if !t.is_there() {
        return None;
    }
    let own = t.table("broker");
    let broker = if own.is_there() { super::broker::read(&own, m) } else { main.cloned() };
    let identifier = identifier(t.need("identifier", "\"site-1\""), "identifier", m);
    let infra = t
        .get("infra_identifier")
        .map_or_else(|| identifier.clone(), |s| self::identifier(Some(s), "infra_identifier", m));
    let kid = t.need::<String>("key_id", "\"2026-11\"");
    let signer = t.need::<String>("key_file", "\"/etc/headroom/flex-key.pem\"").and_then(|file| {
        let pem = file_content(&file, "key_file", m)?;
        match Signer::from_pem(kid.as_ref().map_or("", |k| &k.value), &pem) {
            Ok(signer) => Some(Arc::new(signer)),
            Err(why) => {
                let remedy = "make one: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out FILE";
                m.add(file.at, format!("key_file {:?} cannot be used: {why}", file.value), remedy);
                None
            }
        }
    });
    let seconds = |key, default, low, high| Duration::from_secs_f64(ranged(t.get(key), default, low, high, key, m));
    let max_age = seconds("max_age_s", 300.0, 5.0, 86_400.0);
    let rule = Rule {
        threshold: ranged(t.get("breach_percent"), 2.0, 0.0, 20.0, "breach_percent", m) / 100.0,
        after: seconds("breach_after_s", 10.0, 1.0, 3600.0),
        escalate_after: seconds("escalate_after_s", 60.0, 1.0, 86_400.0),
    };
    let signed_time = t.get::<bool>("signed_time").is_some_and(|s| s.value);
    let actions = actions(t, m);
    let feeds = feeds(t, nodes, m);
    let tags: Vec<String> = feeds.iter().map(|f| f.tag.clone()).collect();
    let isvs = partners(t, "isv", &tags, m);
    let infra_partners = partners(t, "infra", &tags, m);
    if isvs.is_empty() {
        m.add(t.at(), "[flex] names nobody who may set load targets", "add [[flex.isv]] with identifier and keys");
    }
    t.refuse_unknown();
    Some(Flex {
        broker: broker?,
        gate: Gate { identifier: identifier?, isvs, infra: infra_partners, feeds: tags, max_age, signed_time },
        desk: desk::Options { rule, feeds, actions },
        infra_identifier: infra?,
        signer: signer?,
    })
}

/// One segment of a topic and of a source.
fn identifier(spot: Option<Spot<String>>, key: &str, m: &Mistakes) -> Option<String> {
    let spot = spot?;
    let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=64).contains(&spot.value.len()) && spot.value.chars().all(ok) {
        return Some(spot.value);
    }
    let problem = format!("{key} = {:?} cannot stand in a topic", spot.value);
    m.add(spot.at, problem, "use 1 to 64 letters, digits, '-', '_' and '.'");
    None
}

fn file_content(file: &Spot<String>, key: &str, m: &Mistakes) -> Option<Vec<u8>> {
    match std::fs::read(&file.value) {
        Ok(bytes) => Some(bytes),
        Err(why) => {
            m.add(
                file.at,
                format!("{key} {:?} cannot be read: {why}", file.value),
                "name a file that this user may read",
            );
            None
        }
    }
}

fn actions(t: &Table<'_>, m: &Mistakes) -> Vec<String> {
    let Some(spot) = t.get::<Vec<String>>("infrastructure_actions") else { return Vec::new() };
    for strange in spot.value.iter().filter(|a| !ACTIONS.contains(&a.as_str())) {
        let problem = format!("infrastructure_actions names {strange:?}");
        m.add(spot.at, problem, format!("write some of {}", ACTIONS.join(", ")));
    }
    // The contract wants them from the least to the most disruptive, however they were written.
    ACTIONS.iter().filter(|a| spot.value.iter().any(|s| s == *a)).map(|a| (*a).to_owned()).collect()
}

fn feeds(t: &Table<'_>, nodes: &[Node], m: &Mistakes) -> Vec<desk::Feed> {
    let tables = t.tables("feed");
    if tables.is_empty() {
        m.add(t.at(), "[flex] has no feed", "add [[flex.feed]] with a tag and its nodes, like nodes = [\"ups-a\"]");
    }
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    let mut tags = BTreeMap::new();
    tables.iter().filter_map(|t| feed(t, nodes, &mut taken, &mut tags, m)).collect()
}

fn feed(
    t: &Table<'_>,
    nodes: &[Node],
    taken: &mut BTreeMap<String, String>,
    tags: &mut BTreeMap<String, String>,
    m: &Mistakes,
) -> Option<desk::Feed> {
    let tag = t.need::<String>("tag", "\"main-a\"");
    let names = t.need::<Vec<String>>("nodes", "[\"ups-a\"]");
    let power = |key| t.get(key).map(|s| Watts::new(ranged(Some(s), 0.0, 0.0, 1e9, key, m)));
    let [minimum, maximum, default] = ["minimum_watts", "maximum_watts", "default_watts"].map(power);
    t.refuse_unknown();
    let (tag, names) = (tag?, names?);
    // The decision names what bound a cap: a name of its own, with the alphabet of nodes.
    let plain =
        |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c.to_ascii_lowercase() } else { '-' };
    let group: String = format!("feed-{}", tag.value).chars().map(plain).take(64).collect();
    let same = tags.insert(group.clone(), tag.value.clone());
    if tag.value.is_empty() || same.is_some() {
        let problem = match same {
            Some(other) if other != tag.value => {
                format!(
                    "feed tags {other:?} and {:?} differ in capitals, signs or the end of a long name only",
                    tag.value
                )
            }
            _ => format!("feed tag {:?} is empty or there twice", tag.value),
        };
        m.add(tag.at, problem, "give each feed a tag of its own, in letters, digits, '-', '_' and '.'");
        return None;
    }
    let found = group::nodes(&tag.value, &names, nodes, taken, m);
    if found.is_empty() {
        return None;
    }
    let rating: Watts = found.iter().map(|n| n.rating).sum();
    let minimum = minimum.unwrap_or(Watts::ZERO);
    let maximum = maximum.unwrap_or(rating);
    let default = default.unwrap_or(maximum);
    if minimum > maximum {
        let problem = format!(
            "minimum_watts = {} of feed {:?} is above its maximum, {} W",
            minimum.get(),
            tag.value,
            maximum.get()
        );
        m.add(tag.at, problem, "write the least and the most that the feed draws");
    } else if !(minimum..=maximum).contains(&default) || default == Watts::ZERO {
        let problem =
            format!("default_watts = {} of feed {:?} lies outside of what it can draw", default.get(), tag.value);
        let (low, high) = (minimum.get(), maximum.get());
        let remedy = format!("write {low} to {high}, above 0: it holds whenever no target does");
        m.add(tag.at, problem, remedy);
    }
    Some(desk::Feed {
        group: NodeId::new(group).ok()?,
        tag: tag.value,
        nodes: found.iter().map(|n| n.id.clone()).collect(),
        minimum,
        maximum,
        default,
    })
}

fn partners(t: &Table<'_>, key: &'static str, tags: &[String], m: &Mistakes) -> BTreeMap<String, Partner> {
    let mut found = BTreeMap::new();
    for t in t.tables(key) {
        let name = identifier(t.need("identifier", "\"acme-energy\""), "identifier", m);
        let at = t.at();
        let feeds = t.get::<Vec<String>>("feeds").map(|spot| {
            for strange in spot.value.iter().filter(|f| !tags.contains(f)) {
                m.add(spot.at, format!("feeds names {strange:?}"), format!("write some of {}", tags.join(", ")));
            }
            if spot.value.is_empty() && key == "isv" {
                let problem = "feeds = [] lets this partner set nothing: each message of it would be refused";
                m.add(spot.at, problem, "leave feeds out for all feeds, or name some");
            }
            spot.value
        });
        let mut keys: Vec<Trusted> = Vec::new();
        for t in t.tables("keys") {
            for key in self::keys(&t, m) {
                if keys.iter().any(|k| k.kid == key.kid && k.public.algorithm() == key.public.algorithm()) {
                    let problem = format!("two keys are called {:?}: only one of them would be tried", key.kid);
                    m.add(t.at(), problem, "give each key of a partner a kid of its own");
                }
                keys.push(key);
            }
        }
        t.refuse_unknown();
        if keys.is_empty() {
            let remedy = "add keys = [{ kid = \"2026-11\", file = \"partner.pem\" }]";
            m.add(at, "a partner without a key: nothing of it could be believed", remedy);
        }
        if let Some(name) = name
            && found.insert(name.clone(), Partner { keys, feeds }).is_some()
        {
            m.add(at, format!("{name:?} is there twice"), "name each partner once, with all its keys");
        }
    }
    found
}

fn keys(t: &Table<'_>, m: &Mistakes) -> Vec<Trusted> {
    let kid = t.get::<String>("kid");
    let file = t.need::<String>("file", "\"partner.pem\"");
    t.refuse_unknown();
    let Some(file) = file else { return Vec::new() };
    let Some(bytes) = file_content(&file, "file", m) else { return Vec::new() };
    Trusted::from_file(&bytes, kid.as_ref().map(|k| k.value.as_str())).unwrap_or_else(|why| {
        let remedy = "ask the partner for its public key, EC P-256 or RSA, as PEM or JWK";
        m.add(file.at, format!("key file {:?} cannot be used: {why}", file.value), remedy);
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use super::super::{DEFAULT, parse};
    use super::Signer;
    use crate::flex::key::Public;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    #[test]
    fn every_mistake_of_the_section_is_told_with_its_line() {
        let text = format!(
            "{DEFAULT}\n[flex]\nidentifier = \"a/b\"\nkey_id = \"k\"\nkey_file = \"/does/not/exist\"\nbreach_percent = 50\n\
             infrastructure_actions = [\"REBOOT\"]\nsinged_time = true\n\
             [[flex.feed]]\ntag = \"main-a\"\nnodes = [\"ups-a\", \"breaker-a\", \"ups-x\"]\n\
             [[flex.isv]]\nidentifier = \"acme\"\nfeeds = [\"main-z\"]\nkeys = [{{ kid = \"1\", file = \"/nor/this\" }}]\n"
        );
        let error = parse("c.toml", &text).unwrap_err().to_string();
        for words in [
            "identifier = \"a/b\" cannot stand in a topic",
            "key_file \"/does/not/exist\" cannot be read",
            "breach_percent = 50 is out of range",
            "infrastructure_actions names \"REBOOT\"",
            "did you mean `signed_time`?",
            "breaker-a hangs on ups-a",
            "no node is named \"ups-x\"",
            "feeds names \"main-z\"",
            "file \"/nor/this\" cannot be read",
            "a partner without a key",
        ] {
            assert!(error.contains(words), "{words} is not in\n{error}");
        }
        assert!(error.contains("10 mistakes"), "{error}");
    }

    #[test]
    fn what_would_be_passed_over_in_silence_is_a_mistake() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("acme.json");
        let signer = Signer::from_pem("1", crate::flex::key::tests::p256().as_bytes()).unwrap();
        let Public::P256(point) = signer.trusted().public else { panic!("another curve") };
        let [x, y] = [&point[1..33], &point[33..]].map(|half| URL_SAFE_NO_PAD.encode(half));
        std::fs::write(&file, format!(r#"{{ "kty": "EC", "crv": "P-256", "x": "{x}", "y": "{y}" }}"#)).unwrap();
        let file = file.display();
        let text = format!(
            "{DEFAULT}\n[flex]\nidentifier = \"site-1\"\nkey_id = \"k\"\nkey_file = \"/does/not/exist\"\n\
             [[flex.feed]]\ntag = \"main-a\"\nnodes = [\"ups-a\"]\ndefault_watts = 0\n\
             [[flex.feed]]\ntag = \"Main A\"\nnodes = [\"ups-b\"]\nminimum_watts = 90000\nmaximum_watts = 10\n\
             [[flex.isv]]\nidentifier = \"acme\"\nfeeds = []\n\
             keys = [{{ kid = \"1\", file = \"{file}\" }}, {{ kid = \"1\", file = \"{file}\" }}]\n"
        );
        let error = parse("c.toml", &text).unwrap_err().to_string();
        for words in [
            "default_watts = 0 of feed \"main-a\" lies outside",
            "feed tags \"main-a\" and \"Main A\" differ in capitals",
            "feeds = [] lets this partner set nothing",
            "two keys are called \"1\"",
        ] {
            assert!(error.contains(words), "{words} is not in\n{error}");
        }
        let other = parse("c.toml", &text.replace("Main A", "main-b")).unwrap_err().to_string();
        assert!(other.contains("minimum_watts = 90000 of feed \"main-b\" is above its maximum, 10 W"), "{other}");
    }

    #[test]
    fn an_empty_section_says_all_that_it_needs() {
        let error = parse("c.toml", &format!("{DEFAULT}\n[flex]\n")).unwrap_err().to_string();
        for words in ["`identifier` in [flex] is missing", "`key_id`", "`key_file`", "has no feed", "names nobody"] {
            assert!(error.contains(words), "{words} is not in\n{error}");
        }
    }
}
