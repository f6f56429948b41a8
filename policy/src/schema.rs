//! The policy file as JSON Schema.

use lacre_types::{Action, Jit, Mode, Reports, ViolationKind};
use serde_json::{Map, Value, json};

use crate::Selector;
use crate::code_directories::CodeDirectories;
use crate::read::{ALSO_ACTIONS, CODE};

/// The JSON Schema (2020-12) of the policy file, for editors. What it takes may still be
/// refused by [`crate::Policy::parse`], which also looks at globs and at keys given twice;
/// what it refuses is always refused there.
#[must_use]
pub fn schema() -> String {
    let text = serde_json::to_string_pretty(&value()).unwrap_or_default();
    text + "\n"
}

fn value() -> Value {
    let actions: Vec<&str> = Action::ALL
        .iter()
        .map(|action| action.as_str())
        .chain(ALSO_ACTIONS.iter().copied())
        .collect();
    let modes: Vec<&str> = Mode::ALL.iter().map(|mode| mode.as_str()).collect();
    let action = json!({"$ref": "#/$defs/action"});
    let same = |value: &Value, words: &[&str]| -> Map<String, Value> {
        words.iter().map(|word| ((*word).to_owned(), value.clone())).collect()
    };
    let jits: Vec<&str> = Jit::ALL.iter().map(|jit| jit.as_str()).collect();
    let reports: Vec<&str> = Reports::ALL.iter().map(|reports| reports.as_str()).collect();
    let kinds: Vec<&str> = ViolationKind::ALL.iter().map(|kind| kind.as_str()).collect();
    let mut rules_of_kinds = same(&json!({"$ref": "#/$defs/kind"}), &kinds);
    let fileless = json!({"$ref": "#/$defs/fileless"});
    rules_of_kinds.insert(ViolationKind::Fileless.as_str().to_owned(), fileless);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "lacre policy",
        "description": "Which action each violation deserves. See docs/policy.md.",
        "type": "object",
        "required": ["Actions"],
        "additionalProperties": false,
        "properties": {
            "Actions": {
                "description": "The rules, by the kind of violation.",
                "type": "object",
                "additionalProperties": false,
                "properties": rules_of_kinds,
            },
            "Mode": {
                "description": "The least mode of the nodes; the stricter of this and a node's own holds.",
                "enum": modes,
            },
            "JIT": {
                "description": "Whether memory that is made executable is no violation: allow, where it is not given.",
                "$ref": "#/$defs/jit",
            },
            "CodeDirectories": {
                "description": "Directories that hold code: what an interpreter opens there, and did not come with the image, is run.",
                "type": "object",
                "additionalProperties": false,
                "properties": code(),
            },
            "Report": {
                "description": "Whether a file that an interpreter opened, and of which nothing says that it is code, is told: files, where it is not given.",
                "enum": reports,
            },
            "GracePeriod": {
                "description": "How long STOP waits between SIGTERM and SIGKILL.",
                "$ref": "#/$defs/duration",
            },
            "Fallback": {
                "description": "What is done where an action can't be. KILL, unless it says otherwise.",
                "type": "object",
                "additionalProperties": false,
                "properties": same(&action, &actions
                    .iter()
                    .copied()
                    .filter(|word| !matches!(*word, "SKIP" | "KILL"))
                    .collect::<Vec<_>>()),
            },
            "Restart": {
                "description": "How long RESTART waits: twice as long each time, up to a limit.",
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "Delay": {"$ref": "#/$defs/duration", "description": "Between the first restart and the second; the first does not wait."},
                    "MaxDelay": {"$ref": "#/$defs/duration", "description": "The longest wait."},
                    "ResetAfter": {
                        "$ref": "#/$defs/duration",
                        "description": "After so long without a restart, counting begins anew.",
                    },
                    "Attempts": {
                        "description": "So many restarts, then the fallback of RESTART.",
                        "anyOf": [
                            {"type": "integer", "minimum": 1},
                            {"type": "string", "pattern": "^[0-9]+$"},
                        ],
                    },
                },
            },
            "PORT": {
                "description": "The TCP port of the policy server.",
                "anyOf": [
                    {"type": "integer", "minimum": 1, "maximum": 65535},
                    {"type": "string", "pattern": "^[0-9]+$"},
                ],
            },
        },
        "$defs": {
            "action": {"enum": actions},
            "jit": {"enum": jits},
            "duration": {
                "type": "string",
                "pattern": "^[0-9]+(ms|s|m|h)$",
                "examples": ["10s", "500ms", "5m"],
            },
            "kind": {
                "type": "object",
                "additionalProperties": false,
                "properties": kind("rules"),
            },
            "fileless": {
                "type": "object",
                "additionalProperties": false,
                "properties": kind("filelessRules"),
            },
            "rule": {
                "anyOf": [action, {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["Default"],
                    "properties": {
                        "ByPath": {"$ref": "#/$defs/paths"},
                        "Default": action,
                    },
                }],
            },
            "filelessRule": {
                "anyOf": [action, {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["Default"],
                    "properties": {
                        "ByPath": {"$ref": "#/$defs/paths"},
                        "JIT": {"$ref": "#/$defs/jit"},
                        "Default": action,
                    },
                }],
            },
            "rules": list(&json!({"$ref": "#/$defs/rule"})),
            "filelessRules": list(&json!({"$ref": "#/$defs/filelessRule"})),
            "paths": list(&action),
            "directories": {
                "type": "array",
                "maxItems": CodeDirectories::MOST,
                "items": {"type": "string", "pattern": "^(/|\\*\\*(/|$))"},
                "examples": [["/srv/app", "/home/*/plugins"]],
            },
            "directoriesOf": list(&json!({"$ref": "#/$defs/directories"})),
        },
    })
}

/// A list of one-key mappings.
fn list(of: &Value) -> Value {
    json!({
        "type": "array",
        "items": {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": of,
        },
    })
}

/// The keys of `CodeDirectories`.
fn code() -> Map<String, Value> {
    let mut keys = kind("directoriesOf");
    keys.retain(|key, _| CODE.contains(&key.as_str()));
    let rest = json!({
        "description": "Where no rule matches. Without it: none.",
        "$ref": "#/$defs/directories",
    });
    keys.insert("Default".into(), rest);
    keys
}

/// The keys of a kind whose rules are in the list of that name.
fn kind(rules: &str) -> Map<String, Value> {
    let mut keys = Map::new();
    for selector in Selector::ALL {
        let (list, description) = match selector {
            Selector::ContainerId => {
                (rules, "By the container's id: whole, or its first 12 to 32 hex digits.")
            }
            Selector::ImageDigest => (rules, "By a digest of the image, with or without sha256:."),
            Selector::ImageName => {
                (rules, "By the image's name, as Docker completes it, or a glob.")
            }
            Selector::Label => (rules, "By a label: KEY=VALUE, KEY=GLOB, or KEY."),
            Selector::Annotation => (rules, "By an OCI annotation: KEY=VALUE, KEY=GLOB, or KEY."),
            Selector::Namespace => (rules, "By containerd's namespace or the pod's, or a glob."),
            Selector::Path => {
                ("paths", "By the file's path, or a glob: * within a part, ** any number of parts.")
            }
        };
        keys.insert(
            selector.to_string(),
            json!({"description": description, "$ref": format!("#/$defs/{list}")}),
        );
    }
    let default = json!({
        "description": "Where no rule matches. Without it: DENY.",
        "$ref": "#/$defs/action",
    });
    keys.insert("Default".into(), default);
    keys
}
