//! Real servers for the tests: started in a temporary directory on loopback, as a user without rights, and killed at the end.

pub mod clickhouse;
mod statements;

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use config::{ServerKind, TlsMode};
use export::ServerSettings;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// The user of the servers if the tests run as root, which PostgreSQL refuses: `nobody`.
const NOBODY: u32 = 65_534;
const START_TIMEOUT: Duration = Duration::from_secs(60);
pub const PASSWORD: &str = "p'a\\ss \"wörd";
pub const DATABASE: &str = "picosnitch";

/// A database system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    PostgreSql,
    MariaDb,
    /// Version 18, as Debian has it.
    ClickHouse,
    /// A current version, as a module for Python.
    Chdb,
}

impl System {
    /// Whether it is a ClickHouse.
    pub fn is_clickhouse(self) -> bool {
        matches!(self, Self::ClickHouse | Self::Chdb)
    }
}

/// Makes a test of each database system of a function that takes one.
#[allow(unused_macros, reason = "not all that start servers have such tests")]
macro_rules! with_each_system {
    ($($test:ident)*) => {
        $crate::server_process::with_each_sql_server! { $($test)* }
        mod clickhouse {
            $(#[test] fn $test() { super::$test(super::System::ClickHouse) })*
        }
        mod chdb {
            $(#[test] fn $test() { super::$test(super::System::Chdb) })*
        }
    };
}
#[allow(unused_imports, reason = "not all that start servers have such tests")]
pub(crate) use with_each_system;

/// The same without ClickHouse, of which each version has other ways to make accounts, for tests about accounts.
#[allow(unused_macros, reason = "not all that start servers have such tests")]
macro_rules! with_each_sql_server {
    ($($test:ident)*) => {
        mod postgresql {
            $(#[test] fn $test() { super::$test(super::System::PostgreSql) })*
        }
        mod mariadb {
            $(#[test] fn $test() { super::$test(super::System::MariaDb) })*
        }
    };
}
#[allow(unused_imports, reason = "not all that start servers have such tests")]
pub(crate) use with_each_sql_server;

/// A certificate of a server and its key, PEM.
pub struct ServerCertificate {
    pub certificate: String,
    pub key: String,
    /// The authority of the certificates by which clients are known.
    pub client_authority: String,
}

/// A server that runs as long as this lives.
pub struct ServerProcess {
    pub system: System,
    pub port: u16,
    /// The port on which the tests themselves talk to a ClickHouse.
    http_port: u16,
    /// The port on which other servers of a cluster talk to it, and the elements of its configuration that name them.
    cluster: (u16, String),
    /// What a MariaDB may have on its disk, megabytes; `None`: anything.
    pub disk_megabytes: Option<u32>,
    directory: TempDir,
    has_tls: bool,
    child: Option<Child>,
    runtime: Runtime,
}

impl ServerProcess {
    /// Starts a server with an empty database [`DATABASE`], and two accounts with the password [`PASSWORD`]: `owner`, who owns the
    /// database, and `agent`, who has no rights in it.
    pub fn start(system: System) -> Self {
        Self::start_with(system, None)
    }

    /// As [`ServerProcess::start`], with TLS.
    pub fn start_with(system: System, certificate: Option<&ServerCertificate>) -> Self {
        Self::start_configured(system, certificate, (free_port(), String::new()))
    }

    /// Starts a ClickHouse that is a member of a cluster: the port on which the others talk to it, and the elements of its
    /// configuration that name them.
    #[allow(dead_code, reason = "not all of it is needed by all tests")]
    pub fn start_member(port: u16, configuration: &str) -> Self {
        Self::start_configured(System::ClickHouse, None, (port, configuration.to_owned()))
    }

    fn start_configured(
        system: System,
        certificate: Option<&ServerCertificate>,
        cluster: (u16, String),
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        if nix::unistd::geteuid().is_root() {
            chown(directory.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let port = free_port();
        let has_tls = certificate.is_some();
        let http_port = if has_tls { free_port() } else { port };
        let mut server = Self {
            system,
            port,
            http_port,
            cluster,
            disk_megabytes: None,
            directory,
            has_tls,
            child: None,
            runtime,
        };
        server.initialise();
        if let Some(certificate) = certificate {
            server.write_certificate(certificate);
        }
        server.restart();
        match system {
            System::PostgreSql => {
                let quoted = PASSWORD.replace('\'', "''");
                server.administer("postgres", &format!("CREATE ROLE owner LOGIN PASSWORD '{quoted}'"));
                server.administer("postgres", &format!("CREATE ROLE agent LOGIN PASSWORD '{quoted}'"));
                server.create_database(DATABASE);
            }
            System::MariaDb => {
                let quoted = PASSWORD.replace('\\', "\\\\").replace('\'', "''");
                for user in ["owner", "agent"] {
                    server.administer("mysql", &format!("CREATE USER '{user}'@'%' IDENTIFIED BY '{quoted}'"));
                }
                server.create_database(DATABASE);
            }
            System::ClickHouse | System::Chdb => server.create_database(DATABASE),
        }
        server
    }

    /// Makes the account `certified`, which has the rights of `owner` and is known by a certificate for that name alone.
    pub fn create_certified(&mut self) {
        match self.system {
            System::PostgreSql => {
                self.administer("postgres", "CREATE ROLE certified LOGIN IN ROLE owner");
                let rules = self.directory.path().join("data/pg_hba.conf");
                let others = fs::read_to_string(&rules).unwrap();
                fs::write(rules, format!("hostssl all certified 127.0.0.1/32 cert\n{others}")).unwrap();
                self.restart();
            }
            System::MariaDb => {
                self.administer("mysql", "CREATE USER 'certified'@'%' REQUIRE X509");
                self.administer("mysql", &format!("GRANT ALL ON {DATABASE}.* TO 'certified'@'%'"));
            }
            System::ClickHouse | System::Chdb => panic!("ClickHouse knows accounts by their passwords"),
        }
    }

    /// Makes an empty database that `owner` owns.
    pub fn create_database(&self, name: &str) {
        match self.system {
            System::PostgreSql => self.administer("postgres", &format!("CREATE DATABASE {name} OWNER owner")),
            System::MariaDb => {
                self.administer("mysql", &format!("CREATE DATABASE {name}"));
                self.administer("mysql", &format!("GRANT ALL ON {name}.* TO 'owner'@'%'"));
            }
            System::ClickHouse | System::Chdb => {
                self.administer("default", &format!("CREATE DATABASE {name}"));
            }
        }
    }

    /// How an exporter connects as `user`.
    pub fn settings(&self, user: &str) -> ServerSettings {
        let (kind, tls) = match self.system {
            System::PostgreSql => (ServerKind::PostgreSql, TlsMode::Prefer),
            System::MariaDb => (ServerKind::MariaDb, TlsMode::Prefer),
            System::ClickHouse | System::Chdb => (ServerKind::ClickHouse, TlsMode::Prefer),
        };
        ServerSettings {
            name: "log.server".into(),
            kind,
            host: "127.0.0.1".into(),
            port: self.port,
            user: user.into(),
            password: PASSWORD.into(),
            database: DATABASE.into(),
            view: "connections".into(),
            tls,
            authority: String::new(),
            client_certificate: None,
            backfill: true,
            asks_sums: true,
        }
    }

    fn initialise(&self) {
        let data = self.directory.path().join("data");
        let mut command = match self.system {
            System::PostgreSql => {
                let mut command = self.command(&postgres_binary("initdb"));
                command.args(["--username=admin", "--auth-local=trust", "--auth-host=scram-sha-256"]);
                command.args(["--encoding=UTF8", "--locale=C", "--no-sync", "-D"]).arg(&data);
                command
            }
            System::MariaDb => {
                let mut command = self.command(&mariadb_binary("mariadb-install-db"));
                command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
                command.arg(format!("--datadir={}", data.display()));
                command
            }
            System::ClickHouse => {
                let https = self.has_tls.then_some(self.port);
                let ports = clickhouse::Ports {
                    http: self.http_port,
                    https,
                    tcp: self.cluster.0,
                    interserver: free_port(),
                };
                return clickhouse::write_configuration(self.directory.path(), ports, &self.cluster.1);
            }
            // It is fetched before it is waited for.
            System::Chdb => current_clickhouse(),
        };
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
    }

    fn write_certificate(&self, certificate: &ServerCertificate) {
        use std::os::unix::fs::PermissionsExt;
        for (name, text) in [
            ("server.crt", &certificate.certificate),
            ("server.key", &certificate.key),
            ("clients.crt", &certificate.client_authority),
        ] {
            let path = self.directory.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            if nix::unistd::geteuid().is_root() {
                chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
    }

    /// Where its files are; it belongs to the user of the server.
    #[allow(dead_code, reason = "not all of it is needed by all tests")]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A command as the user of the server.
    fn command(&self, binary: &Path) -> Command {
        let mut command = Command::new(binary);
        command.current_dir(self.directory.path()).stdin(Stdio::null());
        // A MariaDB that starts deletes the temporary tables of others in its directory for them.
        command.env("TMPDIR", self.directory.path());
        if nix::unistd::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Starts the server again, on the same port, and waits until it answers.
    pub fn restart(&mut self) {
        self.kill();
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some()) {
                // A server that was killed leaves processes that must notice it first.
                self.child = Some(self.server_command().spawn().unwrap());
            }
            if self.try_administer(None, "SELECT 1").is_ok() {
                return;
            }
            let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "the server does not start: {log}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn server_command(&self) -> Command {
        let directory = self.directory.path();
        let data = directory.join("data");
        let in_directory = |name: &str| directory.join(name).display().to_string();
        let mut command = match self.system {
            System::PostgreSql => {
                let mut command = self.command(&postgres_binary("postgres"));
                command.arg("-D").arg(&data).arg("-p").arg(self.port.to_string());
                let mut options = vec![
                    "listen_addresses=127.0.0.1".to_owned(),
                    format!("unix_socket_directories={}", directory.display()),
                    "fsync=off".to_owned(),
                ];
                if self.has_tls {
                    options.push("ssl=on".to_owned());
                    options.push(format!("ssl_cert_file={}", in_directory("server.crt")));
                    options.push(format!("ssl_key_file={}", in_directory("server.key")));
                    options.push(format!("ssl_ca_file={}", in_directory("clients.crt")));
                }
                options.iter().for_each(|option| _ = command.args(["-c", option]));
                command
            }
            System::MariaDb => {
                let mut command = self.command(&mariadb_binary("mariadbd"));
                command.arg("--no-defaults").arg(format!("--datadir={}", data.display()));
                command.args(["--bind-address=127.0.0.1", "--skip-name-resolve"]);
                command.args(["--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=64M"]);
                command
                    .arg(format!("--port={}", self.port))
                    .arg(format!("--socket={}", in_directory("socket")));
                command.arg(format!("--pid-file={}", in_directory("pid")));
                if let Some(megabytes) = self.disk_megabytes {
                    // All tables in one file with a bound.
                    let file = format!("--innodb-data-file-path=ibdata1:12M:autoextend:max:{megabytes}M");
                    command.args(["--innodb-file-per-table=0", &file]);
                }
                if self.has_tls {
                    command.arg(format!("--ssl-cert={}", in_directory("server.crt")));
                    command.arg(format!("--ssl-key={}", in_directory("server.key")));
                    command.arg(format!("--ssl-ca={}", in_directory("clients.crt")));
                }
                command
            }
            System::ClickHouse => {
                let mut command = self.command(&clickhouse_binary());
                command.arg(format!("--config-file={}", in_directory("config.xml")));
                command
            }
            System::Chdb => {
                let mut command = current_clickhouse();
                command.arg(self.port.to_string()).arg(directory.join("data")).env("PASSWORD", PASSWORD);
                command.stdin(Stdio::null());
                command
            }
        };
        let log = fs::OpenOptions::new().create(true).append(true).open(directory.join("log")).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        command
    }

    /// Kills the server, as a power failure would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Lets the server, if it is one process, do nothing for a while: it takes connections, as the kernel does for it, and answers none.
    #[allow(dead_code, reason = "not all of it is needed by all tests")]
    pub fn freeze_for(&self, time: Duration) {
        let process = self.child.as_ref().unwrap().id();
        let process = nix::unistd::Pid::from_raw(process.try_into().unwrap());
        nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGSTOP).unwrap();
        thread::sleep(time);
        nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGCONT).unwrap();
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            println!("the log of {:?} on port {}:\n{log}", self.system, self.port);
        }
        self.kill();
        // The processes of a PostgreSQL that was killed write into their directory until they have noticed it.
        thread::sleep(Duration::from_millis(if self.system == System::PostgreSql { 300 } else { 0 }));
    }
}

/// A program of PostgreSQL, of the newest version that is there.
fn postgres_binary(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        versions.map(|version| version.path().join("bin").join(name)).filter(|path| path.exists()).collect();
    found.sort();
    found.pop().or_else(|| in_path(name)).unwrap_or_else(|| {
        panic!("{name} is missing: install PostgreSQL's server (Debian: apt-get install postgresql)")
    })
}

/// The script that fetches and runs a current ClickHouse, as this user, who has the module.
fn current_clickhouse() -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Command::new(root.join("scripts/current-clickhouse"))
}

fn clickhouse_binary() -> PathBuf {
    in_path("clickhouse-server").unwrap_or_else(|| {
        panic!("clickhouse-server is missing: install it (Debian: apt-get install clickhouse-server)")
    })
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn mariadb_binary(name: &str) -> PathBuf {
    in_path(name).unwrap_or_else(|| {
        panic!("{name} is missing: install MariaDB's server (Debian: apt-get install mariadb-server)")
    })
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/bin"].map(PathBuf::from));
    directories.map(|directory| directory.join(name)).find(|file| file.exists())
}
