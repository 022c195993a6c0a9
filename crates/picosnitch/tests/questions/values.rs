//! Values as people type them.

use model::text::time::now;

use crate::logs::{Log, TRAFFIC, Traffic, UID, zone_of_noon};

const TIME: i64 = 1_700_000_000;

fn log() -> Log {
    let traffic = [
        Traffic { exe: b"/usr/lib/firefox/firefox", domain: "github.com", sent: 1, ..TRAFFIC },
        Traffic { exe: b"/usr/bin/wildfire", domain: "api.github.com", sent: 2, ..TRAFFIC },
        Traffic { exe: b"/opt/firefox/updater", domain: "a.b.github.com", sent: 4, ..TRAFFIC },
        Traffic { exe: b"/bin/nc", domain: "evilgithub.com", sent: 8, ..TRAFFIC },
        Traffic {
            exe: b"/bin/a*b",
            uid: 0,
            container: "docker web-1",
            unit: "docker.service",
            sent: 16,
            ..TRAFFIC
        },
        Traffic {
            exe: b"/bin/aXb",
            address: "10.0.0.2",
            port: 22,
            app: "Flatpak org.gnome.Maps",
            sent: 32,
            ..TRAFFIC
        },
        Traffic { exe: b"/bin/ssh", address: "2001:db8::5", digest: 0x5c, port: 65_535, sent: 64, ..TRAFFIC },
        Traffic { exe: b"/bin/x", container: "podman web-12", digest: 0, sent: 128, ..TRAFFIC },
    ];
    Log::new("Europe/Berlin", &traffic.map(|traffic| (TIME, traffic)))
}

/// The sum of the records that pass a filter.
fn sent(log: &Log, filter: &str) -> u64 {
    log.json(&["--range", "all", "--where", filter])["total"]["sent"].as_u64().unwrap()
}

#[test]
fn every_way_to_write_a_value_selects_its_records() {
    let log = log();
    for (filter, expected) in [
        ("exe=firefox", 1),
        ("exe=/usr/lib/firefox/firefox", 1),
        ("exe=*fire*", 7),
        ("exe=*/fire*", 5),
        ("exe=*fox", 1),
        ("exe=fire*", 1),
        ("exe=*/bin/a*", 48),
        ("exe=a*b", 48),
        ("exe=a\\x2ab", 16),
        ("exe=/bin/a*b", 48),
        ("exe=/bin/a\\x2ab", 16),
        ("exe=*", 255),
        ("domain=github.com", 1),
        ("domain=GitHub.COM", 1),
        ("domain=*.github.com", 6),
        ("domain=*.GitHub.com", 6),
        ("domain=.github.com", 7),
        ("domain=.GitHub.com", 7),
        ("domain=*github.com", 15),
        ("domain=", 240),
        ("container=web-1", 16),
        ("container=docker web-1", 16),
        ("container=web-*", 0),
        ("container=*web-*", 144),
        ("app=org.gnome.Maps", 32),
        ("unit=docker", 16),
        ("unit=docker.service", 16),
        ("uid=root", 16),
        ("uid=0", 16),
        ("sha256=5c5c5c5c5c5c5c5c", 64),
        ("sha256=5C5C", 64),
        ("sha256=abab", 63),
        ("sha256=", 128),
        ("address=::ffff:10.0.0.2", 32),
        ("address=10.0.0.2", 32),
        ("address=::ffff:10.0.0.0/104", 32),
        ("address=10.0.0.0/8", 32),
        ("address=2001:DB8:0::5", 64),
        ("port=https", 159),
        ("port=HTTPS", 159),
        ("port=ssh", 32),
        ("port=65535", 64),
        ("protocol=TCP", 255),
        ("family=ipv6", 64),
        // 2023-11-14 23:13:20 in Berlin, a Tuesday.
        ("weekday=tue", 255),
        ("weekday=Tuesday", 255),
        ("weekday=2", 255),
        ("weekday=sun", 0),
        ("hour-of-day=23", 255),
        ("day=2023-11-14", 255),
        ("day=2023-11-14 05:00", 255),
        ("week=2023-11-13", 255),
        ("month=2023-11", 255),
        ("year=2023", 255),
        ("hour=2023-11-14 23:59", 255),
        ("time=1700000000", 255),
        ("time=2023-11-14 23:13:20", 255),
        ("time=2023-11-14T22:13:20Z", 255),
        ("time=2023-11-14 23:13", 0),
    ] {
        assert_eq!(sent(&log, filter), expected, "{filter}");
        let excluded = log.json(&["--range", "all", "--exclude", filter]);
        assert_eq!(excluded["total"]["sent"], 255 - expected, "{filter}");
    }
    assert_eq!(sent(&log, &format!("uid={UID}")), 239);
}

