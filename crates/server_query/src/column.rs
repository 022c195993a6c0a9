//! Where a server has the values of each dimension, and how they are read.

use export::{Cell, Dialect, Kind};
use model::{
    Address, DomainSource, MANY, Scope, Sha256,
    text::{command_line, lossless},
};
use store::{Dimension, Value};

/// The name of the column of the inner statement that has the time, or a point in the same part of the calendar.
pub(crate) const BUCKET: &str = "bucket";

/// A table that a record refers to, with the name that it has in a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    Log,
    Context,
    Program,
    Parent,
    Grandparent,
    Endpoint,
}

impl Table {
    /// The join to it, after those of the tables before it.
    pub fn join(self) -> &'static str {
        match self {
            Self::Log => "JOIN picosnitch_log l ON l.id = r.log",
            Self::Context => "JOIN picosnitch_context c ON c.digest = r.context",
            Self::Program => "JOIN picosnitch_program p ON p.digest = c.program",
            Self::Parent => "JOIN picosnitch_program pp ON pp.digest = c.parent",
            Self::Grandparent => "JOIN picosnitch_program gp ON gp.digest = c.grandparent",
            Self::Endpoint => "JOIN picosnitch_endpoint e ON e.digest = r.endpoint",
        }
    }

    /// The column of a record that leads to it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Endpoint => "endpoint",
            Self::Context | Self::Program | Self::Parent | Self::Grandparent => "context",
        }
    }
}

/// The column with the values of a dimension.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    /// `None` if the record has the value.
    pub table: Option<Table>,
    pub expression: &'static str,
    pub kind: Kind,
}

impl Column {
    pub fn of(dimension: Dimension) -> Self {
        let text = |table, expression| Self { table: Some(table), expression, kind: Kind::Text };
        let digest = |table, expression| Self { table: Some(table), expression, kind: Kind::Bytes };
        let number = |table, expression| Self { table: Some(table), expression, kind: Kind::Integer };
        let own = |expression| Self { table: None, expression, kind: Kind::Integer };
        match dimension {
            Dimension::Executable => text(Table::Program, "p.path"),
            Dimension::Name => text(Table::Program, "p.name"),
            Dimension::CommandLine => text(Table::Program, "p.command_line"),
            Dimension::Sha256 => digest(Table::Program, "p.sha256"),
            Dimension::ParentExecutable => text(Table::Parent, "pp.path"),
            Dimension::ParentName => text(Table::Parent, "pp.name"),
            Dimension::ParentCommandLine => text(Table::Parent, "pp.command_line"),
            Dimension::ParentSha256 => digest(Table::Parent, "pp.sha256"),
            Dimension::GrandparentExecutable => text(Table::Grandparent, "gp.path"),
            Dimension::GrandparentName => text(Table::Grandparent, "gp.name"),
            Dimension::GrandparentCommandLine => text(Table::Grandparent, "gp.command_line"),
            Dimension::GrandparentSha256 => digest(Table::Grandparent, "gp.sha256"),
            Dimension::Uid => number(Table::Context, "c.uid"),
            Dimension::NetworkNamespace => number(Table::Context, "c.network_namespace"),
            Dimension::Cgroup => text(Table::Context, "c.cgroup_path"),
            Dimension::Unit => text(Table::Context, "c.unit"),
            Dimension::Container => text(Table::Context, "c.container"),
            Dimension::App => text(Table::Context, "c.app"),
            // A folded record has the word for several domains in place of one, with a source of its own: the two are one value.
            Dimension::Domain => {
                text(Table::Endpoint, "CASE WHEN e.domain_source = 'many' THEN 'many/' ELSE e.domain END")
            }
            Dimension::DomainSource => text(Table::Endpoint, "e.domain_source"),
            // The scope is that of the address.
            Dimension::Address | Dimension::Scope => text(Table::Endpoint, "e.remote_address"),
            Dimension::LocalAddress => text(Table::Endpoint, "e.local_address"),
            Dimension::Protocol => number(Table::Endpoint, "e.protocol"),
            Dimension::Family => number(Table::Endpoint, "e.family"),
            Dimension::Country => text(Table::Endpoint, "e.country"),
            Dimension::Asn => number(Table::Endpoint, "e.network_number"),
            Dimension::Network => text(Table::Endpoint, "e.network"),
            Dimension::Host => text(Table::Log, "l.host"),
            Dimension::Port => own("r.remote_port"),
            Dimension::LocalPort => own("r.local_port"),
            Dimension::Time
            | Dimension::Hour
            | Dimension::Day
            | Dimension::Week
            | Dimension::Month
            | Dimension::Year
            | Dimension::Weekday
            | Dimension::HourOfDay => own("r.bucket"),
        }
    }

