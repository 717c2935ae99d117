//! NetBox's lists by kind, whatever way they were exported: one answer of the REST API per file, or one
//! object with a list for each kind. An object's `url` says what it is.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const KINDS: [&str; 6] = ["power-panels", "power-feeds", "power-ports", "power-outlets", "devices", "racks"];

/// One answer of a list, which NetBox cuts at its MAX_PAGE_SIZE whatever limit is asked for.
#[derive(Debug)]
struct Page {
    file: String,
    kind: &'static str,
    count: Option<u64>,
    next: Option<String>,
    ids: BTreeSet<u64>,
}

#[derive(Debug)]
pub(super) struct Tables {
    of: BTreeMap<&'static str, BTreeMap<u64, Value>>,
    pages: Vec<Page>,
    /// Ports by what their cable ends at.
    cables: BTreeMap<(&'static str, u64), Vec<(&'static str, u64)>>,
}

impl Tables {
    pub(super) fn read(files: &[(String, String)]) -> Result<Self, String> {
        let mut tables = Self { of: BTreeMap::new(), pages: Vec::new(), cables: BTreeMap::new() };
        for (file, text) in files {
            let value: Value = serde_json::from_str(text).map_err(|why| format!("{file}: not valid JSON: {why}"))?;
            let before = tables.count();
            tables.take(&value, None, file);
            if tables.count() == before {
                return Err(format!(
                    "{file}: no object of NetBox in it; give answers of /api/dcim/{}/ or an object with such lists",
                    KINDS.join("/, /api/dcim/")
                ));
            }
        }
        Ok(tables)
    }

    fn count(&self) -> usize {
        self.of.values().map(BTreeMap::len).sum::<usize>() + self.cables.len()
    }