#[test]
fn yesterday_is_a_day() {
    let zone = zone_of_noon();
    let log = Log::new(&zone, &[(now() - 86_400, TRAFFIC), (now(), Traffic { sent: 2, ..TRAFFIC })]);
    assert_eq!((sent(&log, "day=yesterday"), sent(&log, "day=today")), (1, 2));
}

#[test]
fn sub_domains_that_are_left_out_are_told() {
    let log = log();
    let notes = |arguments: &[&str]| log.ask(&[&["--range", "all"], arguments].concat()).err;
    let note = "2 sub-domains of github.com are not included: domain=.github.com includes them";
    assert!(notes(&["-w", "domain=GitHub.com"]).contains(note), "{}", notes(&["-w", "domain=GitHub.com"]));
    let one = notes(&["-w", "domain=github.com", "-x", "exe=wildfire"]);
    assert!(one.contains("1 sub-domain of github.com is not included"), "{one}");
    for quiet in ["domain=.github.com", "domain=*.github.com", "domain=api.github.com", "domain="] {
        assert_eq!(notes(&["-w", quiet]), "", "{quiet}");
    }
    assert_eq!(notes(&["-x", "domain=github.com"]), "");
}

#[test]
fn a_typing_error_is_answered_with_the_nearest_values() {
    let log = log();
    for (filter, expected) in [
        (
            "exe=firefx",
            "no record in the whole log has exe=firefx; the nearest are: /usr/lib/firefox/firefox",
        ),
        ("exe=/usr/bin/wildfires", "has exe=/usr/bin/wildfires; the nearest are: /usr/bin/wildfire"),
        ("domain=githb.com", "has domain=githb.com; the nearest are: github.com"),
        ("container=web-2", "has container=web-2; the nearest are: "),
        ("unit=dokcer.service", "the nearest are: docker.service"),
        ("exe=zzz", "no record in the whole log has exe=zzz"),
        ("exe=*zzz*", "no record in the whole log has exe=*zzz*"),
        ("address=192.0.2.9", "no record in the whole log has address=192.0.2.9"),
        ("address=192.0.2.0/24", "no address in the whole log is like that"),
        ("domain=.githb.com", "no domain in the whole log is like that; the nearest are: github.com"),
        ("domain=*.githb.com", "has domain=*.githb.com; the nearest are: github.com"),
        ("domain=b.github.com", "has domain=b.github.com; domain=.b.github.com finds its sub-domains"),
        ("day=2020-01-01", "has day=2020-01-01"),
        ("weekday=sunday", "has weekday=sunday"),
        ("port=https", ""),
    ] {
        if expected.is_empty() {
            assert_eq!(log.ask(&["--range", "all", "-w", filter]).err, "", "{filter}");
        } else {
            log.nothing(&["--range", "all", "-w", filter], expected);
        }
    }
    log.nothing(&["--range", "all", "--with-seen", "-w", "exe=firefx"], "the nearest are: /usr/lib/firefox");
    log.nothing(&["--new-since", "2023", "-w", "exe=firefx"], "the nearest are: /usr/lib/firefox/firefox");
    assert!(!log.ask(&["--range", "all", "-w", "exe=zzz"]).err.contains("nearest"));
}

