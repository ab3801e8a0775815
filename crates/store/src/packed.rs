//! Rows in little memory. As trees of values, a hundred thousand rows take hundreds of megabytes, most of it for the same
//! names and defaults again and again: here the names of an object are kept once for all objects that have the same, and with
//! them the fields of the first such object. Of the others only what differs from it is kept.

use ahash::RandomState;
use serde_json::{Map, Number, Value};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use uuid::Uuid;

/// What users may name as they like must not fill the memory: beyond this, objects keep their names themselves.
const MOST_SHAPES: usize = 4096;
/// Longer fields are each object's own: they are hardly ever the same.
const LONGEST_SHARED: usize = 32;

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const SIGNED: u8 = 3;
const UNSIGNED: u8 = 4;
const FLOAT: u8 = 5;
const ID: u8 = 6;
const TEXT: u8 = 7;
const LIST: u8 = 8;
const SHAPED: u8 = 9;
const NAMED: u8 = 10;

/// What objects have in common: their names, in their order, and the packed fields of the first one; empty where none is shared.
struct Shape {
    names: Box<[String]>,
    first: Box<[Box<[u8]>]>,
}

/// The shapes of all objects.
#[derive(Default)]
pub(crate) struct Packer {
    shapes: Vec<Shape>,
    by_hash: HashMap<u64, Vec<usize>, RandomState>,
    hasher: RandomState,
}

impl Packer {
    pub(crate) fn pack(&mut self, value: &Value) -> Box<[u8]> {
        let mut out = Vec::with_capacity(256);
        self.value(value, &mut out);
        out.into()
    }

    pub(crate) fn unpack(&self, packed: &[u8]) -> Value {
        // Only what `pack` made comes here.
        Reader { rest: packed, shapes: &self.shapes }.value().unwrap_or_default()
    }

    fn value(&mut self, value: &Value, out: &mut Vec<u8>) {
        match value {
            Value::Null => out.push(NULL),
            Value::Bool(false) => out.push(FALSE),
            Value::Bool(true) => out.push(TRUE),
            Value::Number(number) => pack_number(number, out),
            Value::String(text) => pack_text(text, out),
            Value::Array(items) => {
                out.push(LIST);
                pack_length(items.len() as u64, out);
                items.iter().for_each(|item| self.value(item, out));
            }
            Value::Object(fields) => match self.shape(fields) {
                Some(shape) => self.shaped(shape, fields, out),
                None => {
                    out.push(NAMED);
                    pack_length(fields.len() as u64, out);
                    fields.keys().for_each(|name| pack_bytes(name.as_bytes(), out));
                    fields.values().for_each(|field| self.value(field, out));
                }
            },
        }
    }

    /// The shape, a bit for each field that is other than the first object's, and those fields.
    fn shaped(&mut self, shape: usize, fields: &Map<String, Value>, out: &mut Vec<u8>) {
        out.push(SHAPED);
        pack_length(shape as u64, out);
        let bits = out.len();
        out.resize(bits + fields.len().div_ceil(8), 0);
        for (at, field) in fields.values().enumerate() {
            let begin = out.len();
            self.value(field, out);
            if out[begin..] == *self.shapes[shape].first[at] {
                out.truncate(begin);
            } else {
                out[bits + at / 8] |= 1 << (at % 8);
            }
        }
    }

    fn shape(&mut self, fields: &Map<String, Value>) -> Option<usize> {
        let mut hasher = self.hasher.build_hasher();
        for name in fields.keys() {
            hasher.write(name.as_bytes());
            hasher.write_u8(0xFF);
        }
        let hash = hasher.finish();
        let is_it = |shape: &&usize| self.shapes.get(**shape).is_some_and(|shape| shape.names.iter().eq(fields.keys()));
        if let Some(shape) = self.by_hash.get(&hash).and_then(|known| known.iter().find(is_it)) {
            return Some(*shape);
        }
        if self.shapes.len() >= MOST_SHAPES {
            return None;
        }
        let first = fields.values().map(|field| {
            let mut packed = Vec::new();
            self.value(field, &mut packed);
            if packed.len() <= LONGEST_SHARED { packed.into() } else { Box::default() }
        });
        let shape = Shape { first: first.collect(), names: fields.keys().cloned().collect() };
        // Fields, too, may have had new shapes.
        if self.shapes.len() >= MOST_SHAPES {
            return None;
        }
        self.by_hash.entry(hash).or_default().push(self.shapes.len());
        self.shapes.push(shape);
        Some(self.shapes.len() - 1)
    }
}

fn pack_number(number: &Number, out: &mut Vec<u8>) {
    if let Some(signed) = number.as_i64() {
        out.push(SIGNED);
        // Small numbers of either sign are short.
        pack_length(((signed << 1) ^ (signed >> 63)).cast_unsigned(), out);
    } else if let Some(unsigned) = number.as_u64() {
        out.push(UNSIGNED);
        pack_length(unsigned, out);
    } else {
        out.push(FLOAT);
        out.extend_from_slice(&number.as_f64().unwrap_or_default().to_le_bytes());
    }
}

fn pack_text(text: &str, out: &mut Vec<u8>) {
    match id(text) {
        Some(id) => {
            out.push(ID);
            out.extend_from_slice(id.as_bytes());
        }
        None => {
            out.push(TEXT);
            pack_bytes(text.as_bytes(), out);
        }
    }
}

