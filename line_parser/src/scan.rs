//! One line of JSON, checked as a whole, with the places of the values whose names are known.

use rustc_hash::FxHashMap;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// How many names there may be.
pub const MAX_NAMES: usize = 64;
/// Brackets inside brackets that Python takes in any case; what is nested deeper is left to it.
const DEPTH: usize = 100;

/// The names of all fields, by number.
#[derive(Default)]
pub struct Names(FxHashMap<Box<str>, u8>);

impl Names {
    /// The number of a name, which gets one when it is new.
    pub fn add(&mut self, name: &str) -> Result<u8, String> {
        let next = self.0.len();
        if next == MAX_NAMES && !self.0.contains_key(name) {
            return Err(format!("more than {MAX_NAMES} names of fields"));
        }
        Ok(*self.0.entry(name.into()).or_insert(next as u8))
    }
}

/// The JSON texts of an object's values, by the number of their names.
pub struct Slots<'a> {
    seen: u64,
    texts: [&'a str; MAX_NAMES],
    present: bool,
}

impl Default for Slots<'_> {
    fn default() -> Self {
        Self { seen: 0, texts: [""; MAX_NAMES], present: false }
    }
}

impl<'a> Slots<'a> {
    /// Whether there was such an object at all.
    pub fn is_present(&self) -> bool {
        self.present
    }

    /// The text of a value; None when it is absent or `null`, which is the same.
    pub fn get(&self, name: u8) -> Option<&'a str> {
        // no other JSON begins so
        Some(self.texts[name as usize]).filter(|text| self.seen >> name & 1 == 1 && !text.starts_with('n'))
    }

    fn clear(&mut self) {
        self.seen = 0;
        self.present = false;
    }

    /// Whether the name is there for the first time.
    fn set(&mut self, name: u8, text: &'a str) -> bool {
        let first = self.seen >> name & 1 == 0;
        self.seen |= 1 << name;
        self.texts[name as usize] = text;
        first
    }
}

/// Fills the slots of the line itself and of its `data`, and returns its `type`. None when Python has to look at the line.
pub fn scan<'a>(line: &'a str, names: &Names, outer: &mut Slots<'a>, inner: &mut Slots<'a>) -> Option<&'a str> {
    outer.clear();
    inner.clear();
    if is_deep(line) {
        return None;
    }
    let mut tag = None;
    let mut deserializer = serde_json::Deserializer::from_str(line);
    let object = Object { names, slots: outer, envelope: Some((&mut tag, inner)) };
    object.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    tag
}

fn is_deep(line: &str) -> bool {
    // '[' and '{' differ in one bit. Counts of 128 fit into a byte, which is how many bytes are compared at once.
    let openings = |bytes: &[u8]| bytes.iter().map(|byte| u8::from(byte | 0x20 == b'{')).sum::<u8>();
    if line.as_bytes().chunks(128).map(|bytes| usize::from(openings(bytes))).sum::<usize>() <= DEPTH {
        return false;
    }
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0usize, 0, false, false);
    for byte in line.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => depth += 1,
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest > DEPTH
}

/// An object: the line, whose `type` and `data` are special, or its `data`.
struct Object<'s, 'a> {
    names: &'s Names,
    slots: &'s mut Slots<'a>,
    envelope: Option<(&'s mut Option<&'a str>, &'s mut Slots<'a>)>,
}

impl<'a> DeserializeSeed<'a> for Object<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Object<'_, 'a> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(mut self, mut map: M) -> Result<(), M::Error> {
        self.slots.present = true;
        while let Some(name) = map.next_key_seed(Name)? {
            let first = match (name, &mut self.envelope) {
                ("type", Some((tag, _))) => {
                    let text = map.next_value::<&RawValue>()?.get();
                    let plain = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
                    tag.replace(plain.ok_or_else(|| M::Error::custom("no text"))?).is_none()
                }
                ("data", Some((_, inner))) => {
                    let first = !inner.present;
                    map.next_value_seed(Object { names: self.names, slots: inner, envelope: None })?;
                    first
                }
                _ => {
                    let text = map.next_value::<&RawValue>()?.get();
                    self.names.0.get(name).is_none_or(|number| self.slots.set(*number, text))
                }
            };
            if !first {
                return Err(M::Error::custom("twice"));
            }
        }
        Ok(())
    }
}

/// The name of a value. One that is written with an escape is an error: Python reads it.
struct Name;

impl<'a> DeserializeSeed<'a> for Name {
    type Value = &'a str;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<&'a str, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for Name {
    type Value = &'a str;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a name without escapes")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'a str) -> Result<&'a str, E> {
        Ok(name)
    }
}
