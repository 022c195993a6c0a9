//! The configuration of an original picosnitch as one of this picosnitch, key by key.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::{
    ignore::{self, DomainOrder, IgnoreRule},
    json,
    node::{Node, NodeValue},
    original::{self, JSON_KEYS, TomlKey},
    problem::Problem,
    sections::Config,
    toml, write_toml,
};

/// Mode of a configuration file, which may have passwords.
const MODE: u32 = 0o640;
const NO_SUCH_KEY: &str = "this picosnitch has no such key";

/// What a key of the original is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFate {
    /// A key of this picosnitch, with this value as text.
    Becomes {
        /// The full name of the key.
        key: &'static str,
        /// Its value; that of a secret is not shown.
        value: String,
    },
    /// It has no effect here, for this reason.
    WithoutEffect(String),
    /// Its value is not allowed, for this reason. The default holds; of a list, the other values.
    Refused(String),
}

/// A key of the original's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginalKey {
    /// Its name in the original's file.
    pub name: String,
    /// What it is here.
    pub fate: KeyFate,
}

/// The configuration of an original picosnitch.
#[derive(Clone, Debug)]
pub struct OriginalConfig {
    /// The same as a configuration of this picosnitch.
    pub config: Config,
    /// Its keys.
    pub keys: Vec<OriginalKey>,
    /// What the user should know about how the values were read.
    pub notes: Vec<String>,
}

impl OriginalConfig {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// It is no JSON.
    pub fn from_json(text: &str) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let root = json::tree(text, &mut problems)?;
        let names = names(&root).into_iter().map(|name| (name.clone(), name)).collect();
        Ok(Self::of(root, problems, names))
    }

    /// Reads the text of a `config.toml` of the original 2.x.
    ///
    /// # Errors
    /// It is no TOML.
    pub fn from_toml(text: &str) -> Result<Self, Vec<Problem>> {
        let mut as_json = AsJson::default();
        for (table, node) in take_table(toml::tree(text)?) {
            as_json.add_table(&table, node);
        }
        let AsJson { mut entries, names, ignored, unknown, notes } = as_json;
        if !ignored.is_empty() {
            let ignored = Node { line: None, value: NodeValue::Array(ignored) };
            entries.push(("Log ignore".to_owned(), ignored));
        }
        let root = Node { line: None, value: NodeValue::Table(entries) };
        let mut read = Self::of(root, Vec::new(), names);
        read.keys.extend(unknown);
        read.notes.splice(0..0, notes);
        Ok(read)
    }

    /// Reads a tree with the keys of `config.json`; `names` has the name of each in the file, and its key there.
    fn of(root: Node, mut problems: Vec<Problem>, names: Vec<(String, String)>) -> Self {
        let mut config = json::from_tree(&mut problems, root);
        let mut notes = Vec::new();
        let rules = std::mem::take(&mut config.log.ignore);
        config.log.ignore = rules.into_iter().filter_map(|rule| forward(rule, &mut notes)).collect();
        let keys = names.into_iter().map(|(name, key)| {
            let fate = fate(&key, &config, &problems);
            OriginalKey { name, fate }
        });
        Self { keys: keys.collect(), config, notes }
    }

    /// The text of a `config.toml` with every key and its explanation, and these values.
    pub fn to_toml(&self) -> String {
        write_toml::with_values(&self.config)
    }

    /// Writes the `config.toml`. One that is there is never replaced, unless it is the original's own: this stays beside it as
    /// `config.toml.original`. Returns the path of that.
    ///
    /// # Errors
    /// The errors of the file system; `AlreadyExists` if there is a configuration of this picosnitch, or a `config.toml.original`.
    pub fn write(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let new = beside(path, ".new");
        let _ = fs::remove_file(&new);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        let written = file
            .write_all(self.to_toml().as_bytes())
            .and_then(|()| file.set_permissions(fs::Permissions::from_mode(MODE)))
            .and_then(|()| file.sync_all())
            .and_then(|()| put_in_place(&new, path));
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written
    }
}

