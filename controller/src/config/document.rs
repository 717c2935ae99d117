//! Strict reading of a TOML file: every mistake is kept with its line and with what would be
//! right, keys nobody asked for are mistakes too. Knows no meaning of any key.

use std::cell::{Cell, RefCell};
use std::fmt;
use toml::de::{DeTable, DeValue};

/// One mistake in a config file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file as the user named it.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub remedy: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}\n    {}", self.file, self.line, self.problem, self.remedy)
    }
}

/// A value and where it stands, by byte.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spot<T> {
    /// The value.
    pub value: T,
    /// Its place in the file.
    pub at: usize,
}

/// Collects mistakes.
#[derive(Debug)]
pub struct Mistakes {
    file: String,
    line_starts: Vec<usize>,
    found: RefCell<Vec<Mistake>>,
}

impl Mistakes {
    fn new(file: &str, text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1);
        let line_starts = std::iter::once(0).chain(breaks).collect();
        Self { file: file.to_owned(), line_starts, found: RefCell::default() }
    }

    /// Notes one.
    pub fn add(&self, at: usize, problem: impl Into<String>, remedy: impl Into<String>) {
        let mistake = self.made(at, problem, remedy);
        self.found.borrow_mut().push(mistake);
    }

    /// One that is not noted: something to look at.
    pub fn made(&self, at: usize, problem: impl Into<String>, remedy: impl Into<String>) -> Mistake {
        let line = self.line_starts.partition_point(|start| *start <= at).max(1);
        Mistake { file: self.file.clone(), line, problem: problem.into(), remedy: remedy.into() }
    }

    /// Takes over the mistakes of another file.
    pub fn adopt(&self, others: Vec<Mistake>) {
        self.found.borrow_mut().extend(others);
    }

    /// Whether there is none so far.
    pub fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }
}

/// Parses `text`, hands its root to `read`, and gives what it made of it or every mistake.
///
/// # Errors
/// All [`Mistake`]s in the order of their lines, at least one.
pub fn read<T>(
    file: &str,
    text: &str,
    read: impl FnOnce(&Table<'_>, &Mistakes) -> Option<T>,
) -> Result<T, Vec<Mistake>> {
    match look(file, text, read) {
        (Some(value), found) if found.is_empty() => Ok(value),
        (_, found) => {
            assert!(!found.is_empty(), "invariant: a reader that gives nothing has said why");
            Err(found)
        }
    }
}

/// The same where something may be made of a file with mistakes.
pub fn look<T>(
    file: &str,
    text: &str,
    read: impl FnOnce(&Table<'_>, &Mistakes) -> Option<T>,
) -> (Option<T>, Vec<Mistake>) {
    let mistakes = Mistakes::new(file, text);
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(0, |s| s.start);
        mistakes.add(at, format!("not valid TOML: {}", error.message()), "see https://toml.io/en/v1.0.0");
    }
    let table = Table::new(String::new(), 0, Some(root.get_ref()), &mistakes);
    let value = read(&table, &mistakes);
    table.refuse_unknown();
    let mut found = mistakes.found.take();
    found.sort_by(|a, b| (a.file != file, &a.file, a.line).cmp(&(b.file != file, &b.file, b.line)));
    // Of a file that is not even TOML nothing is known to be whole.
    (value.filter(|_| errors.is_empty()), found)
}

/// The line of a place in a text, counted from 1.
pub fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|b| *b == b'\n').count()
}

/// One table being read. Remembers which keys were asked for.
#[derive(Debug)]
pub struct Table<'a> {
    name: String,
    at: usize,
    entries: Option<&'a DeTable<'a>>,
    asked: RefCell<Vec<&'static str>>,
    /// Keys nobody asks for are somebody else's.
    open: Cell<bool>,
    mistakes: &'a Mistakes,
}

impl<'a> Table<'a> {
    fn new(name: String, at: usize, entries: Option<&'a DeTable<'a>>, mistakes: &'a Mistakes) -> Self {
        Self { name, at, entries, asked: RefCell::default(), open: Cell::new(false), mistakes }
    }

