//! Names of ports.

use std::{fs::File, io::Read};

/// Bytes of `/etc/services` that are read.
const MAX_SERVICES_BYTES: u64 = 1 << 20;

/// Names that people use for ports, also where there is no `/etc/services` (IANA's registry of service names).
const COMMON: [(&str, u16); 20] = [
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("domain", 53),
    ("dns", 53),
    ("http", 80),
    ("pop3", 110),
    ("ntp", 123),
    ("imap", 143),
    ("snmp", 161),
    ("ldap", 389),
    ("https", 443),
    ("submission", 587),
    ("imaps", 993),
    ("pop3s", 995),
    ("mysql", 3306),
    ("rdp", 3389),
    ("postgresql", 5432),
    ("mdns", 5353),
];

/// Ports by the names of their services.
#[derive(Clone, Debug, Default)]
pub struct Services(Vec<(String, u16)>);

impl Services {
    /// Reads `/etc/services`, and adds the common names.
    pub fn load() -> Self {
        let mut services = Vec::new();
        if let Ok(file) = File::open("/etc/services") {
            let _ = file.take(MAX_SERVICES_BYTES).read_to_end(&mut services);
        }
        Self::from_services(&String::from_utf8_lossy(&services))
    }

    /// Reads the text of a `services` file: `name port/protocol aliases # comment` (services(5)).
    pub fn from_services(services: &str) -> Self {
        let mut names = Vec::new();
        for line in services.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let (Some(name), Some(port)) = (words.next(), words.next()) else { continue };
            let Some(port) = port.split('/').next().and_then(|port| port.parse().ok()) else { continue };
            names.extend([name].into_iter().chain(words).map(|name| (name.to_ascii_lowercase(), port)));
        }
        names.extend(COMMON.iter().map(|(name, port)| ((*name).to_owned(), *port)));
        Self(names)
    }

    /// The port of a service; `None` if no service has the name.
    pub fn port(&self, name: &str) -> Option<u16> {
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, port)| *port)
    }

    /// The name of the service at a port; `None` if none is known.
    pub fn name(&self, port: u16) -> Option<&str> {
        self.0.iter().find(|(_, known)| *known == port).map(|(name, _)| &**name)
    }

    /// The ports of the services whose names contain a text, whatever the case of its letters.
    pub fn containing(&self, text: &str) -> Vec<u16> {
        let text = text.to_ascii_lowercase();
        let mut ports: Vec<u16> =
            self.0.iter().filter(|(name, _)| name.contains(&text)).map(|(_, port)| *port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_found_by_name_and_alias() {
        let text = "# comment\nssh 22/tcp\nhttp\t\t80/tcp\twww # WorldWideWeb\nbroken\nodd x/tcp\n";
        let services = Services::from_services(text);
        assert_eq!(services.port("WWW"), Some(80));
        assert_eq!(services.port("https"), Some(443));
        assert_eq!(
            (services.name(80), services.name(443), services.name(9)),
            (Some("http"), Some("https"), None)
        );
        assert_eq!((services.port("broken"), services.port("odd"), services.port("")), (None, None, None));
        assert_eq!(services.containing("http"), [80, 443]);
    }
}
