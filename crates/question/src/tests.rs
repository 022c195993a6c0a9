//! Tests of questions and their errors; what answers look like is tested with `picosnitch query`.

use calendar::TimeZone;
use model::Scope;
use store::{CompareOrder, Dimension, Filter, SeenFilter, Sort, Value};

use super::*;

fn now() -> Now {
    Now { seconds: 1_700_000_000, zone: TimeZone::UTC }
}

/// What parameters of programs ask for.
fn asked(parameters: &[(&str, &str)]) -> Result<Asked, QuestionError> {
    let mut asked = Asked::default();
    for (name, value) in parameters {
        assert!(asked.set(name, value.as_bytes())?, "{name}");
    }
    Ok(asked)
}

fn read(parameters: &[(&str, &str)]) -> Result<Question, QuestionError> {
    asked(parameters)?.read(&now())
}

#[test]
fn parameters_become_a_query() {
    let question = read(&[
        ("range", "1h"),
        ("group_by", "domain"),
        ("group_by", "port"),
        ("where", "exe=/bin/a"),
        ("where", "exe="),
        ("exclude", "port=https"),
        ("scope", "internet"),
        ("find", "Example"),
        ("sort", "sent"),
        ("reverse", "1"),
        ("limit", "7"),
        ("offset", "3"),
        ("order", "now"),
        ("compare", "previous"),
    ])
    .unwrap();
    let (start, query) = (now().seconds - 3599, question.query);
    assert_eq!(question.range.start, Some(start));
    assert_eq!(query.range, for_log(question.range));
    assert_eq!(question.before.and_then(|before| before.end), Some(start));
    assert_eq!(query.group_by, [Dimension::Domain, Dimension::Port]);
    let equal = |dimension, value, exclude| Filter::equal(dimension, value, exclude);
    let expected = [
        equal(Dimension::Executable, Value::Bytes(b"/bin/a".to_vec()), false),
        equal(Dimension::Executable, Value::Bytes(Vec::new()), false),
        equal(Dimension::Port, Value::Integer(443), true),
        equal(Dimension::Scope, Value::Bytes(b"internet".to_vec()), false),
    ];
    assert_eq!(query.filters, expected);
    assert_eq!(query.find, Some(find(Dimension::Domain, b"Example")));
    assert_eq!((query.sort, query.reverse), (Sort::Sent, true));
    assert_eq!((query.offset, query.limit, question.order), (Some(3), Some(7), CompareOrder::Now));
    assert_eq!((query.seen, query.zone), (None, Some(TimeZone::UTC)));
}

#[test]
fn what_is_left_out_has_a_default() {
    let question = read(&[]).unwrap();
    assert_eq!(question.range.start, Some(now().seconds - 86_399));
    assert_eq!((question.query.group_by, question.query.sort), (Vec::new(), Sort::Total));
    assert_eq!(read(&[("group_by", "day")]).unwrap().query.sort, Sort::Dimension(Dimension::Day));
    let new = read(&[("group_by", "exe"), ("new_since", "30d")]).unwrap();
    assert_eq!(new.range.start, Some(now().seconds - 30 * 86_400));
    let since = SeenFilter { new_since: new.range.start, changed_since: None };
    assert_eq!(new.query.seen, Some(since));
    let all = Asked { default_range: DefaultRange::All, ..Asked::default() };
    assert_eq!(all.range(&now()).unwrap(), calendar::Range::ALL);
    assert_eq!(asked(&[("scope", "local")]).unwrap().scope, Some(Scope::Local));
    assert_eq!(asked(&[("find", "")]).unwrap().find, None);
    let mut other = Asked::default();
    assert_eq!((other.set("parts", b"3"), other.set("zone", b"UTC")), (Ok(false), Ok(false)));
}

/// Parameters, the one that is wrong, and the beginning of the sentence.
type Case = (&'static [(&'static str, &'static str)], Parameter, &'static str);

