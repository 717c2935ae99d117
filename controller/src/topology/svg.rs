//! A tree as a one-line diagram in SVG: the grid on top, racks at the bottom, one colour per feed.

use super::lint::kw;
use super::text::children;
use headroom_controller_core::Topology;
use headroom_controller_core::topology::{NodeKind, NodeSpec};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Least space for one symbol with its words, px.
const WIDE: f64 = 150.0;
/// One bold letter in the widest of usual fonts, px.
const LETTER: f64 = 7.6;
/// Longer names are shortened in the middle; the whole name is the symbol's title.
const LONGEST: usize = 32;
/// From the middle of a bar to its end.
const BAR: f64 = 30.0;
const HIGH: f64 = 92.0;
const MARGIN: f64 = 30.0;
/// Feeds in order of their names. Told apart by people who see no red or green (Okabe and Ito, 2008).
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#666666"];

/// The diagram.
pub fn draw(topology: &Topology, title: &str) -> String {
    let nodes = topology.nodes();
    let row = rows(topology);
    let letters = |id: &str| short(id).chars().count() as f64 * LETTER;
    let words = |n: &NodeSpec| side(n.kind) + letters(n.id.as_str()).max(letters("999.9 kW"));
    // Words stand to the right of their symbol and end before the next one.
    let wide = nodes.iter().map(|n| words(n) + BAR + 10.0).fold(WIDE, f64::max);
    let box_wide = topology.racks().iter().map(|r| letters(r.id.as_str()) + 12.0).fold(84.0, f64::max);
    let pitch = pitch(topology, &row, WIDE.max(box_wide + 14.0), wide);
    let places = places(topology, row, pitch, wide);
    let depth = places.iter().map(|p| p.1).max().unwrap_or(0) + 1;
    let mut feeds: BTreeMap<&str, &str> = nodes.iter().map(|n| (n.feed.as_str(), "")).collect();
    for (i, colour) in feeds.values_mut().enumerate() {
        *colour = COLOURS[i % COLOURS.len()];
    }
    // Feeds cross at heights of their own, as far as there is room.
    let lane = |feed: &str| (feeds.keys().take_while(|f| **f != feed).count() % 5) as f64 * 7.0;
    let rack_x = |r: usize| MARGIN + (r as f64 + 0.5) * pitch;
    let at = |n: usize| (places[n].0, MARGIN + 40.0 + places[n].1 as f64 * HIGH);
    let rack_y = MARGIN + 40.0 + depth as f64 * HIGH;
    let right = places.iter().zip(nodes).map(|(p, n)| p.0 + words(n));
    let right = right.chain((0..topology.racks().len()).map(|r| rack_x(r) + box_wide / 2.0)).fold(0.0, f64::max);
    let heads: f64 = feeds.keys().map(|feed| 46.0 + 7.6 * feed.chars().count() as f64).sum();
    let right = right.max(MARGIN + 24.0 + 10.0 * title.chars().count() as f64 + heads);
    let (width, height) = (right + MARGIN, rack_y + 60.0 + MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"sans-serif\" font-size=\"11\" role=\"img\">\n<title>{title}</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{MARGIN}\" y=\"24\" font-size=\"15\" font-weight=\"bold\">{title}</text>\n",
        title = escape(title)
    );
    let mut x = MARGIN + 24.0 + 10.0 * title.chars().count() as f64;
    for (feed, colour) in &feeds {
        let _ = writeln!(
            svg,
            "<text x=\"{x:.0}\" y=\"24\" fill=\"{colour}\" font-weight=\"bold\">feed {}</text>",
            escape(feed)
        );
        x += 46.0 + 7.6 * feed.chars().count() as f64;
    }
    let by_id: BTreeMap<_, usize> = nodes.iter().enumerate().map(|(i, n)| (&n.id, i)).collect();
    for (n, node) in nodes.iter().enumerate() {
        let colour = feeds[node.feed.as_str()];
        let lane = lane(&node.feed);
        for (above, dashed) in [(&node.parent, ""), (&node.standby, " stroke-dasharray=\"5 4\"")] {
            let Some(above) = above.as_ref().and_then(|p| by_id.get(p)) else { continue };
            wire(&mut svg, at(*above), at(n), lane, colour, dashed);
        }
    }
    for (r, rack) in topology.racks().iter().enumerate() {
        for (i, cord) in rack.feeds.iter().enumerate() {
            let Some(n) = by_id.get(&cord.node) else { continue };
            let into = rack_x(r) + (i as f64 - (rack.feeds.len() as f64 - 1.0) / 2.0) * 14.0;
            wire(&mut svg, at(*n), (into, rack_y), lane(&nodes[*n].feed), feeds[nodes[*n].feed.as_str()], "");
        }
    }
    for (n, node) in nodes.iter().enumerate() {
        symbol(&mut svg, at(n), node, feeds[node.feed.as_str()]);
    }
    for (r, rack) in topology.racks().iter().enumerate() {
        let (x, y) = (rack_x(r), rack_y);
        let _ = writeln!(
            svg,
            "<g text-anchor=\"middle\"><title>{}</title>\
             <rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{box_wide:.1}\" height=\"44\" rx=\"3\" fill=\"#f4f4f4\" stroke=\"#333333\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" font-weight=\"bold\">{}</text><text x=\"{x:.1}\" y=\"{:.1}\">{}</text>\
             <text x=\"{x:.1}\" y=\"{:.1}\">{}</text></g>",
            escape(rack.id.as_str()),
            x - box_wide / 2.0,
            y + 14.0,
            escape(&short(rack.id.as_str())),
            y + 27.0,
            escape(&rack.priority),
            y + 40.0,
            kw(rack.nameplate())
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// The row of each node: how many nodes are above it.
fn rows(topology: &Topology) -> Vec<usize> {
    let mut row = vec![0_usize; topology.nodes().len()];
    for (n, children) in children(topology).into_iter().enumerate() {
        for child in children {
            row[child] = row[n] + 1;
        }
    }
    row
}

/// Distance of the racks, so that the longest row of nodes has room above them.
fn pitch(topology: &Topology, row: &[usize], rack: f64, wide: f64) -> f64 {
    let mut counts = vec![0_usize; row.iter().max().map_or(0, |r| r + 1)];
    row.iter().for_each(|r| counts[*r] += 1);
    let longest = counts.into_iter().max().unwrap_or(0) as f64;
    (wide * longest / topology.racks().len() as f64).max(rack)
}

/// The middle of each node and its row. Nodes stand above the middle of what they feed and give way to
/// their neighbours to the right.
fn places(topology: &Topology, row: Vec<usize>, pitch: f64, wide: f64) -> Vec<(f64, usize)> {
    let count = topology.nodes().len();
    let mut sums = vec![(0.0, 0.0); count];
    for r in 0..topology.racks().len() {
        for (node, share) in topology.shares(r) {
            sums[*node].0 += (r as f64 + 0.5) * share;
            sums[*node].1 += share;
        }
    }
    let depth = row.iter().copied().max().unwrap_or(0);
    let mut x = vec![0.0; count];
    for level in 0..=depth {
        let mut on: Vec<usize> = (0..count).filter(|n| row[*n] == level).collect();
        let wish =
            |n: usize| MARGIN + if sums[n].1 > 0.0 { sums[n].0 / sums[n].1 * pitch } else { f64::from(u16::MAX) };
        on.sort_by(|a, b| {
            wish(*a).total_cmp(&wish(*b)).then_with(|| topology.nodes()[*a].feed.cmp(&topology.nodes()[*b].feed))
        });
        // Neighbours that wish for the same place stand around it.
        let mut next = MARGIN + wide / 2.0;
        let mut at = 0;
        while at < on.len() {
            let same = on[at..].iter().take_while(|n| (wish(**n) - wish(on[at])).abs() < 1.0).count();
            let middle = wish(on[at]).min(next + f64::from(u16::try_from(same).unwrap_or(u16::MAX)) * wide);
            let mut place = (middle - (same as f64 - 1.0) / 2.0 * wide).max(next);
            for n in &on[at..at + same] {
                x[*n] = place;
                place += wide;
            }
            next = place;
            at += same;
        }
    }
    x.into_iter().zip(row).collect()
}

/// Down, across and down again; each feed crosses at a height of its own.
fn wire(svg: &mut String, from: (f64, f64), to: (f64, f64), lane: f64, colour: &str, dashed: &str) {
    let bend = to.1 - 20.0 - lane;
    let _ = writeln!(
        svg,
        "<path d=\"M{:.1} {:.1} V{bend:.1} H{:.1} V{:.1}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"{dashed}/>",
        from.0, from.1, to.0, to.1
    );
}

fn symbol(svg: &mut String, (x, y): (f64, f64), node: &NodeSpec, colour: &str) {
    let line = format!("fill=\"#ffffff\" stroke=\"{colour}\" stroke-width=\"1.6\"");
    let shape = match node.kind {
        NodeKind::Utility => format!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"13\" {line}/><path d=\"M{:.1} {y:.1} q4 -8 8 0 q4 8 8 0\" fill=\"none\" stroke=\"{colour}\"/>",
            x - 8.0
        ),
        NodeKind::Transformer => format!(
            "<circle cx=\"{x:.1}\" cy=\"{:.1}\" r=\"9\" {line}/><circle cx=\"{x:.1}\" cy=\"{:.1}\" r=\"9\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"/>",
            y - 6.0,
            y + 6.0
        ),
        NodeKind::Ups => format!(
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"32\" height=\"24\" {line}/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"9\" fill=\"{colour}\">~/=/~</text>",
            x - 16.0,
            y - 12.0,
            y + 4.0
        ),
        NodeKind::Switchboard | NodeKind::Busway | NodeKind::Pdu => format!(
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"60\" height=\"8\" fill=\"{colour}\" stroke=\"{colour}\"/>",
            x - BAR,
            y - 4.0
        ),
        NodeKind::Breaker | NodeKind::RackPdu => format!(
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"16\" height=\"16\" {line}/><path d=\"M{:.1} {:.1} l8 8 m0 -8 l-8 8\" stroke=\"{colour}\"/>",
            x - 8.0,
            y - 8.0,
            x - 4.0,
            y - 4.0
        ),
    };
    let _ = writeln!(
        svg,
        "<g><title>{title}</title>{shape}<text x=\"{tx:.1}\" y=\"{:.1}\" font-weight=\"bold\" stroke=\"#ffffff\" stroke-width=\"3\" paint-order=\"stroke\">{}</text>\
         <text x=\"{tx:.1}\" y=\"{:.1}\" stroke=\"#ffffff\" stroke-width=\"3\" paint-order=\"stroke\">{}</text></g>",
        y - 2.0,
        escape(&short(node.id.as_str())),
        y + 11.0,
        kw(node.rating),
        title = escape(node.id.as_str()),
        tx = x + side(node.kind)
    );
}

/// From the middle of a symbol to its words.
fn side(kind: NodeKind) -> f64 {
    if matches!(kind, NodeKind::Switchboard | NodeKind::Busway | NodeKind::Pdu) { BAR + 4.0 } else { 20.0 }
}

/// A name that has room: both ends of a long one, which tell it from its neighbours.
fn short(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= LONGEST {
        return name.to_owned();
    }
    let (first, last) = (LONGEST / 3, LONGEST - LONGEST / 3 - 1);
    letters[..first].iter().chain(&['…']).chain(&letters[letters.len() - last..]).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
