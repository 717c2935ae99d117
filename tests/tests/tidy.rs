//! The rules of the house that a compiler does not hold: who may depend on whom, and that no file
//! starts without saying what lives there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const MAY_DEPEND: &[(&str, &[&str])] = &[
    ("rack", &[]),
    ("wire", &["rack"]),
    ("deploy/log", &[]),
    ("deploy/tls", &[]),
    ("agent/core", &["rack"]),
    ("agent", &["agent-core", "log", "rack", "tls", "wire"]),
    ("controller/core", &["rack"]),
    ("controller/predict", &["rack"]),
    ("controller/train", &["log", "predict", "rack"]),
    ("controller", &["controller-core", "log", "predict", "rack", "tls", "wire"]),
    ("firmware-sim", &["log", "rack"]),
    ("firmware-sim/nvml", &[]),
    ("deploy/headroom", &["agent", "agent-core", "controller", "controller-core", "log", "rack", "sim"]),
];
const CORES: &[&str] = &["rack", "wire", "agent/core", "controller/core"];
const IMPURE: &[&str] = &["tokio", "reqwest", "axum", "rand", "rumqttc", "libc", "nvml-wrapper"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests has a parent").to_owned()
}

/// Names in the `[dependencies]` section of a manifest.
fn dependencies(room: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join(room).join("Cargo.toml")).expect("a manifest");
    let section = text.split("[dependencies]").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    let names = section.lines().filter_map(|l| l.split(['.', ' ', '=']).next());
    names.filter(|n| !n.is_empty() && !n.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn each_room_depends_only_on_whom_it_may() {
    for (room, allowed) in MAY_DEPEND {
        let ours = dependencies(room);
        let ours: BTreeSet<&str> = ours.iter().filter_map(|d| d.strip_prefix("headroom-")).collect();
        assert_eq!(ours, allowed.iter().copied().collect(), "{room}");
    }
}

#[test]
fn no_core_knows_network_runtime_or_chance() {
    for room in CORES {
        let all = dependencies(room);
        let impure: Vec<_> = IMPURE.iter().filter(|i| all.contains(**i)).collect();
        assert!(impure.is_empty(), "{room} depends on {impure:?}");
    }
}

#[test]
fn every_rust_file_says_what_lives_there() {
    let mut silent = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder").flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with(['.']) && !name.starts_with("target") && name != "node_modules" {
                folders.push(path);
            } else if name.ends_with(".rs") {
                let text = std::fs::read_to_string(&path).expect("UTF-8");
                if !text.lines().take(12).any(|l| l.starts_with("//!")) {
                    silent.push(path);
                }
            }
        }
    }
    assert!(silent.is_empty(), "no //! head: {silent:?}");
}
