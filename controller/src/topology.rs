//! `headroom-controller topology`: checks a plant as an operator wrote it, draws it, imports it.

mod lint;
mod loads;
mod netbox;
mod svg;
mod text;

pub use lint::{Warning, lint};
pub use netbox::{Defaults, Imported, import};

use crate::config::{self, Mistake, Tree};
use clap::Subcommand;
use headroom_controller_core::Topology;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What to do with a topology.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a topology file (or a config with one in it): mistakes and warnings, all at once, with
    /// their lines. Exit codes: 0 sound, 1 warnings only, 2 mistakes.
    Check {
        /// The file.
        file: PathBuf,
        /// Exit with 0 if there are only warnings.
        #[arg(long)]
        allow_warnings: bool,
        /// One JSON object instead of lines.
        #[arg(long)]
        json: bool,
    },
    /// Draw a topology as text, and as a one-line diagram in SVG.
    Show {
        /// The file.
        file: PathBuf,
        /// Write the diagram here.
        #[arg(long, value_name = "OUT")]
        svg: Option<PathBuf>,
    },
    /// Make a topology file from what another system knows. What it does not know is left open and named.
    Import {
        /// NetBox's JSON: answers of /api/dcim/{power-panels,power-feeds,power-ports,power-outlets,devices,racks}/
        /// (?limit=1000), one per file, or one file with an object that has a list for each. Repeatable. NetBox cuts an
        /// answer at its MAX_PAGE_SIZE, whatever the limit: fetch each `next` as well, a file for each page.
        #[arg(long, value_name = "FILE", required = true)]
        netbox: Vec<PathBuf>,
        /// Write the topology here instead of to standard output.
        #[arg(long, value_name = "OUT")]
        out: Option<PathBuf>,
        /// What NetBox does not know.
        #[command(flatten)]
        defaults: Defaults,
    },
}

/// Does it.
pub fn run(command: &Command) -> ExitCode {
    match command {
        Command::Check { file, allow_warnings, json } => check(file, *allow_warnings, *json),
        Command::Show { file, svg } => show(file, svg.as_deref()),
        Command::Import { netbox, out, defaults } => bring(netbox, out.as_deref(), defaults),
    }
}

fn text_of(file: &Path) -> Result<String, ExitCode> {
    std::fs::read_to_string(file).map_err(|why| {
        eprintln!("cannot read {}: {why}", file.display());
        ExitCode::from(2)
    })
}

/// The tree in words of the config and of the core.
fn read(file: &str, text: &str) -> Result<(Tree, Topology), Vec<Mistake>> {
    let tree = config::parse_tree(file, text, None)?;
    let topology = config::core_topology(&tree).expect("invariant: reading the tree has made it once");
    Ok((tree, topology))
}

fn check(file: &Path, allow_warnings: bool, as_json: bool) -> ExitCode {
    let text = match text_of(file) {
        Ok(text) => text,
        Err(code) => return code,
    };
    let name = file.display().to_string();
    let (tree, mistakes) = config::look_at_tree(&name, &text);
    let warnings = tree.as_ref().map(|tree| warnings(tree, &name, &text));
    let is_built = warnings.is_some();
    let warnings = warnings.unwrap_or_default();
    if as_json {
        let list = |of: &[Mistake]| -> Vec<serde_json::Value> {
            let one = |m: &Mistake| json!({ "file": m.file, "line": m.line, "problem": m.problem, "remedy": m.remedy });
            of.iter().map(one).collect()
        };
        println!(
            "{}",
            json!({
                "sound": mistakes.is_empty(), "mistakes": list(&mistakes), "warnings": list(&warnings),
                "warnings_known": is_built
            })
        );
    } else {
        mistakes.iter().for_each(|m| eprintln!("{m}"));
        warnings.iter().for_each(|w| eprintln!("warning: {w}"));
        let said = tree.map_or_else(String::new, |t| {
            format!("{} nodes, {} racks, {} cooling sets", t.nodes.len(), t.racks.len(), t.cooling.len())
        });
        let warned = format!("{} warning{}", warnings.len(), if warnings.len() == 1 { "" } else { "s" });
        let mistaken =
            format!("{} mistake{} in the topology", mistakes.len(), if mistakes.len() == 1 { "" } else { "s" });
        match (mistakes.len(), warnings.len()) {
            (0, 0) => println!("{name}: sound ({said})"),
            (0, _) => eprintln!("{warned}; the tree can be used ({said})"),
            _ if is_built => eprintln!("{mistaken}, {warned}"),
            _ => eprintln!("{mistaken}; warnings come when the tree can be built without them"),
        }
    }
    match (mistakes.is_empty(), warnings.is_empty() || allow_warnings) {
        (false, _) => ExitCode::from(2),
        (true, false) => ExitCode::from(1),
        (true, true) => ExitCode::SUCCESS,
    }
}

/// What to look at, with its lines.
fn warnings(tree: &Tree, name: &str, text: &str) -> Vec<Mistake> {
    let Ok(topology) = config::core_topology(tree) else { return Vec::new() };
    let other = tree.file.as_ref().and_then(|f| Some((f.display().to_string(), std::fs::read_to_string(f).ok()?)));
    let (name, text) = other.as_ref().map_or((name, text), |(name, text)| (name, text));
    let warn = |w: Warning| Mistake {
        file: name.to_owned(),
        line: tree.spots.get(&w.of).map_or(1, |at| config::line_of(text, *at)),
        problem: format!("{:?} {}", w.of, w.problem),
        remedy: w.remedy,
    };
    let mut warnings: Vec<Mistake> = lint(tree, &topology).into_iter().map(warn).collect();
    warnings.sort_by_key(|w| w.line);
    warnings
}

fn show(file: &Path, to: Option<&Path>) -> ExitCode {
    let text = match text_of(file) {
        Ok(text) => text,
        Err(code) => return code,
    };
    let name = file.display().to_string();
    let (tree, topology) = match read(&name, &text) {
        Ok(read) => read,
        Err(mistakes) => {
            mistakes.iter().for_each(|m| eprintln!("{m}"));
            return ExitCode::from(2);
        }
    };
    print!("{}", text::draw(&tree, &topology));
    let title = file.file_stem().map_or_else(|| name.clone(), |stem| stem.to_string_lossy().into_owned());
    to.map_or(ExitCode::SUCCESS, |to| write(to, &svg::draw(&topology, &title)))
}

fn bring(files: &[PathBuf], out: Option<&Path>, defaults: &Defaults) -> ExitCode {
    let mut texts = Vec::new();
    for file in files {
        match text_of(file) {
            Ok(text) => texts.push((file.display().to_string(), text)),
            Err(code) => return code,
        }
    }
    let imported = match import(&texts, defaults) {
        Ok(imported) => imported,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    imported.open.iter().for_each(|line| eprintln!("to do: {line}"));
    match out {
        Some(out) => write(out, &imported.toml),
        None => {
            print!("{}", imported.toml);
            ExitCode::SUCCESS
        }
    }
}

fn write(to: &Path, text: &str) -> ExitCode {
    match std::fs::write(to, text) {
        Ok(()) => {
            eprintln!("wrote {}", to.display());
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("cannot write {}: {why}", to.display());
            ExitCode::FAILURE
        }
    }
}
