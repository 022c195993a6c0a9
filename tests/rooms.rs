//! Holds the direction in which data flows: a room may use the rooms to its left, and what all share.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The rooms, in the direction in which data flows.
const ROOMS: [&str; 8] = ["capture", "identity", "names", "record", "store", "outside", "notify", "ui"];

/// What every room may use; these use only each other.
const SHARED: [&str; 4] = ["model", "layout", "config", "error_chain"];

/// Who wires the rooms together may use them all.
const WIRING: [&str; 3] = ["roles", "selftest", "cli"];

/// Parts of a room that every other room may use: strangers' bytes become text in one place only, and a log line
/// needs that as much as a screen.
const PUBLIC: [(&str, &str); 2] = [("ui", "format"), ("ui", "time")];

/// Libraries that only one room may use.
const KEPT: [(&str, &str); 13] = [
    ("libbpf_rs", "capture"),
    ("maxminddb", "names"),
    ("simple_dns", "names"),
    ("tls_parser", "names"),
    ("httparse", "names"),
    ("object", "names"),
    ("rusqlite", "store"),
    ("zbus", "notify"),
    ("ureq", "outside"),
    ("rustls", "outside"),
    ("ratatui", "ui"),
    ("crossterm", "ui"),
    ("jiff", "ui"),
];

/// A use of another room: its name, and the part of it where the source names one.
type Edge = (String, Option<String>);

/// What `source` uses of its own crate.
fn edges(source: &str) -> Vec<Edge> {
    let code: String = source
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .flat_map(|line| [line, " "])
        .collect();
    let mut edges = Vec::new();
    for (at, found) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back().unwrap_or(' ');
        if !before.is_alphanumeric() && before != '_' {
            collect(&code[at + found.len()..], None, &mut edges);
        }
    }
    edges
}

/// Reads `room`, `room::part`, `room::{part, other}` or `{room, other::part}`; returns what is left.
fn collect<'a>(text: &'a str, room: Option<&str>, edges: &mut Vec<Edge>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start().trim_start_matches(',').trim_start();
            if let Some(rest) = rest.strip_prefix('}') {
                return rest;
            }
            assert!(!rest.is_empty(), "unbalanced braces");
            let left = collect(rest, room, edges);
            // Deeper parts and `as` names do not matter.
            rest = skip_item(left);
        }
    }
    let end =
        text.find(|character: char| !character.is_alphanumeric() && character != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    match (room, rest.strip_prefix("::")) {
        (None, Some(parts)) => return collect(parts, Some(name), edges),
        (None, None) => edges.push((name.to_owned(), None)),
        (Some(room), _) => edges.push((room.to_owned(), Some(name.to_owned()))),
    }
    rest
}

/// Skips to the comma or brace that ends an item of a group.
fn skip_item(text: &str) -> &str {
    let mut depth = 0;
    for (at, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' | ',' if depth == 0 => return &text[at..],
            '}' => depth -= 1,
            _ => {}
        }
    }
    ""
}

/// Why `room` may not have this edge.
fn forbidden(room: &str, edge: &Edge) -> Option<String> {
    let (target, part) = (edge.0.as_str(), edge.1.as_deref());
    let position = |name| ROOMS.iter().position(|room| *room == name);
    let allowed = target == room
        || SHARED.contains(&target)
        || WIRING.contains(&room)
        || part.is_some_and(|part| PUBLIC.contains(&(target, part)) && !SHARED.contains(&room))
        || matches!((position(room), position(target)), (Some(from), Some(to)) if to < from);
    let part = part.map_or(String::new(), |part| format!("::{part}"));
    (!allowed).then(|| format!("{room} may not use {target}{part}"))
}

/// The Rust files below `directory`.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn rooms_use_only_what_is_to_their_left() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut problems = Vec::new();
    let mut count = 0;
    for file in files(&source) {
        let inside = file.strip_prefix(&source).unwrap();
        let room = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if ["lib", "main"].contains(&room) {
            continue;
        }
        let known = ROOMS.contains(&room) || SHARED.contains(&room) || WIRING.contains(&room);
        assert!(known, "{room} is not in the list of rooms: give it its place in tests/rooms.rs");
        let text = fs::read_to_string(&file).unwrap();
        let mut complain = |what: String| problems.push(format!("{}: {what}", inside.display()));
        for edge in edges(&text) {
            count += 1;
            if let Some(problem) = forbidden(room, &edge) {
                complain(problem);
            }
        }
        // The rule above sees only paths that begin at the crate.
        if text.contains("super::super::") {
            complain("write crate:: instead of super::super::".to_owned());
        }
        for (library, owner) in KEPT {
            if room != owner && text.contains(&format!("{library}::")) {
                complain(format!("only {owner} may use {library}"));
            }
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    assert!(count > 30, "only {count} edges found: is the parser blind?");
}

#[test]
fn the_parser_sees_every_way_to_write_an_edge() {
    let source = "
        //! Like [`crate::cli`], in a comment.
        use crate::model::{Bytes, Sha256}; // and crate::roles
        use crate::{
            capture::{self, Event, inner::{Deep, Deeper}},
            layout::Layout as Places,
            error_chain,
            ui::{format, time::{now, local}},
        };
        fn f() -> crate::store::Row { other_crate::x(crate::identity::Processes) }
        pub(crate) fn g() {}
    ";
    let seen: Vec<String> = edges(source)
        .into_iter()
        .map(|(room, part)| part.map_or(room.clone(), |part| format!("{room}::{part}")))
        .collect();
    let expected = [
        "model::Bytes",
        "model::Sha256",
        "capture::self",
        "capture::Event",
        "capture::inner",
        "layout::Layout",
        "error_chain",
        "ui::format",
        "ui::time",
        "store::Row",
        "identity::Processes",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn the_rule_forbids_the_other_direction() {
    let edge = |room: &str, part: &str| (room.to_owned(), Some(part.to_owned()));
    for (room, target, part) in [
        ("capture", "store", "Writer"),
        ("record", "store", "Writer"),
        ("store", "ui", "table"),
        ("model", "ui", "format"),
        ("config", "store", "Reader"),
        ("ui", "cli", "print"),
        ("store", "roles", "monitor"),
    ] {
        assert!(forbidden(room, &edge(target, part)).is_some(), "{room} -> {target}::{part}");
    }
    for (room, target, part) in [
        ("store", "record", "Window"),
        ("record", "ui", "format"),
        ("cli", "capture", "Capture"),
        ("ui", "store", "Row"),
        ("capture", "model", "Bytes"),
        ("config", "layout", "Layout"),
        ("store", "store", "Row"),
    ] {
        assert!(forbidden(room, &edge(target, part)).is_none(), "{room} -> {target}::{part}");
    }
}
