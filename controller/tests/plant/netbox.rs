//! NetBox as it is found: panels in rotation, UPSs in between, lists in pages, cords without a PDU.

use super::{check, said, topology};
use serde_json::{Value, json};

fn refer(kind: &str, id: u64, name: &str) -> Value {
    json!({ "id": id, "url": format!("https://netbox.example/api/dcim/{kind}/{id}/"), "name": name })
}

fn with(mut object: Value, more: Value) -> Value {
    let into = object.as_object_mut().unwrap();
    into.extend(more.as_object().unwrap().clone());
    object
}

/// Three panels, three racks, each rack on two of them in turn, with a PDU on each feed.
struct Site {
    feeds: Vec<Value>,
    devices: Vec<Value>,
    ports: Vec<Value>,
    outlets: Vec<Value>,
}

impl Site {
    fn new() -> Self {
        let mut site = Self { feeds: Vec::new(), devices: Vec::new(), ports: Vec::new(), outlets: Vec::new() };
        for (rack, panels) in [(1_u64, [1_u64, 2]), (2, [2, 3]), (3, [3, 1])] {
            for (side, panel) in ["a", "b"].into_iter().zip(panels) {
                let id = site.feeds.len() as u64 + 1;
                let about = json!({
                    "power_panel": refer("power-panels", panel, &format!("RPP {panel}")), "rack": refer("racks", rack, ""),
                    "type": "primary", "phase": "three-phase", "voltage": 400, "amperage": 32
                });
                let feed = with(refer("power-feeds", id, &format!("f{rack}{side}")), about);
                site.strip(id, &format!("pdu-{rack}-{side}"), Some(rack), refer("power-feeds", id, ""));
                site.feeds.push(feed);
            }
        }
        site
    }

    /// A device with a port on something and three outlets, one on each leg.
    fn strip(&mut self, id: u64, name: &str, rack: Option<u64>, on: Value) {
        let rack = rack.map(|rack| refer("racks", rack, ""));
        self.devices.push(with(
            refer("devices", id, name),
            json!({ "rack": rack, "role": { "slug": name.split('-').next() } }),
        ));
        let about = json!({ "device": refer("devices", id, name), "connected_endpoints": [on] });
        self.ports.push(with(refer("power-ports", id, "in"), about));
        for (i, leg) in ["A", "B", "C"].into_iter().enumerate() {
            let about = json!({ "device": refer("devices", id, name), "feed_leg": leg });
            self.outlets.push(with(refer("power-outlets", id * 10 + i as u64, leg), about));
        }
    }

    fn lists(&self) -> Value {
        let panels: Vec<Value> = (1..=3).map(|n| refer("power-panels", n, &format!("RPP {n}"))).collect();
        let panels: Vec<Value> =
            panels.into_iter().map(|p| with(p, json!({ "custom_fields": { "rating_watts": 60000 } }))).collect();
        let racks: Vec<Value> = (1..=3).map(|n| refer("racks", n, &format!("R{n}"))).collect();
        json!({
            "power-panels": panels, "power-feeds": self.feeds, "devices": self.devices, "power-ports": self.ports,
            "power-outlets": self.outlets, "racks": racks
        })
    }

    fn import(&self) -> (String, String) {
        let (code, toml, told) = import(&[self.lists()]);
        assert_eq!(code, Some(0), "{told}");
        (toml, told)
    }
}

fn import(files: &[Value]) -> (Option<i32>, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut args =
        ["import", "--gpus", "4", "--overhead-watts", "1700", "--gpu-max-watts", "700", "--safe-gpu-watts", "200"]
            .map(str::to_owned)
            .to_vec();
    for (i, file) in files.iter().enumerate() {
        let path = dir.path().join(format!("{i}.json"));
        std::fs::write(&path, file.to_string()).unwrap();
        args.extend(["--netbox".to_owned(), path.to_str().unwrap().to_owned()]);
    }
    let output = topology(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let toml = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), toml, said(&output))
}

#[test]
fn panels_in_rotation_are_feeds_of_their_own_whatever_their_power_feeds_are_marked_as() {
    let mut site = Site::new();
    for marked in [false, true] {
        let (toml, told) = site.import();
        assert!(toml.contains("feed = \"rpp-3\"") && told.contains("each panel is a feed of its own"), "{told}{toml}");
        let (code, text) = check(&toml);
        assert_eq!(code, Some(0), "marked {marked}: {text}\n{toml}");
        for (i, feed) in site.feeds.iter_mut().enumerate() {
            feed["type"] = ["primary", "redundant"][i % 2].into();
        }
    }
}

#[test]
fn a_ups_between_feed_and_pdu_stands_between_them() {
    let mut site = Site::new();
    site.strip(90, "ups-a", None, refer("power-feeds", 1, ""));
    site.ports[0]["connected_endpoints"] = json!([refer("power-outlets", 900, "A")]);
    let (toml, told) = site.import();
    for part in [
        "id = \"ups-a\"\nkind = \"ups\"\nparent = \"f1a\"",
        "id = \"pdu-1-a\"\nkind = \"rack-pdu\"\nparent = \"ups-a\"",
        "{ node = \"pdu-1-a\", share = 0.5000",
    ] {
        assert!(toml.contains(part), "{part} is not in\n{toml}");
    }
    assert!(told.contains("UPS ups-a: check rating_watts"), "{told}");
    let (code, text) = check(&toml);
    assert!(code == Some(1) && text.contains("1 warning;") && text.contains("\"ups-a\" has no meter"), "{text}");
}

