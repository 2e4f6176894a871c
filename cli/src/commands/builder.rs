//! `kiln buildx ls` and the other commands about builders: there is one, and it is kiln itself.

use serde_json::json;

use super::{CommandError, print};
use crate::args::{BuilderCommand, Cli};
use crate::environment::Environment;
use crate::template;

const NAME: &str = "kiln";

/// Says of the one builder what `docker buildx` says of its builders.
///
/// # Errors
/// A format that cannot be understood.
pub(crate) fn builder(
    command: &BuilderCommand,
    cli: &Cli,
    environment: &Environment,
) -> Result<(), CommandError> {
    let root = environment.store_root(cli.root.as_deref()).display().to_string();
    let platform = kiln_core::Platform::host().to_string();
    match command {
        BuilderCommand::Create(_) => print(&format!("{NAME}\n")),
        BuilderCommand::Use(_) | BuilderCommand::Rm(_) => Ok(()),
        BuilderCommand::Inspect(_) => print(&format!(
            "Name:      {NAME}\nDriver:    {NAME}\n\nNodes:\nName:      {NAME}\nEndpoint:  {root}\nStatus:    running\n\
             Platforms: {platform}\n"
        )),
        BuilderCommand::Ls(args) => {
            let row = json!({
                "Name": NAME, "Driver": NAME, "DriverEndpoint": root, "Status": "running", "Current": true,
                "Platforms": platform, "Version": env!("CARGO_PKG_VERSION"),
            });
            let columns = [
                ("Name", "NAME/NODE"),
                ("DriverEndpoint", "DRIVER/ENDPOINT"),
                ("Status", "STATUS"),
                ("Version", "VERSION"),
                ("Platforms", "PLATFORMS"),
            ];
            let format = if args.format == "text" { "table" } else { &args.format };
            let text = template::list(format, &columns, &[row])?;
            print(&text)
        }
    }
}
