//! One entry of a MaxMind DB file.

use serde::Deserialize;

/// Characters of a network's name; the rest is cut off.
const MAX_NAME_CHARACTERS: usize = 100;

/// The fields of an entry that hold its country and network. Publishers use different ones: `country.iso_code` and `autonomous_system_*` (GeoLite2, DB-IP),
/// `country_code` (ip-location-db), `country`, `asn` and `as_name` (IPinfo).
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct GeoRecord {
    country: Option<Country>,
    country_code: Option<String>,
    registered_country: Option<Country>,
    autonomous_system_number: Option<u32>,
    autonomous_system_organization: Option<String>,
    asn: Option<AsNumber>,
    as_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Country {
    Code(String),
    Fields { iso_code: Option<String> },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum AsNumber {
    Number(u32),
    Text(String),
}

impl GeoRecord {
    /// Returns the country: two letters of ISO 3166-1.
    pub(crate) fn country(&self) -> Option<String> {
        let code = |country: &Option<Country>| match country {
            Some(Country::Code(code)) => Some(code.clone()),
            Some(Country::Fields { iso_code }) => iso_code.clone(),
            None => None,
        };
        let candidates = [code(&self.country), self.country_code.clone(), code(&self.registered_country)];
        let is_code = |code: &String| code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_alphabetic());
        candidates.into_iter().flatten().find(is_code).map(|code| code.to_ascii_uppercase())
    }

    /// Returns number and name of the autonomous system.
    pub(crate) fn network(&self) -> Option<(u32, String)> {
        let number = self.autonomous_system_number.or_else(|| match self.asn.as_ref()? {
            AsNumber::Number(number) => Some(*number),
            AsNumber::Text(text) => text.trim_start_matches("AS").parse().ok(),
        })?;
        let name = self.autonomous_system_organization.as_ref().or(self.as_name.as_ref());
        let name = name.map(|name| name.chars().take(MAX_NAME_CHARACTERS).collect()).unwrap_or_default();
        (number != 0).then_some((number, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_all_publishers_are_understood() {
        let record = |json: &str| serde_json::from_str::<GeoRecord>(json).unwrap();
        for json in [
            r#"{"country": {"iso_code": "DE", "geoname_id": 1, "names": {"en": "Germany"}}}"#,
            r#"{"country_code": "de"}"#,
            r#"{"country": "DE", "country_name": "Germany"}"#,
            r#"{"registered_country": {"iso_code": "DE"}}"#,
            r#"{"country": {"iso_code": "Germany"}, "country_code": "DE"}"#,
        ] {
            assert_eq!(record(json).country().as_deref(), Some("DE"), "{json}");
        }
        for json in [
            r#"{"autonomous_system_number": 15169, "autonomous_system_organization": "Google LLC"}"#,
            r#"{"asn": "AS15169", "as_name": "Google LLC", "as_domain": "google.com"}"#,
            r#"{"asn": 15169, "as_name": "Google LLC"}"#,
        ] {
            assert_eq!(record(json).network(), Some((15169, "Google LLC".to_owned())), "{json}");
        }
        assert_eq!(record("{}").country(), None);
        assert_eq!(record(r#"{"asn": "-"}"#).network(), None);
    }
}
