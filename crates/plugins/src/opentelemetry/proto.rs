//! Protobuf's wire format, written as it goes: a span's fields pass from the request to the queue without structures between.
//! What is written is what `prost` writes of the messages in `otlp`, whose numbers the fields have.

/// How a field's value is laid out.
#[derive(Clone, Copy)]
enum Layout {
    Varint = 0,
    Fixed64 = 1,
    Length = 2,
    Fixed32 = 5,
}

/// The value of an attribute (`AnyValue`). A text comes in pieces.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Text(&'a [&'a [u8]]),
    Number(u64),
}

/// A message in the making.
#[derive(Default)]
pub(super) struct Message(pub(super) Vec<u8>);

/// How many bytes a number takes.
fn length_of(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

/// How many bytes a field of a number below 16 takes whose value is this long.
pub(super) fn field_length(value: usize) -> usize {
    1 + length_of(value as u64) + value
}

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn tag(&mut self, field: u64, layout: Layout) {
        self.varint(field << 3 | layout as u64);
    }

    /// The beginning of a field whose value of this length follows.
    pub(super) fn open(&mut self, field: u64, length: usize) {
        self.tag(field, Layout::Length);
        self.varint(length as u64);
    }

    pub(super) fn bytes(&mut self, field: u64, value: &[u8]) {
        self.open(field, value.len());
        self.0.extend_from_slice(value);
    }

    pub(super) fn number(&mut self, field: u64, value: u64) {
        self.tag(field, Layout::Varint);
        self.varint(value);
    }

    pub(super) fn fixed64(&mut self, field: u64, value: u64) {
        self.tag(field, Layout::Fixed64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn fixed32(&mut self, field: u64, value: u32) {
        self.tag(field, Layout::Fixed32);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A `KeyValue` as a field of a number below 16.
    pub(super) fn attribute(&mut self, field: u64, key: &str, value: Value<'_>) {
        let text = match value {
            Value::Text(pieces) => pieces.iter().map(|piece| piece.len()).sum(),
            Value::Number(_) => 0,
        };
        let inner = match value {
            Value::Text(_) => field_length(text),
            Value::Number(number) => 1 + length_of(number),
        };
        self.open(field, field_length(key.len()) + field_length(inner));
        self.bytes(1, key.as_bytes());
        self.open(2, inner);
        match value {
            Value::Text(pieces) => {
                self.open(1, text);
                pieces.iter().for_each(|piece| self.0.extend_from_slice(piece));
            }
            Value::Number(number) => self.number(3, number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::otlp::{self, Attribute};
    use super::*;
    use prost::Message as _;

    #[test]
    fn attributes_are_what_prost_writes() {
        let long = "x".repeat(200);
        for text in ["", "a", &long] {
            let mut out = Message::default();
            out.attribute(9, "key", Value::Text(&[b"", text.as_bytes()]));
            let want = otlp::Span { attributes: vec![otlp::attribute("key", text)], ..otlp::Span::default() };
            assert_eq!(out.0, want.encode_to_vec(), "{text}");
        }
        for number in [0, 1, 127, 128, 16_383, 16_384, i64::MAX] {
            let mut out = Message::default();
            out.attribute(9, "key", Value::Number(number as u64));
            let attributes: Vec<Attribute> = vec![otlp::attribute("key", number)];
            assert_eq!(out.0, otlp::Span { attributes, ..otlp::Span::default() }.encode_to_vec(), "{number}");
        }
    }
}
