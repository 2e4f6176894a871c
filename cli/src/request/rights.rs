//! `--security-opt`: what a container's process may gain, and which system calls it may make.

use kiln_executor::sandbox::Profile;
use kiln_executor::spec::ProcessRequest;

use super::error::UsageError;

/// Adds the options to the request of a process.
///
/// # Errors
/// An option that is not known, or a profile that cannot be read.
pub(crate) fn security(options: &[String], request: &mut ProcessRequest) -> Result<(), UsageError> {
    for option in options {
        // Docker takes both signs.
        let (name, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
        match (name, value) {
            ("no-new-privileges", "" | "true") => request.no_new_privileges = true,
            ("no-new-privileges", "false") => request.no_new_privileges = false,
            ("seccomp", "unconfined") => request.profile = Profile::Unconfined,
            ("seccomp", "builtin" | "default") => request.profile = Profile::Default,
            ("seccomp", file) if !file.is_empty() => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| UsageError::value("security-opt", option, &error.to_string()))?;
                request.profile = Profile::Custom(text);
            }
            // kiln labels nothing and loads no profiles of AppArmor: what asks for none has it.
            ("label", "disable") | ("apparmor", "unconfined") | ("systempaths", "") => {}
            ("label", _) => {
                return Err(UsageError::value(
                    "security-opt",
                    option,
                    "kiln sets no labels of SELinux: only label=disable",
                ));
            }
            ("apparmor", _) => {
                return Err(UsageError::value(
                    "security-opt",
                    option,
                    "kiln loads no profiles of AppArmor: only apparmor=unconfined",
                ));
            }
            _ => return Err(UsageError::value("security-opt", option, "not supported")),
        }
    }
    Ok(())
}
