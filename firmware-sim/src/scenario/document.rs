//! Reads a TOML document key by key and collects every mistake with its line, instead of stopping
//! at the first. Knows nothing of scenarios.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// One mistake: where, what, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Line in the file, from 1.
    pub line: usize,
    /// What is wrong and what would be right.
    pub text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

/// Collects mistakes while a document is read.
#[derive(Debug)]
pub struct Mistakes<'t> {
    text: &'t str,
    found: RefCell<Vec<Mistake>>,
}

impl<'t> Mistakes<'t> {
    /// For a document with this text.
    pub fn new(text: &'t str) -> Self {
        Self { text, found: RefCell::new(Vec::new()) }
    }

    /// Notes a mistake at a byte range of the text.
    pub fn note(&self, span: &Range<usize>, text: impl Into<String>) {
        let upto = &self.text.as_bytes()[..span.start.min(self.text.len())];
        let line = 1 + upto.iter().filter(|b| **b == b'\n').count();
        self.found.borrow_mut().push(Mistake { line, text: text.into() });
    }

    /// All mistakes in the order of their lines.
    pub fn finish(self) -> Vec<Mistake> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|m| m.line);
        found
    }
}

/// One table being read. Every key has to be asked for; what is left over is a mistake.
pub struct Section<'d, 't> {
    name: String,
    span: Range<usize>,
    table: &'d DeTable<'t>,
    asked: Vec<&'static str>,
    mistakes: &'d Mistakes<'t>,
}

impl<'d, 't> Section<'d, 't> {
    /// The table called `name` in messages.
    pub fn new(name: &str, span: Range<usize>, table: &'d DeTable<'t>, mistakes: &'d Mistakes<'t>) -> Self {
        Self { name: name.to_owned(), span, table, asked: Vec::new(), mistakes }
    }

    fn get(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'t>>> {
        self.asked.push(key);
        self.table.iter().find(|(k, _)| k.get_ref() == key).map(|(_, v)| v)
    }

    fn wrong(&self, value: &Spanned<DeValue<'_>>, key: &str, wanted: &str) {
        let got = value.get_ref().type_str();
        self.mistakes.note(&value.span(), format!("{}: {key} must be {wanted}, not {got}", self.name));
    }

    /// Notes a mistake at a key of this table, or at the table when the key is absent.
    pub fn mistake(&self, key: &str, text: impl fmt::Display) {
        let at = self.table.iter().find(|(k, _)| k.get_ref() == key).map_or(self.span.clone(), |(_, v)| v.span());
        self.mistakes.note(&at, format!("{}: {text}", self.name));
    }

    fn missing(&self, key: &str, wanted: &str) {
        self.mistakes.note(&self.span, format!("{}: {key} is missing; give {wanted}", self.name));
    }

    /// A number in `range`; `default` when absent, a mistake when absent without a default.
    pub fn number(&mut self, key: &'static str, (low, high): (f64, f64), default: Option<f64>) -> f64 {
        let wanted = format!("a number from {low} to {high}");
        let Some(value) = self.get(key) else {
            if default.is_none() {
                self.missing(key, &wanted);
            }
            return default.unwrap_or(low);
        };
        match number(value.get_ref()) {
            Some(n) if (low..=high).contains(&n) => n,
            Some(n) => {
                self.mistakes.note(&value.span(), format!("{}: {key} = {n} is out of range; give {wanted}", self.name));
                low
            }
            None => {
                self.wrong(value, key, &wanted);
                low
            }
        }
    }

    /// A number that may be absent.
    pub fn optional_number(&mut self, key: &'static str, range: (f64, f64)) -> Option<f64> {
        self.table.iter().any(|(k, _)| k.get_ref() == key).then(|| self.number(key, range, None)).or_else(|| {
            self.asked.push(key);
            None
        })
    }

