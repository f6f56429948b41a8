//! The keywords of JSON Schema that the policy's schema uses; any other panics.

use serde_json::Value;

/// Whether a value is valid against a schema within `root`.
pub(crate) fn valid(root: &Value, schema: &Value, value: &Value) -> bool {
    schema.as_object().unwrap().iter().all(|(keyword, own)| match keyword.as_str() {
        "$schema" | "title" | "description" | "examples" | "$defs" => true,
        "$ref" => {
            let target = own.as_str().unwrap().strip_prefix('#').unwrap();
            valid(root, root.pointer(target).unwrap(), value)
        }
        "type" => match own.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_u64(),
            other => panic!("{other}"),
        },
        "enum" => own.as_array().unwrap().contains(value),
        "anyOf" => own.as_array().unwrap().iter().any(|schema| valid(root, schema, value)),
        "required" => value.as_object().is_none_or(|object| {
            own.as_array().unwrap().iter().all(|key| object.contains_key(key.as_str().unwrap()))
        }),
        "properties" => value.as_object().is_none_or(|object| {
            object
                .iter()
                .all(|(key, value)| own.get(key).is_none_or(|schema| valid(root, schema, value)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|object| {
            let more = || object.iter().filter(|(key, _)| schema["properties"].get(key).is_none());
            match own {
                Value::Bool(allowed) => *allowed || more().next().is_none(),
                schema => more().all(|(_, value)| valid(root, schema, value)),
            }
        }),
        "items" => {
            value.as_array().is_none_or(|array| array.iter().all(|value| valid(root, own, value)))
        }
        "maxItems" => value.as_array().is_none_or(|array| array.len() as u64 <= n(own)),
        "minProperties" => value.as_object().is_none_or(|object| object.len() as u64 >= n(own)),
        "maxProperties" => value.as_object().is_none_or(|object| object.len() as u64 <= n(own)),
        "minimum" => value.as_u64().is_none_or(|value| value >= n(own)),
        "maximum" => value.as_u64().is_none_or(|value| value <= n(own)),
        "pattern" => value.as_str().is_none_or(|text| matches(own.as_str().unwrap(), text)),
        other => panic!("the schema uses {other}"),
    })
}

fn n(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn matches(pattern: &str, text: &str) -> bool {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match pattern {
        "^[0-9]+(ms|s|m|h)$" => number && ["ms", "s", "m", "h"].contains(&&text[digits.len()..]),
        "^(/|\\*\\*(/|$))" => text.starts_with('/') || text.starts_with("**/") || text == "**",
        "^[0-9]+$" => number && digits == text,
        other => panic!("{other}"),
    }
}
