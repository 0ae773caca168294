//! The JSON schema of `bottle.toml`, for editors; made from the types that read it.

use schemars::generate::SchemaSettings;

use super::keys::Document;

/// JSON Schema, draft 7, which is what editors of TOML know. It ends in a line break.
pub fn schema() -> String {
    let schema =
        SchemaSettings::draft07().for_deserialize().into_generator().into_root_schema_for::<Document>();
    // Strings, numbers and maps with string keys: nothing that JSON lacks.
    let text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    format!("{text}\n")
}
