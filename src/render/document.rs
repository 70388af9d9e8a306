//! Documents for machines: JSON and YAML of the same serde types, complete and pure.

use serde::Serialize;

/// A document that could not be written as text; none of ours should be.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// As JSON.
    #[error("cannot write the answer as JSON")]
    Json(#[source] serde_json::Error),
    /// As YAML.
    #[error("cannot write the answer as YAML: {0}")]
    Yaml(String),
}

/// Indented JSON and a line break.
///
/// # Errors
/// Where a map's keys are no texts.
pub fn json<T: Serialize>(value: &T) -> Result<String, DocumentError> {
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(DocumentError::Json)
}

/// JSON on one line and a line break.
///
/// # Errors
/// Where a map's keys are no texts.
pub fn json_line<T: Serialize>(value: &T) -> Result<String, DocumentError> {
    serde_json::to_string(value).map(|text| text + "\n").map_err(DocumentError::Json)
}

/// YAML.
///
/// # Errors
/// Where a value has no form in YAML.
pub fn yaml<T: Serialize>(value: &T) -> Result<String, DocumentError> {
    // Through JSON's model first, so that both formats carry the same names, orders and nulls.
    let value = serde_json::to_value(value).map_err(DocumentError::Json)?;
    let text = serde_yaml::to_string(&value).map_err(|error| DocumentError::Yaml(error.to_string()))?;
    Ok(if text.ends_with('\n') { text } else { text + "\n" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_keeps_names_that_look_like_something_else() {
        for text in ["no", "NO", "on", "12:30:45", "2026-11-22", "1_000", "null", "~", "=", "0x1f", "1e3", "", "- a"] {
            let value = serde_json::json!({ "region_id": text, text: [text, null, 1, 1.5, true] });
            let yaml = yaml(&value).unwrap();
            let back: serde_json::Value = serde_yaml::from_str(&yaml).unwrap();
            assert_eq!(back, value, "{yaml}");
        }
        let yaml = yaml(&serde_json::json!({ "region_id": "no" })).unwrap();
        assert!(!yaml.contains(": no\n"), "{yaml}");
    }
}