    /// A text; a mistake when absent without a default.
    pub fn text(&mut self, key: &'static str, default: Option<&str>) -> String {
        match self.get(key) {
            None => {
                if default.is_none() {
                    self.missing(key, "a text");
                }
                default.unwrap_or_default().to_owned()
            }
            Some(value) => value.get_ref().as_str().map(str::to_owned).unwrap_or_else(|| {
                self.wrong(value, key, "a text");
                String::new()
            }),
        }
    }

    /// One of `words`; the index of the word.
    pub fn word(&mut self, key: &'static str, words: &[&str], default: Option<&str>) -> usize {
        let text = self.text(key, default);
        words.iter().position(|w| *w == text).unwrap_or_else(|| {
            if !text.is_empty() {
                self.mistake(key, format!("{key} = {text:?} is not known; give one of {}", words.join(", ")));
            }
            0
        })
    }

    /// A list of `[number, number]` pairs.
    pub fn pairs(&mut self, key: &'static str) -> Vec<(f64, f64)> {
        let wanted = "a list of [seconds, level] pairs";
        let Some(value) = self.get(key) else {
            self.missing(key, wanted);
            return Vec::new();
        };
        let pair = |v: &Spanned<DeValue<'t>>| match v.get_ref() {
            DeValue::Array(a) if a.len() == 2 => Some((number(a[0].get_ref())?, number(a[1].get_ref())?)),
            _ => None,
        };
        let pairs = array(value.get_ref()).map(|a| a.iter().map(pair).collect::<Option<Vec<_>>>());
        match pairs {
            Some(Some(pairs)) => pairs,
            _ => {
                self.wrong(value, key, wanted);
                Vec::new()
            }
        }
    }

    /// A sub-table; absent is an empty one at this table's place.
    pub fn section(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'_, 't>)) {
        let empty = DeTable::new();
        match self.get(key) {
            None => read(&mut Section::new(&format!("[{key}]"), self.span.clone(), &empty, self.mistakes)),
            Some(value) => match value.get_ref() {
                DeValue::Table(table) => {
                    let mut section = Section::new(&format!("[{key}]"), value.span(), table, self.mistakes);
                    read(&mut section);
                    section.finish();
                }
                _ => self.wrong(value, key, "a table"),
            },
        }
    }

    /// Each table of an array of tables, by number from 1.
    pub fn sections(&mut self, key: &'static str, mut read: impl FnMut(&mut Section<'_, 't>)) {
        let Some(value) = self.get(key) else { return };
        let Some(list) = array(value.get_ref()) else {
            self.wrong(value, key, &format!("tables, each headed [[{key}]]"));
            return;
        };
        for (i, item) in list.iter().enumerate() {
            match item.get_ref() {
                DeValue::Table(table) => {
                    let name = format!("[[{key}]] {}", i + 1);
                    let mut section = Section::new(&name, item.span(), table, self.mistakes);
                    read(&mut section);
                    section.finish();
                }
                _ => self.wrong(item, key, "a table"),
            }
        }
    }

    /// Keys that nobody asked for are mistakes.
    pub fn finish(&self) {
        for (key, _) in self.table.iter().filter(|(k, _)| !self.asked.contains(&k.get_ref().as_ref())) {
            let known = self.asked.join(", ");
            self.mistakes
                .note(&key.span(), format!("{}: {} is not known; known are {known}", self.name, key.get_ref()));
        }
    }
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    let n = match value {
        DeValue::Integer(n) => i64::from_str_radix(&n.as_str().replace('_', ""), n.radix()).ok().map(|n| n as f64),
        DeValue::Float(n) => n.as_str().replace('_', "").parse().ok(),
        _ => None,
    };
    n.filter(|n: &f64| n.is_finite())
}

fn array<'v, 't>(value: &'v DeValue<'t>) -> Option<&'v DeArray<'t>> {
    match value {
        DeValue::Array(array) => Some(array),
        _ => None,
    }
}
