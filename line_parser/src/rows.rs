//! The values of a line, checked, and the columns that they are appended to.

use arrow_array::builder::{
    BinaryBuilder, Float64Builder, Int64Builder, StringBuilder, TimestampMillisecondBuilder, UInt32Builder,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::ArrowError;
use std::borrow::Cow;
use std::sync::Arc;

use crate::fields::{EventType, Field, Kind, Times};
use crate::json::{Json, Shape};
use crate::scan::Slots;
use crate::times;

/// What stands in for fields that an event may lack.
pub struct Source<'a> {
    pub project_id: &'a str,
    pub recorded_at_ms: i64,
}

pub enum Value<'a> {
    Null,
    Text(Cow<'a, str>),
    Json(&'a [u8]),
    Integer(i64),
    Number(f64),
}

impl Value<'_> {
    /// Bytes of text.
    pub fn len(&self) -> usize {
        match self {
            Value::Text(text) => text.len(),
            Value::Json(text) => text.len(),
            _ => 0,
        }
    }
}

/// Fills `values` with one value for each field, and returns the month. None when Python has to look at the line.
pub fn values<'a>(
    event_type: &'a EventType,
    outer: &Slots<'a>,
    inner: &Slots<'a>,
    source: &Source<'a>,
    times: &Times,
    values: &mut Vec<Value<'a>>,
) -> Option<i32> {
    values.clear();
    for field in &event_type.fields {
        let value = if inner.is_present() {
            // What is beside the data has to be of its type, too, but is not used.
            if field.flat.iter().any(|name| outer.get(*name).is_some_and(|json| !may_be_beside_data(field, json))) {
                return None;
            }
            value_of(field, &field.enveloped, inner, source, times)?
        } else {
            value_of(field, &field.flat, outer, source, times)?
        };
        values.push(value);
    }
    if let Some((start, end)) = event_type.ends
        && let (Value::Integer(start), Value::Integer(end)) = (&values[start], &values[end])
    {
        let elapsed = end - start; // both are in the range of times, so that it cannot overflow
        for (field, value) in event_type.fields.iter().zip(values.iter_mut()) {
            if field.kind == Kind::Duration && matches!(value, Value::Null) {
                *value = Value::Integer(elapsed);
            }
        }
    }
    match values[event_type.time] {
        Value::Integer(milliseconds) => Some(times::month(milliseconds)),
        _ => None,
    }
}

fn may_be_beside_data(field: &Field, json: &Json) -> bool {
    match field.kind {
        Kind::Json => true,
        Kind::RequiredNumber | Kind::Number | Kind::Duration => false,
        _ => field.choices.is_none() && json.shape == Shape::Plain,
    }
}

fn value_of<'a>(
    field: &'a Field,
    names: &[u8],
    slots: &Slots<'a>,
    source: &Source<'a>,
    times: &Times,
) -> Option<Value<'a>> {
    let json = match names {
        [name] => slots.get(*name),
        _ => {
            let mut given = names.iter().filter_map(|name| slots.get(*name));
            let json = given.next();
            if given.next().is_some() {
                return None; // both names for one thing
            }
            json
        }
    };
    let Some(json) = json else {
        return match field.kind {
            Kind::Nullable | Kind::Number | Kind::Time | Kind::Duration => Some(Value::Null),
            Kind::Text => std::str::from_utf8(&field.default).ok().map(|text| Value::Text(text.into())),
            Kind::Json => Some(Value::Json(&field.default)),
            Kind::Project => Some(Value::Text(source.project_id.into())),
            Kind::Recorded => times.in_range(source.recorded_at_ms).map(Value::Integer),
            Kind::Identity | Kind::RequiredText | Kind::RequiredNumber | Kind::RequiredTime => None,
        };
    };
    match field.kind {
        Kind::Json => Some(Value::Json(json.text.as_bytes())),
        Kind::RequiredNumber | Kind::Number => number(json).map(Value::Number),
        Kind::Duration => duration(json).map(Value::Integer),
        Kind::RequiredTime | Kind::Time | Kind::Recorded => time(json, times).map(Value::Integer),
        Kind::Identity | Kind::Project => text(json).filter(|text| !text.is_empty()).map(Value::Text),
        Kind::RequiredText | Kind::Text | Kind::Nullable => match &field.choices {
            None => text(json).map(Value::Text),
            Some(choices) => json
                .plain()
                .filter(|text| choices.iter().any(|choice| choice == text))
                .map(|text| Value::Text(text.into())),
        },
    }
}