    /// The expression of the value in a statement.
    pub fn expression_in(&self, dialect: Dialect) -> String {
        match (dialect, self.table) {
            (Dialect::PostgreSql | Dialect::MySql, _) => self.expression.to_owned(),
            // A record has its ends in itself, and statements are nested there, so that columns have names of their own.
            (Dialect::ClickHouse, Some(Table::Endpoint)) => self.expression.replace("e.", ""),
            (Dialect::ClickHouse, None) => self.expression.replace("r.", ""),
            (Dialect::ClickHouse, Some(_)) => self.expression.replace('.', "_"),
        }
    }

    /// The column of the record that the value depends on.
    pub fn key(&self) -> &'static str {
        self.table.map_or_else(|| self.expression.trim_start_matches("r."), Table::key)
    }

    /// The expressions that select the value and group by it.
    pub fn grouped(&self, dialect: Dialect) -> (String, String) {
        let expression = self.expression;
        match (dialect, self.kind) {
            // Texts that differ in blanks at the end are equal to these systems, and of long ones they compare the beginning only
            // (max_sort_length).
            (Dialect::MySql, Kind::Text) => {
                (format!("MIN({expression})"), format!("SHA2({expression}, 256)"))
            }
            _ => (expression.to_owned(), expression.to_owned()),
        }
    }
}

/// What the column of [`Dimension::Domain`] has for several domains. No name of a domain has a slash.
const MANY_DOMAINS: &str = "many/";

/// The value in a cell; that of [`Dimension::Scope`] of the address. Cells of times are values as they are.
pub(crate) fn value(dimension: Dimension, cell: Cell) -> Value {
    match (dimension, cell) {
        (_, Cell::Null) => Value::None,
        (_, Cell::Integer(number)) => Value::Integer(number),
        (_, Cell::Bytes(bytes)) => match <[u8; 32]>::try_from(&bytes[..]) {
            Ok(digest) => Value::Sha256(Sha256(digest)),
            Err(_) => Value::Bytes(bytes),
        },
        (Dimension::Address | Dimension::LocalAddress | Dimension::Scope, Cell::Text(text)) => {
            match text.parse::<Address>() {
                _ if text.is_empty() => Value::None,
                Ok(address) if dimension == Dimension::Scope => {
                    Value::Bytes(Scope::of(address).name().into())
                }
                Ok(address) => Value::Address(address),
                Err(_) => Value::Bytes(lossless::from_text(text)),
            }
        }
        (Dimension::DomainSource, Cell::Text(text)) => {
            match DomainSource::NAMES.iter().find(|(name, _)| *name == text) {
                Some((_, source)) => Value::Integer(*source as i64),
                None => Value::Bytes(text.into_bytes()),
            }
        }
        (Dimension::Domain, Cell::Text(text)) if text == MANY_DOMAINS => Value::Many,
        (dimension, Cell::Text(text)) if is_path_or_command_line(dimension) && text == MANY => Value::Many,
        (
            Dimension::CommandLine | Dimension::ParentCommandLine | Dimension::GrandparentCommandLine,
            Cell::Text(text),
        ) => Value::Bytes(command_line::from_column(&text)),
        (_, Cell::Text(text)) => Value::Bytes(lossless::from_text(text)),
    }
}

/// The cell that has a value, for a comparison of equality; `None` if no cell has it, or if that cannot be told from the value
/// alone.
pub(crate) fn cell(dimension: Dimension, value: &Value) -> Option<Cell> {
    match (dimension, value) {
        (Dimension::DomainSource, Value::Integer(number)) => {
            let known = DomainSource::NAMES.iter().find(|(_, source)| *source as i64 == *number);
            known.map(|(name, _)| Cell::Text((*name).to_owned()))
        }
        (Dimension::Domain, Value::Many) => Some(Cell::Text(MANY_DOMAINS.to_owned())),
        (Dimension::Address | Dimension::LocalAddress, Value::None) => Some(Cell::Text(String::new())),
        (Dimension::Address | Dimension::LocalAddress, Value::Address(address)) => {
            Some(Cell::Text(address.to_string()))
        }
        (dimension, Value::Many) if is_path_or_command_line(dimension) => Some(Cell::Text(MANY.to_owned())),
        (_, Value::None) if Column::of(dimension).kind == Kind::Bytes => Some(Cell::Null),
        (_, Value::Integer(number)) if Column::of(dimension).kind == Kind::Integer => {
            Some(Cell::Integer(*number))
        }
        (_, Value::Sha256(digest)) if Column::of(dimension).kind == Kind::Bytes => {
            Some(Cell::Bytes(digest.0.to_vec()))
        }
        (_, Value::Bytes(bytes)) if Column::of(dimension).kind == Kind::Text => {
            Some(Cell::Text(lossless::to_column(bytes)))
        }
        _ => None,
    }
}

/// Whether the values are paths or command lines: in these the log writes the word for several values.
fn is_path_or_command_line(dimension: Dimension) -> bool {
    matches!(
        dimension,
        Dimension::Executable
            | Dimension::ParentExecutable
            | Dimension::GrandparentExecutable
            | Dimension::CommandLine
            | Dimension::ParentCommandLine
            | Dimension::GrandparentCommandLine
    )
}
