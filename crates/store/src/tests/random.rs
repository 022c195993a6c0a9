//! Random records and queries, the same in every run.

use model::{DomainSource, PORT_MANY, Port};

use super::*;

/// A generator of pseudo-random numbers (xorshift).
pub(crate) struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// A record, sometimes a folded one.
    pub fn record(&mut self) -> Record {
        let mut record = self.plain_record();
        if self.below(6) == 0 {
            self.fold(&mut record);
        }
        record
    }

    /// A record of one group.
    pub fn plain_record(&mut self) -> Record {
        let paths = [b"/a".as_slice(), b"/b", b"/c/\xff", b"/d\0"];
        let remotes = ["192.0.2.1", "192.0.3.77", "2001:db8::1", "2001:db8::2", "vsock:2"];
        const MAX: Port = u32::MAX as Port;
        let (path, remote) = (self.pick(&paths), self.pick(&remotes));
        let (sent, received) = (self.below(2000), self.below(70_000));
        let mut record = record(path, remote, 0, sent, received);
        record.tuple.remote_port =
            self.pick(&[443, 80, 53, -1, 0, 65_536, 4_000_000_000, MAX - 256, MAX - 1]);
        record.tuple.local_port = self.pick(&[40_000, 40_001, 50_000, 443, -1, 65_535, 4_000_000_000]);
        record.tuple.domain = self.pick(&[b"".as_slice(), b"a.example", b"b.example"]).to_vec();
        record.counters.connections = self.below(40);
        if self.below(9) == 0 {
            record.tuple.remote_address = None;
        }
        record.geo.country = self.pick(&["", "NL", "private"]).into();
        record.geo.network_number = self.below(2) as u32 * 64_496;
        let context = Arc::make_mut(&mut record.context);
        context.uid = self.below(3) as u32;
        if self.below(4) == 0 {
            context.program.sha256 = None;
        }
        if self.below(4) == 0 {
            context.cgroup.path = b"/user.slice".to_vec();
            context.cgroup.container = self.pick(&[b"".as_slice(), b"docker web-1"]).to_vec();
        }
        record
    }

    /// Makes a record one of several groups, some of whose values differ.
    fn fold(&mut self, record: &mut Record) {
        record.folded = 1 + self.below(1 << 40);
        record.tuple.remote_address = Some(Address::Many);
        if self.below(2) == 0 {
            (record.tuple.domain, record.tuple.domain_source) = (Vec::new(), DomainSource::Many);
        }
        if self.below(3) > 0 {
            record.tuple.remote_port = PORT_MANY;
        }
        if self.below(3) > 0 {
            record.tuple.local_port = PORT_MANY;
        }
    }

    /// A query about times around `first` to `last`.
    pub fn query(&mut self, first: i64, last: i64) -> Query {
        let zone = self.pick(&[0, 3600, -34_200, 20_700, 45_900]);
        let point = |random: &mut Self| {
            let time = first - 5000 + random.below((last - first) as u64 + 10_000) as i64;
            // Any second, the end of a window, or the edge of a local quarter, hour or day.
            let step = random.pick(&[1, 1, 10, 900, 3600, 86_400]);
            Some((time + zone).div_euclid(step) * step - zone).filter(|_| random.below(12) > 0)
        };
        let (mut since, mut until) = (point(self), point(self));
        if let (Some(a), Some(b)) = (since, until) {
            (since, until) = (Some(a.min(b)), Some(a.max(b) - i64::from(self.below(2) == 0)));
        }
        let group_by = (0..self.below(4)).map(|_| self.pick(&Dimension::ALL));
        let mut group_by: Vec<Dimension> = group_by.collect();
        group_by.sort();
        group_by.dedup();
        let filters = (0..self.below(4)).flat_map(|_| self.filter()).collect();
        let sorts = [Sort::Total, Sort::Connections, Sort::Sent, Sort::Received];
        Query {
            range: Range { since, until },
            group_by,
            filters,
            find: self.find(),
            zone: self.zone(),
            seen: None,
            sort: self.pick(&sorts),
            reverse: false,
            offset: None,
            limit: None,
        }
    }

    /// Zones with clock changes of an hour and half an hour, and of quarters of an hour.
    fn zone(&mut self) -> Option<TimeZone> {
        let name =
            self.pick(&["", "CET-1CEST,M3.5.0,M10.5.0/3", "LHST-10:30LHDT-11,M10.1.0,M4.1.0", "NPT-5:45"]);
        (!name.is_empty()).then(|| TimeZone::posix(name).unwrap())
    }

    fn find(&mut self) -> Option<Find> {
        let (dimension, text) = self.pick(&[
            ("exe", b"A".as_slice()),
            ("exe", b"\\xff"),
            ("domain", b"EXAMPLE"),
            ("cmdline", b" -x"),
            ("address", b"192.0"),
            ("port", b"4"),
            ("sha256", b"02"),
            ("protocol", b"c"),
            ("scope", b"e"),
        ]);
        let others = if self.below(2) == 0 { vec![Value::None] } else { Vec::new() };
        (self.below(4) == 0).then(|| Find::new(dimension.parse().unwrap(), text, others))
    }

    fn filter(&mut self) -> Vec<Filter> {
        let (dimension, value) = self.pick(&[
            ("exe", b"/a".as_slice()),
            ("exe", b"/c/\xff"),
            ("exe", b"/nowhere"),
            ("name", b"tool"),
            ("pexe", b"/bin/sh"),
            ("gpexe", b""),
            ("sha256", b""),
            ("gpsha256", b""),
            ("uid", b"1"),
            ("unit", b"tool.service"),
            ("domain", b""),
            ("domain", b"a.example"),
            ("address", b""),
            ("address", b"192.0.2.0/24"),
            ("address", b"2001:db8::1"),
            ("address", b"vsock:2"),
            ("address", b"::/0"),
            ("laddress", b"192.0.2.9"),
            ("port", b"443"),
            ("port", b"-1"),
            ("port", b"65535"),
            ("exe", b"a"),
            ("exe", b"/*"),
            ("domain", b".example"),
            ("domain", b"*.example"),
            ("container", b"web-1"),
            ("sha256", b"0202"),
            ("scope", b"internet"),
            ("scope", b"local"),
            ("scope", b"unknown"),
            ("scope", b""),
            ("address", b"::ffff:192.0.2.1"),
            ("weekday", b"mon"),
            ("weekday", b"sunday"),
            ("hour-of-day", b"2"),
            ("hour-of-day", b"23"),
            ("day", b"1700000000"),
            ("month", b"2023-11"),
            ("port", b"many"),
            ("lport", b"many"),
            ("address", b"many"),
            ("domain", b"many"),
            ("domain-source", b"many"),
            ("lport", b"40000"),
            ("family", b"ipv6"),
            ("family", b"vsock"),
            ("protocol", b"tcp"),
            ("netns", b"7"),
        ]);
        typed(dimension.parse().unwrap(), value, self.below(3) == 0)
    }
}
