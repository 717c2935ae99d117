//! What is advised is held against the decision itself: with the supply or the flow that was advised, cooling holds
//! nothing back.

use super::*;
use crate::decide::tests::{decide, fleet_at, snapshot};
use crate::policy::Policy;
use crate::topology::tests::row;
use crate::{CoolingSpec, Topology};
use headroom_rack::{DeviceId, Reading, Signal, SignalPath, Snapshot};

/// The row, of which the first racks tell of their cooling; nothing but that holds them.
struct Row {
    decider: Decider,
    second: u64,
    plan: Option<Plan>,
}

#[derive(Clone, Copy)]
struct Told {
    supply: f64,
    setpoint: Option<f64>,
    /// l/min; of liquid.
    flow: Option<f64>,
    margin: f64,
    gpu_watts: f64,
}

const LIQUID: Told = Told { supply: 32.0, setpoint: None, flow: Some(8.0), margin: 40.0, gpu_watts: 500.0 };

impl Row {
    fn new(topology: Topology) -> Self {
        let policy = Policy { inlet_limit_celsius: Some(35.0), ..Policy::default() };
        Self { decider: Decider::new(topology, policy), second: 0, plan: None }
    }

    /// So many seconds of that, of the first racks; what is advised then.
    fn pass(&mut self, seconds: u64, told: &[Told]) -> Vec<CoolingAdvice> {
        let mut said = Vec::new();
        for _ in 0..seconds {
            self.second += 1;
            let now = Mono::from_ms(self.second * 1000);
            let mut fleet = fleet_at(&[100.0; 4], &[700.0; 4], now);
            told.iter().enumerate().for_each(|(rack, told)| fleet.fold(&heard(rack, told), now));
            let plan = decide(&mut self.decider, &fleet, now);
            said = self.decider.advise(&fleet, &plan, now).to_vec();
            self.plan = Some(plan);
        }
        said
    }

    fn is_held(&self, rack: usize) -> bool {
        let cap = &self.plan.as_ref().unwrap().caps[rack];
        cap.kind == LimitKind::Cooling && cap.binding
    }
}

fn heard(rack: usize, told: &Told) -> Snapshot {
    let cord = (told.gpu_watts * 8.0 + 1700.0) / 2.0;
    let mut seen = snapshot(rack, told.gpu_watts, 700.0, Some(cord));
    let mut put = |device: DeviceId, signal, value| {
        seen.readings.insert(SignalPath::new(device, signal), Reading::new(value, seen.at));
    };
    (0..8).for_each(|gpu| put(DeviceId::gpu(gpu), Signal::GpuTemperatureMargin, told.margin));
    let cooling = || DeviceId::new("cooling").unwrap();
    put(cooling(), Signal::CoolingSupplyTemperature, told.supply);
    if let Some(flow) = told.flow {
        put(cooling(), Signal::CoolingFlow, flow);
    }
    if let Some(setpoint) = told.setpoint {
        put(cooling(), Signal::CoolingSupplySetpoint, setpoint);
    }
    seen
}

#[test]
fn a_rack_that_its_coolant_holds_back_is_told_the_supply_and_the_flow_that_would_carry_it() {
    let warm = Told { supply: 53.0, ..LIQUID };
    let mut row = Row::new(row());
    assert_eq!(row.pass(10, &[warm]), [], "it may pass");
    let said = row.pass(20, &[warm]).remove(0);
    assert!(row.is_held(0), "{:?}", row.plan);
    assert_eq!((said.cooler.as_str(), said.change), ("rack-1.cooling", Change::Cooler));
    assert!(said.held.get() > 500.0 && said.wanted.get() > 5700.0, "{said:?}");
    let (most, flow) = (said.at_most_celsius.unwrap(), said.flow_at_least_lpm.unwrap());
    assert!((40.0..52.0).contains(&most) && (8.0..40.0).contains(&flow), "{said:?}");
    row.pass(30, &[Told { supply: most, ..warm }]);
    assert!(!row.is_held(0), "with the supply that was advised: {:?}", row.plan);
    row.pass(30, &[warm]);
    assert!(row.is_held(0));
    row.pass(30, &[Told { flow: Some(flow + 0.5), ..warm }]);
    assert!(!row.is_held(0), "with the flow that was advised: {:?}", row.plan);
}