/// Whether the text is a `config.toml` of the original 2.x.
pub fn is_original_toml(text: &str) -> bool {
    toml::tree(text).is_ok_and(|root| original::toml_problem(&root).is_some())
}

/// Moves the new file to its path.
fn put_in_place(new: &Path, path: &Path) -> io::Result<Option<PathBuf>> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Unlike rename(2) this never replaces a file.
            fs::hard_link(new, path)?;
            fs::remove_file(new)?;
            Ok(None)
        }
        Ok(text) if is_original_toml(&text) => {
            let kept = beside(path, ".original");
            fs::hard_link(path, &kept)?;
            fs::rename(new, path)?;
            Ok(Some(kept))
        }
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) => Err(error),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// The value of a key of this picosnitch as text, for example of `log.retention_days`; secrets are blanked.
pub fn value_text(config: &Config, key: &str) -> String {
    let root = serde_json::to_value(config).unwrap_or_default();
    let value = key.split('.').try_fold(&root, |value, name| value.get(name));
    match value {
        None | Some(serde_json::Value::Null) => "(not set)".to_owned(),
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

fn fate(json_key: &str, config: &Config, problems: &[Problem]) -> KeyFate {
    if let Some(why) = original::without_effect(json_key) {
        return KeyFate::WithoutEffect(why.to_owned());
    }
    let Some((_, key)) = JSON_KEYS.iter().find(|(name, _)| *name == json_key) else {
        return KeyFate::WithoutEffect(NO_SUCH_KEY.to_owned());
    };
    let problem = problems.iter().find_map(|problem| {
        let rest = problem.message.strip_prefix(json_key)?;
        let message = rest.strip_prefix(": ").or_else(|| rest.strip_prefix('.'))?;
        Some(message.to_owned())
    });
    match problem {
        Some(message) => KeyFate::Refused(message),
        None => KeyFate::Becomes { key, value: value_text(config, key) },
    }
}

/// A rule as `config.toml` can have it.
fn forward(rule: IgnoreRule, notes: &mut Vec<String>) -> Option<IgnoreRule> {
    let IgnoreRule::ReversedDomainPrefix(prefix) = rule else { return Some(rule) };
    let domain = prefix.trim_end_matches('.').rsplit('.').collect::<Vec<_>>().join(".");
    match ignore::parse_rule(&Node { line: None, value: NodeValue::Text(domain) }, DomainOrder::Forward) {
        Ok(rule) => {
            notes.push(format!("log.ignore: {prefix} is {rule} here, with all its sub-domains"));
            Some(rule)
        }
        Err(why) => {
            notes.push(format!("log.ignore: the rule {prefix} is left out: {why}"));
            None
        }
    }
}

fn take_table(node: Node) -> Vec<(String, Node)> {
    match node.value {
        NodeValue::Table(entries) => entries,
        _ => Vec::new(),
    }
}

fn names(root: &Node) -> Vec<String> {
    match &root.value {
        NodeValue::Table(entries) => entries.iter().map(|(name, _)| name.clone()).collect(),
        _ => Vec::new(),
    }
}

/// The keys of a `config.toml` as those of a `config.json`.
#[derive(Default)]
struct AsJson {
    entries: Vec<(String, Node)>,
    /// The name of each key in the file, and that in a `config.json`.
    names: Vec<(String, String)>,
    /// The rules of `ignore_ports` and the like.
    ignored: Vec<Node>,
    unknown: Vec<OriginalKey>,
    notes: Vec<String>,
}

impl AsJson {
    fn add_table(&mut self, table: &str, node: Node) {
        for (key, node) in take_table(node) {
            let name = format!("{table}.{key}");
            match original::toml_key(&name) {
                Some(TomlKey::Json("DB sql server")) => self.add_server(name, node),
                Some(TomlKey::Json(json)) => {
                    self.names.push((name, json.to_owned()));
                    self.entries.push((json.to_owned(), node));
                }
                Some(TomlKey::Ignore) => self.add_rules(name, node),
                Some(TomlKey::WithoutEffect(why)) => {
                    self.unknown.push(OriginalKey { name, fate: KeyFate::WithoutEffect(why.to_owned()) });
                }
                None => {
                    let fate = KeyFate::WithoutEffect(NO_SUCH_KEY.to_owned());
                    self.unknown.push(OriginalKey { name, fate });
                }
            }
        }
    }

    /// Adds `database.remote`, which has another name for its table. Without a client there is no server.
    fn add_server(&mut self, name: String, node: Node) {
        let line = node.line;
        let rename = |(key, node): (String, Node)| match key.as_str() {
            "connections_table" => ("table_name".to_owned(), node),
            _ => (key, node),
        };
        let entries: Vec<(String, Node)> = take_table(node).into_iter().map(rename).collect();
        let is_empty = |node: &Node| matches!(&node.value, NodeValue::Text(text) if text.is_empty());
        let has_client = entries.iter().any(|(key, node)| key == "client" && !is_empty(node));
        let entries = if has_client { entries } else { Vec::new() };
        self.names.push((name, "DB sql server".to_owned()));
        self.entries.push(("DB sql server".to_owned(), Node { line, value: NodeValue::Table(entries) }));
    }

    fn add_rules(&mut self, name: String, node: Node) {
        if let NodeValue::Array(items) = node.value {
            let is_domains = name.ends_with("domains");
            for mut item in items {
                if let (NodeValue::Text(domain), true) = (&mut item.value, is_domains)
                    && !looks_reversed(domain)
                {
                    self.notes.push(format!(
                        "{name}: {} is read as a domain in its usual order",
                        domain.escape_debug()
                    ));
                    *domain = domain.rsplit('.').collect::<Vec<_>>().join(".");
                }
                self.ignored.push(item);
            }
        }
        self.names.push((name, "Log ignore".to_owned()));
    }
}

/// Whether a domain has its top-level domain first, as the original writes domains: so unless only its last label looks like
/// one.
fn looks_reversed(domain: &str) -> bool {
    const GENERIC: [&str; 14] = [
        "com", "net", "org", "edu", "gov", "mil", "int", "info", "arpa", "app", "dev", "cloud", "local",
        "biz",
    ];
    let is_top_level = |label: &str| {
        GENERIC.contains(&label) || label.len() == 2 && label.bytes().all(|byte| byte.is_ascii_lowercase())
    };
    let mut labels = domain.trim_end_matches('.').split('.');
    let first = labels.next().unwrap_or_default();
    let last = labels.next_back().unwrap_or(first);
    is_top_level(first) || !is_top_level(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{
        "Bandwidth monitor": false, "DB retention (days)": 30, "DB sql log": true,
        "DB sql server": {"client": "psycopg", "user": "u", "password": "hush \" \\ é", "dbname": "d", "host": "h"},
        "DB text log": true, "DB write limit (seconds)": 0, "Desktop notifications": false,
        "Every exe (not just conns)": true, "Log addresses": false, "Log commands": false, "Log ports": false,
        "Log ignore": [53, "com.example", "org.example.", "10.0.0.0/8", "abababababababababababababababababababababababababababababababab"],
        "Perf ring buffer (pages)": 128, "Set RLIMIT_NOFILE": 4096, "VT API key": "abc", "VT file upload": true,
        "VT request limit (seconds)": 20, "Dash theme": "x", "Data owner": "root", "GeoIP lookup": true, "New key": 1
    }"#;

    const TOML: &str = r#"
        [database]
        enabled = true
        retention_days = 90
        write_limit_seconds = 5
        text_log = true
        [database.remote]
        client = "pymysql"
        connections_table = "snitch"
        user = "u"
        database = "d"
        [data]
        owner = "root"
        group = "root"
        mode = "0640"
        [log]
        addresses = false
        ignore_ports = [53, 5353]
        ignore_domains = ["com.example", "intranet.corp.org"]
        ignore_ips = ["10.0.0.0/8"]
        ignore_sha256 = []
        [desktop]
        user = "me"
        notifications = false
        geoip_lookup = true
        [monitoring]
        every_exe = true
        perf_ring_buffer_pages = 256
        conn_map_max_entries = 9
        rlimit_nofile = 2048
        [virustotal]
        api_key = "k"
        request_limit_seconds = 30
        [new]
        thing = 1
    "#;

    fn fate<'a>(read: &'a OriginalConfig, name: &str) -> &'a KeyFate {
        &read.keys.iter().find(|key| key.name == name).unwrap().fate
    }

    #[test]
    fn a_config_json_becomes_a_config_toml_with_the_same_values() {
        let read = OriginalConfig::from_json(JSON).unwrap();
        assert_eq!(read.keys.len(), 21, "every key is reported");
        assert_eq!(
            fate(&read, "DB retention (days)"),
            &KeyFate::Becomes { key: "log.retention_days", value: "30".into() }
        );
        assert!(
            matches!(fate(&read, "DB write limit (seconds)"), KeyFate::Refused(why) if why.contains("1 to 3600"))
        );
        assert!(matches!(fate(&read, "Dash theme"), KeyFate::WithoutEffect(_)));
        assert!(matches!(fate(&read, "New key"), KeyFate::WithoutEffect(why) if why.contains("no such key")));
        assert!(matches!(fate(&read, "VT API key"), KeyFate::Becomes { value, .. } if value == "(set)"));
        assert!(!format!("{read:?}").contains("hush"), "secrets are not shown");
        let written = Config::from_toml(&read.to_toml()).unwrap();
        let mut expected = read.config.clone();
        expected.without_effect.clear();
        assert_eq!(written, expected);
        assert_eq!(written.log.server.unwrap().password.0, "hush \" \\ é");
        let rules: Vec<String> = written.log.ignore.iter().map(ToString::to_string).collect();
        assert_eq!(rules[..4], ["port 53", "example.com", "example.org", "10.0.0.0/8"]);
        assert_eq!(read.notes.len(), 2);
        // Without any value it is the default file.
        let none = OriginalConfig::from_json("{}").unwrap();
        assert_eq!(none.to_toml(), Config::default_toml());
        OriginalConfig::from_json("{").unwrap_err();
    }

    #[test]
    fn a_config_toml_of_2_is_mapped_key_by_key() {
        assert!(is_original_toml(TOML) && !is_original_toml(Config::default_toml()));
        let read = OriginalConfig::from_toml(TOML).unwrap();
        let log = &read.config.log;
        assert_eq!(
            (log.retention_days, log.write_limit_seconds, log.text, log.addresses),
            (90, 5, true, false)
        );
        assert_eq!(read.config.monitor.ring_buffer_pages, 256);
        assert_eq!(read.config.virustotal.api_key.0, "k");
        assert_eq!(log.server.as_ref().unwrap().table_name, "snitch");
        let rules: Vec<String> = log.ignore.iter().map(ToString::to_string).collect();
        assert_eq!(rules, ["example.com", "intranet.corp.org", "10.0.0.0/8", "port 53", "port 5353"]);
        assert!(matches!(fate(&read, "monitoring.conn_map_max_entries"), KeyFate::WithoutEffect(_)));
        assert!(matches!(fate(&read, "new.thing"), KeyFate::WithoutEffect(_)));
        assert!(matches!(fate(&read, "log.ignore_ips"), KeyFate::Becomes { key: "log.ignore", .. }));
        assert_eq!(read.keys.len(), 23);
        let written = Config::from_toml(&read.to_toml()).unwrap();
        assert_eq!(written.log, read.config.log);
    }

    #[test]
    fn only_a_configuration_of_the_original_is_replaced() {
        use std::os::unix::fs::MetadataExt;
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("config.toml");
        let read = OriginalConfig::from_toml(TOML).unwrap();
        assert_eq!(read.write(&path).unwrap(), None);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, MODE);
        assert_eq!(read.write(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        fs::write(&path, TOML).unwrap();
        let kept = read.write(&path).unwrap().unwrap();
        assert_eq!(fs::read_to_string(kept).unwrap(), TOML);
        assert_eq!(fs::read_to_string(&path).unwrap(), read.to_toml());
        fs::write(&path, TOML).unwrap();
        read.write(&path).unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), TOML);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2, "no half files");
    }
}
