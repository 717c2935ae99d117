//! The plant of a config: in the config itself or in a topology file, and whether it hangs together. What its entries
//! say is in `tree.rs`.

use super::document::{self, Mistake, Mistakes, Table};
use super::{ConfigError, Tree, core, text, tree};
use std::path::Path;

/// The plant that a config is about. Nothing else in it is looked at.
///
/// # Errors
/// [`ConfigError`], with every mistake of the plant.
pub fn load_tree(path: &Path) -> Result<Tree, ConfigError> {
    parse_tree(&path.display().to_string(), &text(path)?, None).map_err(ConfigError::Mistakes)
}

/// Reads and checks a topology file: `[[node]]`, `[[rack]]` and `[[cooling]]` alone, or a whole config,
/// of which the rest is not looked at. `bands`: the priorities a rack may have, if they are known.
///
/// # Errors
/// Every mistake.
pub fn parse_tree(file: &str, text: &str, bands: Option<&[String]>) -> Result<Tree, Vec<Mistake>> {
    document::read(file, text, |root, m| {
        let tree = tree_of(file, root, bands, m);
        sound(&tree, m)?;
        Some(tree)
    })
}

/// The same, and the tree also where mistakes leave it whole: those that are about it can then be told with the rest.
pub fn look_at_tree(file: &str, text: &str) -> (Option<Tree>, Vec<Mistake>) {
    document::look(file, text, |root, m| {
        let tree = tree_of(file, root, None, m);
        is_whole(&tree, m).then_some(tree)
    })
}

fn tree_of(file: &str, root: &Table<'_>, bands: Option<&[String]>, m: &Mistakes) -> Tree {
    if root.has("site") || root.has("topology") {
        root.ignore_rest();
        return plant(file, root, bands, m);
    }
    tree::read(root, bands, m)
}

/// Whether something can be held against the tree, whatever mistakes there are besides.
pub(super) fn is_whole(tree: &Tree, m: &Mistakes) -> bool {
    (sound(tree, m).is_some() || core::topology(tree).is_ok()) && tree.is_whole
}

/// Whether what is fine entry by entry hangs together.
fn sound(tree: &Tree, m: &Mistakes) -> Option<()> {
    if m.is_empty()
        && let Err(mistakes) = core::topology(tree)
    {
        for why in mistakes {
            let of = why.of().and_then(|name| tree.spots.get(name)).copied().unwrap_or(0);
            m.add(of, format!("the electrical tree is not sound: {why}"), "correct [[node]] and [[rack]]");
        }
    }
    m.is_empty().then_some(())
}

/// The plant: in the config itself, or in the file that `[topology]` names, relative to the config.
pub(super) fn plant(file: &str, root: &Table<'_>, bands: Option<&[String]>, m: &Mistakes) -> Tree {
    let table = root.table("topology");
    let own = table.get::<String>("file");
    table.refuse_unknown();
    let Some(own) = own else { return tree::read(root, bands, m) };
    for key in ["node", "rack", "cooling"] {
        if root.has(key) {
            m.add(own.at, format!("[[{key}]] stands here and [topology] names a file"), "keep the plant in one place");
        }
    }
    root.ignore(&["node", "rack", "cooling"]);
    let path = Path::new(file).parent().unwrap_or(Path::new("")).join(&own.value);
    let name = path.display().to_string();
    match std::fs::read_to_string(&path) {
        Ok(text) => match parse_tree(&name, &text, bands) {
            Ok(tree) => Tree { file: Some(path), ..tree },
            Err(mistakes) => {
                m.adopt(mistakes);
                Tree::default()
            }
        },
        Err(why) => {
            m.add(own.at, format!("cannot read the topology file {name}: {why}"), "name a file beside the config");
            Tree::default()
        }
    }
}
