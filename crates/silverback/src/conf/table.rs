//! The macro that turns the table of properties into `Conf`, its reader, its dump and its documentation.

/// Whether a property changes anything in this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It does.
    Active,
    /// The feature behind it is not built yet.
    Later,
    /// It tunes machinery of Kong's that does not exist here.
    Moot,
}

/// One row of the table.
#[derive(Debug)]
pub struct Property {
    pub name: &'static str,
    pub section: &'static str,
    /// The type's name in the documentation.
    pub kind: &'static str,
    /// The words a choice or a list allows; empty when there is no such limit.
    pub choices: &'static [&'static str],
    /// As text; empty is unset.
    pub default: &'static str,
    pub documentation: &'static str,
    pub effect: Effect,
    /// Never shown: masked in the Admin API's dump, left out of messages.
    pub masked: bool,
}

/// `"SECTION" { name: Type = "default", effect, "documentation"; ... }`
macro_rules! properties {
    ($($section:literal { $($name:ident: $kind:ty = $default:literal, $effect:ident, $documentation:literal;)* })*) => {
        /// The node's configuration: one field per property of kong.conf, checked and typed.
        #[derive(Debug, Clone)]
        pub struct Conf {
            $($(#[doc = $documentation] pub $name: $kind,)*)*
            pub(super) injected: crate::conf::directives::Injected,
            pub(super) extra: std::collections::BTreeMap<String, Secret>,
            pub(super) warnings: Vec<String>,
        }

        /// Every property, in the order of the documentation.
        pub const PROPERTIES: &[Property] = &[
            $($(Property {
                name: stringify!($name),
                section: $section,
                kind: <$kind as Kind>::TYPE,
                choices: <$kind as Kind>::CHOICES,
                default: $default,
                documentation: $documentation,
                effect: Effect::$effect,
                masked: <$kind as Kind>::SECRET,
            },)*)*
        ];

        impl Conf {
            /// Reads every property, collecting all problems; `None` when there was one.
            pub(super) fn collect(reader: &mut Reader<'_>) -> Option<Self> {
                $($(let $name = reader.read::<$kind>(stringify!($name), $default);)*)*
                Some(Self {
                    $($($name: $name?,)*)*
                    injected: Default::default(),
                    extra: Default::default(),
                    warnings: Vec::new(),
                })
            }

            /// The properties as the Admin API shows them; unset ones are absent.
            pub(super) fn dump_properties(&self) -> serde_json::Map<String, serde_json::Value> {
                let mut shown = serde_json::Map::new();
                $($(
                    let value = Kind::dump(&self.$name);
                    let is_empty = value.as_array().is_some_and(Vec::is_empty);
                    if <$kind as Kind>::SECRET && !value.is_null() && !is_empty {
                        shown.insert(stringify!($name).to_owned(), "******".into());
                    } else if !value.is_null() {
                        shown.insert(stringify!($name).to_owned(), value);
                    }
                )*)*
                shown
            }
        }
    };
}

pub(super) use properties;
