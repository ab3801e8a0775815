//! Names of fields and variants, as serde writes them.

use syn::{Attribute, Expr, ExprLit, Field, Lit, Meta, Result, Token, Variant, punctuated::Punctuated};

/// `#[serde(rename_all = "..")]`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rename {
    None,
    Lower,
    Upper,
    Camel,
    Snake,
    ScreamingSnake,
    Kebab,
    ScreamingKebab,
}

impl Rename {
    pub(crate) fn of(attributes: &[Attribute]) -> Result<Self> {
        Ok(match serde(attributes, "rename_all")?.as_deref() {
            Some("lowercase") => Self::Lower,
            Some("UPPERCASE") => Self::Upper,
            Some("camelCase") => Self::Camel,
            Some("snake_case") => Self::Snake,
            Some("SCREAMING_SNAKE_CASE") => Self::ScreamingSnake,
            Some("kebab-case") => Self::Kebab,
            Some("SCREAMING-KEBAB-CASE") => Self::ScreamingKebab,
            _ => Self::None,
        })
    }

    fn variant(self, name: &str) -> String {
        let snake = || {
            let mut out = String::new();
            for (at, c) in name.char_indices() {
                if at > 0 && c.is_uppercase() {
                    out.push('_');
                }
                out.extend(c.to_lowercase());
            }
            out
        };
        match self {
            Self::None => name.to_owned(),
            Self::Lower => name.to_lowercase(),
            Self::Upper => name.to_uppercase(),
            Self::Camel => {
                let mut chars = name.chars();
                chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
            }
            Self::Snake => snake(),
            Self::ScreamingSnake => snake().to_uppercase(),
            Self::Kebab => snake().replace('_', "-"),
            Self::ScreamingKebab => snake().to_uppercase().replace('_', "-"),
        }
    }

    fn field(self, name: &str) -> String {
        match self {
            Self::Upper | Self::ScreamingSnake => name.to_uppercase(),
            Self::Kebab => name.replace('_', "-"),
            Self::ScreamingKebab => name.to_uppercase().replace('_', "-"),
            Self::Camel => {
                let mut up = false;
                let mut out = String::new();
                for c in name.chars() {
                    if c == '_' {
                        up = true;
                    } else if std::mem::take(&mut up) {
                        out.extend(c.to_uppercase());
                    } else {
                        out.push(c);
                    }
                }
                out
            }
            Self::None | Self::Lower | Self::Snake => name.to_owned(),
        }
    }
}

/// The field's key; `None` when serde skips it.
pub(crate) fn field_name(field: &Field, rename: Rename) -> Result<Option<String>> {
    if has_flag(&field.attrs, "skip")? {
        return Ok(None);
    }
    if let Some(name) = serde(&field.attrs, "rename")? {
        return Ok(Some(name));
    }
    let ident = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
    Ok(Some(rename.field(ident.strip_prefix("r#").unwrap_or(&ident))))
}

pub(crate) fn variant_name(variant: &Variant, rename: Rename) -> Result<String> {
    Ok(match serde(&variant.attrs, "rename")? {
        Some(name) => name,
        None => rename.variant(&variant.ident.to_string()),
    })
}

fn serde_metas(attributes: &[Attribute]) -> Result<Vec<Meta>> {
    let mut out = Vec::new();
    for attribute in attributes.iter().filter(|a| a.path().is_ident("serde")) {
        out.extend(attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)?);
    }
    Ok(out)
}

/// The text of `#[serde(key = "text")]`.
fn serde(attributes: &[Attribute], key: &str) -> Result<Option<String>> {
    for meta in serde_metas(attributes)? {
        if let Meta::NameValue(pair) = meta
            && pair.path.is_ident(key)
            && let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = pair.value
        {
            return Ok(Some(text.value()));
        }
    }
    Ok(None)
}

fn has_flag(attributes: &[Attribute], key: &str) -> Result<bool> {
    Ok(serde_metas(attributes)?.iter().any(|meta| matches!(meta, Meta::Path(path) if path.is_ident(key))))
}
