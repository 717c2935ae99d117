//! When a device is asked and for what: reads grouped into the fewest requests the device allows,
//! poll deadlines that do not drift, and dormancy with a slow re-probe for a device that does not
//! answer (as rackmon does it). Knows no clock and no bus.

use crate::profile::{Link, Profile, RegisterKind};
use headroom_rack::{Mono, Signal};
use std::collections::BTreeSet;
use std::time::Duration;

/// Polls without any answer after which a device counts as dormant.
const FAILURES_UNTIL_DORMANT: u32 = 3;
/// First and longest wait between two probes of a dormant device.
const FIRST_PROBE_AFTER: Duration = Duration::from_secs(1);
const LONGEST_PROBE_AFTER: Duration = Duration::from_secs(10);
/// Clean polls with split requests after which the original grouping is tried again; doubled with
/// each attempt, so that a register the device never has costs ever less.
const FIRST_REGROUP_AFTER: u64 = 60;
/// No two glances are closer: a meter that was read just now has nothing to add.
const GLANCES_APART: Duration = Duration::from_millis(20);

/// One request: `count` registers from `address` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Which table.
    pub register: RegisterKind,
    /// First protocol address.
    pub address: u16,
    /// How many registers.
    pub count: u16,
}

impl Span {
    fn end(self) -> u32 {
        u32::from(self.address) + u32::from(self.count)
    }

    fn holds(self, other: Span) -> bool {
        self.register == other.register && self.address <= other.address && self.end() >= other.end()
    }
}

/// What one request must bring together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Item {
    span: Span,
    /// A request of its own: the device gives it in no other.
    alone: bool,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Read everything.
    Poll(Vec<Span>),
    /// Between two polls: read what cannot wait for the next one.
    Glance(Vec<Span>),
    /// See whether the device is back.
    Probe(Span),
}

#[derive(Debug, Clone)]
struct Glance {
    items: Vec<Item>,
    period: Duration,
    next: Mono,
}

/// The schedule of one device.
#[derive(Debug, Clone)]
pub struct Schedule {
    glance: Option<Glance>,
    items: Vec<Item>,
    link: Link,
    probe: Span,
    period: Duration,
    spans: Vec<Span>,
    next: Mono,
    failures: u32,
    probe_after: Duration,
    clean_polls: u64,
    regroup_after: u64,
}

impl Schedule {
    /// First poll at `now`, then every `period`.
    pub fn new(profile: &Profile, period: Duration, now: Mono) -> Self {
        let items = items(profile, |_| true);
        let probe = &profile.probe;
        Self {
            spans: group(&items, profile.link),
            items,
            link: profile.link,
            probe: Span { register: probe.cell.register, address: probe.cell.address, count: probe.count },
            period,
            next: now,
            // A device that can prove what it is does so before it is believed.
            failures: if probe.expect.is_empty() { 0 } else { FAILURES_UNTIL_DORMANT },
            probe_after: FIRST_PROBE_AFTER,
            clean_polls: 0,
            regroup_after: FIRST_REGROUP_AFTER,
            glance: None,
        }
    }

    /// Reads these signals also between two polls, every `period`, as far as the profile has them.
    #[must_use]
    pub fn glancing(mut self, profile: &Profile, signals: &[Signal], period: Duration) -> Self {
        let items = items(profile, |signal| signals.contains(&signal));
        self.glance = (!items.is_empty() && period < self.period).then_some(Glance { items, period, next: self.next });
        self
    }

    /// When the device is to be asked next.
    pub fn due(&self) -> Mono {
        match &self.glance {
            Some(glance) if !self.is_dormant() => self.next.min(glance.next),
            _ => self.next,
        }
    }

    /// Whether the device has stopped answering.
    pub fn is_dormant(&self) -> bool {
        self.failures >= FAILURES_UNTIL_DORMANT
    }

    /// Takes the work that is due and sets the next deadline: the old one plus the period, so
    /// that polls do not drift; deadlines already missed are skipped.
    pub fn begin(&mut self, now: Mono) -> Work {
        if self.is_dormant() {
            self.next = now.after(self.probe_after);
            self.probe_after = (self.probe_after * 2).min(LONGEST_PROBE_AFTER);
            return Work::Probe(self.probe);
        }
        if let Some(glance) = self.glance.as_mut().filter(|_| now < self.next) {
            glance.next = following(glance.next, glance.period, now);
            // Once requests had to be split, those that worked in polls.
            let whole = group(&self.items, self.link) == self.spans;
            let spans = if whole { group(&glance.items, self.link) } else { holding(&self.spans, &glance.items) };
            return Work::Glance(spans);
        }
        self.next = following(self.next, self.period, now);
        if let Some(glance) = &mut self.glance {
            glance.next = now.after(glance.period);
        }
        Work::Poll(self.spans.clone())
    }

