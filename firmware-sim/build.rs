//! Builds the NVML look-alike in `nvml/` as a shared library, so that it can be embedded: cargo builds
//! no cdylib of a package that is only a dependency. The package has no crates, so rustc alone will do.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=nvml/src");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    let target = variable("TARGET");
    let library = PathBuf::from(variable("OUT_DIR")).join("libnvidia-ml.so.1");
    if variable("CARGO_CFG_TARGET_OS") != "linux" || variable("CARGO_CFG_TARGET_POINTER_WIDTH") != "64" {
        println!("cargo::error=headroom-sim needs 64-bit Linux (target is {target}): its GPUs use futexes");
        return;
    }
    if let Err(error) = compile(&target, &library) {
        println!("cargo::error=the NVML look-alike was not built: {error}");
    }
}

fn compile(target: &str, library: &Path) -> Result<(), String> {
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.args(["--crate-name", "headroom_nvml_sim", "--crate-type", "cdylib", "--edition", "2024"]);
    rustc.args(["-C", "opt-level=2", "-C", "panic=abort", "-C", "strip=symbols"]);
    rustc.args(["-C", "link-arg=-Wl,-soname,libnvidia-ml.so.1"]);
    if target != variable("HOST") {
        rustc.args(["--target", target]);
    }
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        rustc.arg("-C").arg(format!("linker={}", linker.to_string_lossy()));
    }
    rustc.arg("nvml/src/lib.rs").arg("-o").arg(library);
    let status = rustc.status().map_err(|error| format!("{rustc:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{rustc:?}: {status}; what it said is above")) }
}

fn variable(name: &str) -> String {
    env::var(name).expect("invariant: cargo sets this for build scripts")
}
