//! The reference of the profile format, in words, for people. A test holds it against what the
//! reader of profiles knows, so that no key is undocumented and none is documented that is not there.

use super::{Encoding, RegisterKind};
use headroom_rack::Signal;
use std::fmt::Write;

/// A table of the format, what it is for, and its keys.
type Section = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const CELL: [(&str, &str); 2] = [
    ("register", "Table: `\"input\"` (function code 4), `\"holding\"` (3), `\"coil\"` (1) or `\"discrete\"` (2)."),
    ("address", "Number of the register: its protocol address, counted from 0, unless `[numbering]` says otherwise."),
];
const LAYOUT: [(&str, &str); 3] = [
    ("type", "How the value is coded, see below."),
    (
        "words",
        "`\"high_first\"` (default) or `\"low_first\"`: which register of several holds the most significant word.",
    ),
    ("bytes", "`\"high_first\"` (default) or `\"low_first\"`: which byte of a register comes first."),
];

const SECTIONS: &[Section] = &[
    (
        "",
        "The file itself.",
        &[
            ("name", "Name used in configs."),
            (
                "class",
                "`\"pdu\"`, `\"ups\"` or `\"cooling\"`: which signals it can have, and what the agent does with them.",
            ),
            ("describes", "What the device is, for people."),
            ("source", "The public document the map comes from."),
            ("validated", "On what the map was tried, and on what it was not."),
            ("numbering", "How the document numbers registers."),
            ("not_available", "Raw values that mean \"no value\", by type."),
            ("link", "What the device and its line can bear."),
            ("probe", "What is read to see whether the device is there. Needed."),
            ("block", "Registers that the device gives only in one request of exactly this extent."),
            ("point", "One signal each. At least one, each signal at most once."),
        ],
    ),
    (
        "numbering",
        "The number that the document gives to protocol address 0 of each table, default 0, negative where the document \
         counts below it. All addresses in the file are then written as the document prints them.",
        &[
            ("input", "Such as 30001."),
            ("holding", "Such as 40001."),
            ("coil", "Such as 1."),
            ("discrete", "Such as 10001."),
        ],
    ),
    (
        "not_available",
        "Raw values, as unsigned bit patterns, by which the device says that it has no value; besides those of the point. \
         NaN and infinities of floats are never values.",
        &[
            ("bit", "For points of this type."),
            ("u16", "Such as `[0xFFFF]`."),
            ("i16", "Such as `[0x8000]`."),
            ("u32", "Such as `[0xFFFFFFFF]`."),
            ("i32", "Such as `[0x80000000]`."),
            ("u64", "For points of this type."),
            ("i64", "For points of this type."),
        ],
    ),
    (
        "link",
        "What the device and its line can bear.",
        &[
            ("max_span", "Most registers in one request, 1 to 125 (default)."),
            ("no_bridge", "`true`: a request must not run over registers that no point needs."),
            ("gap_ms", "Silence between an answer and the next request, default 0."),
            ("timeout_ms", "Time-out of one request when the config names none, default 500."),
            ("startup_ms", "Silence after connecting before the first request, default 0."),
            (
                "fastest_ms",
                "Time in which the device renews its values, default 100: the guard reads currents no more often.",
            ),
        ],
    ),
    (
        "probe",
        "Read while the device does not answer, ever less often, and by `discover`. With `expect` also before the \
         first poll and whenever it comes back: another device in its place gives no values.",
        &[
            CELL[0],
            CELL[1],
            ("count", "How many registers, default 1 or as many as `expect` has."),
            ("expect", "The words that these registers hold on such a device."),
            ("units", "First and last unit id of such devices as delivered."),
        ],
    ),
    (
        "block",
        "Read whole, never split and never joined with others.",
        &[CELL[0], CELL[1], ("count", "How many registers the one request reads.")],
    ),
    (
        "point",
        "`value = (raw / 2^fraction_bits * scale + offset) * exponent * times * unit_by`, in the signal's unit. A value \
         outside the signal's range is a quality flag, never a number.",
        &[
            ("signal", "Name of the catalogue, see below."),
            CELL[0],
            CELL[1],
            ("addresses", "In place of `address`: several raw values that become one."),
            ("combine", "With `addresses`: `\"sum\"` (all must be there) or `\"max\"` (of those the device has)."),
            LAYOUT[0],
            LAYOUT[1],
            LAYOUT[2],
            ("scale", "Factor into the signal's unit, default 1."),
            ("offset", "Added after scaling, default 0."),
            ("fraction_bits", "Binary fixed point, default 0."),
            ("exponent", "A register that holds a power of ten."),
            ("times", "A register the value is multiplied by, such as the rating it is a share of."),
            ("unit_by", "A register that tells the unit of the value."),
            ("bit", "Flags: 1 when this bit is set (0 is the least significant)."),
            ("any_bit_of", "Flags: 1 when any bit of this mask is set."),
            ("one_of", "Flags: 1 when the raw value is one of these."),
            ("not_available", "Raw values that mean \"no value\"."),
            ("valid_unless", "A status bit that declares the value invalid."),
        ],
    ),
    ("point.exponent", "A signed 16-bit power of ten, -10 to 10; 0x8000 makes the point no value (SunSpec).", &CELL),
    (
        "point.times",
        "Another value of the device.",
        &[
            CELL[0],
            CELL[1],
            LAYOUT[0],
            LAYOUT[1],
            LAYOUT[2],
            ("scale", "Factor, default 1."),
            ("fraction_bits", "Binary fixed point, default 0."),
        ],
    ),
    (
        "point.unit_by",
        "A code that is not listed makes the point no value.",
        &[CELL[0], CELL[1], ("codes", "The codes."), ("factors", "For each code its factor into the signal's unit.")],
    ),
    (
        "point.valid_unless",
        "While the bit is set or cannot be read, the point has no value.",
        &[CELL[0], CELL[1], ("bit", "0 (the least significant) to 15.")],
    ),
];

