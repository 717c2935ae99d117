//! Profile text (TOML) to a checked [`Profile`]. All mistakes at once, each with its line.

use super::{
    Block, ByteOrder, Cell, Combine, Encoding, Factor, Layout, Link, Meaning, Point, Probe, Profile, RegisterKind,
    StatusBit, WordOrder,
};
use crate::document::{self, Mistake, Mistakes, Table};
use headroom_rack::{Class, Signal, Unit};

/// Modbus: at most 125 registers in one read (application protocol v1.1b3, 6.3 and 6.4).
/// The guard looks no more often by default.
const FASTEST_MS: u64 = 100;
const PROTOCOL_MAX_SPAN: u64 = 125;
const CLASSES: &[(&str, Class)] =
    &[("gpu", Class::Gpu), ("pdu", Class::Pdu), ("ups", Class::Ups), ("cooling", Class::Cooling)];
const ORDERS: &[(&str, WordOrder)] = &[("high_first", WordOrder::HighFirst), ("low_first", WordOrder::LowFirst)];
const BYTES: &[(&str, ByteOrder)] = &[("high_first", ByteOrder::HighFirst), ("low_first", ByteOrder::LowFirst)];
const COMBINES: &[(&str, Combine)] = &[("sum", Combine::Sum), ("max", Combine::Max)];

/// What holds for the whole file.
struct Whole {
    class: Option<Class>,
    link: Link,
    /// The number the document gives to protocol address 0, by table.
    numbering: [i64; RegisterKind::ALL.len()],
    not_available: Vec<(Encoding, Vec<u64>)>,
}

impl Whole {
    fn base(&self, register: RegisterKind) -> i64 {
        let at = RegisterKind::ALL.iter().position(|(_, r)| *r == register).unwrap_or(0);
        self.numbering[at]
    }

    /// The numbers the document can give to registers of a table.
    fn range(&self, register: RegisterKind) -> (u64, u64) {
        let base = self.base(register);
        (base.max(0).unsigned_abs(), (base + 0xFFFF).max(0).unsigned_abs())
    }

    fn address(&self, register: RegisterKind, number: u64) -> Option<u16> {
        u16::try_from(i64::try_from(number).ok()? - self.base(register)).ok()
    }
}

impl Profile {
    /// Reads a profile; `file` names it in mistakes.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Mistake>> {
        document::read(file, text, profile)
    }
}

fn choice<T: Copy>(t: &mut Table<'_>, m: &mut Mistakes, key: &'static str, all: &[(&str, T)]) -> Option<T> {
    let word = t.text(m, key)?;
    let found = all.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
    if found.is_none() {
        let names: Vec<_> = all.iter().map(|(name, _)| format!("{name:?}")).collect();
        m.add(t.place(key), format!("`{key}` is {word:?}"), format!("it must be one of {}", names.join(", ")));
    }
    found
}

fn need_choice<T: Copy>(t: &mut Table<'_>, m: &mut Mistakes, key: &'static str, all: &[(&str, T)]) -> Option<T> {
    if !t.has(key) {
        let names: Vec<_> = all.iter().map(|(name, _)| format!("{name:?}")).collect();
        t.missing(m, key, &format!("{key} = one of {}", names.join(", ")));
    }
    choice(t, m, key, all)
}

