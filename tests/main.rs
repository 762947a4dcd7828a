//! What the program promises, tested through its real door: the binary, a real socket, a real database. Only the
//! engine's own tests build it in, to hold its clock.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on must fail"
)]

mod support;

mod alerts;
mod architecture;
mod attacks;
mod clients;
mod commands;
mod configuration;
mod connections;
mod container_kills;
mod container_update;
mod control;
mod crashes;
mod dashboard;
mod databases;
mod daylight;
mod declarations;
mod development;
mod engine;
mod exactness;
mod examples;
mod expectations;
mod faults;
mod fence;
mod first_use;
mod formats;
mod gentle;
mod git_kills;
mod git_recovery;
mod git_sync;
mod guard;
mod interruption;
mod layering;
mod messages;
mod operations;
mod problems;
mod promises;
mod recordings;
mod reloading;
mod replicas;
mod requests;
mod secrets;
mod servers;
mod simulation;
mod supervision;
mod targets;
mod timing;