    /// Something happened beside this device: the next glance does not wait for its turn.
    pub fn hurry(&mut self, now: Mono) {
        if let Some(glance) = &mut self.glance {
            let wait = glance.period.saturating_sub(GLANCES_APART);
            let soonest = Mono::from_ms(glance.next.as_ms().saturating_sub(wait.as_millis() as u64));
            glance.next = glance.next.min(soonest.max(now));
        }
    }

    /// Tells how a glance ended. After one without an answer the next poll shall judge.
    pub fn glanced(&mut self, answered: bool) {
        if let Some(glance) = self.glance.as_mut().filter(|_| !answered) {
            glance.next = self.next;
        }
    }

    /// The device refused one request with an exception. Returns the halves to try in its place
    /// at once; `None` when it holds a single item. A register the device lacks must not cost
    /// its neighbours.
    pub fn split(&mut self, span: Span) -> Option<Vec<Span>> {
        let inside: Vec<Item> = self.items.iter().copied().filter(|i| span.holds(i.span)).collect();
        if inside.len() < 2 {
            return None;
        }
        let (left, right) = inside.split_at(inside.len() / 2);
        let halves: Vec<Span> = [group(left, self.link), group(right, self.link)].concat();
        let at = self.spans.iter().position(|s| *s == span)?;
        self.spans.splice(at..=at, halves.iter().copied());
        self.clean_polls = 0;
        Some(halves)
    }

    /// Tells how the work ended. `answered`: the device said anything at all; `clean`: and no
    /// request failed.
    pub fn end(&mut self, answered: bool, clean: bool, now: Mono) {
        if !answered {
            self.failures = self.failures.saturating_add(1);
            return;
        }
        if self.is_dormant() {
            self.next = now;
        }
        self.failures = 0;
        self.probe_after = FIRST_PROBE_AFTER;
        self.clean_polls = if clean { self.clean_polls + 1 } else { 0 };
        if self.clean_polls >= self.regroup_after {
            let original = group(&self.items, self.link);
            if original != self.spans {
                self.spans = original;
                self.regroup_after = self.regroup_after.saturating_mul(2);
            }
            self.clean_polls = 0;
        }
    }
}

/// The old deadline plus the period; deadlines already missed are skipped.
fn following(deadline: Mono, period: Duration, now: Mono) -> Mono {
    let next = deadline.after(period);
    if next < now { now.after(period) } else { next }
}

/// What the wanted signals of a profile need, in order.
fn items(profile: &Profile, wanted: impl Fn(Signal) -> bool) -> Vec<Item> {
    let blocks =
        profile.blocks.iter().map(|b| Span { register: b.cell.register, address: b.cell.address, count: b.count });
    let blocks: Vec<Span> = blocks.collect();
    let points = profile.points.iter().filter(|p| wanted(p.signal));
    let items: BTreeSet<Item> = points
        .flat_map(|p| p.runs().collect::<Vec<_>>())
        .map(|(register, address, count)| {
            let span = Span { register, address, count };
            let block = blocks.iter().copied().find(|b| b.holds(span));
            Item { span: block.unwrap_or(span), alone: block.is_some() }
        })
        .collect();
    items.into_iter().collect()
}

fn holding(spans: &[Span], items: &[Item]) -> Vec<Span> {
    spans.iter().copied().filter(|span| items.iter().any(|item| span.holds(item.span))).collect()
}

/// The fewest requests that cover all items without splitting one. Left to right is optimal:
/// starting a request later than at the first uncovered item cannot cover it.
fn group(items: &[Item], link: Link) -> Vec<Span> {
    let mut spans: Vec<Item> = Vec::new();
    for item in items {
        let joined = spans.last().and_then(|last| joined(*last, *item, link));
        match (joined, spans.last_mut()) {
            (Some(joined), Some(last)) => last.span = joined,
            _ => spans.push(*item),
        }
    }
    spans.into_iter().map(|i| i.span).collect()
}