fn profile(t: &mut Table<'_>, m: &mut Mistakes) -> Option<Profile> {
    let name = t.need_text(m, "name", "name = \"vendor-model\"").map(str::to_owned);
    let class = need_choice(t, m, "class", CLASSES);
    let describes = t.need_text(m, "describes", "describes = \"what the device is\"").map(str::to_owned);
    let source = t.need_text(m, "source", "source = \"the public document the map comes from\"").map(str::to_owned);
    let validated = t.need_text(m, "validated", "validated = \"on what it was tried\"").map(str::to_owned);
    for key in ["name", "describes", "source", "validated"] {
        if t.has(key) && t.text(m, key).is_some_and(|text| text.trim().is_empty()) {
            m.add(t.place(key), format!("`{key}` is empty"), "say it in words".to_owned());
        }
    }
    let link = t.table(m, "link", |t, m| {
        let max_span = t.whole(m, "max_span", 1, PROTOCOL_MAX_SPAN).unwrap_or(PROTOCOL_MAX_SPAN);
        let bridge = !t.flag(m, "no_bridge").unwrap_or(false);
        let gap_ms = t.whole(m, "gap_ms", 0, 1000).unwrap_or(0);
        let timeout_ms = t.whole(m, "timeout_ms", 10, 10_000).unwrap_or(500);
        let startup_ms = t.whole(m, "startup_ms", 0, 60_000).unwrap_or(0);
        let fastest_ms = t.whole(m, "fastest_ms", 20, 60_000).unwrap_or(FASTEST_MS);
        Some(Link { max_span: u16::try_from(max_span).ok()?, bridge, gap_ms, timeout_ms, startup_ms, fastest_ms })
    });
    let usual = Link {
        max_span: PROTOCOL_MAX_SPAN as u16,
        bridge: true,
        gap_ms: 0,
        timeout_ms: 500,
        startup_ms: 0,
        fastest_ms: FASTEST_MS,
    };
    let whole =
        Whole { class, link: link.unwrap_or(usual), numbering: numbering(t, m), not_available: not_available(t, m) };
    if !t.has("probe") {
        t.missing(m, "probe", "[probe] with register, address and count of something every such device has");
    }
    let probe = t.table(m, "probe", |t, m| probe(t, m, &whole));
    let blocks = t.tables(m, "block", |t, m| {
        let cell = cell(t, m, &whole);
        if !t.has("count") {
            t.missing(m, "count", "count = how many registers the one request reads");
        }
        let count = t.whole(m, "count", 1, whole.link.max_span.into());
        Some(Block { cell: cell?, count: u16::try_from(count?).ok()? })
    });
    if !t.has("point") {
        t.missing(m, "point", "at least one [[point]]");
    }
    let mut seen: Vec<Signal> = Vec::new();
    let points = t.tables(m, "point", |t, m| {
        let point = point(t, m, &whole)?;
        if let Some((_, address, _)) = point.runs().find(|run| blocks.iter().any(|b| cut(*b, *run))) {
            let problem = format!("the registers at protocol address {address} are partly in a [[block]]");
            m.add(t.at(), problem, "let the block hold all of them, or none");
        }
        if seen.contains(&point.signal) {
            m.add(t.place("signal"), format!("{} has two points", point.signal), "keep one of them");
        }
        seen.push(point.signal);
        Some(point)
    });
    Some(Profile {
        name: name?,
        class: class?,
        describes: describes?,
        source: source?,
        validated: validated?,
        link: whole.link,
        probe: probe?,
        blocks,
        points,
    })
}

/// Whether a run of registers lies partly inside and partly outside a block.
fn cut(block: Block, (register, address, count): (RegisterKind, u16, u16)) -> bool {
    let (first, end) = (u32::from(address), u32::from(address) + u32::from(count));
    let (from, to) = (u32::from(block.cell.address), u32::from(block.cell.address) + u32::from(block.count));
    let (inside, apart) = (from <= first && end <= to, end <= from || to <= first);
    register == block.cell.register && !inside && !apart
}

fn numbering(t: &mut Table<'_>, m: &mut Mistakes) -> [i64; RegisterKind::ALL.len()] {
    let mut bases = [0; RegisterKind::ALL.len()];
    t.table(m, "numbering", |t, m| {
        for (base, (table, _)) in bases.iter_mut().zip(RegisterKind::ALL) {
            let number = t.number(m, table, -65_536.0, 1e6).unwrap_or(0.0);
            if number.fract() != 0.0 {
                m.add(t.place(table), format!("`{table}` is {number}"), "write the number of the first register");
            }
            *base = number as i64;
        }
        Some(())
    });
    bases
}

fn not_available(t: &mut Table<'_>, m: &mut Mistakes) -> Vec<(Encoding, Vec<u64>)> {
    let of_types = t.table(m, "not_available", |t, m| {
        let whole = Encoding::ALL.iter().filter(|(_, e)| !e.is_float());
        Some(whole.filter_map(|(name, e)| Some((*e, t.wholes(m, name, 0, i64::MAX as u64)?))).collect())
    });
    of_types.unwrap_or_default()
}

fn probe(t: &mut Table<'_>, m: &mut Mistakes, whole: &Whole) -> Option<Probe> {
    let cell = cell(t, m, whole);
    let count = t.whole(m, "count", 1, whole.link.max_span.into());
    let expect = t.wholes(m, "expect", 0, 0xFFFF);
    let units = t.wholes(m, "units", 0, 255);
    let expect: Vec<u16> = expect.iter().flatten().filter_map(|w| u16::try_from(*w).ok()).collect();
    let usual = u64::try_from(expect.len()).unwrap_or(0).max(1);
    let count = count.unwrap_or(usual);
    if !expect.is_empty() && count != usual {
        m.add(t.place("expect"), format!("`expect` has {usual} words and `count` is {count}"), "let them agree");
    }
    let units = match units.as_deref() {
        Some([first, last]) if first <= last => Some((u8::try_from(*first).ok()?, u8::try_from(*last).ok()?)),
        None => None,
        Some(_) => {
            m.add(t.place("units"), "`units` is no range", "write units = [first, last]");
            None
        }
    };
    Some(Probe { cell: cell?, count: u16::try_from(count).ok()?, expect, units })
}

