//! The keys that make a connection TLS.

use super::{Files, host_and_port};
use headroom_agent_core::document::{Mistakes, Table};
use headroom_tls::{BrokerTls, Tls, is_server_name};
use std::path::PathBuf;

const KEYS: [&str; 3] = ["ca_file", "certificate_file", "key_file"];
const AUTHORITY: &str = "ca_file = \"/etc/headroom/ca.pem\": the certificates to trust";
const IDENTITY: &str = "certificate_file and key_file: the agent's own, in PEM form";

/// `ca_file`, and `certificate_file` with `key_file` unless `anonymous` will do.
fn read(t: &mut Table<'_>, m: &mut Mistakes, files: &mut Files<'_>, anonymous: bool) -> Option<Tls> {
    if !t.has("ca_file") {
        t.missing(m, "ca_file", AUTHORITY);
    }
    let mut path = |t: &mut Table<'_>, m: &mut Mistakes, key| t.text(m, key).map(|text| files.at(text));
    let [authority, chain, key]: [Option<PathBuf>; 3] = KEYS.map(|name| path(t, m, name));
    let identity = match (&chain, &key) {
        (Some(chain), Some(key)) => Some((chain.as_path(), key.as_path())),
        (None, None) if anonymous => None,
        _ => {
            m.add(t.at(), "TLS without an identity of the agent's own, or with half of one", format!("add {IDENTITY}"));
            return None;
        }
    };
    match Tls::load(authority.as_deref()?, identity) {
        Ok(tls) => Some(tls),
        Err(error) => {
            let of = |path: &PathBuf| path == error.path();
            let at = KEYS.iter().zip([&authority, &chain, &key]).find(|(_, p)| p.as_ref().is_some_and(of));
            let place = at.map_or(t.at(), |(name, _)| t.place(name));
            m.add(place, error.to_string(), "let it be a readable PEM file; certificate and key belong together");
            None
        }
    }
}

/// The name that the other side's certificate must carry, where it is not the host.
fn server_name(t: &mut Table<'_>, m: &mut Mistakes) -> Option<String> {
    let name = t.text(m, "server_name").map(str::to_owned);
    if let Some(text) = name.as_deref().filter(|n| !is_server_name(n)) {
        m.add(t.place("server_name"), format!("{text:?} is no server name"), "write a host name or an IP address");
    }
    name
}

/// For MQTT: there when the URL says `mqtts`, and a mistake when it does not.
pub(super) fn mqtt(t: &mut Table<'_>, m: &mut Mistakes, files: &mut Files<'_>, secure: bool) -> Option<BrokerTls> {
    if secure {
        let server_name = server_name(t, m);
        return read(t, m, files, true).map(|tls| BrokerTls { tls, server_name });
    }
    for key in KEYS.into_iter().chain(["server_name"]) {
        if t.text(m, key).is_none() {
            continue;
        }
        m.add(t.place(key), format!("`{key}` without TLS"), "write url = \"mqtts://host:8883\", or leave it out");
    }
    None
}

/// For Modbus/TCP Security, which wants both sides to show a certificate (v21, 5.3): also the name that
/// the device's must carry.
pub(super) fn modbus(
    t: &mut Table<'_>,
    m: &mut Mistakes,
    files: &mut Files<'_>,
    address: Option<&str>,
) -> Option<(String, Tls)> {
    let name = server_name(t, m).or_else(|| Some(host_and_port(address?)?.0.to_owned()));
    if let Some(text) = name.as_deref().filter(|n| !t.has("server_name") && !is_server_name(n)) {
        m.add(t.place("address"), format!("{text:?} is no server name"), "give server_name, or another address");
    }
    let tls = read(t, m, files, false)?;
    Some((name?, tls))
}
