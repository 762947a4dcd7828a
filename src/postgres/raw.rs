//! A value of any type that is sent as text, such as JSON.

use std::error::Error;

use tokio_postgres::types::{FromSql, Type};

/// The text of a value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Raw(pub String);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, bytes: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(String::from_utf8_lossy(bytes).into_owned()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
