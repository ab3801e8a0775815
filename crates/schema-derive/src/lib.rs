//! `#[derive(Record)]`: a schema from a struct. Attributes are builder calls on the schema crate's types, so that every
//! constraint the builder knows is an attribute, and a misspelt one does not compile.

mod attributes;
mod names;

use proc_macro2::TokenStream;
use quote::quote;
use syn::spanned::Spanned;
use syn::{Data, DataEnum, DataStruct, DeriveInput, Error, Fields, Result, parse_macro_input};

use attributes::{Owner, description, entity, field_calls, record_calls};
use names::{Rename, field_name, variant_name};

/// See the schema crate.
#[proc_macro_derive(Record, attributes(field, entity, check, shorthand, shorthand_rename, record))]
pub fn derive_record(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let expanded = match &input.data {
        Data::Struct(data) => record(&input, data),
        Data::Enum(data) => enumeration(&input, data),
        Data::Union(_) => Err(Error::new(input.span(), "a union is no record")),
    };
    expanded.unwrap_or_else(Error::into_compile_error).into()
}

fn record(input: &DeriveInput, data: &DataStruct) -> Result<TokenStream> {
    let name = &input.ident;
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new(input.span(), "a record has named fields"));
    };
    let rename = Rename::of(&input.attrs)?;
    let mut adds = TokenStream::new();
    for field in &fields.named {
        let Some(key) = field_name(field, rename)? else { continue };
        let ty = &field.ty;
        let calls = field_calls(&field.attrs, &quote!(<#ty as ::schema::Type>::field()), Owner::Field)?;
        let description = description(&field.attrs).map(|text| quote!(.description(#text)));
        adds.extend(quote!(.field(#key, #calls #description)));
    }
    let extra = record_calls(&input.attrs)?;
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    let entity = entity(&input.attrs, name)?.map(|schema| {
        quote! {
            #[automatically_derived]
            impl #impl_generics ::schema::Entity for #name #type_generics #where_clause {
                fn schema() -> &'static ::schema::derive::Arc<::schema::EntitySchema> {
                    static SCHEMA: ::schema::derive::LazyLock<::schema::derive::Arc<::schema::EntitySchema>> =
                        ::schema::derive::LazyLock::new(|| ::schema::derive::Arc::new(#schema));
                    &SCHEMA
                }
            }
        }
    });
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics ::schema::Type for #name #type_generics #where_clause {
            fn field() -> ::schema::Field {
                ::schema::Field::record(::schema::derive::Arc::clone(<Self as ::schema::Record>::record()))
            }
        }

        #[automatically_derived]
        impl #impl_generics ::schema::Record for #name #type_generics #where_clause {
            fn record() -> &'static ::schema::derive::Arc<::schema::RecordSchema> {
                static RECORD: ::schema::derive::LazyLock<::schema::derive::Arc<::schema::RecordSchema>> =
                    ::schema::derive::LazyLock::new(|| {
                        ::schema::derive::Arc::new(::schema::RecordSchema::default() #adds #extra)
                    });
                &RECORD
            }
        }

        #entity
    })
}

/// A fieldless enum is a string with its variants as `one_of`.
fn enumeration(input: &DeriveInput, data: &DataEnum) -> Result<TokenStream> {
    let name = &input.ident;
    let rename = Rename::of(&input.attrs)?;
    let mut variants = Vec::new();
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(Error::new(variant.span(), "a variant of a string has no fields"));
        }
        variants.push(variant_name(variant, rename)?);
    }
    Ok(quote! {
        #[automatically_derived]
        impl ::schema::Type for #name {
            fn field() -> ::schema::Field {
                ::schema::Field::string().required(true).one_of([#(#variants),*])
            }
        }
    })
}