/// The id that is written like this.
pub(crate) fn id(text: &str) -> Option<Uuid> {
    if text.len() != 36 {
        return None;
    }
    let id = Uuid::try_parse(text).ok()?;
    (id.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text).then_some(id)
}

fn pack_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    pack_length(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Seven bits a byte, the lowest first.
fn pack_length(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

struct Reader<'a> {
    rest: &'a [u8],
    shapes: &'a [Shape],
}

impl<'a> Reader<'a> {
    fn value(&mut self) -> Option<Value> {
        Some(match *self.bytes(1)?.first()? {
            NULL => Value::Null,
            FALSE => Value::Bool(false),
            TRUE => Value::Bool(true),
            SIGNED => {
                let number = self.length()?;
                Value::from((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
            }
            UNSIGNED => Value::from(self.length()?),
            FLOAT => Value::from(f64::from_le_bytes(self.bytes(8)?.try_into().ok()?)),
            ID => Value::from(Uuid::from_slice(self.bytes(16)?).ok()?.to_string()),
            TEXT => Value::from(self.text()?),
            LIST => {
                let count = self.length()?;
                Value::Array((0..count).map(|_| self.value()).collect::<Option<_>>()?)
            }
            SHAPED => {
                let shape = usize::try_from(self.length()?).ok()?;
                let Shape { names, first } = self.shapes.get(shape)?;
                let bits = self.bytes(names.len().div_ceil(8))?;
                let mut fields = Map::with_capacity(names.len());
                for (at, (name, first)) in names.iter().zip(first).enumerate() {
                    let is_own = bits.get(at / 8)? & (1 << (at % 8)) != 0;
                    let value = if is_own { self.value()? } else { Reader { rest: first, ..*self }.value()? };
                    fields.insert(name.clone(), value);
                }
                Value::Object(fields)
            }
            NAMED => {
                let count = self.length()?;
                let names: Vec<String> = (0..count).map(|_| self.text()).collect::<Option<_>>()?;
                Value::Object(names.into_iter().map(|name| Some((name, self.value()?))).collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(bytes)
    }

    fn length(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes(1)?.first()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.length()?).ok()?;
        String::from_utf8(self.bytes(length)?.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST_SHAPES, Packer};
    use serde_json::{Value, json};

    #[test]
    fn what_is_packed_comes_out_as_it_was() {
        let values = [
            json!(null),
            json!({ "b": [true, false, null, {}], "a": { "b": 1, "c": [] } }),
            json!([0, 1, -1, 127, 128, -128, i64::MIN, i64::MAX, u64::MAX]),
            json!([0.5, -0.0, 1.0, 1e300, f64::MIN_POSITIVE]),
            json!(["", "text", "ö€", "c0ffee00-0000-4000-8000-000000000001", "C0FFEE00-0000-4000-8000-000000000001"]),
            json!("c0ffee000000400080000000000000010000"),
            json!("x".repeat(100_000)),
        ];
        let mut packer = Packer::default();
        let packed: Vec<_> = values.iter().map(|value| packer.pack(value)).collect();
        for (value, packed) in values.iter().zip(&packed) {
            let unpacked = packer.unpack(packed);
            assert_eq!(unpacked.to_string(), value.to_string());
        }
    }

    #[test]
    fn fields_that_are_as_in_the_first_object_take_no_room() {
        let row = |name: &str, list: Value, inner: Value| json!({ "name": name, "list": list, "long": "l".repeat(99), "inner": inner });
        let rows = [
            row("a", json!([1, "x"]), json!({ "id": 1, "none": null })),
            row("a", json!([1, "x"]), json!({ "id": 1, "none": null })),
            row("b", json!([1, "y"]), json!({ "id": 2, "none": null })),
            row("a", json!([]), Value::Null),
            row("", Value::Null, json!({ "id": 1, "none": 0 })),
        ];
        let mut packer = Packer::default();
        let packed: Vec<_> = rows.iter().map(|row| packer.pack(row)).collect();
        for (row, packed) in rows.iter().zip(&packed) {
            assert_eq!(packer.unpack(packed).to_string(), row.to_string());
        }
        let lengths: Vec<usize> = packed.iter().map(|packed| packed.len() - 99).collect();
        assert_eq!(lengths[..2], [5, 5], "{lengths:?}");
        assert!(lengths.iter().all(|length| *length < 25), "{lengths:?}");
    }

    #[test]
    fn the_names_of_objects_are_kept_once_and_are_bounded() {
        let mut packer = Packer::default();
        let row = |n: usize| json!({ "id": "c0ffee00-0000-4000-8000-000000000001", "a_long_name_of_a_field": n, "none": null });
        let rows: Vec<Value> = (0..100).map(row).collect();
        let packed: Vec<_> = rows.iter().map(|row| packer.pack(row)).collect();
        assert!(packed.iter().all(|packed| packed.len() <= 24), "{:?}", packed.iter().map(|p| p.len()).max());
        for n in 0..MOST_SHAPES * 2 {
            let value = json!({ format!("name-{n}"): n });
            let packed = packer.pack(&value);
            assert_eq!(packer.unpack(&packed), value);
        }
        assert_eq!(packer.shapes.len(), MOST_SHAPES);
        assert!(rows.iter().zip(&packed).all(|(row, packed)| packer.unpack(packed) == *row));
    }
}