/// The reference as Markdown.
pub fn reference() -> String {
    let mut text = "# Device profiles\n\nA device family as data (TOML): which register holds which signal, how it is \
                    coded and how the link wants to be treated. A profile can only read.\nGenerated by `headroom-agent \
                    profiles --reference`. More profiles than the shipped ones come from the config's `profiles_dir`.\n"
        .to_owned();
    for (table, says, keys) in SECTIONS {
        let title = match *table {
            "" => "Top level".to_owned(),
            "block" | "point" => format!("`[[{table}]]`"),
            other => format!("`[{other}]`"),
        };
        let _ = write!(text, "\n## {title}\n\n{says}\n\n| key | |\n|---|---|\n");
        for (key, says) in *keys {
            let _ = writeln!(text, "| `{key}` | {says} |");
        }
    }
    let types: Vec<_> = Encoding::ALL
        .iter()
        .map(|(name, e)| format!("`{name}` ({} register{})", e.words(), if e.words() == 1 { "" } else { "s" }))
        .collect();
    let tables: Vec<_> =
        RegisterKind::ALL.iter().filter(|(_, r)| r.is_bits()).map(|(name, _)| format!("`{name}`")).collect();
    let _ = write!(
        text,
        "\n## Types\n\n{}. `bit` is for {}, the others for registers.\n",
        types.join(", "),
        tables.join(" and ")
    );
    let _ = write!(text, "\n## Signals\n\n| signal | unit | range | |\n|---|---|---|---|\n");
    for signal in Signal::ALL.iter().filter(|s| s.class() != headroom_rack::Class::Gpu) {
        let (low, high) = signal.range();
        let _ = writeln!(
            text,
            "| `{}` | {} | {low} to {high} | {} |",
            signal.name(),
            signal.unit().symbol(),
            signal.describe()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::Profile;
    use super::*;
    use std::collections::BTreeSet;

    /// Every table, each with a key that nobody knows.
    const ALL_TABLES: &str = r#"
odd = 1
name = "x"
class = "pdu"
describes = "d"
source = "s"
validated = "v"
numbering = { odd = 1 }
not_available = { odd = 1 }
link = { odd = 1 }
[probe]
odd = 1
register = "input"
address = 0
[[block]]
odd = 1
register = "input"
address = 0
count = 1
[[point]]
odd = 1
signal = "pdu_power_watts"
register = "input"
address = 1
type = "u16"
exponent = { odd = 1, register = "input", address = 2 }
times = { odd = 1, register = "input", address = 3, type = "u16" }
unit_by = { odd = 1, register = "input", address = 4, codes = [0], factors = [1.0] }
valid_unless = { odd = 1, register = "input", address = 5, bit = 0 }
"#;

    #[test]
    fn the_reference_has_exactly_the_keys_that_the_reader_knows() {
        let found = Profile::parse("x", ALL_TABLES).unwrap_err();
        let known: BTreeSet<(String, String)> = found
            .iter()
            .flat_map(|mistake| {
                let place = mistake.problem.split('`').nth(1).expect("a key").replace("[1]", "");
                let table = place.rsplit_once('.').map_or("", |(table, _)| table).to_owned();
                let keys = mistake.remedy.strip_prefix("the keys here are: ").expect("the list of keys");
                keys.split(", ").map(move |key| (table.clone(), key.to_owned())).collect::<Vec<_>>()
            })
            .collect();
        let told: BTreeSet<(String, String)> = SECTIONS
            .iter()
            .flat_map(|(table, _, keys)| keys.iter().map(|(key, _)| ((*table).to_owned(), (*key).to_owned())))
            .collect();
        assert_eq!(told, known, "left is what the reference says, right is what is read");
    }
}
