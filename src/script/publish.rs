//! An event of the user's own: `lua/publish_event.lua`.

use super::{Args, Script, script};

pub(crate) static SCRIPT: Script = script!("publish_event", Produces, uses: ["codes", "queue", "settings"]);

pub(crate) fn args(name: &str, fields: &[(&str, &str)]) -> Args {
    let mut args = Args::default();
    args.text(name);
    for (field, value) in fields {
        args.text(field).text(value);
    }
    args
}
