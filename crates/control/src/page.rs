//! Lists in pages: `size`, `offset`, `tags`, and the link to the next page.

use model::{Entity, Stored, Uuid};
use serde_json::{Value, json};

use crate::call::{Call, escaped};
use crate::reply::{Fault, Reply};

/// Elements of a page unless asked otherwise.
const DEFAULT_SIZE: usize = 100;
/// Most elements of a page.
const LARGEST_SIZE: usize = 1000;

/// What a list may hold: something that has an identity.
pub trait Item {
    /// The identity, by which the next page finds its beginning.
    fn id(&self) -> Uuid;
    /// As it is shown.
    fn show(&self) -> Value;
}

impl Item for Entity {
    fn id(&self) -> Uuid {
        self.id
    }

    fn show(&self) -> Value {
        self.value.clone()
    }
}

impl Item for &Stored {
    fn id(&self) -> Uuid {
        self.id
    }

    fn show(&self) -> Value {
        self.complete().value
    }
}

/// The page of `items` that `call` asks for.
pub fn page<I: Item>(call: &Call, items: &[I]) -> Reply {
    let (size, start) = match (size(call), start(call, items)) {
        (Ok(size), Ok(start)) => (size, start),
        (Err(fault), _) | (_, Err(fault)) => return fault,
    };
    let end = (start + size).min(items.len());
    let data: Vec<Value> = items[start..end].iter().map(Item::show).collect();
    let Some(next) = items.get(end) else { return Reply::ok(&json!({ "data": data, "next": null })) };
    let offset = token(end, next.id());
    Reply::ok(&json!({ "data": data, "next": link(call, &offset), "offset": offset }))
}

fn size(call: &Call) -> Result<usize, Reply> {
    let Some(size) = call.argument("size") else { return Ok(DEFAULT_SIZE) };
    let wrong = |message: &str| Reply::fault(Fault::InvalidSize, message, Value::Null);
    let Ok(size) = size.parse::<f64>() else { return Err(wrong("size must be a number")) };
    let allowed = size.fract() == 0.0 && (1.0..=LARGEST_SIZE as f64).contains(&size);
    let message = format!("size must be an integer between 1 and {LARGEST_SIZE}");
    if allowed { Ok(size as usize) } else { Err(wrong(&message)) }
}

/// Where the page begins: at the element that the token names, or, when that is gone, at its place.
fn start<I: Item>(call: &Call, items: &[I]) -> Result<usize, Reply> {
    let Some(offset) = call.argument("offset") else { return Ok(0) };
    let Some((position, id)) = read_token(&offset) else {
        let message = format!("'{offset}' is not a valid offset");
        return Err(Reply::fault(Fault::InvalidOffset, &message, Value::Null));
    };
    if items.get(position).is_some_and(|item| item.id() == id) {
        return Ok(position);
    }
    let moved = items.iter().position(|item| item.id() == id);
    Ok(moved.unwrap_or(position).min(items.len()))
}

fn token(position: usize, id: Uuid) -> String {
    format!("{position:08x}{}", id.simple())
}

fn read_token(token: &str) -> Option<(usize, Uuid)> {
    let (position, id) = token.split_at_checked(8)?;
    Some((usize::from_str_radix(position, 16).ok()?, Uuid::try_parse(id).ok()?))
}

fn link(call: &Call, offset: &str) -> String {
    let mut link = String::new();
    for segment in &call.segments {
        link.push('/');
        link.push_str(&escaped(segment));
    }
    link += &format!("?offset={offset}");
    for name in ["tags", "size"] {
        if let Some(value) = call.argument(name) {
            link += &format!("&{name}={}", escaped(&value));
        }
    }
    link
}

/// The elements that carry the tags that `call` asks for: `a,b` means both, `a/b` either.
pub fn tagged<'e>(call: &Call, entities: Vec<&'e Stored>) -> Result<Vec<&'e Stored>, Reply> {
    let Some(asked) = call.argument("tags") else { return Ok(entities) };
    let (all, any) = (asked.contains(','), asked.contains('/'));
    let separator = if any { '/' } else { ',' };
    let tags: Vec<&str> = asked.split(separator).collect();
    if (all && any) || tags.iter().any(|tag| tag.is_empty()) {
        let message = "invalid option (tags: invalid filter syntax)";
        let fields = json!({ "fields": { "tags": "invalid filter syntax" } });
        return Err(Reply::fault(Fault::InvalidOptions, message, fields));
    }
    let wanted = |entity: &&Stored| {
        let own = tags_of(entity);
        let has = |tag: &&str| own.iter().any(|own| own == tag);
        if any { tags.iter().any(has) } else { tags.iter().all(has) }
    };
    Ok(entities.into_iter().filter(wanted).collect())
}

/// The tags of an entity.
pub fn tags_of(entity: &Stored) -> Vec<String> {
    let tags = entity.field("tags");
    let tags = tags.as_array().into_iter().flatten();
    tags.filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_and_nonsense_does_not() {
        let id = Uuid::from_u128(7);
        assert_eq!(read_token(&token(300, id)), Some((300, id)));
        for wrong in ["", "!!", "0000012c", "zzzzzzzz00000000000000000000000000000007", "ÄÖÜäöüß"] {
            assert_eq!(read_token(wrong), None, "{wrong}");
        }
    }
}
