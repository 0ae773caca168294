//! Mistakes: where, which line, and what was meant.

use crate::place::Place;

/// The user's manifest is this, and an agent is run.
fn said(toml: &str, parts: &[&str]) {
    let place = Place::new();
    place.user(toml).bottle(&["run", "a"]).refused(parts);
}

#[test]
fn unknown_keys_are_shown_in_their_place_with_the_one_that_was_meant() {
    said(
        "[bottle.b]\nhosts = []\nsupervize = true\n",
        &[
            "config/bottle.toml:3:1: unknown key `supervize`\n  supervize = true\n  ^\nhint: is it `supervise`?",
        ],
    );
    said("[botle.b]\n", &["bottle.toml:1:2: unknown key `botle`", "is it `bottle`?"]);
    said("[agent.a]\nbottel = \"b\"\n", &["bottle.toml:2:1: unknown key `bottel`", "is it `bottle`?"]);
    said("[[bottle.b.routes]]\nhots = \"x\"\n", &["bottle.toml:2:1: unknown key `hots`", "is it `host`?"]);
    said("[bottle.b]\nqqqqqqqq = 1\n", &["unknown key `qqqqqqqq`", "there is `hosts`, `pass_through`, "]);
    said(
        "[agent.a]\nbottle = \"b\"\nprovider = \"clade\"\n",
        &["bottle.toml:3:12: unknown word `clade`", "is it `claude`?"],
    );
    said(
        "[bottle.b.git.x]\nurl = \"a\"\n",
        &["bottle.toml:1:1: `identity` is missing here", "add `identity`"],
    );
}

#[test]
fn wrong_types_and_values_are_shown_in_their_place() {
    said(
        "[bottle.b]\nhosts = \"a.b\"\n",
        &["bottle.toml:2:9: invalid type: string \"a.b\", expected a sequence"],
    );
    said(
        "[bottle.b]\nhosts = [\n  \"a.b\",\n  \"http://a\",\n]\n",
        &["bottle.toml:4:3: ", "is no host name"],
    );
    said("[bottle.b]\nmemory = \"4G\"\n", &["bottle.toml:2:10: invalid type: string \"4G\", expected u32"]);
    said("[bottle.b]\ncpus = 300\n", &["bottle.toml:2:8: invalid value: integer `300`"]);
    said("[bottle.b]\ncpus = 0\n", &["bottle.toml:2:8: there is no machine with none of it"]);
    said("[bottle.b]\ngit_user = { name = \"a\" }\n", &["bottle.toml:2:", "`email` is missing here"]);
    said(
        "[bottle.b]\ngit_user = { name = \"<>\", email = \"a@b\" }\n",
        &["bottle.toml:2:12: the name \"<>\" can't stand in a commit", "An Agent"],
    );
    said("[bottle.b]\ndisk = \"40Q\"\n", &["bottle.toml:2:8: ", "is no size", "\"40G\""]);
    said("[bottle.b]\nvolumes = [\"src\"]\n", &["bottle.toml:2:12: ", "is not a volume"]);
    said("[bottle.b]\nvolumes = [\"./a:/proc/x\"]\n", &["bottle.toml:2:12: ", "/proc/x"]);
    said("[bottle.b.env]\n\"a=b\" = \"c\"\n", &["bottle.toml:2:1: ", "cannot be an environment variable"]);
    said("[bottle.b]\nextra_hosts = { \"*\" = \"1.2.3.4\" }\n", &["bottle.toml:2:17: ", "is no host name"]);
    said("[bottle.b]\nextra_hosts = { \"a.b\" = \"x\" }\n", &["bottle.toml:2:25: invalid IP address"]);
    said("[bottle.b]\nhosts = [\n", &["bottle.toml:2:10: unclosed array"]);
    said("[bottle.b]\n[bottle.b]\n", &["bottle.toml:2:"]);
    said("[bottle.\"a/b\"]\n", &["bottle.toml:1:9: \"a/b\" is not a name"]);
    said(
        "[[bottle.b.routes]]\nhost = \"*.a.b\"\ntoken = { env = \"T\" }\n",
        &["bottle.toml:1:1: ", "\"*.a.b\" is no host name"],
    );
    said(
        "[[bottle.b.routes]]\nhost = \"a.b\"\nscheme = { basic = { user = \"u\", usr = \"v\" } }\ntoken = { env = \"T\" }\n",
        &["bottle.toml:3:", "unknown key `usr`", "is it `user`?"],
    );
    said(
        "[[bottle.b.routes]]\nhost = \"a.b\"\ntoken = { evn = \"T\" }\n",
        &["bottle.toml:3:", "is it `env`?"],
    );
    said(
        "[bottle.b.git.x]\nurl = \"https://a/b\"\nidentity = \"k\"\nknown_host = \"h\"\n",
        &["bottle.toml:1:1: ", "is no URL of a repository by ssh"],
    );
    said(
        "[bottle.b.git.x]\nurl = \"git@a:b\"\nidentity = \"k\"\nknown_host = \"h\"\npush = [{ force = true }]\n",
        &["bottle.toml:1:1: ", "either a `branch` or a `tag`"],
    );
}

