//! The opaque offsets of pages: base64 without padding of the JSON array of the last row's key, as Kong writes them.
use crate::Error;
use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::{alphabet, engine::DecodePaddingMode};
use serde_json::Value;

/// As lenient as nginx's decoder: padding may be absent, and bits that do not fill a byte are ignored.
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(crate) fn encode(key: &[Value]) -> String {
    ENGINE.encode(Value::from(key.to_vec()).to_string())
}

/// The key's parts; `None` where the offset is JSON but of no key, after which nothing follows.
pub(crate) fn decode(offset: &str) -> Result<Option<Vec<Value>>, Error> {
    let invalid = |reason: &str| Error::invalid_offset(offset, reason);
    let unpadded = offset.split('=').next().unwrap_or_default();
    let bytes = ENGINE.decode(unpadded).map_err(|_| invalid("bad base64 encoding"))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| invalid("bad json encoding"))?;
    Ok(match value {
        Value::Array(parts) if !parts.is_empty() => Some(parts),
        _ => None,
    })
}