#[test]
fn errors_name_the_parameter_as_it_is_known() {
    let cases: &[Case] = &[
        (&[("where", "exe")], Parameter::Where, "where exe: write DIMENSION=VALUE"),
        (
            &[("exclude", "x\n=1")],
            Parameter::Exclude,
            "exclude x\\x0a=1: there is no dimension \"x\\n\"; there are: exe",
        ),
        (
            &[("where", "port=x y")],
            Parameter::Where,
            "where port=x y: port cannot be \"x y\": expected a port",
        ),
        (&[("group_by", "x")], Parameter::GroupBy, "group_by: there is no dimension"),
        (&[("group_by", "exe"), ("group_by", "exe")], Parameter::GroupBy, "group_by exe is there twice"),
        (&[("scope", "x")], Parameter::Scope, "scope: write internet or local"),
        (
            &[("scope", "local"), ("where", "scope=local")],
            Parameter::Scope,
            "scope=internet and scope=local do not go with where and exclude of the scope",
        ),
        (&[("range", "x")], Parameter::Range, "range: \"x\" is no range; write"),
        (&[("since", "x")], Parameter::Since, "since: \"x\" is no time; write"),
        (
            &[("since", "now"), ("until", "1h")],
            Parameter::Since,
            "since (2023-11-14 22:13:20) is later than until",
        ),
        (
            &[("range", "today"), ("until", "1h")],
            Parameter::Range,
            "range today has an end of its own: leave until out",
        ),
        (&[("sort", "x")], Parameter::Sort, "sort: write total"),
        (&[("sort", "exe")], Parameter::Sort, "sort exe needs group_by exe"),
        (&[("find", "x")], Parameter::Find, "find looks for values: it needs group_by"),
        (&[("group_by", "day"), ("find", "x")], Parameter::Find, "find finds texts: group by another"),
        (
            &[("new_since", "1d")],
            Parameter::NewSince,
            "when something was seen is known of single values: use one group_by",
        ),
        (&[("group_by", "day"), ("seen", "1")], Parameter::Seen, "the log does not know when each day"),
        (&[("group_by", "uid"), ("sort", "digests")], Parameter::Sort, "only programs change"),
        (&[("seen", "x")], Parameter::Seen, "seen: write 1 or 0"),
        (&[("limit", "-1")], Parameter::Limit, "limit: write a number of rows"),
        (
            &[("group_by", "exe"), ("seen", "1"), ("compare", "previous")],
            Parameter::Compare,
            "compare does not go with",
        ),
        (&[("group_by", "day"), ("compare", "previous")], Parameter::Compare, "compare puts values beside"),
        (
            &[("range", "all"), ("compare", "previous")],
            Parameter::Compare,
            "compare previous needs a range with a beginning: range all has nothing before it",
        ),
        (&[("compare", "x")], Parameter::Compare, "compare: \"x\" is no range"),
    ];
    for (parameters, parameter, words) in cases {
        let error = read(parameters).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(words), "{text}");
        assert_eq!(error.parameter(), *parameter, "{text}");
        assert!(!text.contains("--") && !text.chars().any(char::is_control), "{text}");
    }
    let error = read(&[("sort", "exe")]).unwrap_err();
    assert_eq!(
        error.sentence(|parameter| format!("<{}>", parameter.name())),
        "<sort> exe needs <group_by> exe"
    );
    let error = now().in_zone("Nowhere/None").unwrap_err();
    assert_eq!(error.parameter(), Parameter::Zone);
}

#[test]
fn parts_that_nothing_uses_are_refused() {
    const KNOWN: [Parameter; 2] = [Parameter::Range, Parameter::Where];
    let check = |parameters: &[(&str, &str)]| asked(parameters).unwrap().check_only("a list", &KNOWN);
    assert_eq!(check(&[("range", "1d"), ("where", "exe=a"), ("where", "exe=b")]), Ok(()));
    for (name, value) in [
        ("since", "1"),
        ("until", "1"),
        ("group_by", "exe"),
        ("exclude", "exe=a"),
        ("scope", "local"),
        ("find", "a"),
        ("new_since", "1"),
        ("changed_since", "1"),
        ("seen", "1"),
        ("compare", "previous"),
        ("order", "now"),
        ("sort", "sent"),
        ("reverse", "1"),
        ("offset", "1"),
        ("limit", "1"),
    ] {
        let error = check(&[(name, value)]).unwrap_err();
        assert_eq!(error.to_string(), format!("a list has no {name}: it takes range, where only"));
    }
}

#[test]
fn lists_refuse_dimensions_that_they_do_not_have() {
    let filters = asked(&[("where", "port=1")]).unwrap().filters(&TimeZone::UTC).unwrap();
    let error = check_dimensions(&filters, PROGRAM_DIMENSIONS, "programs").unwrap_err();
    assert_eq!(error.to_string(), "programs have no port: they can be filtered by exe, uid, sha256");
}
