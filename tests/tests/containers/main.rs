//! Containers for daily use: a test file a family of commands, as root and as an ordinary user.

mod bad_input;
mod cases;
mod changes;
mod checklist;
mod copying;
mod database;
mod exec;
mod foreground;
mod health;
mod images;
mod init;
mod interactive;
mod lifecycle;
mod listing;
mod logs;
mod pausing;
mod restart;
mod sharing;
mod single_id;
mod stats;
mod supervisor;
mod volume_commands;
mod volumes;
mod world;