/// `register` and `address`.
fn cell(t: &mut Table<'_>, m: &mut Mistakes, whole: &Whole) -> Option<Cell> {
    let register = need_choice(t, m, "register", RegisterKind::ALL);
    if !t.has("address") {
        t.missing(m, "address", "address = the register's number (protocol address unless [numbering] says otherwise)");
    }
    let (low, high) = whole.range(register.unwrap_or(RegisterKind::Holding));
    let number = t.whole(m, "address", low, high);
    Some(Cell { register: register?, address: whole.address(register?, number?)? })
}

fn layout(t: &mut Table<'_>, m: &mut Mistakes, encoding: Encoding) -> Layout {
    let word_order = choice(t, m, "words", ORDERS).unwrap_or(WordOrder::HighFirst);
    let byte_order = choice(t, m, "bytes", BYTES).unwrap_or(ByteOrder::HighFirst);
    Layout { encoding, word_order, byte_order }
}

fn point(t: &mut Table<'_>, m: &mut Mistakes, whole: &Whole) -> Option<Point> {
    let signal = signal(t, m, whole.class);
    let register = need_choice(t, m, "register", RegisterKind::ALL);
    let encoding = need_choice(t, m, "type", Encoding::ALL);
    let layout = layout(t, m, encoding.unwrap_or(Encoding::U16));
    let (addresses, combine) = addresses(t, m, whole, register);
    let mut not_available = t.wholes(m, "not_available", 0, i64::MAX as u64).unwrap_or_default();
    let meaning = meaning(t, m, signal, encoding);
    let factors = factors(t, m, whole);
    let valid_unless = t.table(m, "valid_unless", |t, m| {
        let cell = cell(t, m, whole);
        if !t.has("bit") {
            t.missing(m, "bit", "bit = 0 (the least significant) to 15");
        }
        let bit = t.whole(m, "bit", 0, 15);
        Some(StatusBit { cell: cell?, bit: u8::try_from(bit?).ok()? })
    });
    let encoding = encoding?;
    if encoding.words() > whole.link.max_span {
        m.add(t.place("type"), "the value is longer than link.max_span", "raise max_span or split the value");
    }
    if register.is_some_and(|r| r.is_bits() != (encoding == Encoding::Bit)) {
        let remedy = "a coil or discrete input has type = \"bit\", a register any other";
        m.add(t.place("type"), "this table has no such type", remedy);
    }
    for address in addresses.iter().flatten() {
        if u32::from(*address) + u32::from(encoding.words()) > 0x1_0000 {
            m.add(t.place("address"), format!("the value at {address} runs past 65535"), "correct the address");
        }
    }
    if encoding.is_float() && !not_available.is_empty() {
        let remedy = "remove it: NaN and infinities are never taken for values";
        m.add(t.place("not_available"), "a float has no `not_available`", remedy);
    }
    if !factors.is_empty() && !matches!(meaning, Meaning::Number { .. }) {
        m.add(t.at(), "a flag is not multiplied", "remove `exponent`, `times` and `unit_by`");
    }
    not_available.extend(whole.not_available.iter().filter(|(of, _)| *of == encoding).flat_map(|(_, values)| values));
    Some(Point {
        signal: signal?,
        register: register?,
        addresses: addresses?,
        combine,
        layout,
        meaning,
        factors,
        not_available,
        valid_unless,
    })
}