#[test]
fn a_device_on_two_feeds_is_a_transfer_switch_unless_each_port_has_outlets_of_its_own() {
    let mut site = Site::new();
    let second = with(
        refer("power-ports", 77, "in2"),
        json!({
            "device": refer("devices", 1, "pdu-1-a"), "connected_endpoints": [refer("power-feeds", 4, "")]
        }),
    );
    site.ports.push(second);
    let (toml, told) = site.import();
    assert!(toml.contains("standby = \"f2b\"") && told.contains("taken for a transfer switch"), "{told}{toml}");
    for (i, outlet) in site.outlets.iter_mut().take(3).enumerate() {
        outlet["power_port"] = refer("power-ports", if i == 0 { 1 } else { 77 }, "");
    }
    let (toml, _) = site.import();
    for part in ["id = \"pdu-1-a-in\"", "id = \"pdu-1-a-in2\"\nkind = \"rack-pdu\"\nparent = \"f2b\"", "share = 0.3333"]
    {
        assert!(toml.contains(part), "{part} is not in\n{toml}");
    }
}

#[test]
fn a_feed_of_a_rack_without_a_pdu_is_a_cord_as_well() {
    let mut site = Site::new();
    site.ports.remove(1);
    site.outlets.retain(|o| o["device"]["id"] != 2);
    let (toml, told) = site.import();
    assert!(toml.contains("{ node = \"f1b\", share = 0.5000, meter = \"pdu-f1b\" }"), "{toml}");
    assert!(told.contains("rack \"R1\" has power feed f1b and no PDU on it"), "{told}");
}

#[test]
fn ports_without_a_draw_count_as_those_with_one() {
    let mut site = Site::new();
    for (id, draw) in [(80, json!(3300)), (81, Value::Null)] {
        let about = json!({
            "device": refer("devices", 70, "server"), "maximum_draw": draw,
            "connected_endpoints": [refer("power-outlets", id - 70, "")]
        });
        site.ports.push(with(refer("power-ports", id, "psu"), about));
    }
    let (toml, told) = site.import();
    assert!(toml.contains("phases = [0.5000, 0.5000, 0.0000]"), "{toml}");
    assert!(told.contains("pdu-1-a: 1 of the ports on it have no draw"), "{told}");
}

#[test]
fn a_feed_of_one_phase_is_asked_for_it_unless_all_outlets_are_on_the_same_leg() {
    let mut site = Site::new();
    for feed in &mut site.feeds {
        feed["phase"] = "single-phase".into();
        feed["voltage"] = 230.into();
    }
    site.outlets.iter_mut().take(3).for_each(|o| o["feed_leg"] = "B".into());
    let (toml, told) = site.import();
    assert!(toml.contains("meter = \"pdu-1-a\", phases = \"L2\""), "{toml}");
    assert!(told.contains("rack r1: write phases of its feed pdu-1-b"), "{told}");
    let (code, text) = check(&toml);
    assert!(code == Some(2) && text.contains("\"f1b\" has one phase and \"rpp-2\" above it three"), "{text}");
}

#[test]
fn a_page_of_a_list_is_not_taken_for_the_list_and_all_its_pages_are() {
    let lists = Site::new().lists();
    let page = |kind: &str, from: usize, to: usize, next: bool| {
        let all = lists[kind].as_array().unwrap();
        let next = next.then(|| format!("https://netbox.example/api/dcim/{kind}/?offset={to}"));
        json!({ "count": all.len(), "next": next, "results": all[from..to].to_vec() })
    };
    let mut rest = lists.clone();
    rest["power-outlets"] = json!([]);
    rest["power-feeds"] = json!([]);
    let (code, _, told) = import(&[rest.clone(), page("power-outlets", 0, 7, true), page("power-feeds", 0, 6, false)]);
    assert_eq!(code, Some(2), "{told}");
    for part in [
        "1.json: holds 7 of 18 power-outlets",
        "fetch the rest (https://netbox.example/api/dcim/power-outlets/?offset=7)",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    let outlets = [page("power-outlets", 0, 7, true), page("power-outlets", 7, 18, false)];
    let (code, toml, told) = import(&[&[rest, page("power-feeds", 0, 6, false)][..], &outlets].concat());
    assert!(code == Some(0) && toml.matches("[[rack]]").count() == 3, "{told}");
}

#[test]
fn lists_without_which_there_is_no_rack_are_asked_for() {
    let mut lists = Site::new().lists();
    let site = lists.as_object_mut().unwrap();
    site.remove("devices");
    let (_, _, told) = import(&[Value::Object(site.clone())]);
    assert!(told.contains("there is nothing in it of devices: export /api/dcim/devices/ as well"), "{told}");
    site.remove("racks");
    site["power-feeds"].as_array_mut().unwrap().iter_mut().for_each(|f| f["rack"] = Value::Null);
    let (code, _, told) = import(&[Value::Object(site.clone())]);
    let part = "no rack hangs on a power feed: export /api/dcim/devices/ and /api/dcim/racks/ as well";
    assert!(code == Some(2) && told.contains(part), "{told}");
}
