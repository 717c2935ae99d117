//! One `[[cooling]]`: a set of racks and the units that remove their heat.

use super::super::document::{Mistakes, Table};
use super::{Cooling, Names, Unit, What, id, positive};
use headroom_rack::Watts;

pub(super) fn read(table: &Table<'_>, names: &mut Names, m: &Mistakes) -> Option<Cooling> {
    let name = table.need::<String>("id", "\"row-1-cooling\"");
    names.take(name.as_ref(), What::Cooling, m);
    let racks = table.need::<Vec<String>>("racks", "[\"rack-1\", \"rack-2\"]");
    if let Some(spot) = &racks {
        if spot.value.is_empty() {
            m.add(spot.at, "racks is empty", "name the racks whose heat these units remove");
        }
        names.cooled.extend(spot.value.iter().map(|rack| super::Spot { value: rack.clone(), at: spot.at }));
    }
    let tables = table.tables("units");
    if tables.is_empty() {
        m.add(table.at(), "there are no cooling units", "add units = [{ id = \"crah-1\", capacity_watts = 40000 }]");
    }
    let units: Vec<Unit> = tables.iter().filter_map(|t| unit(t, names, m)).collect();
    table.refuse_unknown();
    let racks = racks?.value.into_iter().map(|rack| rack.parse().ok()).collect::<Option<Vec<_>>>()?;
    Some(Cooling { id: id(name.as_ref(), "id", m)?, racks, units })
}

fn unit(table: &Table<'_>, names: &mut Names, m: &Mistakes) -> Option<Unit> {
    let name = table.need::<String>("id", "\"crah-1\"");
    names.take(name.as_ref(), What::Cooling, m);
    let capacity = positive(table, "capacity_watts", "40000", m);
    table.refuse_unknown();
    Some(Unit { id: id(name.as_ref(), "id", m)?, capacity: Watts::new(capacity?) })
}
