//! Attributes as builder calls: `flag` is `.flag(true)`, `name = value` is `.name(value)`, `name(a, b)` is `.name(a, b)`.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Attribute, Error, Expr, ExprLit, ExprPath, Lit, Meta, MetaNameValue, Result, Token, parenthesized};

/// What an attribute's calls are made on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Field,
    Other,
}

/// One item of an attribute's list.
struct Item {
    name: Ident,
    value: ItemValue,
}

enum ItemValue {
    Flag,
    Value(Expr),
    Arguments(Punctuated<Expr, Token![,]>),
    /// `elements(..)` and its like: items on an inner field.
    Nested(Vec<Item>),
}

fn is_nested(name: &Ident) -> bool {
    ["elements", "keys", "values"].iter().any(|nested| name == nested)
}

impl Parse for Item {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name = input.call(Ident::parse_any)?;
        let value = if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            ItemValue::Value(input.parse()?)
        } else if input.peek(syn::token::Paren) {
            let content;
            parenthesized!(content in input);
            if is_nested(&name) {
                ItemValue::Nested(items(&content)?)
            } else {
                ItemValue::Arguments(content.parse_terminated(Expr::parse, Token![,])?)
            }
        } else {
            ItemValue::Flag
        };
        Ok(Self { name, value })
    }
}

fn items(input: ParseStream<'_>) -> Result<Vec<Item>> {
    Ok(Punctuated::<Item, Token![,]>::parse_terminated(input)?.into_iter().collect())
}

/// The items of every attribute of this name.
fn all(attributes: &[Attribute], name: &str) -> Result<Vec<Item>> {
    let mut out = Vec::new();
    for attribute in attributes.iter().filter(|a| a.path().is_ident(name)) {
        if matches!(attribute.meta, Meta::Path(_)) {
            continue;
        }
        out.extend(attribute.parse_args_with(items)?);
    }
    Ok(out)
}

/// A field's expression: the type's field, or a typedef, with the attributes' calls.
pub(crate) fn field_calls(attributes: &[Attribute], base: &TokenStream, owner: Owner) -> Result<TokenStream> {
    calls(all(attributes, "field")?, base.clone(), owner)
}

fn calls(items: Vec<Item>, base: TokenStream, owner: Owner) -> Result<TokenStream> {
    let mut base = base;
    let mut chain = TokenStream::new();
    for Item { name, value } in items {
        if owner == Owner::Field && name == "typedef" {
            base = typedef(&name, value, &base)?;
            continue;
        }
        let method = if owner == Owner::Field && name == "set" { format_ident!("set_of") } else { raw(&name) };
        chain.extend(match value {
            ItemValue::Flag => quote!(.#method(true)),
            ItemValue::Value(value) => {
                let value = null(value);
                quote!(.#method(#value))
            }
            ItemValue::Arguments(arguments) => quote!(.#method(#arguments)),
            ItemValue::Nested(items) => {
                let method = format_ident!("map_{name}");
                let inner = calls(items, quote!(field), Owner::Field)?;
                quote!(.#method(|field: ::schema::Field| #inner))
            }
        });
    }
    Ok(quote!(#base #chain))
}

/// A typedef keeps whether the Rust type is optional.
fn typedef(name: &Ident, value: ItemValue, base: &TokenStream) -> Result<TokenStream> {
    let call = match value {
        ItemValue::Value(Expr::Path(ExprPath { path, .. })) => match path.get_ident() {
            Some(ident) => quote!(::schema::typedefs::#ident()),
            None => quote!(#path()),
        },
        ItemValue::Value(expression) => quote!(#expression),
        _ => return Err(Error::new(name.span(), "expected `typedef = name`")),
    };
    Ok(quote!(::schema::Field::in_place_of(#base, #call)))
}

fn raw(name: &Ident) -> Ident {
    match name.to_string().as_str() {
        "match" => format_ident!("match_"),
        "abstract" => format_ident!("abstract_record"),
        _ => name.clone(),
    }
}

/// The word `null` is JSON's.
fn null(value: Expr) -> TokenStream {
    match &value {
        Expr::Path(path) if path.path.is_ident("null") => quote!(::schema::Value::Null),
        _ => quote!(#value),
    }
}

/// `#[check(..)]`, `#[shorthand(..)]`, `#[shorthand_rename(..)]` and `#[record(..)]` as calls on the record, in order.
pub(crate) fn record_calls(attributes: &[Attribute]) -> Result<TokenStream> {
    let mut out = TokenStream::new();
    for attribute in attributes {
        if attribute.path().is_ident("check") {
            let check: Expr = attribute.parse_args()?;
            out.extend(quote!(.check(::schema::Check::#check)));
        } else if attribute.path().is_ident("shorthand") || attribute.path().is_ident("shorthand_rename") {
            let method = attribute.path();
            let arguments = attribute.parse_args_with(Punctuated::<Expr, Token![,]>::parse_terminated)?;
            out.extend(quote!(.#method(#arguments)));
        } else if attribute.path().is_ident("record") {
            let items = attribute.parse_args_with(items)?;
            out.extend(calls(items, TokenStream::new(), Owner::Other)?);
        }
    }
    Ok(out)
}

/// `#[entity(name = "x", ..)]` as an entity schema.
pub(crate) fn entity(attributes: &[Attribute], record: &Ident) -> Result<Option<TokenStream>> {
    let Some(attribute) = attributes.iter().find(|a| a.path().is_ident("entity")) else { return Ok(None) };
    let mut items = all(attributes, "entity")?;
    let at = items
        .iter()
        .position(|item| item.name == "name")
        .ok_or_else(|| Error::new_spanned(attribute, "an entity has a name"))?;
    let ItemValue::Value(name) = items.remove(at).value else {
        return Err(Error::new_spanned(attribute, "expected `name = \"..\"`"));
    };
    let base = quote! {
        ::schema::EntitySchema::new(
            #name,
            ::schema::derive::Arc::clone(<#record as ::schema::Record>::record()),
        )
    };
    calls(items, base, Owner::Other).map(Some)
}

/// The doc comment as one text.
pub(crate) fn description(attributes: &[Attribute]) -> Option<String> {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(MetaNameValue { path, value: Expr::Lit(ExprLit { lit: Lit::Str(text), .. }), .. })
            if path.is_ident("doc") =>
        {
            Some(text.value().trim().to_owned())
        }
        _ => None,
    });
    let text = lines.collect::<Vec<_>>().join(" ").trim().to_owned();
    (!text.is_empty()).then_some(text)
}
