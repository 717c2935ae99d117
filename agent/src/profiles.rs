//! The device profiles an agent knows: those shipped inside the program and those of the config's
//! `profiles_dir`. What a profile means is the core's business.

use headroom_agent_core::document::Mistake;
use headroom_agent_core::profile::Profile;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

macro_rules! shipped {
    ($($name:literal)*) => {
        &[$((concat!($name, ".toml"), include_str!(concat!("../profiles/", $name, ".toml"))),)*]
    };
}

/// Name and text of every shipped profile.
pub const SHIPPED: &[(&str, &str)] = shipped! {
    "abb-acs550"
    "abb-b23"
    "adelsystem-cbi"
    "apc-inrow-sc"
    "apc-smart-ups"
    "belimo-energy-valve"
    "danfoss-novocon"
    "delta-dph"
    "eastron-sdm630"
    "gavazzi-em24"
    "gavazzi-em24-e1"
    "gavazzi-em340"
    "huawei-ups2000"
    "janitza-umg"
    "liebert-apm"
    "liebert-crv"
    "liebert-dcd"
    "liebert-gxt"
    "openrack-rpu"
    "orv2-psu"
    "orv3-hpr-bbu"
    "orv3-hpr-psu"
    "orv3-psu"
    "phoenix-quint"
    "phoenix-quint4"
    "raritan-px"
    "schneider-iem3000"
    "siemens-pac2200"
    "socomec-countis-e23"
    "socomec-countis-e34"
    "socomec-diris-a10"
    "socomec-diris-b30"
    "socomec-jbus"
    "sunspec-203"
    "sunspec-213"
};

/// Profiles by name.
pub type Profiles = BTreeMap<String, Arc<Profile>>;

/// The shipped profiles and, over them, those of `dir`.
///
/// # Errors
/// Every mistake of every file at once.
pub fn load(dir: Option<&Path>) -> Result<Profiles, Vec<Mistake>> {
    let mut profiles = Profiles::new();
    let mut mistakes = Vec::new();
    let mut take = |file: &str, text: &str| match Profile::parse(file, text) {
        Ok(profile) => {
            profiles.insert(profile.name.clone(), Arc::new(profile));
        }
        Err(found) => mistakes.extend(found),
    };
    for (file, text) in SHIPPED {
        take(file, text);
    }
    match dir.map_or(Ok(Vec::new()), files) {
        Ok(list) => list.iter().for_each(|(file, text)| take(file, text)),
        Err(mistake) => mistakes.push(mistake),
    }
    if mistakes.is_empty() { Ok(profiles) } else { Err(mistakes) }
}

fn files(dir: &Path) -> Result<Vec<(String, String)>, Mistake> {
    let unreadable = |what: &Path, error: std::io::Error| Mistake {
        file: what.display().to_string(),
        line: 1,
        problem: format!("it cannot be read: {error}"),
        remedy: "profiles_dir must be a directory of readable *.toml files".to_owned(),
    };
    let mut list = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| unreadable(dir, e))? {
        let path = entry.map_err(|e| unreadable(dir, e))?.path();
        if path.extension().is_some_and(|e| e == "toml") {
            let text = std::fs::read_to_string(&path).map_err(|e| unreadable(&path, e))?;
            list.push((path.display().to_string(), text));
        }
    }
    list.sort();
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use headroom_rack::{Class, Signal};
    use std::collections::BTreeSet;

    #[test]
    fn every_shipped_profile_loads_and_names_source_and_validation() {
        let profiles = load(None).expect("shipped profiles are right");
        assert_eq!(profiles.len(), SHIPPED.len());
        for ((file, _), profile) in
            SHIPPED.iter().filter_map(|s| profiles.get(s.0.trim_end_matches(".toml")).map(|p| (s, p)))
        {
            assert_eq!(*file, format!("{}.toml", profile.name));
            assert!(profile.source.len() > 30, "{file} names no source");
            assert!(profile.validated.contains("hardware"), "{file} does not say where it was tried");
        }
        let has = |name: &str, signal| profiles[name].points.iter().any(|p| p.signal == signal);
        assert_eq!(profiles["delta-dph"].class, Class::Ups);
        assert!(has("eastron-sdm630", Signal::PduEnergy) && has("openrack-rpu", Signal::CoolingLeak));
    }

    #[test]
    fn every_profile_of_the_repository_is_shipped() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles");
        let there: BTreeSet<_> = files(Path::new(dir)).unwrap().into_iter().map(|(file, _)| file).collect();
        let shipped: BTreeSet<_> = SHIPPED.iter().map(|(file, _)| format!("{dir}/{file}")).collect();
        assert_eq!(there, shipped);
    }

    #[test]
    fn the_reference_in_the_repository_is_the_one_of_the_code() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles/README.md");
        let written = std::fs::read_to_string(file).unwrap();
        let generated = headroom_agent_core::profile::reference();
        assert!(written == generated, "write it with: headroom-agent profiles --reference > agent/profiles/README.md");
    }

    #[test]
    fn a_directory_that_is_not_there_is_a_mistake() {
        assert_eq!(load(Some(Path::new("/nonexistent/profiles"))).unwrap_err().len(), 1);
    }
}
