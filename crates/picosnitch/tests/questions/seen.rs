//! What is new, and what has changed.

use model::text::time::now;

use crate::logs::{Log, TRAFFIC, Traffic, at};

const OLD: Traffic<'_> =
    Traffic { exe: b"/bin/old", domain: "old.example", country: "DE", port: 80, digest: 1, ..TRAFFIC };
const CHANGED: Traffic<'_> = Traffic { exe: b"/bin/changed", digest: 2, domain: "old.example", ..OLD };
const NEW: Traffic<'_> =
    Traffic { exe: b"/bin/new", domain: "new.example", country: "FR", port: 443, digest: 9, ..TRAFFIC };

/// From the first of November 2026 on, a window each noon.
fn log() -> Log {
    let noon = |day: i64| at("2026-11-01T12:00:00Z") + (day - 1) * 86_400;
    Log::new(
        "UTC",
        &[
            (noon(1), OLD),
            (noon(1), CHANGED),
            (noon(2), CHANGED),
            (noon(3), Traffic { digest: 3, ..CHANGED }),
            (noon(4), Traffic { digest: 4, ..CHANGED }),
            (noon(4), NEW),
            (noon(5), OLD),
            (noon(6), Traffic { digest: 3, ..CHANGED }),
        ],
    )
}

fn seen(log: &Log, dimension: &str, arguments: &[&str]) -> Vec<String> {
    let mut values = log.texts(dimension, &[&["-g", dimension], arguments].concat());
    values.sort();
    values
}

#[test]
fn what_is_new_was_never_seen_before() {
    let log = log();
    for (dimension, new, all) in [
        ("exe", &["/bin/new"][..], 3),
        ("domain", &["new.example"], 2),
        ("country", &["FR"], 2),
        ("port", &["443"], 2),
    ] {
        for point in
            ["2026-11-04", "2026-11-02", "2026-11-04T12:00:00Z", "2026-11-04 13:00+01:00", "1793793600"]
        {
            assert_eq!(seen(&log, dimension, &["--new-since", point]), new, "{dimension} {point}");
        }
        assert_eq!(seen(&log, dimension, &["--new-since", "2026-11-04T12:00:01Z"]), [""; 0], "{dimension}");
        assert_eq!(seen(&log, dimension, &["--new-since", "2026"]).len(), all, "{dimension}");
        assert_eq!(seen(&log, dimension, &["--new-since", "5200w"]).len(), all, "{dimension}");
    }
    assert_eq!(seen(&log, "sha256", &["--new-since", "2026-11-03", "-w", "exe=/bin/changed"]).len(), 2);
    // A range of its own selects the traffic, and not what is new.
    assert_eq!(seen(&log, "exe", &["--new-since", "2026-11-04", "--range", "2026-11-05"]), [""; 0]);
    let answer = log.json(&["--new-since", "2026-11-04", "--range", "all"]);
    assert_eq!((&answer["row_count"], &answer["total"]["conns"]), (&1.into(), &1.into()));
    log.nothing(&["--new-since", "2026-11-05"], "nothing with traffic in this range is new since then");
}

#[test]
fn what_is_new_since_a_time_includes_what_came_after_it() {
    let now = now();
    let log = Log::new("UTC", &[(now - 2 * 86_400, OLD), (now, NEW)]);
    for point in ["yesterday", "1d", "3h"] {
        assert_eq!(seen(&log, "exe", &["--new-since", point]), ["/bin/new"], "{point}");
    }
}

#[test]
fn a_program_that_changed_has_another_digest_since_then() {
    let log = log();
    for point in ["2026-11-02", "2026-11-04", "2026-11-04T12:00:00Z"] {
        assert_eq!(seen(&log, "exe", &["--changed-since", point]), ["/bin/changed"], "{point}");
    }
    // On the sixth it came back to a digest that it had had: that is no change.
    for point in ["2026-11-04T12:00:01Z", "2026-11-06"] {
        assert_eq!(seen(&log, "exe", &["--changed-since", point]), [""; 0], "{point}");
    }
    log.nothing(
        &["--changed-since", "2026-11-05"],
        "no program with traffic in this range has another digest since",
    );
    assert_eq!(seen(&log, "exe", &["--changed-since", "2026-11-04", "--new-since", "2026-11-02"]), [""; 0]);
}

