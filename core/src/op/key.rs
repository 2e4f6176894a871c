//! How an operation goes into a key: every field that can change its result, and none that cannot (see the table of `op`).

use super::{
    Access, CacheMount, Chmod, Copy, CopySource, Exec, ExecMount, FileAction, FileEdit, GitSource,
    HttpSource, ImageLocator, ImageSource, InlineFile, LocalSource, MountKind, NetworkMode, Op, SecretEnv,
    SecurityMode, Sharing, Source, Surroundings, Ulimit, Unpack,
};
use crate::{StableHash, StableHasher};

macro_rules! hash_fields {
    ($type:ty { $($field:ident),+ $(,)? }) => {
        impl StableHash for $type {
            fn stable_hash(&self, into: &mut StableHasher) {
                $(self.$field.stable_hash(into);)+
            }
        }
    };
}

macro_rules! hash_as_number {
    ($($type:ty),+) => { $(
        impl StableHash for $type {
            fn stable_hash(&self, into: &mut StableHasher) {
                into.number(*self as u64);
            }
        }
    )+ };
}

hash_as_number!(NetworkMode, SecurityMode, Sharing, Unpack);
hash_fields!(ImageSource { locator, platform });
hash_fields!(LocalSource { name, wanted });
hash_fields!(HttpSource { url, checksum, filename, mode });
hash_fields!(GitSource { remote, reference, subdir, checksum, keep_git_dir, submodules });
// `proxy_env` stays out: see the table above.
hash_fields!(Exec {
    args,
    env,
    cwd,
    user,
    mounts,
    secret_env,
    files,
    network,
    security,
    surroundings,
    devices,
    platform
});
hash_fields!(Surroundings { hostname, add_hosts, shm_size, ulimits, cgroup_parent });
hash_fields!(Ulimit { name, soft, hard });
hash_fields!(ExecMount { target, kind });
hash_fields!(CacheMount { id, sharing, input, source, access, read_only });
hash_fields!(Access { uid, gid, mode });
hash_fields!(SecretEnv { name, id, required });
hash_fields!(FileEdit { actions, link, created });
hash_fields!(Copy { sources, destination, chown, chmod, parents, exclude, unpack });

impl StableHash for Op {
    fn stable_hash(&self, into: &mut StableHasher) {
        match self {
            Self::Source(source) => {
                into.number(0);
                source.stable_hash(into);
            }
            Self::Exec(exec) => {
                into.number(1);
                exec.stable_hash(into);
            }
            Self::File(edit) => {
                into.number(2);
                edit.stable_hash(into);
            }
        }
    }
}

impl StableHash for Source {
    fn stable_hash(&self, into: &mut StableHasher) {
        match self {
            Self::Scratch => into.number(0),
            Self::Image(image) => {
                into.number(1);
                image.stable_hash(into);
            }
            Self::Local(local) => {
                into.number(2);
                local.stable_hash(into);
            }
            Self::Http(http) => {
                into.number(3);
                http.stable_hash(into);
            }
            Self::Git(git) => {
                into.number(4);
                git.stable_hash(into);
            }
        }
    }
}

impl StableHash for ImageLocator {
    fn stable_hash(&self, into: &mut StableHasher) {
        match self {
            Self::Store { id } => {
                into.number(0);
                id.stable_hash(into);
            }
            // A manifest is the same image wherever it is found.
            Self::Registry { manifest, .. } | Self::Layout { manifest, .. } => {
                into.number(1);
                manifest.stable_hash(into);
            }
        }
    }
}

impl StableHash for MountKind {
    fn stable_hash(&self, into: &mut StableHasher) {
        match self {
            Self::Bind { input, source, writable } => {
                into.number(0);
                input.stable_hash(into);
                source.stable_hash(into);
                writable.stable_hash(into);
            }
            Self::Cache(cache) => {
                into.number(1);
                cache.stable_hash(into);
            }
            Self::Tmpfs { size } => {
                into.number(2);
                size.stable_hash(into);
            }
            Self::Secret { id, required, access } => {
                into.number(3);
                id.stable_hash(into);
                required.stable_hash(into);
                access.stable_hash(into);
            }
            Self::Ssh { id, required, access } => {
                into.number(4);
                id.stable_hash(into);
                required.stable_hash(into);
                access.stable_hash(into);
            }
        }
    }
}

impl StableHash for InlineFile {
    fn stable_hash(&self, into: &mut StableHasher) {
        self.path.stable_hash(into);
        into.bytes(&self.data);
        self.mode.stable_hash(into);
    }
}

impl StableHash for FileAction {
    fn stable_hash(&self, into: &mut StableHasher) {
        match self {
            Self::Copy(copy) => {
                into.number(0);
                copy.stable_hash(into);
            }
            Self::MakeDir { path, owner, mode } => {
                into.number(1);
                path.stable_hash(into);
                owner.stable_hash(into);
                mode.stable_hash(into);
            }
        }
    }
}

impl StableHash for CopySource {
    fn stable_hash(&self, into: &mut StableHasher) {
        match self {
            Self::Path { input, path, required } => {
                into.number(0);
                input.stable_hash(into);
                path.stable_hash(into);
                required.stable_hash(into);
            }
            Self::Inline(file) => {
                into.number(1);
                file.stable_hash(into);
            }
        }
    }
}

impl StableHash for Chmod {
    fn stable_hash(&self, into: &mut StableHasher) {
        match self {
            Self::Octal(mode) => {
                into.number(0);
                mode.stable_hash(into);
            }
            Self::Symbolic(text) => {
                into.number(1);
                text.stable_hash(into);
            }
        }
    }
}
