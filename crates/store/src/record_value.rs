//! The values that a record has of the dimensions, without a query: for outputs that take records as they come.

use calendar::TimeZone;
use model::{Bytes, DomainSource, MANY, Program, Record, Scope};

use crate::query::{Dimension, Value, calendar_value};

/// The value that a record of a window with this end (unix seconds UTC) has of a dimension: the same by which
/// [`Query`](crate::Query) groups it. Parts of the calendar are those of `zone`.
pub fn record_value(record: &Record, time: i64, dimension: Dimension, zone: &TimeZone) -> Value {
    let Record { context, tuple, geo, .. } = record;
    match dimension {
        Dimension::Executable | Dimension::Name | Dimension::CommandLine | Dimension::Sha256 => {
            program_value(&context.program, dimension)
        }
        Dimension::ParentExecutable => program_value(&context.parent, Dimension::Executable),
        Dimension::ParentName => program_value(&context.parent, Dimension::Name),
        Dimension::ParentCommandLine => program_value(&context.parent, Dimension::CommandLine),
        Dimension::ParentSha256 => program_value(&context.parent, Dimension::Sha256),
        Dimension::GrandparentExecutable => program_value(&context.grandparent, Dimension::Executable),
        Dimension::GrandparentName => program_value(&context.grandparent, Dimension::Name),
        Dimension::GrandparentCommandLine => program_value(&context.grandparent, Dimension::CommandLine),
        Dimension::GrandparentSha256 => program_value(&context.grandparent, Dimension::Sha256),
        Dimension::Uid => Value::Integer(context.uid.into()),
        Dimension::NetworkNamespace => Value::Integer(context.network_namespace.into()),
        Dimension::Cgroup => Value::Bytes(context.cgroup.path.clone()),
        Dimension::Unit => Value::Bytes(context.cgroup.unit.clone()),
        Dimension::Container => Value::Bytes(context.cgroup.container.clone()),
        Dimension::App => Value::Bytes(context.cgroup.app.clone()),
        Dimension::Domain if tuple.domain_source == DomainSource::Many => Value::Many,
        Dimension::Domain => Value::Bytes(tuple.domain.clone()),
        Dimension::DomainSource => Value::Integer(tuple.domain_source as i64),
        Dimension::Address => tuple.remote_address.map_or(Value::None, Value::Address),
        Dimension::LocalAddress => tuple.local_address.map_or(Value::None, Value::Address),
        Dimension::Scope => {
            tuple.remote_address.map_or(Value::None, |address| Value::Bytes(Scope::of(address).name().into()))
        }
        Dimension::Port => Value::Integer(tuple.remote_port),
        Dimension::LocalPort => Value::Integer(tuple.local_port),
        Dimension::Protocol => Value::Integer(tuple.protocol.into()),
        Dimension::Family => Value::Integer(tuple.family.into()),
        Dimension::Country => Value::Bytes(geo.country.as_bytes().to_vec()),
        Dimension::Asn => Value::Integer(geo.network_number.into()),
        Dimension::Network => Value::Bytes(geo.network.as_bytes().to_vec()),
        // Only servers with the logs of many hosts have it.
        Dimension::Host => Value::None,
        Dimension::Time => Value::Integer(time),
        Dimension::Hour
        | Dimension::Day
        | Dimension::Week
        | Dimension::Month
        | Dimension::Year
        | Dimension::Weekday
        | Dimension::HourOfDay => Value::Integer(calendar_value(dimension, time, zone)),
    }
}

/// The path, name, command line or digest of a program.
fn program_value(program: &Program, dimension: Dimension) -> Value {
    // A path of a file begins with a slash, so that this one stands for several programs.
    let is_many = program.path == MANY.as_bytes();
    let text = |bytes: &Bytes| match is_many && *bytes == MANY.as_bytes() {
        true => Value::Many,
        false => Value::Bytes(bytes.clone()),
    };
    match dimension {
        Dimension::Name => text(&program.name),
        // A program may have many command lines alone.
        Dimension::CommandLine if program.command_line == MANY.as_bytes() => Value::Many,
        Dimension::CommandLine => Value::Bytes(program.command_line.clone()),
        Dimension::Sha256 => program.sha256.map_or(Value::None, Value::Sha256),
        _ => text(&program.path),
    }
}
