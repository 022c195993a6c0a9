//! Makes the tables on a ClickHouse, and compares them with what they should be.

use super::{super::Server, tables::Kept};
use crate::{
    error::ExportError,
    server::{dialect::Dialect, tables::Column},
};

fn type_name(column: &Column) -> String {
    let name = Dialect::ClickHouse.type_name(column.kind);
    if column.is_optional { format!("Nullable({name})") } else { name.to_owned() }
}

/// The statement that makes a table.
pub(crate) fn create_table(kept: &Kept) -> String {
    let column = |column: &Column| format!("    {} {}", column.name, type_name(column));
    let columns: Vec<String> = kept.table.columns.iter().map(column).collect();
    let by_month = |time: &str| format!(" PARTITION BY toYYYYMM(toDateTime({time}, 'UTC'))");
    let partition = kept.month_of.map(by_month).unwrap_or_default();
    format!(
        "CREATE TABLE IF NOT EXISTS {} (\n{}\n) ENGINE = ReplacingMergeTree(){partition} ORDER BY ({})",
        kept.table.name,
        columns.join(",\n"),
        kept.order.join(", ")
    )
}

/// The statement that makes the view with one row for each record. Its columns are those of the view on the other systems. Each
/// row has the join that an old version can take: one in a statement, with the smaller side second.
pub(crate) fn create_view(quoted_name: &str) -> String {
    let program = |key: &str, prefix: &str| {
        format!(
            "(SELECT digest AS {key}, path AS {prefix}exe, name AS {prefix}name, command_line AS {prefix}cmdline, \
             lower(hex(ifNull(sha256, ''))) AS {prefix}sha256 FROM picosnitch_program)"
        )
    };
    format!(
        "CREATE VIEW {quoted_name} AS\n\
         SELECT host, epoch, log, window_number, sequence,\n\
         \x20   p_exe AS executable, p_name AS name, p_cmdline AS cmdline, p_sha256 AS sha256, time,\n\
         \x20   domain, remote_address AS ip, remote_port AS port, uid,\n\
         \x20   parent_exe, parent_name, parent_cmdline, parent_sha256,\n\
         \x20   connections AS conns, sent, received,\n\
         \x20   gpexe, gpname, gpcmdline, gpsha256,\n\
         \x20   domain_source, local_address AS laddress, local_port AS lport, protocol, family,\n\
         \x20   network_namespace AS netns, cgroup_path, unit, container, app,\n\
         \x20   country, network_number AS asn, network, folded\n\
         FROM (SELECT * FROM (SELECT * FROM (SELECT * FROM (SELECT * FROM (SELECT * FROM picosnitch_record FINAL) AS this\n\
         ANY LEFT JOIN (SELECT digest AS context, program, parent, grandparent, uid, network_namespace, cgroup_path, unit, container, \
         app FROM picosnitch_context) AS other USING (context)) AS this\n\
         ANY LEFT JOIN {} AS other USING (program)) AS this\n\
         ANY LEFT JOIN {} AS other USING (parent)) AS this\n\
         ANY LEFT JOIN {} AS other USING (grandparent)) AS this\n\
         ANY LEFT JOIN (SELECT id AS log, host, epoch FROM picosnitch_log) AS other USING (log)",
        program("program", "p_"),
        program("parent", "parent_"),
        program("grandparent", "gp"),
    )
}

/// Compares a table with what it should be.
pub(crate) async fn check_table(
    server: &mut Server,
    kept: &Kept,
    problems: &mut Vec<String>,
) -> Result<(), ExportError> {
    let table = kept.table;
    let there = server.columns(table.name).await?;
    if there.is_empty() {
        problems.push(format!("{} is missing, or the account may not use it", table.name));
        return Ok(());
    }
    for column in table.columns {
        let wanted = type_name(column);
        match there.iter().find(|(name, _)| name == column.name) {
            None => problems
                .push(format!("{}.{} is missing, or the account may not use it", table.name, column.name)),
            Some((_, found)) if *found != wanted => {
                problems.push(format!("{}.{} is {found} and must be {wanted}", table.name, column.name));
            }
            Some(_) => {}
        }
    }
    // Without these two, a window that is sent again would be there twice for good.
    let engine = server.engine(table.name).await?;
    if engine == "Distributed" {
        // The table of a cluster, which is kept by others.
        return Ok(());
    }
    if !engine.ends_with("ReplacingMergeTree") {
        problems.push(format!("{} must have the engine ReplacingMergeTree", table.name));
    }
    if server.primary_key(table.name).await? != kept.order {
        problems.push(format!("{} must be sorted by ({})", table.name, kept.order.join(", ")));
    }
    Ok(())
}
