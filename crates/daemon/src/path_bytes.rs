//! Serialization of paths as bytes: serde's own is text, and refuses paths that are not UTF-8.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_os_str().serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    OsString::deserialize(deserializer).map(PathBuf::from)
}

/// The same for a path that may be missing.
pub(crate) mod optional {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_ref().map(|path| path.as_os_str()).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        Ok(Option::<OsString>::deserialize(deserializer)?.map(PathBuf::from))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;
    use ipc::{Channel, Received};

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct Paths {
        #[serde(with = "super")]
        one: PathBuf,
        #[serde(with = "super::optional")]
        other: Option<PathBuf>,
    }

    #[test]
    fn any_path_passes_through_a_channel() {
        let path = || PathBuf::from(OsString::from_vec(b"/base/\xff\n".to_vec()));
        for other in [None, Some(path())] {
            let (ours, theirs) = Channel::pair().unwrap();
            let paths = Paths { one: path(), other };
            assert!(ours.send(&Channel::encode(&paths).unwrap(), None).unwrap());
            let Received::Message(received, _) = Channel::new(theirs).receive::<Paths>().unwrap() else {
                panic!()
            };
            assert_eq!(received, paths);
        }
    }
}