#[test]
fn agents_name_what_there_is() {
    let bottle = "[bottle.review]\n[agent.a]\nimage = \"i\"\nbottle = \"reveiw\"\n";
    said(bottle, &["bottle.toml:4:10: agent a: there is no bottle \"reveiw\"", "is it `review`?"]);
    said("[bottle.b]\n[agent.aa]\nbottle = \"b\"\n", &["there is no agent \"a\"", "there is `aa`"]);
    said("[bottle.b]\n[agent.a]\nbottle = \"b\"\n", &["no image to run in", "give the agent a an `image`"]);
    said(
        "[bottle.b]\n[agent.a]\nbottle = \"b\"\nprovider = \"claude\"\ncommand = [\"x\"]\n",
        &["bottle.toml:2:8: an agent has a `provider` or a `command`, not both"],
    );
    said(
        "[bottle.b]\n[agent.a]\nbottle = \"b\"\nprovider = \"claude\"\nforward_host_credentials = true\n",
        &["bottle.toml:2:8: `forward_host_credentials` is for an agent with the provider `codex`"],
    );
    said(
        "[bottle.b]\n[agent.a]\nbottle = \"b\"\nprovider = \"codex\"\nforward_host_credentials = true\n",
        &["cannot read the login of Codex, ", "codex/auth.json: No such file", "`codex login`"],
    );
    said(
        "[[bottle.b.routes]]\nhost = \"a.b\"\ntoken = { json = { file = \"f\", at = \"key\" } }\n",
        &["bottle.toml:1:1: ", "\"key\" is no JSON pointer"],
    );
    said(
        "[bottle.b]\n[agent.a]\nbottle = \"b\"\ncommand = []\n",
        &["bottle.toml:2:8: `command` has no program"],
    );
    said(
        "[bottle.b]\n[agent.a]\nbottle = \"b\"\ncommand = [\"x\"]\nskills = [\"s\"]\n",
        &["bottle.toml:5:11: only an agent with a `provider` takes skills"],
    );
    said(
        "[bottle.b]\n[agent.a]\nbottle = \"b\"\nprovider = \"claude\"\nskills = [\"x/s\", \"y/s\"]\n",
        &["bottle.toml:5:18: there are two skills of the name \"s\""],
    );
    said(
        "[bottle.b]\n[agent.a]\nbottle = \"b\"\nprovider = \"claude\"\nskills = [\"/\"]\n",
        &["bottle.toml:5:11: \"/\" has no name"],
    );
    said(
        "[bottle.b]\n[agent.a]\nbottle = \"b\"\nimage = \"a b\"\n",
        &["bottle.toml:4:9: ", "hint: docker-archive:"],
    );
    let place = Place::new();
    place.user("[bottle.dev]\n");
    let words = ["run", "--bottle", "dve", "--image", "i"];
    place.bottle(&words).refused(&["there is no bottle \"dve\"", "is it `dev`?"]);
    place.bottle(&["run", "--bottle", "dev"]).refused(&["no image to run in", "--image IMAGE"]);
    Place::new().bottle(&["run"]).refused(&["there is no bottle.toml here or above", "`bottle init`"]);
}

#[test]
fn front_matter_is_as_strict() {
    let place = Place::new();
    place.user("[bottle.b]\n[agent.x]\nbottle = \"b\"\n");
    for (text, parts) in [
        ("---\nbottle: b\nimgae: i\n---\n", &["agents/a.md:3:1: unknown key `imgae`", "is it `image`?"][..]),
        (
            "---\nbottle: bb\nimage: i\n---\n",
            &["agents/a.md:2:9: agent a: there is no bottle \"bb\"", "there is `b`"],
        ),
        (
            "---\nbottle: b\nprovider: claud\n---\n",
            &["agents/a.md:3:11: unknown word `claud`", "is it `claude`?"],
        ),
        ("---\nbottle: [b]\n---\n", &["agents/a.md:2:9: "]),
        ("---\nbottle: b\n", &["agents/a.md:1:1: an agent's file begins with front matter"]),
        ("You are\n", &["agents/a.md:1:1: an agent's file begins with front matter"]),
        ("---\nbottle: b\nbottle: c\n---\n", &["agents/a.md:3:1: "]),
        ("---\nimage: i\n---\n", &["agents/a.md:", "`bottle` is missing here"]),
        ("---\n---\n", &["agents/a.md:"]),
        ("---\nbottle: b\ncommand: [x]\n---\nYou are\n", &["only an agent with a `provider` takes a prompt"]),
    ] {
        place.write("config/agents/a.md", text).bottle(&["run", "a"]).refused(parts);
    }
    place.write("config/agents/a.md", "---\nbottle: b\n---\n");
    place.write("config/agents/x.md", "---\nbottle: b\n---\n");
    place.bottle(&["run", "a"]).refused(&["agents/x.md:1:1: there is an [agent.x] in bottle.toml as well"]);
}

#[test]
fn a_skill_that_is_not_there_is_an_error_before_anything_starts() {
    let place = Place::new();
    place.user("[bottle.b]\n").write("config/agents/file", "");
    for (path, why) in [("missing", "No such file"), ("../gone", "No such file"), ("file", "is no directory")]
    {
        let agent = format!("---\nbottle: b\nimage: i\nprovider: claude\nskills: [{path}]\n---\n");
        place.write("config/agents/a.md", agent);
        // Docker's daemon is not even looked for.
        place.bottle(&["run", "-y", "a"]).refused(&["skills: ", &format!("/config/agents/{path}`"), why]);
    }
}
