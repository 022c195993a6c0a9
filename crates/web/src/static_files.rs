//! The files of the page, which are a part of the program. Scripts are sent as they are written, but for their comments.

use std::{
    collections::HashMap,
    io::Write,
    path::{Component, Path, PathBuf},
    sync::LazyLock,
};

use axum::{
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use flate2::{Compression, write::GzEncoder};
use include_dir::{Dir, include_dir};
use ring::digest::{SHA256, digest};

use crate::{
    error::{ApiError, ErrorKind},
    script_text::without_comments,
};

static FILES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/static");

/// The built-in files by name.
static READY: LazyLock<HashMap<&str, ReadyFile>> = LazyLock::new(|| {
    let mut ready = HashMap::new();
    let mut directories = vec![&FILES];
    while let Some(directory) = directories.pop() {
        directories.extend(directory.dirs());
        for file in directory.files() {
            if let Some(name) = file.path().to_str().filter(|name| kind(name).is_some()) {
                ready.insert(name, ReadyFile::new(name, file.contents()));
            }
        }
    }
    ready
});

/// Pages, which are all the same document: its script shows the one that the address names.
const PAGES: [&str; 9] =
    ["/", "/explore", "/program", "/destination", "/flows", "/live", "/fleet", "/alerts", "/health"];
/// The document of all pages, and its element that says what they show (`data-source`).
const DOCUMENT: &str = "index.html";
const ELEMENT: &str = "<html lang=\"en\"";

/// Where the files come from.
#[derive(Clone)]
pub(crate) struct StaticFiles {
    place: Place,
    /// What the pages show: `own`, `log` or `server`.
    source: &'static str,
}

#[derive(Clone)]
enum Place {
    /// Those of the program.
    BuiltIn,
    /// Those of a directory as they are, for work on the page.
    Directory(PathBuf),
}

/// A file as it is sent.
#[derive(Clone)]
struct ReadyFile {
    content: Bytes,
    compressed: Option<Bytes>,
    tag: HeaderValue,
}

impl ReadyFile {
    fn new(name: &str, content: &'static [u8]) -> Self {
        Self::of(match std::str::from_utf8(content) {
            Ok(text) if name.ends_with(".js") => without_comments(text).into(),
            _ => Bytes::from_static(content),
        })
    }

    fn of(content: Bytes) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        let compressed = encoder.write_all(&content).and_then(|()| encoder.finish());
        Self { compressed: compressed.ok().map(Bytes::from), tag: tag(&content), content }
    }
}

/// Compresses the files, so that the first request does not wait for it.
pub(crate) fn make_ready() {
    LazyLock::force(&READY);
}

/// Answers with a file.
pub(crate) async fn serve(State(files): State<StaticFiles>, request: Request) -> Response {
    let path = request.uri().path();
    let name = match path {
        path if PAGES.contains(&path) => Some(DOCUMENT),
        "/manifest.webmanifest" => Some("manifest.webmanifest"),
        path => path.strip_prefix("/static/"),
    };
    match name.and_then(|name| Some((kind(name)?, files.read(name)?))) {
        Some((kind, file)) => answer(kind, file, request.headers()),
        None if takes_pages(request.headers()) => match files.read(DOCUMENT) {
            // The page shows its first view.
            Some(file) => {
                let page = answer("text/html; charset=utf-8", file, &HeaderMap::new());
                (StatusCode::NOT_FOUND, page).into_response()
            }
            None => not_found(),
        },
        None => not_found(),
    }
}

fn not_found() -> Response {
    ApiError::new(ErrorKind::NotFound, "there is no such page; the first one is /").into_response()
}

/// Whether a browser wants to show the answer.
fn takes_pages(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-dest").is_some_and(|dest| dest == "document")
}

impl StaticFiles {
    /// The files of the program, or those of a directory, for pages that show the log of this machine (`own`), another `log` or a
    /// `server`.
    pub fn new(directory: Option<PathBuf>, source: &'static str) -> Self {
        Self { place: directory.map_or(Place::BuiltIn, Place::Directory), source }
    }