fn factors(t: &mut Table<'_>, m: &mut Mistakes, whole: &Whole) -> Vec<Factor> {
    let exponent = t.table(m, "exponent", |t, m| cell(t, m, whole).map(Factor::PowerOfTen));
    let times = t.table(m, "times", |t, m| {
        let cell = cell(t, m, whole);
        let encoding = need_choice(t, m, "type", Encoding::ALL);
        let layout = layout(t, m, encoding.unwrap_or(Encoding::U16));
        let scale = t.number(m, "scale", -1e12, 1e12).unwrap_or(1.0);
        let fraction_bits = t.whole(m, "fraction_bits", 0, 31).unwrap_or(0);
        encoding?;
        Some(Factor::Value { cell: cell?, layout, scale, fraction_bits: u8::try_from(fraction_bits).ok()? })
    });
    let unit_by = t.table(m, "unit_by", |t, m| {
        let cell = cell(t, m, whole);
        let codes = t.wholes(m, "codes", 0, 0xFFFF).unwrap_or_default();
        let factors = t.numbers(m, "factors", -1e12, 1e12).unwrap_or_default();
        if codes.is_empty() || codes.len() != factors.len() {
            let remedy = "write codes = [0, 1] and factors = [1.0, 60.0]: for each code its factor";
            m.add(t.at(), format!("{} codes and {} factors", codes.len(), factors.len()), remedy);
        }
        let factors = codes.iter().filter_map(|c| u16::try_from(*c).ok()).zip(factors).collect();
        Some(Factor::ByCode { cell: cell?, factors })
    });
    [exponent, times, unit_by].into_iter().flatten().collect()
}

fn signal(t: &mut Table<'_>, m: &mut Mistakes, class: Option<Class>) -> Option<Signal> {
    let name = t.need_text(m, "signal", "signal = a name of the signal catalogue")?;
    let found = Signal::from_name(name).filter(|s| class.is_none_or(|c| c == s.class()));
    if found.is_none() {
        let of_class = Signal::ALL.iter().filter(|s| class.is_none_or(|c| c == s.class()));
        let names: Vec<_> = of_class.map(|s| s.name()).collect();
        let problem = format!("{name:?} is no signal of this class");
        m.add(t.place("signal"), problem, format!("the signals are: {}", names.join(", ")));
    }
    found
}

fn addresses(
    t: &mut Table<'_>,
    m: &mut Mistakes,
    whole: &Whole,
    register: Option<RegisterKind>,
) -> (Option<Vec<u16>>, Combine) {
    let register = register.unwrap_or(RegisterKind::Holding);
    let (low, high) = whole.range(register);
    let one = t.whole(m, "address", low, high);
    let several = t.wholes(m, "addresses", low, high);
    let combine = choice(t, m, "combine", COMBINES);
    let list = match (one, several) {
        (Some(one), None) => {
            if t.has("combine") {
                m.add(t.place("combine"), "`combine` without `addresses`", "remove it, or write addresses = [...]");
            }
            Some(vec![one])
        }
        (None, Some(list)) if !list.is_empty() => {
            if !t.has("combine") {
                t.missing(m, "combine", "combine = \"sum\" or \"max\"");
            }
            Some(list)
        }
        _ if t.has("address") != t.has("addresses") => {
            if t.has("addresses") && t.wholes(m, "addresses", low, high).is_some_and(|l| l.is_empty()) {
                m.add(t.place("addresses"), "`addresses` is empty", "name at least one address");
            }
            None
        }
        _ => {
            let remedy = "write either address = N or addresses = [N, M] with combine";
            m.add(t.at(), "a point needs exactly one of `address` and `addresses`", remedy);
            None
        }
    };
    let list = list.map(|l| l.into_iter().filter_map(|a| whole.address(register, a)).collect());
    (list, combine.unwrap_or(Combine::Sum))
}

