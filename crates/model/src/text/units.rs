//! Formats counts and numbers of bytes.

/// Formats a number of bytes in decimal units with three significant digits: `0 B`, `999 B`, `12.4 MB`.
fn byte_count(bytes: u64) -> String {
    scaled(bytes, 1000, &["kB", "MB", "GB", "TB", "PB", "EB"])
}

/// Formats three significant digits in the largest unit that fits; each unit is `step` times the one before.
fn scaled(bytes: u64, step: u64, units: &[&'static str]) -> String {
    if bytes < step {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut name = "B";
    for unit in units {
        value /= step as f64;
        name = unit;
        // A value that would round to `step` belongs to the next unit.
        if value < step as f64 - 0.5 {
            break;
        }
    }
    let decimals = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.decimals$} {name}")
}

/// The unit in which numbers of bytes are formatted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ByteUnit {
    /// The decimal unit that fits: `12.4 MB`.
    #[default]
    Decimal,
    /// The binary unit (IEC 80000-13) that fits: `11.8 MiB`.
    Binary,
    /// No unit: the number of bytes itself.
    Bytes,
    /// Kilobytes with three decimals: `12400.000 kB`.
    Kilobytes,
    /// Megabytes with three decimals: `12.400 MB`.
    Megabytes,
    /// Gigabytes with three decimals: `0.012 GB`.
    Gigabytes,
}

impl ByteUnit {
    /// Every unit, in the order in which a key of the screens selects them.
    pub const ALL: [Self; 6] =
        [Self::Decimal, Self::Binary, Self::Bytes, Self::Kilobytes, Self::Megabytes, Self::Gigabytes];

    /// The name of the unit, for the user.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decimal => "decimal",
            Self::Binary => "binary",
            Self::Bytes => "bytes",
            Self::Kilobytes => "kB",
            Self::Megabytes => "MB",
            Self::Gigabytes => "GB",
        }
    }

    /// Formats a number of bytes in this unit.
    pub fn write(self, bytes: u64) -> String {
        let fixed = |size: f64, name: &str| format!("{:.3} {name}", bytes as f64 / size);
        match self {
            Self::Decimal => byte_count(bytes),
            Self::Binary => scaled(bytes, 1024, &["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]),
            Self::Bytes => format!("{bytes} B"),
            Self::Kilobytes => fixed(1e3, "kB"),
            Self::Megabytes => fixed(1e6, "MB"),
            Self::Gigabytes => fixed(1e9, "GB"),
        }
    }

    /// Formats a number of bytes for a table, where zero is a dot.
    pub fn cell(self, bytes: u64) -> String {
        if bytes == 0 { "·".to_owned() } else { self.write(bytes) }
    }
}

/// Formats a number of bytes for a table in decimal units with three significant digits: `12.4 MB`; zero is a dot.
pub fn byte_cell(bytes: u64) -> String {
    if bytes == 0 { "·".to_owned() } else { byte_count(bytes) }
}

/// Formats a number with commas between groups of three digits.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Formats a count for a table, with commas between groups of three digits; zero is a dot.
pub fn count_cell(count: u64) -> String {
    if count == 0 { "·".to_owned() } else { grouped(count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_counts_have_three_significant_digits() {
        for (bytes, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (1234, "1.23 kB"),
            (9_994, "9.99 kB"),
            (9_996, "10.0 kB"),
            (99_960, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (12_400_000, "12.4 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(byte_count(bytes), expected, "{bytes}");
        }
        assert_eq!(byte_cell(0), "·");
        assert_eq!(ByteUnit::Binary.write(1023), "1023 B");
        assert_eq!(ByteUnit::Binary.write(1024), "1.00 KiB");
        assert_eq!(ByteUnit::Binary.write(1_048_575), "1.00 MiB");
        assert_eq!(ByteUnit::Bytes.write(1_234_567), "1234567 B");
        assert_eq!(ByteUnit::Megabytes.write(1_234_567), "1.235 MB");
        assert_eq!(ByteUnit::Gigabytes.cell(0), "·");
    }
}