fn joined(last: Item, next: Item, link: Link) -> Option<Span> {
    let (last, next) = match (last, next) {
        (Item { span: last, alone: false }, Item { span: next, alone: false }) => (last, next),
        _ => return None,
    };
    let reach = if link.bridge { u32::MAX } else { last.end() };
    let count = next.end().max(last.end()) - u32::from(last.address);
    let fits = last.register == next.register && u32::from(next.address) <= reach && count <= u32::from(link.max_span);
    fits.then_some(Span { count: u16::try_from(count).ok()?, ..last })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INPUT: RegisterKind = RegisterKind::Input;

    fn span(address: u16, count: u16) -> Span {
        Span { register: INPUT, address, count }
    }

    fn item(address: u16, count: u16) -> Item {
        Item { span: span(address, count), alone: false }
    }

    fn link(max_span: u16, bridge: bool) -> Link {
        Link { max_span, bridge, gap_ms: 0, timeout_ms: 500, startup_ms: 0, fastest_ms: 100 }
    }

    fn profile(addresses: &str) -> Profile {
        let text = format!(
            "name='x'\nclass='pdu'\ndescribes='d'\nsource='s'\nvalidated='v'\n[probe]\nregister='input'\naddress=0\n\
             [[point]]\nsignal='pdu_power_watts'\nregister='input'\ntype='u16'\ncombine='sum'\naddresses={addresses}\n"
        );
        Profile::parse("x", &text).unwrap()
    }

    #[test]
    fn neighbours_share_a_request_and_gaps_are_bridged_only_where_allowed() {
        let items = [item(0, 2), item(2, 2), item(8, 1), item(200, 1)];
        assert_eq!(group(&items, link(125, true)), vec![span(0, 9), span(200, 1)]);
        assert_eq!(group(&items, link(125, false)), vec![span(0, 4), span(8, 1), span(200, 1)]);
        assert_eq!(group(&items, link(3, true)), vec![span(0, 2), span(2, 2), span(8, 1), span(200, 1)]);
    }

    #[test]
    fn a_block_is_one_request_of_its_own_extent() {
        let text = "name='x'\nclass='pdu'\ndescribes='d'\nsource='s'\nvalidated='v'\n[probe]\nregister='input'\naddress=0\n\
             [[block]]\nregister='input'\naddress=2\ncount=10\n\
             [[point]]\nsignal='pdu_power_watts'\nregister='input'\ntype='u16'\ncombine='sum'\naddresses=[1, 4, 9, 12]\n";
        let profile = Profile::parse("x", text).unwrap();
        let mut s = Schedule::new(&profile, Duration::from_millis(500), Mono::from_ms(0));
        assert_eq!(s.begin(Mono::from_ms(0)), Work::Poll(vec![span(1, 1), span(2, 10), span(12, 1)]));
        assert_eq!(s.split(span(2, 10)), None);
    }

    #[test]
    fn a_device_that_can_prove_itself_is_asked_to_first() {
        let mut profile = profile("[1]");
        profile.probe.expect = vec![7];
        let mut s = Schedule::new(&profile, Duration::from_millis(500), Mono::from_ms(0));
        assert!(matches!(s.begin(Mono::from_ms(0)), Work::Probe(_)));
        s.end(true, true, Mono::from_ms(20));
        assert_eq!((s.due(), s.is_dormant()), (Mono::from_ms(20), false));
        assert!(matches!(s.begin(Mono::from_ms(20)), Work::Poll(_)));
    }

    #[test]
    fn what_cannot_wait_is_read_between_two_polls_and_never_delays_them() {
        let text = "name='x'\nclass='pdu'\ndescribes='d'\nsource='s'\nvalidated='v'\n[probe]\nregister='input'\naddress=0\n\
             [[point]]\nsignal='pdu_power_watts'\nregister='input'\ntype='u16'\naddress=0\n\
             [[point]]\nsignal='pdu_current_l1_amperes'\nregister='input'\ntype='u16'\naddress=6\n\
             [[point]]\nsignal='pdu_current_l2_amperes'\nregister='input'\ntype='u16'\naddress=7\n";
        let profile = Profile::parse("x", text).unwrap();
        let currents = [Signal::PduCurrentL1, Signal::PduCurrentL2, Signal::PduCurrentL3];
        let period = Duration::from_millis(500);
        let s = Schedule::new(&profile, period, Mono::from_ms(0));
        let mut s = s.glancing(&profile, &currents, Duration::from_millis(100));
        assert_eq!(s.begin(Mono::from_ms(0)), Work::Poll(vec![span(0, 8)]));
        for due in [100, 200, 300, 400] {
            assert_eq!(s.due(), Mono::from_ms(due));
            assert_eq!(s.begin(s.due()), Work::Glance(vec![span(6, 2)]));
            s.glanced(true);
        }
        let mut hurried = s.clone();
        hurried.hurry(Mono::from_ms(430));
        assert_eq!(hurried.due(), Mono::from_ms(430), "something happened");
        hurried.begin(Mono::from_ms(430));
        hurried.hurry(Mono::from_ms(431));
        assert_eq!(hurried.due(), Mono::from_ms(450), "but was read just now");
        assert_eq!(s.begin(s.due()), Work::Poll(vec![span(0, 8)]));
        s.glanced(false);
        assert_eq!(s.due(), Mono::from_ms(1000), "an unanswered glance waits for the next poll");
        // A meter with one phase: what works in polls works between them.
        s.split(span(0, 8)).unwrap();
        s.begin(Mono::from_ms(1000));
        assert_eq!(s.begin(s.due()), Work::Glance(vec![span(6, 2)]));
        s.split(span(6, 2)).unwrap();
        assert_eq!(s.begin(s.due()), Work::Glance(vec![span(6, 1), span(7, 1)]));
    }

    #[test]
    fn a_silent_device_goes_dormant_and_comes_back() {
        let period = Duration::from_millis(500);
        let mut s = Schedule::new(&profile("[1]"), period, Mono::from_ms(0));
        for _ in 0..3 {
            assert!(matches!(s.begin(s.due()), Work::Poll(_)));
            s.end(false, false, s.due());
        }
        assert!(s.is_dormant());
        let first = s.due();
        assert!(matches!(s.begin(first), Work::Probe(_)));
        s.end(false, false, first);
        assert_eq!(s.due(), first.after(Duration::from_secs(1)));
        let now = s.due();
        assert!(matches!(s.begin(now), Work::Probe(_)));
        s.end(true, true, now);
        assert!(!s.is_dormant());
        assert_eq!(s.due(), now, "a device that is back is polled at once");
    }

    #[test]
    fn polls_do_not_drift_and_missed_ones_are_skipped() {
        let mut s = Schedule::new(&profile("[1]"), Duration::from_millis(500), Mono::from_ms(100));
        s.begin(Mono::from_ms(130));
        assert_eq!(s.due(), Mono::from_ms(600));
        s.begin(Mono::from_ms(5000));
        assert_eq!(s.due(), Mono::from_ms(5500));
    }

    #[test]
    fn a_refused_request_is_split_until_the_missing_register_stands_alone() {
        let mut s = Schedule::new(&profile("[1, 2, 3, 4]"), Duration::from_millis(500), Mono::from_ms(0));
        assert_eq!(s.split(span(1, 4)), Some(vec![span(1, 2), span(3, 2)]));
        assert_eq!(s.split(span(3, 2)), Some(vec![span(3, 1), span(4, 1)]));
        assert_eq!(s.split(span(4, 1)), None);
        assert_eq!(s.begin(Mono::from_ms(500)), Work::Poll(vec![span(1, 2), span(3, 1), span(4, 1)]));
    }

    #[test]
    fn after_many_clean_polls_the_original_grouping_returns() {
        let mut s = Schedule::new(&profile("[1, 2]"), Duration::from_millis(500), Mono::from_ms(0));
        s.split(span(1, 2)).unwrap();
        for _ in 0..FIRST_REGROUP_AFTER {
            s.end(true, true, Mono::from_ms(0));
        }
        assert_eq!(s.begin(Mono::from_ms(500)), Work::Poll(vec![span(1, 2)]));
    }

    proptest! {
        #[test]
        fn every_item_is_covered_whole_and_no_request_is_too_long(
            starts in prop::collection::btree_set(0_u16..600, 1..40), max_span in 2_u16..125, bridge: bool
        ) {
            let items: Vec<Item> = starts.iter().map(|a| item(*a, 1 + a % 2)).collect();
            let spans = group(&items, link(max_span, bridge));
            for item in &items {
                prop_assert!(spans.iter().any(|s| s.holds(item.span)));
            }
            for s in &spans {
                prop_assert!(s.count <= max_span);
            }
        }
    }
}
