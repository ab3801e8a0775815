//! Rust types as schema types: what `#[derive(Record)]` asks each struct field's type for.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::Field;

/// A type that a field of a record can have.
pub trait Type {
    /// The field before its attributes; `required` is already said (`Option` is not, everything else is).
    fn field() -> Field;
}

/// A reference to another entity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Foreign {
    pub id: Uuid,
}

impl From<Uuid> for Foreign {
    fn from(id: Uuid) -> Self {
        Self { id }
    }
}

/// JSON that does not have the shape of the struct it was to become.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConversionError(#[source] pub(crate) serde_json::Error);

macro_rules! scalars {
    ($($($type:ty),+ => $field:expr;)+) => {
        $($(impl Type for $type {
            fn field() -> Field {
                $field.required(true)
            }
        })+)+
    };
}

scalars! {
    String, Box<str>, Arc<str> => Field::string();
    Uuid => Field::string().uuid(true);
    i8, i16, i32, i64, u8, u16, u32, u64, usize, NonZeroU32 => Field::integer();
    f32, f64 => Field::number();
    bool => Field::boolean();
    Foreign => Field::foreign("");
    Value => Field::json();
}

impl<T: Type> Type for Option<T> {
    fn field() -> Field {
        let mut field = T::field();
        field.required = None;
        field
    }
}

impl<T: Type> Type for Vec<T> {
    fn field() -> Field {
        Field::array(T::field()).required(true)
    }
}

impl<T: Type> Type for Box<[T]> {
    fn field() -> Field {
        Vec::<T>::field()
    }
}

macro_rules! sets {
    ($($type:ident),+) => {
        $(impl<T: Type> Type for $type<T> {
            fn field() -> Field {
                Field::set(T::field()).required(true)
            }
        })+
    };
}
sets!(BTreeSet, HashSet);

impl<T: Type, S> Type for IndexMap<String, T, S> {
    fn field() -> Field {
        Field::map(Field::string(), T::field()).required(true)
    }
}

impl<T: Type, S> Type for HashMap<String, T, S> {
    fn field() -> Field {
        Field::map(Field::string(), T::field()).required(true)
    }
}

impl<T: Type> Type for BTreeMap<String, T> {
    fn field() -> Field {
        Field::map(Field::string(), T::field()).required(true)
    }
}

macro_rules! pointers {
    ($($type:ident),+) => {
        $(impl<T: Type> Type for $type<T> {
            fn field() -> Field {
                T::field()
            }
        })+
    };
}
pointers!(Box, Arc);