#[test]
fn rows_say_when_their_values_were_seen() {
    let log = log();
    let answer = log.json(&["--with-seen", "--range", "2026-11-06"]);
    let row = &answer["rows"][0];
    assert_eq!(row["exe"], "/bin/changed");
    // In the whole log, whatever the range.
    assert_eq!(
        (&row["first_seen_iso"], &row["last_seen_iso"]),
        (&"2026-11-01T12:00:00+00:00".into(), &"2026-11-06T12:00:00+00:00".into())
    );
    assert_eq!((&row["first_seen"], &row["digests"]), (&at("2026-11-01T12:00:00Z").into(), &3.into()));
    assert_eq!(row["changed"], at("2026-11-04T12:00:00Z"));
    assert_eq!(row["changed_iso"], "2026-11-04T12:00:00+00:00");
    let row = &log.json(&["--with-seen", "--range", "all", "-w", "exe=old"])["rows"][0];
    assert_eq!((&row["digests"], &row["changed"]), (&1.into(), &serde_json::Value::Null));
    let sorted = |dimension, key| log.texts(dimension, &["--range", "all", "-g", dimension, "--sort", key]);
    assert_eq!(sorted("exe", "first-seen")[0], "/bin/new");
    assert_eq!(sorted("exe", "last-seen"), ["/bin/changed", "/bin/old", "/bin/new"]);
    assert_eq!(sorted("exe", "digests")[0], "/bin/changed");
    assert_eq!(sorted("domain", "first-seen"), ["new.example", "old.example"]);
    assert_eq!(sorted("port", "last-seen"), ["80", "443"]);
    let csv = log.text(&["--csv", "--with-seen", "--range", "all", "-w", "exe=new", "-w", "exe=changed"]);
    assert_eq!(
        csv,
        "exe,first_seen,first_seen_iso,last_seen,last_seen_iso,digests,changed,changed_iso,conns,received,sent\r\n\
         /bin/changed,1793534400,2026-11-01T12:00:00+00:00,1793966400,2026-11-06T12:00:00+00:00,3,1793793600,\
         2026-11-04T12:00:00+00:00,5,0,5\r\n\
         /bin/new,1793793600,2026-11-04T12:00:00+00:00,1793793600,2026-11-04T12:00:00+00:00,1,,,1,0,1\r\n"
    );
    let csv = log.text(&["--csv", "--with-seen", "--range", "2026-11-04", "-g", "country", "-w", "exe=new"]);
    assert_eq!(
        csv,
        "country,first_seen,first_seen_iso,last_seen,last_seen_iso,conns,received,sent\r\n\
         FR,1793793600,2026-11-04T12:00:00+00:00,1793793600,2026-11-04T12:00:00+00:00,1,0,1\r\n"
    );
    let table = log.text(&["--with-seen", "--range", "all", "-w", "exe=new"]);
    assert!(
        table.contains("first seen") && table.contains("2026-11-04 12:00  2026-11-04 12:00        1"),
        "{table}"
    );
}

#[test]
fn what_the_log_does_not_know_is_refused() {
    let log = log();
    for option in
        [&["--with-seen"][..], &["--new-since", "1d"], &["--changed-since", "1d"], &["--sort", "first-seen"]]
    {
        let with = |arguments: &[&'static str]| [arguments, option].concat();
        log.refuse(&with(&["-g", "exe", "-g", "port"]), "use one --group-by with");
        for dimension in ["time", "day", "lport"] {
            log.refuse(
                &with(&["-g", dimension]),
                &format!("does not know when each {dimension} was first seen"),
            );
        }
        log.refuse(&with(&["--events"]), if option[0] == "--sort" { "cannot be used with" } else { "with" });
        log.refuse(&with(&["--compare", "previous"]), "--compare does not go with --new-since");
    }
    log.refuse(
        &["-g", "domain", "--changed-since", "1d"],
        "only programs change and have digests: use --group-by exe",
    );
    log.refuse(
        &["-g", "domain", "--sort", "digests"],
        "only programs change and have digests: use --group-by exe",
    );
}
