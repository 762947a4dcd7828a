//! PostgreSQL: its addresses, connections that are bounded in time, and errors in words. What is asked of it is left to
//! `state` and `sql`.

mod address;
mod connection;
mod error;
mod raw;
mod tls;

pub(crate) use address::Address;
pub(crate) use connection::{Connection, Parameters, Session, apart};
pub(crate) use error::PostgresError;
pub(crate) use raw::Raw;
pub(crate) use tokio_postgres::Row;
pub(crate) use tokio_postgres::types::{ToSql, Type};
