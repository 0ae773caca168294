//! What `bottle init` writes, the JSON schema, and `docs/MANIFEST.md`, which is made from it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::Value;

use crate::place::{Place, assert_as_kept};

#[test]
fn what_init_writes_runs_and_nothing_is_overwritten() {
    let place = Place::new();
    assert_eq!(place.bottle(&["init"]).code, Some(0));
    // Without a word about trust.
    assert_as_kept("init.json", &place.plan(&[]));
    place.bottle(&["init"]).refused(&["there is a bottle.toml already"]);
    let written = fs::read_to_string(place.path("project/bottle.toml")).unwrap();
    assert_eq!(place.bottle(&["init", "--print"]).out, written);
    symlink(place.path("elsewhere/other"), place.path("elsewhere/bottle.toml")).unwrap();
    place.bottle_in("elsewhere", &["init"]).refused(&["there is a bottle.toml already"]);
    assert!(!place.path("elsewhere/other").exists());

    fs::remove_file(place.path("project/bottle.toml")).unwrap();
    fs::remove_dir(place.path("config")).unwrap();
    assert_eq!(place.bottle(&["init", "--user"]).code, Some(0));
    place.plan(&[]);
}

#[test]
fn what_init_leaves_in_comments_is_right_as_well() {
    let place = Place::new();
    let text = place.bottle(&["init", "--print"]).out;
    // Comments that are TOML: those with a table or a key.
    let is_toml = |line: &str| {
        line.starts_with("# [") || line.split_once(" = ").is_some_and(|(key, _)| !key[2..].contains(' '))
    };
    let all: String = text
        .lines()
        .map(|line| if line.starts_with("# ") && is_toml(line) { &line[2..] } else { line })
        .map(|line| {
            line.replace("AAAA…", "AAAAC3NzaC1lZDI1NTE5AAAAIE8F6vW4nXlVyO3rPEGWHYKv6mUSWM5cWyJ3jDyFyKXs")
                + "\n"
        })
        .collect();
    place.user(&all);
    let plan = place.plan(&["claude"]);
    for part in ["docker-daemon:bottle-agent:", "/work/docs", "EDITOR", "agent/*", "api.anthropic.com"] {
        assert!(plan.contains(part), "{part}: {plan}");
    }
}

#[test]
fn the_schema_is_as_kept() {
    let said = Place::new().bottle(&["schema"]);
    assert_as_kept("../../../docs/bottle.schema.json", &said.out);
}

/// The tables of `docs/MANIFEST.md`, from the schema.
#[test]
fn the_reference_has_each_key_and_its_examples_are_right() {
    let schema: Value = serde_json::from_str(&Place::new().bottle(&["schema"]).out).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/MANIFEST.md");
    let mut text = fs::read_to_string(&path).unwrap();
    let tables = [
        ("BottleTable", "bottle"),
        ("RouteTable", "route"),
        ("GitTable", "git"),
        ("GitUserTable", "git_user"),
        ("PushTable", "push"),
        ("AgentTable", "agent"),
    ];
    for (definition, name) in tables {
        let (begin, end) = (format!("<!-- keys of {name} -->\n"), format!("<!-- end of {name} -->\n"));
        let start = text.find(&begin).unwrap_or_else(|| panic!("no {begin}")) + begin.len();
        let stop = start + text[start..].find(&end).unwrap_or_else(|| panic!("no {end}"));
        text.replace_range(start..stop, &table(&schema["definitions"][definition]));
        for key in schema["definitions"][definition]["properties"].as_object().unwrap().keys() {
            let shown = text.contains(&format!("\n{key} = ")) || text.contains(&format!("{{ {key} = "));
            let nested = ["routes", "git"].contains(&key.as_str()) || text.contains(&format!(", {key} = "));
            assert!(shown || nested, "no example has {key}");
        }
    }
    assert_as_kept("../../../docs/MANIFEST.md", &text);

    let place = Place::new();
    let examples: Vec<&str> =
        text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(examples.len() > 3);
    for example in examples {
        place
            .user(example)
            .bottle(&["run", "no-such-agent"])
            .refused(&["there is no agent \"no-such-agent\""]);
    }
    let agent = text.split("```markdown\n").nth(1).unwrap().split("```").next().unwrap();
    place.user("[bottle.dev]\n").write("config/agents/reviewer.md", agent);
    assert!(place.plan(&["reviewer"]).contains("--append-system-prompt"));
}

fn table(definition: &Value) -> String {
    let required: Vec<&str> =
        definition["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut table = "| key | type | default | |\n| --- | --- | --- | --- |\n".to_owned();
    for (key, property) in definition["properties"].as_object().unwrap() {
        let default = match &property["default"] {
            _ if required.contains(&key.as_str()) => "required".to_owned(),
            Value::Null => String::new(),
            value => format!("`{value}`"),
        };
        let about = property["description"].as_str().unwrap().replace('\n', " ");
        table += &format!("| `{key}` | {} | {default} | {about} |\n", kind(property));
    }
    table
}

/// What a value is, in a word or two.
fn kind(property: &Value) -> &'static str {
    let reference = ["$ref", "anyOf", "allOf", "oneOf"].iter().any(|key| !property[*key].is_null());
    let kinds = property["type"].as_array().map_or(vec![property["type"].clone()], Clone::clone);
    match kinds.first().and_then(Value::as_str) {
        Some("string") => "string",
        Some("integer") => "number",
        Some("boolean") => "true or false",
        Some("array") if property["items"]["type"] == "string" => "strings",
        Some("array") => "tables",
        Some("object") if property["additionalProperties"]["type"] == "string" => "strings by name",
        Some("object") => "tables by name",
        _ if reference => "see below",
        other => panic!("{other:?}: {property}"),
    }
}

#[test]
fn agents_that_were_there_are_not_trusted_with_what_init_writes() {
    let place = Place::new();
    place.write("project/agents/theirs.md", "---\nbottle: dev\nimage: their/image\ncommand: [sh]\n---\n");
    let said = place.bottle(&["init"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("agents/ has agents already: `bottle trust`"), "{said:?}");
    place.bottle(&["run", "--plan", "shell"]).refused(&["is not trusted", "and 1 more"]);
}