    /// Whether the file has this table.
    pub fn is_there(&self) -> bool {
        self.entries.is_some()
    }

    /// Where it begins.
    pub fn at(&self) -> usize {
        self.at
    }

    fn find(&self, key: &'static str) -> Option<(usize, &'a DeValue<'a>)> {
        self.asked.borrow_mut().push(key);
        let (_, value) = self.entries?.iter().find(|(k, _)| k.get_ref() == key)?;
        Some((value.span().start, value.get_ref()))
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { format!("`{key}`") } else { format!("`{key}` in {}", self.name) }
    }

    /// Where a key's value stands, without asking for it.
    pub fn place(&self, key: &str) -> Option<usize> {
        let (_, value) = self.entries?.iter().find(|(k, _)| k.get_ref() == key)?;
        Some(value.span().start)
    }

    /// Whether the key is there, without asking for it.
    pub fn has(&self, key: &str) -> bool {
        self.entries.is_some_and(|e| e.keys().any(|k| k.get_ref() == key))
    }

    /// Takes keys for known that are read elsewhere.
    pub fn ignore(&self, keys: &[&'static str]) {
        self.asked.borrow_mut().extend(keys);
    }

    /// Takes all keys for known.
    pub fn ignore_rest(&self) {
        self.open.set(true);
    }

    /// Whether the key is there and has a text. It counts as asked for.
    pub fn is_text(&self, key: &'static str) -> bool {
        self.find(key).is_some_and(|(_, value)| value.as_str().is_some())
    }

    /// The value of a key that may be missing.
    pub fn get<T: FromToml>(&self, key: &'static str) -> Option<Spot<T>> {
        let (at, value) = self.find(key)?;
        let read = T::from_toml(value);
        if read.is_none() {
            self.mistakes.add(
                at,
                format!("{} is {}", self.path(key), article(value.type_str())),
                format!("write {}, like {key} = {}", T::WHAT, T::EXAMPLE),
            );
        }
        Some(Spot { value: read?, at })
    }

    /// The value of a key that must be there; `example` shows how.
    pub fn need<T: FromToml>(&self, key: &'static str, example: &str) -> Option<Spot<T>> {
        let there = self.entries.is_some_and(|e| e.keys().any(|k| k.get_ref() == key));
        if !there {
            self.asked.borrow_mut().push(key);
            self.mistakes.add(self.at, format!("{} is missing", self.path(key)), format!("add {key} = {example}"));
            return None;
        }
        self.get(key)
    }

    /// A table inside this one; empty if the file has none.
    pub fn table(&self, key: &'static str) -> Table<'a> {
        let name = match self.name.trim_matches(['[', ']']) {
            "" => format!("[{key}]"),
            outer => format!("[{outer}.{key}]"),
        };
        match self.find(key) {
            Some((at, DeValue::Table(entries))) => Table::new(name, at, Some(entries), self.mistakes),
            Some((at, other)) => {
                let problem = format!("{} is {}", self.path(key), article(other.type_str()));
                self.mistakes.add(at, problem, format!("make it a table: {name}"));
                Table::new(name, at, None, self.mistakes)
            }
            None => Table::new(name, self.at, None, self.mistakes),
        }
    }

    /// A list of tables, `[[key]]` or `key = [{..}]`.
    pub fn tables(&self, key: &'static str) -> Vec<Table<'a>> {
        let Some((at, value)) = self.find(key) else { return Vec::new() };
        let DeValue::Array(list) = value else {
            let problem = format!("{} is {}", self.path(key), article(value.type_str()));
            self.mistakes.add(at, problem, format!("write one [[{key}]] per entry"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (i, entry) in list.iter().enumerate() {
            let name = if self.name.is_empty() {
                format!("[[{key}]] number {}", i + 1)
            } else {
                format!("{key} number {} of {}", i + 1, self.name)
            };
            match entry.get_ref() {
                DeValue::Table(entries) => {
                    tables.push(Table::new(name, entry.span().start, Some(entries), self.mistakes));
                }
                other => self.mistakes.add(
                    entry.span().start,
                    format!("{name} is {}", article(other.type_str())),
                    "write a table: { key = value, ... }",
                ),
            }
        }
        tables
    }

    /// Reports each key nobody asked for; call it when everything was asked.
    pub fn refuse_unknown(&self) {
        if self.open.get() {
            return;
        }
        let asked = self.asked.borrow();
        for key in self.entries.into_iter().flat_map(|e| e.keys()) {
            let text: &str = key.get_ref();
            if asked.contains(&text) {
                continue;
            }
            let near = asked.iter().filter(|a| distance(a, text) <= 2).min_by_key(|a| distance(a, text));
            let remedy = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("remove it; known here: {}", asked.join(", ")),
            };
            self.mistakes.add(key.span().start, format!("{} is not known", self.path(text)), remedy);
        }
    }
}

fn article(kind: &str) -> String {
    if kind.starts_with(['a', 'e', 'i', 'o']) { format!("an {kind}") } else { format!("a {kind}") }
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, cb) in b.iter().enumerate() {
            let cost = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// A type that a key can have.
pub trait FromToml: Sized {
    /// What to write, in words.
    const WHAT: &'static str;
    /// What to write, as it stands in the file.
    const EXAMPLE: &'static str;
    /// The value, if it is of this type.
    fn from_toml(value: &DeValue<'_>) -> Option<Self>;
}

impl FromToml for String {
    const WHAT: &'static str = "a text in quotes";
    const EXAMPLE: &'static str = "\"...\"";
    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }
}

impl FromToml for bool {
    const WHAT: &'static str = "true or false";
    const EXAMPLE: &'static str = "true";
    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value.as_bool()
    }
}

impl FromToml for u64 {
    const WHAT: &'static str = "a whole number, not negative";
    const EXAMPLE: &'static str = "1000";
    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        let integer = value.as_integer()?;
        u64::from_str_radix(integer.as_str().trim_start_matches('+'), integer.radix()).ok()
    }
}

impl FromToml for f64 {
    const WHAT: &'static str = "a number";
    const EXAMPLE: &'static str = "1.5";
    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        let number = match value {
            DeValue::Integer(i) => i64::from_str_radix(i.as_str(), i.radix()).ok()? as f64,
            DeValue::Float(f) => f.as_str().parse().ok()?,
            _ => return None,
        };
        number.is_finite().then_some(number)
    }
}

impl FromToml for Vec<f64> {
    const WHAT: &'static str = "a list of numbers";
    const EXAMPLE: &'static str = "[1.0, 2.0]";
    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value.as_array()?.iter().map(|v| f64::from_toml(v.get_ref())).collect()
    }
}

impl FromToml for Vec<Vec<f64>> {
    const WHAT: &'static str = "a list of lists of numbers";
    const EXAMPLE: &'static str = "[[1.0, 2.0], [3.0, 4.0]]";
    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value.as_array()?.iter().map(|v| Vec::from_toml(v.get_ref())).collect()
    }
}

impl FromToml for Vec<String> {
    const WHAT: &'static str = "a list of texts";
    const EXAMPLE: &'static str = "[\"...\", \"...\"]";
    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value.as_array()?.iter().map(|v| v.get_ref().as_str().map(str::to_owned)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_of_every_kind_are_reported_together_with_their_lines() {
        let text = "good = 1\nbad = \"x\"\nperoid_ms = 5\n[t]\nonly = true\n";
        let found = read("c.toml", text, |root, _| {
            root.get::<u64>("good")?;
            root.get::<u64>("bad");
            root.get::<u64>("period_ms");
            let t = root.table("t");
            t.need::<String>("name", "\"n\"");
            t.refuse_unknown();
            Some(())
        })
        .unwrap_err();
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "c.toml:2: `bad` is a string\n    write a whole number, not negative, like bad = 1000",
                "c.toml:3: `peroid_ms` is not known\n    did you mean `period_ms`?",
                "c.toml:4: `name` in [t] is missing\n    add name = \"n\"",
                "c.toml:5: `only` in [t] is not known\n    remove it; known here: name",
            ]
        );
    }
}