fn meaning(t: &mut Table<'_>, m: &mut Mistakes, signal: Option<Signal>, encoding: Option<Encoding>) -> Meaning {
    let scale = t.number(m, "scale", -1e12, 1e12);
    let offset = t.number(m, "offset", -1e12, 1e12);
    let fraction_bits = t.whole(m, "fraction_bits", 0, 31);
    let any_bit_of = t.whole(m, "any_bit_of", 1, i64::MAX as u64);
    let bit = t.whole(m, "bit", 0, 62);
    let one_of = t.wholes(m, "one_of", 0, i64::MAX as u64);
    if scale == Some(0.0) {
        m.add(t.place("scale"), "`scale` is 0: every value would be 0", "write the factor into the signal's unit");
    }
    let flags = [any_bit_of.is_some(), bit.is_some(), one_of.is_some()].iter().filter(|f| **f).count();
    let is_flag = signal.is_some_and(|s| s.unit() == Unit::Flag);
    let place = ["any_bit_of", "bit", "one_of"].into_iter().find(|k| t.has(k)).map_or(t.at(), |k| t.place(k));
    if is_flag && flags != 1 {
        let remedy = "write one of: bit = N, any_bit_of = MASK, one_of = [values that mean 1]";
        m.add(place, "a flag needs exactly one rule", remedy);
    }
    if signal.is_some() && !is_flag && flags > 0 {
        m.add(place, "only a signal with the unit flag has such a rule", "remove it, or use a flag signal");
    }
    if flags > 0 && encoding.is_some_and(Encoding::is_float) {
        m.add(t.place("type"), "a float cannot be a flag", "use an integer type");
    }
    match (any_bit_of, bit, one_of) {
        (Some(mask), ..) => Meaning::AnyBitOf(mask),
        (_, Some(bit), _) => Meaning::AnyBitOf(1 << bit),
        (.., Some(list)) => Meaning::OneOf(list),
        _ => Meaning::Number {
            scale: scale.unwrap_or(1.0),
            offset: offset.unwrap_or(0.0),
            fraction_bits: fraction_bits.and_then(|b| u8::try_from(b).ok()).unwrap_or(0),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
name = "x"
class = "pdu"
describes = "d"
source = "s"
validated = "v"
[probe]
register = "input"
address = 0
[[point]]
signal = "pdu_power_watts"
register = "input"
address = 0x34
type = "f32"
"#;

    #[test]
    fn a_right_profile_loads() {
        let p = Profile::parse("x.toml", GOOD).unwrap();
        assert_eq!(p.points[0].addresses, vec![52]);
        assert_eq!(p.link.max_span, 125);
    }

    #[test]
    fn numbers_are_those_of_the_document() {
        let text = GOOD.replace("address = 0x34", "address = 30053").replace("address = 0\n", "address = 30001\n");
        let text = format!("numbering = {{ input = 30001 }}\n{text}");
        assert_eq!(Profile::parse("x.toml", &text).unwrap().points[0].addresses, vec![52]);
        let found = Profile::parse("x.toml", &text.replace("30053", "53")).unwrap_err();
        assert!(found[0].remedy.contains("30001"), "{}", found[0]);
    }

    #[test]
    fn a_point_half_in_a_block_is_a_mistake_and_so_is_a_probe_that_expects_too_little() {
        let block = "[[block]]\nregister = \"input\"\naddress = 0x35\ncount = 4\n[[point]]";
        let found = Profile::parse("x.toml", &GOOD.replace("[[point]]", block)).unwrap_err();
        assert!(found[0].problem.contains("partly in a [[block]]"), "{}", found[0]);
        let text = GOOD.replace("address = 0\n", "address = 0\ncount = 2\nexpect = [7]\n");
        assert!(Profile::parse("x.toml", &text).unwrap_err()[0].problem.contains("`expect` has 1"));
    }

    #[test]
    fn a_bit_of_a_coil_is_a_flag_and_a_register_has_no_bits_of_that_kind() {
        let text = GOOD.replace("class = \"pdu\"", "class = \"ups\"").replace("pdu_power_watts", "ups_on_battery_flag");
        let text = text.replace("\"f32\"", "\"bit\"\nbit = 0");
        let coil = text.replace("\"input\"\naddress = 0x34", "\"coil\"\naddress = 0x34");
        assert_eq!(Profile::parse("x.toml", &coil).unwrap().points[0].register, RegisterKind::Coil);
        assert!(Profile::parse("x.toml", &text).unwrap_err()[0].problem.contains("no such type"));
    }

    #[test]
    fn a_wrong_type_is_refused_with_the_line_and_the_right_ones() {
        let found = Profile::parse("x.toml", &GOOD.replace("\"f32\"", "\"f33\"")).unwrap_err();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 14);
        assert!(found[0].remedy.contains("\"u16\", \"i16\""), "{}", found[0]);
    }

    #[test]
    fn a_signal_of_another_class_is_refused() {
        let found = Profile::parse("x.toml", &GOOD.replace("pdu_power_watts", "ups_load_ratio")).unwrap_err();
        assert!(found[0].problem.contains("no signal of this class"), "{}", found[0]);
    }

    #[test]
    fn a_profile_cannot_name_a_write() {
        let found = Profile::parse("x.toml", &format!("{GOOD}write = true\n")).unwrap_err();
        assert!(found[0].problem.contains("nobody knows the key `point[1].write`"), "{}", found[0]);
    }

    #[test]
    fn all_mistakes_come_at_once() {
        let text = GOOD.replace("class = \"pdu\"", "class = \"pump\"").replace("0x34", "70000");
        let text = text.replace("source = \"s\"\n", "");
        assert_eq!(Profile::parse("x.toml", &text).unwrap_err().len(), 3);
    }
}
