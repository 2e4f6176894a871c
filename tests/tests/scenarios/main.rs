//! BuildKit's integration scenarios that golden does not cover: those that need a server, two builds, or another form
//! of the result. `table` says of each scenario of the corpus where it is tested, or why not.

mod calls;
mod contexts;
mod corpus;
mod epoch;
mod git;
mod graph;
mod made;
mod platforms;
mod remote;
mod run;
mod table;
mod url;
mod web;