/// A text. Half a character, which JavaScript escapes so, is left to Python.
fn text<'a>(json: &Json<'a>) -> Option<Cow<'a, str>> {
    match json.shape {
        Shape::Plain => json.plain().map(Cow::Borrowed),
        Shape::Escaped => serde_json::from_str(json.text).ok().map(Cow::Owned),
        _ => None,
    }
}

/// A whole number of at most `digits` digits, as it is exact in every representation. `-0` is none.
fn integer(number: &str, digits: usize) -> Option<i64> {
    let unsigned = number.strip_prefix('-').unwrap_or(number);
    let whole = unsigned.len() <= digits && unsigned.bytes().all(|byte| byte.is_ascii_digit());
    whole.then(|| number.parse().ok()).flatten().filter(|integer| *integer != 0 || number == "0")
}

fn fraction(number: &str) -> Option<f64> {
    let is_whole = !number.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
    (!is_whole).then(|| number.parse().ok()).flatten().filter(|fraction: &f64| fraction.is_finite())
}

fn number(json: &Json) -> Option<f64> {
    let number = json.number()?;
    integer(number, 15).map(|integer| integer as f64).or_else(|| fraction(number))
}

/// Rounded down, like a time.
fn duration(json: &Json) -> Option<i64> {
    let number = json.number()?;
    let exact = |fraction: &f64| fraction.abs() < 9_007_199_254_740_992.0;
    integer(number, 18).or_else(|| fraction(number).filter(exact).map(|fraction| fraction.floor() as i64))
}

fn time(json: &Json, times: &Times) -> Option<i64> {
    match json.plain() {
        Some(text) => times::parse(text).and_then(|milliseconds| times.in_range(milliseconds)),
        None => integer(json.number()?, 18).and_then(|milliseconds| times.plausible(milliseconds)),
    }
}

enum Builder {
    Text(StringBuilder),
    Json(BinaryBuilder),
    Time(TimestampMillisecondBuilder),
    Integer(Int64Builder),
    Number(Float64Builder),
}

/// Rows of one event type and one month.
pub struct Rows {
    builders: Vec<Builder>,
    sequence: UInt32Builder,
}

impl Rows {
    pub fn new(event_type: &EventType) -> Self {
        // Without room for a thousand rows, which is the default: there may be thousands of months with a row each.
        let builder = |field: &Field| match field.kind {
            Kind::RequiredNumber | Kind::Number => Builder::Number(Float64Builder::with_capacity(0)),
            Kind::RequiredTime | Kind::Time | Kind::Recorded => {
                Builder::Time(TimestampMillisecondBuilder::with_capacity(0).with_timezone("UTC"))
            }
            Kind::Duration => Builder::Integer(Int64Builder::with_capacity(0)),
            Kind::Json => Builder::Json(BinaryBuilder::with_capacity(0, 0)),
            _ => Builder::Text(StringBuilder::with_capacity(0, 0)),
        };
        let builders = event_type.fields.iter().map(builder).collect();
        Self { builders, sequence: UInt32Builder::with_capacity(0) }
    }

    pub fn append(&mut self, values: &[Value], sequence: u32) {
        for (builder, value) in self.builders.iter_mut().zip(values) {
            match (builder, value) {
                (Builder::Text(builder), Value::Text(text)) => builder.append_value(text),
                (Builder::Json(builder), Value::Json(text)) => builder.append_value(text),
                (Builder::Time(builder), Value::Integer(number)) => builder.append_value(*number),
                (Builder::Integer(builder), Value::Integer(number)) => builder.append_value(*number),
                (Builder::Number(builder), Value::Number(number)) => builder.append_value(*number),
                (Builder::Text(builder), _) => builder.append_null(),
                (Builder::Json(builder), _) => builder.append_null(),
                (Builder::Time(builder), _) => builder.append_null(),
                (Builder::Integer(builder), _) => builder.append_null(),
                (Builder::Number(builder), _) => builder.append_null(),
            }
        }
        self.sequence.append_value(sequence);
    }

    /// The rows, in no more memory than they take: builders have room for up to twice as much.
    pub fn finish(mut self, event_type: &EventType) -> Result<RecordBatch, ArrowError> {
        fn exact<A: Array + 'static>(mut array: A) -> ArrayRef {
            array.shrink_to_fit();
            Arc::new(array)
        }
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.builders.len() + 1);
        for builder in &mut self.builders {
            columns.push(match builder {
                Builder::Text(builder) => exact(builder.finish()),
                Builder::Json(builder) => exact(builder.finish()),
                Builder::Time(builder) => exact(builder.finish()),
                Builder::Integer(builder) => exact(builder.finish()),
                Builder::Number(builder) => exact(builder.finish()),
            });
        }
        columns.push(exact(self.sequence.finish()));
        RecordBatch::try_new(event_type.schema.clone(), columns)
    }
}
