//! Strict reading of TOML: every mistake is collected with its line and with what would be right,
//! and unknown keys are mistakes. Used for device profiles here and for the agent's config in the
//! shell. Knows no file: the text and its name are arguments.

use std::fmt;
use toml::de::{DeTable, DeValue};

/// One mistake in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file's name as the user gave it.
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

/// A place in a file, by byte.
pub type Place = usize;

/// Collects what is wrong with one file.
#[derive(Debug)]
pub struct Mistakes {
    file: String,
    line_starts: Vec<usize>,
    /// The text did not parse as a whole: keys may be missing because of that.
    torn: bool,
    found: Vec<Mistake>,
}

impl Mistakes {
    /// Records a mistake.
    pub fn add(&mut self, at: Place, problem: impl Into<String>, remedy: impl Into<String>) {
        let line = self.line_starts.partition_point(|start| *start <= at).max(1);
        // The parser goes on after an error with made-up values: they stand at 0, and what else
        // is wrong on a broken line follows from the first mistake.
        if self.torn && (at == 0 || self.found.iter().any(|m| m.line == line)) {
            return;
        }
        self.found.push(Mistake { file: self.file.clone(), line, problem: problem.into(), remedy: remedy.into() });
    }

    /// The mistakes in the order of their lines; empty when the file is right.
    pub fn into_found(mut self) -> Vec<Mistake> {
        self.found.sort_by_key(|m| m.line);
        self.found
    }

    /// Whether nothing was found so far.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }
}

/// Parses `text` and hands its root table to `read`. Returns what `read` made of it, or every
/// mistake found by the parser and by `read`.
///
/// # Errors
/// All [`Mistake`]s, in the order of their lines. Never empty.
pub fn read<T>(
    file: &str,
    text: &str,
    read: impl FnOnce(&mut Table<'_>, &mut Mistakes) -> Option<T>,
) -> Result<T, Vec<Mistake>> {
    let line_starts =
        std::iter::once(0).chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1)).collect();
    let mut mistakes = Mistakes { file: file.to_owned(), line_starts, torn: false, found: Vec::new() };
    let (root, errors) = DeTable::parse_recoverable(text);
    mistakes.torn = !errors.is_empty();
    for error in &errors {
        let at = error.span().map_or(1, |span| span.start.max(1));
        mistakes.add(at, format!("this is not valid TOML: {}", error.message()), "see https://toml.io/en/v1.0.0");
    }
    let mut table = Table { name: String::new(), at: 0, entries: root.get_ref(), asked: Vec::new() };
    let value = read(&mut table, &mut mistakes);
    table.refuse_unknown(&mut mistakes);
    match value {
        Some(value) if mistakes.is_empty() => Ok(value),
        _ => {
            if mistakes.is_empty() {
                mistakes.add(0, "the file is incomplete", "compare it with the example in the documentation");
            }
            Err(mistakes.into_found())
        }
    }
}

/// One table of a document. Remembers which keys were asked for, so that all others are unknown.
#[derive(Debug)]
pub struct Table<'t> {
    name: String,
    at: Place,
    entries: &'t DeTable<'t>,
    asked: Vec<&'static str>,
}

impl<'t> Table<'t> {
    /// Where the table begins.
    pub fn at(&self) -> Place {
        self.at
    }

    /// Where the value of `key` stands; the table's own place when it is absent.
    pub fn place(&self, key: &str) -> Place {
        self.raw(key).map_or(self.at, |(at, _)| at)
    }

    /// Whether the key is there.
    pub fn has(&self, key: &str) -> bool {
        self.raw(key).is_some()
    }

    fn raw(&self, key: &str) -> Option<(Place, &'t DeValue<'t>)> {
        self.entries.iter().find(|(k, _)| k.get_ref() == key).map(|(_, v)| (v.span().start, v.get_ref()))
    }

