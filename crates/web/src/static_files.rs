//! The files of the page, which are a part of the program.

use std::path::{Component, Path, PathBuf};

use axum::{
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use include_dir::{Dir, include_dir};
use ring::digest::{SHA256, digest};

use crate::error::{ApiError, ErrorKind};

static FILES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/static");

/// Pages, which are all the same document: its script shows the one that the address names.
const PAGES: [&str; 8] =
    ["/", "/explore", "/program", "/destination", "/flows", "/live", "/alerts", "/health"];

/// Where the files come from.
#[derive(Clone)]
pub(crate) enum StaticFiles {
    /// Those of the program.
    BuiltIn,
    /// Those of a directory, for work on the page.
    Directory(PathBuf),
}

/// Answers with a file.
pub(crate) async fn serve(State(files): State<StaticFiles>, request: Request) -> Response {
    let path = request.uri().path();
    let name = match path {
        path if PAGES.contains(&path) => Some("index.html"),
        "/manifest.webmanifest" => Some("manifest.webmanifest"),
        path => path.strip_prefix("/static/"),
    };
    match name.and_then(|name| Some((name, files.read(name)?))) {
        Some((name, content)) => answer(name, content, request.headers()),
        None => {
            ApiError::new(ErrorKind::NotFound, "there is no such page; the first one is /").into_response()
        }
    }
}

impl StaticFiles {
    fn read(&self, name: &str) -> Option<Bytes> {
        match self {
            Self::BuiltIn => FILES.get_file(name).map(|file| Bytes::from_static(file.contents())),
            Self::Directory(directory) => {
                let is_below = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
                is_below.then(|| std::fs::read(directory.join(name)).ok().map(Bytes::from)).flatten()
            }
        }
    }
}

fn answer(name: &str, content: Bytes, headers: &HeaderMap) -> Response {
    let kind = match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "webmanifest" => "application/manifest+json",
        _ => "text/plain; charset=utf-8",
    };
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static(kind));
    // Asked for again each time, but only sent when it is another one.
    let cache = (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let tag = (header::ETAG, tag(&content));
    if headers.get(header::IF_NONE_MATCH) == Some(&tag.1) {
        return (StatusCode::NOT_MODIFIED, [cache, tag]).into_response();
    }
    ([kind, cache, tag], content).into_response()
}

/// The first bytes of a digest, which change with the content.
fn tag(content: &[u8]) -> HeaderValue {
    let text = format!("\"{}\"", &hex::encode(digest(&SHA256, content))[..16]);
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("\"0\""))
}