#[test]
fn an_answer_without_rows_says_why() {
    let log = log();
    log.nothing(&[""; 0], "nothing was recorded in this range; the log has records from 2023-11-14 23:13:20 to 2023-11-14 23:13:20");
    log.nothing(&["--range", "2022"], "nothing was recorded in this range");
    log.nothing(
        &["--since", "2100-01-01"],
        "the range begins in the future (2100-01-01 00:00:00): nothing is recorded for it yet",
    );
    log.nothing(
        &["--range", "all", "-w", "exe=firefox", "-w", "port=22"],
        "no record passes all of these conditions",
    );
    let later =
        Log::new("UTC", &[(TIME, TRAFFIC), (TIME + 86_400, Traffic { exe: b"/bin/later", ..TRAFFIC })]);
    later.nothing(
        &["--since", "1700000001", "-w", "exe=curl"],
        "that exe was last seen at 2023-11-14 22:13:20; choose an earlier range, or --range all",
    );
    let empty = Log::new("UTC", &[]);
    empty.write([]);
    empty.nothing(&["--range", "all"], "no rows: the log is empty, nothing has been recorded yet");
    empty.nothing(&["-w", "exe=firefox", "--find", "x"], "the log is empty");
}

#[test]
fn a_list_without_rows_says_why() {
    let log = log();
    let note = |arguments: &[&str]| log.ask(arguments).err;
    for (arguments, expected) in [
        (&["--events", "--range", "2022", "--kind", "alert"][..], "no events of this kind in this range"),
        (&["--events", "--range", "all", "-w", "exe=zzz"], "no event passes all of these conditions"),
        (&["--events", "--since", "2100-01-01", "--json"], "the range begins in the future"),
        (&["--seen", "--range", "2022"], "no program was first seen in this range"),
        (&["--seen", "-w", "exe=zzz"], "no program that passes all of these conditions was first seen"),
    ] {
        assert!(note(arguments).contains(expected), "{arguments:?} {}", note(arguments));
    }
    assert_eq!(note(&["--seen"]), "");
    let empty = Log::new("UTC", &[]);
    empty.write([]);
    for list in ["--events", "--seen"] {
        assert!(empty.ask(&[list]).err.contains("the log is empty"), "{list}");
    }
}

#[test]
fn a_value_that_does_not_fit_says_what_does() {
    let log = log();
    for (filter, expected) in [
        ("port=65536", "port cannot be \"65536\": expected a port from 0 to 65535 or the name of a service"),
        ("port=-2", "expected a port from 0 to 65535"),
        ("uid=-1", "expected the name of a user or a number from 0 on"),
        ("uid=nobody at all", "expected the name of a user or a number"),
        ("sha256=abc", "expected 64 hexadecimal digits or the first of them, at least 4"),
        ("sha256=xyzw", "expected 64 hexadecimal digits"),
        ("address=10.0.0.256", "expected an address, a network (10.0.0.0/8)"),
        ("address=10.0.0.0/33", "expected an address, a network"),
        ("weekday=someday", "expected monday to sunday, or 1 to 7"),
        ("weekday=s", "expected monday to sunday"),
        ("hour-of-day=24", "expected a number from 0 to 23"),
        ("day=tomorrow", "expected a point of time in it: 2026-11-28"),
        ("month=2026-13", "expected a point of time in it"),
        ("protocol=xyz", "expected a protocol's name"),
        ("asn=AS", "expected a number, with or without AS before it"),
        ("colour=red", "there is no dimension \"colour\"; there are: exe"),
        ("exe", "write DIMENSION=VALUE"),
        ("", "write DIMENSION=VALUE"),
        ("=", "there is no dimension \"\""),
    ] {
        log.refuse(&["--where", filter], expected);
        log.refuse(&["--exclude", filter], expected);
    }
}
