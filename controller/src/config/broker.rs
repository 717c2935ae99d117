//! `[broker]`: where it is, the login, and the certificates when it speaks TLS.

use super::document::{Mistakes, Spot, Table};
use super::value::secret;
use crate::link::Login;
use headroom_tls::{BrokerTls, Tls, is_server_name};
use std::path::Path;

/// Where the broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Login, if any.
    pub login: Option<Login>,
    /// Certificates, when it speaks TLS.
    pub tls: Option<BrokerTls>,
}

const FORM: &str = "write url = \"mqtt://HOST:1883\", or \"mqtts://HOST:8883\" with ca_file";
const KEYS: [&str; 4] = ["ca_file", "certificate_file", "key_file", "server_name"];

pub(super) fn read(table: &Table<'_>, m: &Mistakes) -> Option<Broker> {
    let url = table.need::<String>("url", "\"mqtt://127.0.0.1:1883\"");
    let user = table.get::<String>("user");
    let password = secret(table, "password_env", user.is_some(), m);
    let files = KEYS.map(|key| table.get::<String>(key));
    table.refuse_unknown();
    let address = address(&url?, m);
    let tls = match &address {
        Some((_, _, false)) => {
            for (key, spot) in KEYS.iter().zip(&files) {
                if let Some(spot) = spot {
                    let remedy = "write url = \"mqtts://HOST:8883\", or leave it out";
                    m.add(spot.at, format!("{key} in [broker] without TLS"), remedy);
                }
            }
            None
        }
        // A wrong URL leaves open whether the files are wanted; then only they themselves are checked.
        None if files.iter().all(Option::is_none) => None,
        _ => tls(table, &files, m),
    };
    let login = match (user, password) {
        (Some(user), Some(password)) => Some(Login { user: user.value, password }),
        _ => None,
    };
    let (host, port, _) = address?;
    Some(Broker { host, port, login, tls })
}

/// Host, port, and whether TLS is spoken there.
fn address(url: &Spot<String>, m: &Mistakes) -> Option<(String, u16, bool)> {
    let wrong = |problem: &str| m.add(url.at, format!("url in [broker] {problem}: {:?}", url.value), FORM);
    let parsed = match reqwest::Url::parse(&url.value) {
        Ok(parsed) => parsed,
        Err(why) => {
            wrong(&format!("is no URL ({why})"));
            return None;
        }
    };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        let remedy = "write user = \"...\" and password_env = \"NAME_OF_A_VARIABLE\" instead";
        m.add(url.at, "url in [broker] carries a login", remedy);
        return None;
    }
    let secure = match parsed.scheme() {
        "mqtt" => Some(false),
        "mqtts" => Some(true),
        _ => None,
    };
    let (Some(secure), Some(host)) = (secure, parsed.host_str().filter(|h| !h.is_empty())) else {
        wrong("is not of the form mqtt://HOST:PORT or mqtts://HOST:PORT");
        return None;
    };
    let port = parsed.port().unwrap_or(if secure { 8883 } else { 1883 });
    Some((host.trim_matches(['[', ']']).to_owned(), port, secure))
}

fn tls(table: &Table<'_>, files: &[Option<Spot<String>>; 4], m: &Mistakes) -> Option<BrokerTls> {
    let [authority, chain, key, name] = files;
    if authority.is_none() {
        let remedy = "add ca_file = \"/etc/headroom/ca.pem\": the certificates to trust";
        m.add(table.at(), "`ca_file` in [broker] is missing: TLS needs to know whom to trust", remedy);
    }
    if let Some(name) = name.as_ref().filter(|n| !is_server_name(&n.value)) {
        let problem = format!("server_name in [broker] is {:?}", name.value);
        m.add(name.at, problem, "write the host name or IP address in the broker's certificate");
    }
    let path = |spot: &'_ Spot<String>| Path::new(&spot.value).to_owned();
    let identity = match (chain, key) {
        (None, None) => None,
        (Some(chain), Some(key)) => Some((path(chain), path(key))),
        (Some(half), None) | (None, Some(half)) => {
            let remedy = "give both certificate_file and key_file, or neither";
            m.add(half.at, "only half of the controller's own certificate is there", remedy);
            return None;
        }
    };
    let loaded = Tls::load(&path(authority.as_ref()?), identity.as_ref().map(|(c, k)| (c.as_path(), k.as_path())));
    match loaded {
        Ok(tls) => Some(BrokerTls { tls, server_name: name.as_ref().map(|n| n.value.clone()) }),
        Err(error) => {
            let of = |spot: &&Spot<String>| Path::new(&spot.value) == error.path();
            let at = files[..3].iter().flatten().find(of).map_or(table.at(), |spot| spot.at);
            m.add(at, error.to_string(), "let it be a readable PEM file; certificate and key belong together");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{ConfigError, DEFAULT, parse};

    fn said(broker: &str) -> String {
        let text = DEFAULT.replace("url = \"mqtt://127.0.0.1:1883\"", broker);
        match parse("c.toml", &text) {
            Err(ConfigError::Mistakes(found)) => found.iter().map(|m| format!("{m}\n")).collect(),
            other => panic!("it was accepted: {other:?}"),
        }
    }

    #[test]
    fn tls_needs_an_authority_and_files_that_can_be_used_and_each_slip_has_its_line() {
        let line = DEFAULT.lines().position(|l| l.starts_with("url = \"mqtt://")).unwrap() + 1;
        for (broker, at, problem) in [
            ("url = \"mqtts://h\"", line - 1, "`ca_file` in [broker] is missing"),
            ("url = \"mqtt://h\"\nserver_name = \"b\"", line + 1, "server_name in [broker] without TLS"),
            ("url = \"mqtts://h\"\nca_file = \"/nowhere/ca.pem\"", line + 1, "cannot be read"),
            ("url = \"mqtts://h\"\nca_file = \"/dev/null\"", line + 1, "no certificate in PEM form"),
            ("url = \"mqtts://h\"\nca_file = \"/dev/null\"\nkey_file = \"k\"", line + 2, "only half"),
            ("url = \"mqtts://h\"\nca_file = \"/dev/null\"\nserver_name = \"a b\"", line + 2, "server_name"),
            ("url = \"http://h\"", line, "not of the form"),
            ("url = \"mqtts://u:p@h\"", line, "carries a login"),
        ] {
            let said = said(broker);
            let found = said.lines().any(|l| l.starts_with(&format!("c.toml:{at}: ")) && l.contains(problem));
            assert!(found, "no {problem} in line {at}:\n{said}");
        }
    }

    #[test]
    fn the_usual_port_is_that_of_the_scheme() {
        let text = DEFAULT.replace("url = \"mqtt://127.0.0.1:1883\"", "url = \"mqtt://[::1]\"");
        let broker = parse("c.toml", &text).unwrap().broker;
        assert_eq!((broker.host.as_str(), broker.port, broker.tls), ("::1", 1883, None));
    }
}
