//! `bottle-sidecar secrets`: hands the secrets on its stdin, JSON by daemon and name, to the init. The launcher has docker run it,
//! as root, with a stream as its stdin: so they are in no argument, no environment, no file, and in nothing that docker keeps.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read as _;
use std::process::ExitCode;

use bottle_protocol::bundle::{Answer, LINE_LIMIT_BYTES, Request, Secrets};

use crate::client::ask;
use crate::log;

/// See the module.
pub(crate) fn main(_arguments: Vec<OsString>) -> ExitCode {
    match hand_over() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            log(&why);
            ExitCode::FAILURE
        }
    }
}

fn hand_over() -> Result<(), String> {
    let mut text = String::new();
    let mut stdin = std::io::stdin().lock().take(LINE_LIMIT_BYTES as u64);
    stdin.read_to_string(&mut text).map_err(|error| format!("cannot read the secrets: {error}"))?;
    // Not serde_json's own words: they may quote what they could not read.
    let secrets: BTreeMap<String, Secrets> =
        serde_json::from_str(&text).map_err(|_| "the secrets are malformed".to_owned())?;
    match ask(&Request::Secrets(secrets)) {
        Ok(Answer::Done) => Ok(()),
        Ok(Answer::Refused(why)) => Err(why),
        Ok(Answer::Status(_)) => Err("the init answered something else".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
