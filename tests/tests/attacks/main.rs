//! What has been tried on builders and runtimes, tried on kiln: each case is a Dockerfile, a context, an image or a tar that
//! reaches for what lies outside of the sandbox, for each kind of user. Where an attack was published, its CVE is named.

mod cache_mounts;
mod context;
mod credentials;
mod git;
mod hostile_tar;
mod mounts;
mod names;
mod outside;
mod privileges;
mod resources;
mod runtime;
mod syscalls;
mod unpack;
