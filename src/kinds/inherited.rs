//! Which variables of the service a program inherits.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// All of them, none, or some.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Inherited {
    #[default]
    All,
    None,
    Named(Vec<String>),
}

impl Inherited {
    /// Those of `variables` that are inherited.
    pub(super) fn of(&self, variables: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        match self {
            Self::All => variables.clone(),
            Self::None => BTreeMap::new(),
            Self::Named(names) => {
                let found = names
                    .iter()
                    .filter_map(|name| Some((name.clone(), variables.get(name)?.clone())));
                found.collect()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Inherited {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Inherited;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or a list of names of variables")
            }

            fn visit_bool<E>(self, all: bool) -> Result<Inherited, E> {
                Ok(if all { Inherited::All } else { Inherited::None })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Inherited, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(Inherited::Named(names))
            }
        }
        from.deserialize_any(Either)
    }
}

impl JsonSchema for Inherited {
    fn schema_name() -> Cow<'static, str> {
        "Inherited".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Whether all variables are inherited, or the names of those that are",
            "oneOf": [{ "type": "boolean" }, { "type": "array", "items": { "type": "string" } }],
        })
    }
}
