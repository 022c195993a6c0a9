//! A sample as conn.log.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use super::{Format, Options, Sums, local_text, reversed, rows, rows::Program};

/// Writes a sample as conn.log: 25 fields of version 4, 16 fields otherwise. Returns its sums.
///
/// # Errors
/// The errors of the file system.
pub fn write_conn_log(path: &Path, options: &Options) -> io::Result<Sums> {
    let mut out = BufWriter::new(File::create(path)?);
    let mut sums = Sums::default();
    for row in rows(options) {
        sums.add(&row, options.format);
        let time = local_text(row.time, &options.zone);
        let number = |number: i64| number.to_string().into_bytes();
        let [count, sent, received] =
            [row.events, row.sent, row.received].map(|count| count.to_string().into_bytes());
        let [program, parent, grandparent] =
            [&row.program, &row.parent, &row.grandparent].map(|program| fields_of(program));
        let (remote, domain) = (row.remote_address.into_bytes(), reversed(&row.domain).into_bytes());
        let fields: Vec<Vec<u8>> = match options.format {
            Format::Version4 => [
                vec![time.into_bytes(), sent, received, count],
                program,
                parent,
                grandparent,
                vec![
                    number(row.uid.into()),
                    number(row.family),
                    number(row.protocol),
                    number(row.local_port),
                    number(row.remote_port),
                    row.local_address.into_bytes(),
                    remote,
                    domain,
                    number(4_026_531_840),
                ],
            ]
            .concat(),
            _ => [
                program,
                vec![time.into_bytes(), domain, remote, number(row.remote_port), number(row.uid.into())],
                parent,
                vec![count, sent, received],
            ]
            .concat(),
        };
        out.write_all(&fields.join(&b','))?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(sums)
}

/// Path, name, command line and digest without what would end a field.
fn fields_of(program: &Program) -> Vec<Vec<u8>> {
    [&program.exe, program.name.as_bytes(), &program.command_line, program.sha256.as_bytes()]
        .map(|text: &[u8]| {
            text.iter().copied().filter(|byte| !matches!(byte, b',' | b'\n' | b'\0')).collect()
        })
        .to_vec()
}