    fn read(&self, name: &str) -> Option<ReadyFile> {
        let file = match &self.place {
            Place::BuiltIn => READY.get(name).cloned()?,
            Place::Directory(directory) => {
                let is_below = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
                let content = is_below.then(|| std::fs::read(directory.join(name)).ok()).flatten()?;
                ReadyFile { tag: tag(&content), content: content.into(), compressed: None }
            }
        };
        if name != DOCUMENT || self.source == "own" {
            return Some(file);
        }
        // Known before the first question is asked.
        let text = std::str::from_utf8(&file.content).ok()?;
        let marked = text.replacen(ELEMENT, &format!("{ELEMENT} data-source=\"{}\"", self.source), 1);
        Some(ReadyFile::of(marked.into()))
    }
}

/// The content type of a file; `None` for those that are no part of the page.
fn kind(name: &str) -> Option<&'static str> {
    match name.rsplit_once('.')?.1 {
        "html" => Some("text/html; charset=utf-8"),
        "js" => Some("text/javascript; charset=utf-8"),
        "css" => Some("text/css; charset=utf-8"),
        "json" => Some("application/json"),
        "svg" => Some("image/svg+xml"),
        "webmanifest" => Some("application/manifest+json"),
        _ => None,
    }
}

fn answer(kind: &'static str, file: ReadyFile, headers: &HeaderMap) -> Response {
    // Asked for again each time, but only sent when it is another one.
    let cache = (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let tag = (header::ETAG, file.tag);
    if headers.get(header::IF_NONE_MATCH) == Some(&tag.1) {
        return (StatusCode::NOT_MODIFIED, [cache, tag]).into_response();
    }
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let vary = (header::VARY, HeaderValue::from_static("accept-encoding"));
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let takes_gzip = accepted.is_some_and(|names| names.split(',').any(|name| name.trim() == "gzip"));
    match file.compressed.filter(|_| takes_gzip) {
        Some(compressed) => {
            let encoding = (header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            ([kind, cache, tag, vary, encoding], compressed).into_response()
        }
        None => ([kind, cache, tag, vary], file.content).into_response(),
    }
}

/// The first bytes of a digest, which change with the content.
fn tag(content: &[u8]) -> HeaderValue {
    let text = format!("\"{}\"", &hex::encode(digest(&SHA256, content))[..16]);
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("\"0\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What all scripts of the page may have, compressed: the promise to those who read it over a slow line.
    const MAX_SCRIPT_BYTES: usize = 120_000;

    #[test]
    fn the_scripts_are_small() {
        // Never loaded where the log of this machine is shown.
        let others = ["js/pages/fleet.js", "js/pages/not_here.js"];
        let is_counted = |name: &&&str| name.ends_with(".js") && !others.contains(*name);
        let scripts = READY.iter().filter(|(name, _)| is_counted(name));
        let sizes: Vec<usize> = scripts.map(|(_, file)| file.compressed.as_ref().unwrap().len()).collect();
        let sum: usize = sizes.iter().sum();
        println!("{} scripts, {sum} bytes", sizes.len());
        assert!(sizes.len() > 30 && sum <= MAX_SCRIPT_BYTES, "{sum}");
    }

    #[test]
    fn the_document_says_what_it_shows() {
        let text = |source| {
            let file = StaticFiles::new(None, source).read(DOCUMENT).unwrap();
            String::from_utf8(file.content.to_vec()).unwrap()
        };
        assert!(!text("own").contains("data-source"));
        assert!(text("server").contains("<html lang=\"en\" data-source=\"server\">"));
    }

    #[test]
    fn no_script_has_comments() {
        for (name, file) in READY.iter().filter(|(name, _)| name.ends_with(".js") && !name.contains("vendor"))
        {
            let text = std::str::from_utf8(&file.content).unwrap();
            // A text that is not understood is sent whole.
            assert!(
                !text.contains("/**") && !text.lines().any(|line| line.trim_start().starts_with("// ")),
                "{name}"
            );
        }
    }
}
