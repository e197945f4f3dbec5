//! One line of JSON, checked as a whole, with the places of the values whose names are known.

use rustc_hash::FxHashMap;

use crate::json::{Cursor, Json, Packed, Shape};

/// How many names there may be.
pub const MAX_NAMES: usize = 64;

/// The names of all fields, by number.
pub struct Names {
    numbers: FxHashMap<Box<str>, u8>,
    packed: Vec<Packed>,
    /// What came after each name when it was last there: most lines have their names in the order of others.
    after: [u8; MAX_NAMES + 3],
}

/// Numbers of the names that are special in a line.
const TYPE: u8 = 0;
const DATA: u8 = 1;
/// Instead of a number: a name that is not known, the beginning of a line, and that of its `data`.
const UNKNOWN: u8 = MAX_NAMES as u8;
const LINE: u8 = UNKNOWN + 1;
const INSIDE: u8 = UNKNOWN + 2;

impl Names {
    pub fn new() -> Result<Self, String> {
        let mut names = Self { numbers: FxHashMap::default(), packed: Vec::new(), after: [UNKNOWN; MAX_NAMES + 3] };
        names.add("type")?;
        names.add("data")?;
        Ok(names)
    }

    /// The number of a name, which gets one when it is new.
    pub fn add(&mut self, name: &str) -> Result<u8, String> {
        if let Some(number) = self.numbers.get(name) {
            return Ok(*number);
        }
        let next = self.packed.len();
        if next == MAX_NAMES {
            return Err(format!("more than {MAX_NAMES} names of fields"));
        }
        self.packed.push(Packed::new(name).ok_or_else(|| format!("{name} is too long"))?);
        self.numbers.insert(name.into(), next as u8);
        Ok(next as u8)
    }

    /// Reads a name, which comes after `last`. Python reads those that are written with an escape.
    fn read(&mut self, cursor: &mut Cursor, last: u8) -> Option<u8> {
        let expected = self.after[last as usize];
        if self.packed.get(expected as usize).is_some_and(|name| cursor.skip_name(name)) {
            return cursor.skip(b':').map(|()| expected);
        }
        let number = self.numbers.get(cursor.name()?.plain()?).copied().unwrap_or(UNKNOWN);
        self.after[last as usize] = number;
        cursor.skip(b':').map(|()| number)
    }
}

/// An object's values, by the number of their names.
pub struct Slots<'a> {
    seen: u64,
    values: [Json<'a>; MAX_NAMES],
    present: bool,
}

impl Default for Slots<'_> {
    fn default() -> Self {
        Self { seen: 0, values: [Json { text: "", shape: Shape::Null }; MAX_NAMES], present: false }
    }
}

impl<'a> Slots<'a> {
    /// Whether there was such an object at all.
    pub fn is_present(&self) -> bool {
        self.present
    }

    /// A value; None when it is absent or `null`, which is the same.
    pub fn get(&self, name: u8) -> Option<&Json<'a>> {
        Some(&self.values[name as usize]).filter(|json| self.seen >> name & 1 == 1 && json.shape != Shape::Null)
    }

    fn clear(&mut self) {
        self.seen = 0;
        self.present = false;
    }

    /// None when the name was there before, if it is known.
    fn set(&mut self, name: u8, json: Json<'a>) -> Option<()> {
        if name == UNKNOWN {
            return Some(());
        }
        let first = self.seen >> name & 1 == 0;
        self.seen |= 1 << name;
        self.values[name as usize] = json;
        first.then_some(())
    }
}

/// Fills the slots of the line itself and of its `data`, and returns its `type`. None when Python has to look at the line.
pub fn scan<'a>(
    mut cursor: Cursor<'_, 'a>,
    names: &mut Names,
    outer: &mut Slots<'a>,
    inner: &mut Slots<'a>,
) -> Option<&'a str> {
    outer.clear();
    inner.clear();
    let (mut tag, mut last) = (None, LINE);
    cursor.object(1, |cursor| {
        last = names.read(cursor, last)?;
        match last {
            TYPE if tag.is_some() => None,
            TYPE => {
                tag = Some(cursor.value(1)?.plain()?);
                Some(())
            }
            DATA if inner.present => None,
            DATA => {
                inner.present = true;
                let mut last = INSIDE;
                cursor.object(2, |cursor| {
                    last = names.read(cursor, last)?;
                    inner.set(last, cursor.value(2)?)
                })
            }
            _ => outer.set(last, cursor.value(1)?),
        }
    })?;
    tag.filter(|_| cursor.is_at_end())
}