#[test]
fn how_warm_a_supply_may_be_is_said_after_half_an_hour_and_holds_nothing_back() {
    let mut row = Row::new(row());
    let calm = Told { gpu_watts: 300.0, ..LIQUID };
    assert_eq!(row.pass(60, &[LIQUID]), []);
    assert_eq!(row.pass(1730, &[calm]), [], "one window is not enough");
    let said = row.pass(20, &[calm]).remove(0);
    assert_eq!((said.change, said.flow_at_least_lpm, said.held), (Change::Warmer, None, Watts::ZERO));
    let most = said.at_most_celsius.unwrap();
    assert!(said.wanted.get() > 5700.0, "for what was wanted an hour ago: {said:?}");
    assert_eq!(row.pass(1, &[Told { flow: None, ..calm }]), [], "nor without its flow");
    row.pass(60, &[Told { supply: most, ..LIQUID }]);
    assert!(!row.is_held(0), "{:?}", row.plan);
    row.pass(60, &[Told { supply: most + 5.0, ..LIQUID }]);
    assert!(row.is_held(0), "and it is not said of much less than what can be: {most} {:?}", row.plan);
}

#[test]
fn gpus_near_their_limit_are_warmed_no_further() {
    let mut near = Row::new(row());
    let said = near.pass(1820, &[Told { margin: 6.0, ..LIQUID }]).remove(0);
    // 6 K less 2 K spare, 1 K of the sensors, and what more power than now would add.
    assert!(said.at_most_celsius.is_some_and(|most| most <= 35.0), "{said:?}");
    let mut far = Row::new(row());
    let said = far.pass(1820, &[LIQUID]).remove(0);
    assert!(said.at_most_celsius.is_some_and(|most| most > 40.0), "{said:?}");
}

#[test]
fn a_set_of_units_is_told_what_its_neediest_rack_needs() {
    let spec = row();
    let set = CoolingSpec {
        id: NodeId::new("row-cooling").unwrap(),
        racks: spec.racks().iter().map(|r| r.id.clone()).collect(),
        units: vec![Watts::new(60_000.0)],
    };
    let topology = Topology::with_cooling(spec.nodes().to_vec(), spec.racks().to_vec(), &[set]).unwrap();
    let mut row = Row::new(topology);
    let (easy, short) = (Told { flow: Some(12.0), ..LIQUID }, Told { flow: Some(2.5), supply: 33.0, ..LIQUID });
    let said = row.pass(60, &[easy, short]);
    assert_eq!(said.len(), 1);
    let said = &said[0];
    assert_eq!((said.cooler.as_str(), said.change, said.supply_celsius), ("row-cooling", Change::Cooler, 33.0));
    // One is short, of the other too little was seen yet to speak for it.
    assert_eq!((said.racks.len(), said.racks[0].as_str()), (1, "rack-2"));
    let said = row.pass(1900, &[easy, short]).remove(0);
    assert_eq!((said.racks.len(), said.change, said.flow_at_least_lpm), (2, Change::Cooler, None));
    let said = row.pass(1900, &[easy, easy]).remove(0);
    assert_eq!((said.change, said.at_most_celsius), (Change::Keep, Some(32.0)), "two racks do not tell what they need");
    let said = row.pass(1900, &[easy; 4]).remove(0);
    assert!(said.change == Change::Warmer && said.racks.len() == 4, "{said:?}");
}

#[test]
fn a_supply_that_holds_nothing_back_is_right_although_flow_and_demand_at_their_worst_would_not_do() {
    let mut row = Row::new(row());
    let idle = Told { flow: Some(2.2), gpu_watts: 200.0, ..LIQUID };
    let busy = Told { gpu_watts: 600.0, ..LIQUID };
    row.pass(900, &[busy]);
    row.pass(900, &[idle]);
    let said = row.pass(900, &[busy]).remove(0);
    assert_eq!((said.change, said.at_most_celsius), (Change::Keep, Some(32.0)), "{said:?}");
    assert!(said.words().contains("is right at 32.0 C"), "{}", said.words());
}

#[test]
fn air_may_warm_by_what_its_warmest_hour_left() {
    let air = Told { supply: 24.0, flow: None, ..LIQUID };
    let mut row = Row::new(row());
    row.pass(60, &[Told { supply: 26.0, ..air }]);
    let said = row.pass(1800, &[air]).remove(0);
    // 35 degrees, 3 K until a loss is answered, 1 K of the sensors, and it was 2 K warmer once.
    assert_eq!((said.change, said.at_most_celsius), (Change::Warmer, Some(29.0)), "{said:?}");
}

#[test]
fn a_unit_that_does_not_keep_its_set_point_is_not_told_a_lower_one_alone() {
    let drifted = Told { supply: 53.0, setpoint: Some(32.0), ..LIQUID };
    let said = Row::new(row()).pass(30, &[drifted]).remove(0);
    assert_eq!(said.unkept(), Some(32.0));
    assert!(said.words().contains("its set-point of 32.0 C is not kept"), "{}", said.words());
    let dry = Told { flow: Some(0.1), ..LIQUID };
    let said = Row::new(row()).pass(30, &[dry]).remove(0);
    assert_eq!((said.change, said.at_most_celsius), (Change::Cooler, None), "no supply replaces the flow");
    assert!(said.words().contains("a flow of 4 l/min or more"), "{}", said.words());
}
