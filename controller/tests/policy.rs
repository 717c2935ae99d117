//! Policies as an operator works with them: checked, compared, tried on the record, taken over while the
//! controller runs, refused when they are bad, and brought back.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

#[path = "policy/checked.rs"]
mod checked;
#[path = "policy/running.rs"]
mod running;
#[path = "policy/tried.rs"]
mod tried;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn program(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headroom-controller")).args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../deploy/policies/{name}.toml"))
}

/// A config of the 2N example with a policy file beside it, and no broker to be found.
fn site(dir: &Path) -> PathBuf {
    let topology = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/topologies/2n.toml");
    std::fs::copy(topology, dir.join("plant.toml")).unwrap();
    std::fs::copy(example("oversubscribed-row"), dir.join("policy.toml")).unwrap();
    let record = dir.join("record");
    let config = dir.join("controller.toml");
    let text = format!(
        "site = \"demo\"\nperiod_ms = 200\nlease_ms = 1000\n[broker]\nurl = \"mqtt://127.0.0.1:1\"\n\
         [record]\ndir = {:?}\n[serve]\nlisten = \"127.0.0.1:0\"\n[model]\nenabled = false\n\
         [topology]\nfile = \"plant.toml\"\n[policy]\nfile = \"policy.toml\"\n",
        record.to_str().unwrap()
    );
    std::fs::write(&config, text).unwrap();
    config
}

const ORDER: &str = "[priorities]\norder = [\"training\", \"inference\", \"batch\"]\n";

/// The config of the default row: four racks on two breakers of 11.5 kW, with its record in `dir`.
fn row(dir: &Path) -> PathBuf {
    let text = String::from_utf8(program(&["default-config"]).stdout).unwrap();
    let record = dir.join("record");
    let config = dir.join("controller.toml");
    std::fs::write(&config, text.replace("dir = \"record\"", &format!("dir = {:?}", record.to_str().unwrap())))
        .unwrap();
    config
}
