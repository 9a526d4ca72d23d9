//! The label of one sample, as `.cls` and `.json` members give it.

use serde::Deserialize;
use serde_json::Value;

/// More classes than this are taken for damaged labels; a table of class names is made up to the largest index.
const MAX_CLASSES: u32 = 1 << 20;

/// Fields of a `.json` that may hold the label, the first of them that is there.
const FIELDS: &str = "`label`, `cls` or `class`";

/// A label as it was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Label {
    Index(u32),
    Name(Box<str>),
}

impl Label {
    /// The class index as an ASCII decimal number, with white space round it.
    pub(super) fn from_cls(bytes: &[u8]) -> Result<Self, String> {
        let text = bytes.trim_ascii();
        let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        let value = digits.then(|| std::str::from_utf8(text).ok()?.parse::<u64>().ok()).flatten();
        match value {
            Some(value) => Self::index(value),
            None => Err(format!("holds \"{}\"; expected a class index such as 7", excerpt(text))),
        }
    }

    /// The label in a JSON object; `None` if it has no field for one.
    pub(super) fn from_json(bytes: &[u8]) -> Result<Option<Self>, String> {
        #[derive(Deserialize)]
        struct Fields {
            label: Option<Value>,
            cls: Option<Value>,
            class: Option<Value>,
        }
        let fields: Fields = serde_json::from_slice(bytes).map_err(|error| format!("is not a JSON object: {error}"))?;
        let Some(value) = fields.label.or(fields.cls).or(fields.class) else { return Ok(None) };
        match &value {
            Value::String(name) if !name.is_empty() => Ok(Some(Self::Name(name.as_str().into()))),
            Value::Number(number) if number.is_u64() => Self::index(number.as_u64().unwrap_or(u64::MAX)).map(Some),
            _ => {
                let found = value.to_string();
                let found = excerpt(found.as_bytes());
                Err(format!("has {found} in {FIELDS}; expected a class index or a class name"))
            }
        }
    }

    fn index(value: u64) -> Result<Self, String> {
        match u32::try_from(value) {
            Ok(index) if index < MAX_CLASSES => Ok(Self::Index(index)),
            _ => Err(format!("holds class index {value}; expected less than {MAX_CLASSES}")),
        }
    }
}

/// The start of what was found, fit to be shown.
fn excerpt(bytes: &[u8]) -> String {
    const SHOWN: usize = 24;
    let dots = if bytes.len() > SHOWN { "..." } else { "" };
    format!("{}{dots}", bytes[..bytes.len().min(SHOWN)].escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cls_is_a_decimal_number() {
        assert_eq!(Label::from_cls(b"7"), Ok(Label::Index(7)));
        assert_eq!(Label::from_cls(b" 0995\n"), Ok(Label::Index(995)));
        for bad in [b"".as_slice(), b"-1", b"1.0", b"cat", b"\xff\x00", b"1048576", b"99999999999999999999999"] {
            assert!(Label::from_cls(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn json_gives_an_index_or_a_name_from_the_first_field_there_is() {
        assert_eq!(Label::from_json(br#"{"class": 1, "cls": 2, "label": 3}"#), Ok(Some(Label::Index(3))));
        assert_eq!(Label::from_json(br#"{"class": 1, "cls": null, "w": [1]}"#), Ok(Some(Label::Index(1))));
        assert_eq!(Label::from_json(br#"{"cls": "tench"}"#), Ok(Some(Label::Name("tench".into()))));
        assert_eq!(Label::from_json(br#"{"caption": "a fish"}"#), Ok(None));
        for bad in [r#"{"label": -1}"#, r#"{"label": 1.5}"#, r#"{"label": ""}"#, r#"{"label": [1]}"#, "[1]", "{"] {
            assert!(Label::from_json(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
