//! Who a process runs as: `USER` resolved in the accounts of a root file system.

mod user;

pub use user::{
    Account, Group, User, UserError, account_file, parse_accounts, parse_groups, resolve_group, resolve_user,
};
