//! The body of a request, made of a template: JSON in whose texts `{key}` stands for a value of the event or record.

use serde_json::Value as Json;

use crate::item::Item;

/// Fills in a template that is JSON. Values are put into texts of the document, so that nothing in them can become another part of it.
pub(crate) fn fill(template: &Json, item: &Item) -> Json {
    match template {
        Json::String(text) => fill_text(text, item).into(),
        Json::Array(values) => values.iter().map(|value| fill(value, item)).collect(),
        Json::Object(entries) => {
            entries.iter().map(|(key, value)| (key.clone(), fill(value, item))).collect()
        }
        other => other.clone(),
    }
}

/// Replaces each `{key}` by the text of the value; what is no key of the item stays.
fn fill_text(text: &str, item: &Item) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(begin) = rest.find('{') {
        out += &rest[..begin];
        rest = &rest[begin..];
        let value = rest.find('}').and_then(|end| Some((end, item.text(&rest[1..end])?)));
        match value {
            Some((end, value)) => {
                out += &value;
                rest = &rest[end + 1..];
            }
            None => {
                out.push('{');
                rest = &rest[1..];
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_stay_in_their_texts() {
        let Json::Object(object) =
            json!({"exe": "/a\"}, {\"b\": \"{id}", "id": "x/1", "sha256": null, "count": 2})
        else {
            panic!()
        };
        let item = Item { object, kind: None, time: 0 };
        let template =
            json!({"text": "{exe} is {{count} new {unknown} {", "list": ["{id}", 1, {"{id}": "{sha256}"}]});
        let expected =
            json!({"text": "/a\"}, {\"b\": \"{id} is {2 new {unknown} {", "list": ["x/1", 1, {"{id}": ""}]});
        assert_eq!(fill(&template, &item), expected);
    }
}
