//! What the tests themselves say to the servers, without the code that is tested.

use sqlx::{
    ConnectOptions, MySqlConnection, PgConnection, Row, mysql::MySqlConnectOptions,
    postgres::PgConnectOptions,
};

use super::{DATABASE, PASSWORD, ServerProcess, System, clickhouse};

impl ServerProcess {
    /// Executes a statement with all rights.
    pub fn administer(&self, database: &str, sql: &str) {
        self.try_administer(Some(database), sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    pub(super) fn try_administer(&self, database: Option<&str>, sql: &str) -> sqlx::Result<()> {
        self.runtime.block_on(async {
            match self.system {
                System::PostgreSql => {
                    let options = PgConnectOptions::new_without_pgpass().username("admin").port(self.port);
                    let options =
                        options.socket(self.directory.path()).database(database.unwrap_or("postgres"));
                    let mut connection = options.connect().await?;
                    sqlx::raw_sql(sql).execute(&mut connection).await?;
                }
                System::MariaDb => {
                    let options = MySqlConnectOptions::new().username("root");
                    let options = options.socket(self.directory.path().join("socket"));
                    let mut connection = options.database(database.unwrap_or("mysql")).connect().await?;
                    sqlx::raw_sql(sql).execute(&mut connection).await?;
                }
                System::ClickHouse | System::Chdb => {
                    self.request(["admin", ""], database.unwrap_or("default"), sql)?;
                }
            }
            Ok(())
        })
    }

    /// Asks a ClickHouse, without the code that is tested.
    fn request(&self, account: [&str; 2], database: &str, sql: &str) -> std::io::Result<String> {
        clickhouse::request(self.http_port, account, database, sql)
    }

    /// Lets the account `agent` of a ClickHouse do something, from now on.
    pub fn allow_agent(&self, agent: clickhouse::Agent) {
        clickhouse::write_accounts(self.directory.path(), agent);
        self.administer("default", "SYSTEM RELOAD CONFIG");
    }

    /// Executes a statement in [`DATABASE`] as a user.
    pub fn execute_as(&self, user: &str, sql: &str) -> sqlx::Result<()> {
        self.runtime.block_on(async {
            match self.system {
                System::PostgreSql => {
                    let mut connection = self.postgres(user, DATABASE).await?;
                    sqlx::raw_sql(sql).execute(&mut connection).await?;
                }
                System::MariaDb => {
                    let mut connection = self.mysql(user, DATABASE).await?;
                    sqlx::raw_sql(sql).execute(&mut connection).await?;
                }
                System::ClickHouse | System::Chdb => {
                    for statement in sql.split("; ") {
                        self.request([user, PASSWORD], DATABASE, statement)?;
                    }
                }
            }
            Ok(())
        })
    }

    /// The numbers in the one row of a question to [`DATABASE`].
    pub fn numbers(&self, sql: &str) -> Vec<i64> {
        self.numbers_in(DATABASE, sql)
    }

    /// The numbers in the one row of a question to a database. `integer(X)` in it becomes a conversion to 64 bits.
    pub fn numbers_in(&self, database: &str, sql: &str) -> Vec<i64> {
        let sql = match self.system {
            System::PostgreSql => sql.replace("integer(", "(0::bigint + "),
            System::MariaDb | System::ClickHouse | System::Chdb => sql.replace("integer(", "(0 + "),
        };
        let numbers = self.runtime.block_on(async {
            Ok::<_, sqlx::Error>(match self.system {
                System::PostgreSql => {
                    let mut connection = self.postgres("owner", database).await?;
                    let row = sqlx::raw_sql(&sql).fetch_one(&mut connection).await?;
                    (0..row.len()).map(|at| row.try_get_unchecked::<String, _>(at)).collect::<Vec<_>>()
                }
                System::MariaDb => {
                    let mut connection = self.mysql("owner", database).await?;
                    let row = sqlx::raw_sql(&sql).fetch_one(&mut connection).await?;
                    (0..row.len()).map(|at| row.try_get_unchecked::<String, _>(at)).collect::<Vec<_>>()
                }
                System::ClickHouse | System::Chdb => {
                    let answer = self.request(["owner", PASSWORD], database, &sql)?;
                    answer.trim_end().split('\t').map(|cell| Ok(cell.to_owned())).collect()
                }
            })
        });
        let texts = numbers.unwrap_or_else(|error| panic!("{sql}: {error}"));
        texts.into_iter().map(|text| text.unwrap().parse().unwrap()).collect()
    }

    /// The number of windows, records and events in a database, and the bytes that were sent and received. Rows that are there twice are
    /// one.
    #[allow(dead_code, reason = "not all of it is needed by all tests")]
    pub fn amounts(&self, database: &str) -> [i64; 5] {
        let last = if self.system.is_clickhouse() { " FINAL" } else { "" };
        let of = |what: &str, table: &str| format!("(SELECT {what} FROM picosnitch_{table}{last})");
        let questions = [
            of("count(*)", "window"),
            of("count(*)", "record"),
            of("count(*)", "event"),
            of("coalesce(sum(sent), 0)", "record"),
            of("coalesce(sum(received), 0)", "record"),
        ];
        self.numbers_in(database, &format!("SELECT {}", questions.join(", "))).try_into().unwrap()
    }

    /// The texts in the first column of the rows of a question to [`DATABASE`].
    pub fn texts(&self, sql: &str) -> Vec<String> {
        let texts = self.runtime.block_on(async {
            Ok::<_, sqlx::Error>(match self.system {
                System::PostgreSql => {
                    let mut connection = self.postgres("owner", DATABASE).await?;
                    let rows = sqlx::raw_sql(sql).fetch_all(&mut connection).await?;
                    rows.iter().map(|row| row.try_get_unchecked::<String, _>(0)).collect::<Vec<_>>()
                }
                System::MariaDb => {
                    let mut connection = self.mysql("owner", DATABASE).await?;
                    let rows = sqlx::raw_sql(sql).fetch_all(&mut connection).await?;
                    rows.iter().map(|row| row.try_get_unchecked::<String, _>(0)).collect::<Vec<_>>()
                }
                System::ClickHouse | System::Chdb => {
                    let answer = self.request(["owner", PASSWORD], DATABASE, sql)?;
                    let unescaped = |line: &str| line.replace("\\'", "'").replace("\\\\", "\\");
                    answer.lines().map(|line| Ok(unescaped(line))).collect()
                }
            })
        });
        let texts = texts.unwrap_or_else(|error| panic!("{sql}: {error}"));
        texts.into_iter().map(Result::unwrap).collect()
    }

    async fn postgres(&self, user: &str, database: &str) -> sqlx::Result<PgConnection> {
        let options = PgConnectOptions::new_without_pgpass().username(user).password(PASSWORD);
        options.host("127.0.0.1").port(self.port).database(database).connect().await
    }

    async fn mysql(&self, user: &str, database: &str) -> sqlx::Result<MySqlConnection> {
        let options = MySqlConnectOptions::new().username(user).password(PASSWORD);
        options.host("127.0.0.1").port(self.port).database(database).connect().await
    }
}