    fn full(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn ask(&mut self, key: &'static str) -> Option<(Place, &'t DeValue<'t>)> {
        self.asked.push(key);
        self.raw(key)
    }

    /// Says that `key` must be there.
    pub fn missing(&self, m: &mut Mistakes, key: &str, remedy: &str) {
        if !m.torn {
            m.add(self.at, format!("`{}` is missing", self.full(key)), format!("add {remedy}"));
        }
    }

    fn typed<T>(
        &mut self,
        m: &mut Mistakes,
        key: &'static str,
        wanted: &str,
        take: impl FnOnce(&'t DeValue<'t>) -> Option<T>,
    ) -> Option<T> {
        let (at, value) = self.ask(key)?;
        let taken = take(value);
        if taken.is_none() {
            let problem = format!("`{}` is {}", self.full(key), article(value.type_str()));
            m.add(at, problem, format!("it must be {wanted}"));
        }
        taken
    }

    /// A text, when the key is there.
    pub fn text(&mut self, m: &mut Mistakes, key: &'static str) -> Option<&'t str> {
        self.typed(m, key, "a text in quotes", DeValue::as_str)
    }

    /// A text that must be there; `remedy` shows one.
    pub fn need_text(&mut self, m: &mut Mistakes, key: &'static str, remedy: &str) -> Option<&'t str> {
        if !self.has(key) {
            self.asked.push(key);
            self.missing(m, key, remedy);
            return None;
        }
        self.text(m, key)
    }

    /// true or false, when the key is there.
    pub fn flag(&mut self, m: &mut Mistakes, key: &'static str) -> Option<bool> {
        self.typed(m, key, "true or false", DeValue::as_bool)
    }

    /// A whole number in `[low, high]`, when the key is there.
    pub fn whole(&mut self, m: &mut Mistakes, key: &'static str, low: u64, high: u64) -> Option<u64> {
        let wanted = format!("a whole number from {low} to {high}");
        let number = self.typed(m, key, &wanted, whole)?;
        match u64::try_from(number) {
            Ok(n) if (low..=high).contains(&n) => Some(n),
            _ => {
                m.add(self.place(key), format!("`{}` is {number}", self.full(key)), format!("it must be {wanted}"));
                None
            }
        }
    }

    /// A number in `[low, high]`, when the key is there.
    pub fn number(&mut self, m: &mut Mistakes, key: &'static str, low: f64, high: f64) -> Option<f64> {
        let wanted = format!("a number from {low} to {high}");
        let number = self.typed(m, key, &wanted, float)?;
        if (low..=high).contains(&number) {
            return Some(number);
        }
        m.add(self.place(key), format!("`{}` is {number}", self.full(key)), format!("it must be {wanted}"));
        None
    }

    /// Several whole numbers in `[low, high]`, when the key is there.
    pub fn wholes(&mut self, m: &mut Mistakes, key: &'static str, low: u64, high: u64) -> Option<Vec<u64>> {
        let wanted = format!("a list of whole numbers from {low} to {high}, such as [{low}]");
        self.typed(m, key, &wanted, |value| {
            let array = value.as_array()?;
            array
                .iter()
                .map(|v| {
                    let n = u64::try_from(whole(v.get_ref())?).ok()?;
                    (low..=high).contains(&n).then_some(n)
                })
                .collect()
        })
    }

    /// Several texts, when the key is there.
    pub fn texts(&mut self, m: &mut Mistakes, key: &'static str) -> Option<Vec<String>> {
        self.typed(m, key, "a list of texts in quotes", |value| {
            value.as_array()?.iter().map(|v| v.get_ref().as_str().map(str::to_owned)).collect()
        })
    }

    /// Several numbers in `[low, high]`, when the key is there.
    pub fn numbers(&mut self, m: &mut Mistakes, key: &'static str, low: f64, high: f64) -> Option<Vec<f64>> {
        let wanted = format!("a list of numbers from {low} to {high}");
        self.typed(m, key, &wanted, |value| {
            let number = |v: &DeValue<'_>| float(v).filter(|n| (low..=high).contains(n));
            value.as_array()?.iter().map(|v| number(v.get_ref())).collect()
        })
    }

    /// A table inside this one, when the key is there. Its unknown keys are reported when `read`
    /// returns.
    pub fn table<T>(
        &mut self,
        m: &mut Mistakes,
        key: &'static str,
        read: impl FnOnce(&mut Table<'_>, &mut Mistakes) -> Option<T>,
    ) -> Option<T> {
        let entries = self.typed(m, key, "a table", DeValue::as_table)?;
        let mut table = Table { name: self.full(key), at: self.place(key), entries, asked: Vec::new() };
        let value = read(&mut table, m);
        table.refuse_unknown(m);
        value
    }

    /// Every table of a list of tables (`[[key]]`); empty when the key is absent. Entries that
    /// `read` could not use are left out (their mistakes are recorded).
    pub fn tables<T>(
        &mut self,
        m: &mut Mistakes,
        key: &'static str,
        mut read: impl FnMut(&mut Table<'_>, &mut Mistakes) -> Option<T>,
    ) -> Vec<T> {
        let wanted = format!("a list of tables, each written [[{key}]]");
        let Some(list) = self.typed(m, key, &wanted, |v| {
            let array = v.as_array()?;
            array.iter().map(|v| Some((v.span().start, v.get_ref().as_table()?))).collect::<Option<Vec<_>>>()
        }) else {
            return Vec::new();
        };
        let mut values = Vec::new();
        for (index, (at, entries)) in list.into_iter().enumerate() {
            let mut table =
                Table { name: format!("{}[{}]", self.full(key), index + 1), at, entries, asked: Vec::new() };
            values.extend(read(&mut table, m));
            table.refuse_unknown(m);
        }
        values
    }

    fn refuse_unknown(&self, m: &mut Mistakes) {
        for (key, _) in self.entries {
            if !self.asked.contains(&key.get_ref().as_ref()) {
                let mut known = self.asked.clone();
                known.sort_unstable();
                known.dedup();
                let problem = format!("nobody knows the key `{}`", self.full(key.get_ref()));
                m.add(key.span().start, problem, format!("the keys here are: {}", known.join(", ")));
            }
        }
    }
}

fn whole(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn float(value: &DeValue<'_>) -> Option<f64> {
    match value.as_float() {
        Some(float) => float.as_str().replace('_', "").parse().ok().filter(|f: &f64| f.is_finite()),
        None => whole(value).map(|n| n as f64),
    }
}

fn article(kind: &str) -> String {
    let an = kind.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {kind}", if an { "an" } else { "a" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(usize, String)> {
        let result = read("f.toml", text, |t, m| {
            let name = t.need_text(m, "name", "name = \"x\"");
            let count = t.whole(m, "count", 1, 9);
            t.tables(m, "part", |t, m| t.number(m, "size", 0.0, 1.0));
            Some((name?.to_owned(), count))
        });
        result.err().unwrap_or_default().into_iter().map(|e| (e.line, e.problem)).collect()
    }

    #[test]
    fn every_mistake_is_reported_with_its_line() {
        let found = lines("name = 3\ncount = 12\nwrong = 1\n[[part]]\nsize = 2.5\nsiez = 1.0\n");
        assert_eq!(
            found,
            vec![
                (1, "`name` is an integer".into()),
                (2, "`count` is 12".into()),
                (3, "nobody knows the key `wrong`".into()),
                (5, "`part[1].size` is 2.5".into()),
                (6, "nobody knows the key `part[1].siez`".into()),
            ]
        );
    }

    #[test]
    fn broken_toml_is_a_mistake_with_a_line() {
        let found = lines("name = \"x\"\ncount = = 3\n");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, 2);
        assert!(found[0].1.starts_with("this is not valid TOML"), "{found:?}");
    }

    #[test]
    fn a_right_file_gives_its_value() {
        assert!(read("f", "a = 0x9000", |t, m| t.whole(m, "a", 0, 0xFFFF)).is_ok_and(|v| v == 0x9000));
    }
}