    fn take(&mut self, value: &Value, named: Option<&'static str>, file: &str) {
        match value {
            Value::Array(list) => list.iter().for_each(|v| self.take(v, named, file)),
            Value::Object(entries) => {
                let own = value["url"].as_str().and_then(kind_of_url);
                let is_cable = value["url"].as_str().is_some_and(|u| u.contains("/cables/"));
                match own.or(named) {
                    _ if is_cable => self.cable(value),
                    Some(kind) if value["id"].is_u64() => {
                        let id = value["id"].as_u64().unwrap_or_default();
                        self.of.entry(kind).or_default().insert(id, value.clone());
                    }
                    _ => {
                        self.pages.extend(page(value, named, file));
                        for (key, inner) in entries {
                            let word = key.rsplit('/').next().unwrap_or_default().replace('_', "-");
                            let kind = KINDS.iter().copied().find(|k| *k == word);
                            self.take(inner, kind.or(named), file);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// Lists of which a part is missing, in words.
    pub(super) fn cut(&self) -> Vec<String> {
        let is_whole = |p: &&Page| p.count.is_none_or(|count| p.ids.len() as u64 >= count) && p.next.is_none();
        let mut lists: BTreeMap<(&str, Option<u64>), Vec<&Page>> = BTreeMap::new();
        for page in self.pages.iter().filter(|p| !is_whole(p)) {
            lists.entry((page.kind, page.count)).or_default().push(page);
        }
        // Without a count, the last page is the one that names no next.
        let ends = |kind: &str| self.pages.iter().any(|p| p.kind == kind && p.count.is_none() && p.next.is_none());
        let mut found = Vec::new();
        for ((kind, count), pages) in lists {
            let there = pages.iter().flat_map(|p| &p.ids).collect::<BTreeSet<_>>().len();
            if count.map_or_else(|| ends(kind), |count| there as u64 >= count) {
                continue;
            }
            let files: BTreeSet<&str> = pages.iter().map(|p| p.file.as_str()).collect();
            let of = count.map_or_else(String::new, |count| format!(" of {count}"));
            let next = pages.iter().rev().find_map(|p| p.next.as_ref());
            let next = next.map_or_else(String::new, |next| format!(" ({next})"));
            found.push(format!(
                "{}: holds {there}{of} {kind}, one page of the list: fetch the rest{next} and give each page with a --netbox of its own",
                files.into_iter().collect::<Vec<_>>().join(", ")
            ));
        }
        found
    }

    /// Kinds of which there is nothing, out of these.
    pub(super) fn missing(&self, kinds: &[&'static str]) -> Vec<&'static str> {
        kinds.iter().copied().filter(|kind| self.of(kind).next().is_none()).collect()
    }

    /// A cable of NetBox 3.3 and later: lists of terminations at both ends.
    fn cable(&mut self, cable: &Value) {
        let end = |side: &str| -> Vec<(&'static str, u64)> {
            let list = cable[side].as_array().cloned().unwrap_or_default();
            let one = |t: &Value| {
                let kind = t["object_type"].as_str()?.strip_prefix("dcim.")?;
                let kind = KINDS.iter().copied().find(|k| k.replace('-', "").trim_end_matches('s') == kind)?;
                Some((kind, t["object_id"].as_u64()?))
            };
            list.iter().filter_map(one).collect()
        };
        let (a, b) = (end("a_terminations"), end("b_terminations"));
        for (from, to) in [(&a, &b), (&b, &a)] {
            for end in from {
                self.cables.entry(*end).or_default().extend(to);
            }
        }
    }

    /// All objects of a kind, by id.
    pub(super) fn of(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.of.get(kind).into_iter().flat_map(BTreeMap::values)
    }

    pub(super) fn find(&self, kind: &str, id: u64) -> Option<&Value> {
        self.of.get(kind)?.get(&id)
    }

    /// Ids of the objects of a kind at the other end of a port's cable.
    pub(super) fn ends(&self, port: &Value, kind: &'static str) -> Vec<u64> {
        let lists = ["connected_endpoints", "link_peers", "connected_endpoint", "cable_peer"];
        let told = lists.iter().flat_map(|key| match &port[*key] {
            Value::Array(list) => list.iter().collect::<Vec<_>>(),
            other => vec![other],
        });
        let of_kind = |v: &&Value| v["url"].as_str().and_then(kind_of_url) == Some(kind);
        let mut ids: Vec<u64> = told.filter(of_kind).filter_map(id_of).collect();
        if let Some(id) = id_of(port) {
            let cabled = self.cables.get(&("power-ports", id)).into_iter().flatten();
            ids.extend(cabled.filter(|(k, _)| *k == kind).map(|(_, id)| *id));
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

fn page(value: &Value, named: Option<&'static str>, file: &str) -> Option<Page> {
    let results = value["results"].as_array()?;
    let url = results.iter().find_map(|r| r["url"].as_str()).unwrap_or_default();
    let kind = kind_of_url(url).or(url.contains("/cables/").then_some("cables")).or(named)?;
    Some(Page {
        file: file.to_owned(),
        kind,
        count: value["count"].as_u64(),
        next: value["next"].as_str().map(str::to_owned),
        ids: results.iter().filter_map(id_of).collect(),
    })
}

fn kind_of_url(url: &str) -> Option<&'static str> {
    KINDS.iter().copied().find(|kind| url.contains(&format!("/dcim/{kind}/")))
}

/// The id of an object or of a reference to one.
pub(super) fn id_of(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value["id"].as_u64())
}

/// Its name for people.
pub(super) fn label(value: &Value) -> String {
    ["name", "display"].iter().find_map(|key| value[*key].as_str()).unwrap_or_default().to_owned()
}

/// A choice (`{"value": .., "label": ..}`) or a plain word.
pub(super) fn text(value: &Value, key: &str) -> Option<String> {
    let field = &value[key];
    field["value"].as_str().or_else(|| field.as_str()).map(str::to_owned)
}

/// A number, also where the API writes it as text.
pub(super) fn number(value: &Value, key: &str) -> Option<f64> {
    let field = &value[key];
    field.as_f64().or_else(|| field.as_str()?.parse().ok()).filter(|n| n.is_finite())
}
