//! Lists in which only some places have something to say.

use schema::Value;

/// The longest list that is shown with holes whatever their number.
const SAFE: usize = 32_768;

/// The errors of a list's entries by their place: a list with holes, or an object when it would be mostly holes.
pub(super) fn list(errors: Vec<(usize, Value)>) -> Value {
    let length = errors.last().map_or(0, |(index, _)| index + 1);
    if length > SAFE && length > errors.len() * 2 {
        return Value::Object(errors.into_iter().map(|(index, error)| ((index + 1).to_string(), error)).collect());
    }
    let mut list = vec![Value::Null; length];
    for (index, error) in errors {
        if let Some(slot) = list.get_mut(index) {
            *slot = error;
        }
    }
    Value::Array(list)
}
