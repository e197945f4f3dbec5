//! What a line may hold, as Python says it.

use arrow_schema::{DataType, Field as Column, Schema, SchemaRef, TimeUnit};
use std::sync::Arc;

use crate::scan::Names;

/// Column, kind, names in a flat line, names in an envelope's data, what stands in for it, and all values that it may have.
pub type FieldSpec = (String, String, Vec<String>, Vec<String>, Option<Vec<u8>>, Vec<String>);

/// `transforms.events.columns` has what they mean.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Identity,
    Project,
    RequiredText,
    Text,
    Nullable,
    RequiredNumber,
    Number,
    RequiredTime,
    Time,
    Recorded,
    Duration,
    Json,
}

impl Kind {
    fn of(name: &str) -> Result<Self, String> {
        Ok(match name {
            "identity" => Self::Identity,
            "project" => Self::Project,
            "required_text" => Self::RequiredText,
            "text" => Self::Text,
            "nullable" => Self::Nullable,
            "required_number" => Self::RequiredNumber,
            "number" => Self::Number,
            "required_time" => Self::RequiredTime,
            "time" => Self::Time,
            "recorded" => Self::Recorded,
            "duration" => Self::Duration,
            "json" => Self::Json,
            _ => return Err(format!("{name} is no kind of field")),
        })
    }

    fn data_type(self) -> DataType {
        match self {
            Self::RequiredNumber | Self::Number => DataType::Float64,
            Self::RequiredTime | Self::Time | Self::Recorded => {
                DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
            }
            Self::Duration => DataType::Int64,
            Self::Json => DataType::Binary,
            _ => DataType::Utf8,
        }
    }
}

pub struct Field {
    pub kind: Kind,
    /// Numbers of its names in a flat line, and in an envelope's data. The first one that is there counts.
    pub flat: Vec<u8>,
    pub enveloped: Vec<u8>,
    pub default: Vec<u8>,
    /// None: any.
    pub choices: Option<Vec<String>>,
}

pub struct EventType {
    pub name: String,
    pub fields: Vec<Field>,
    /// The field that is the event's time.
    pub time: usize,
    /// Where a duration comes from that is not given.
    pub ends: Option<(usize, usize)>,
    /// The columns, then `sequence`.
    pub schema: SchemaRef,
}

impl EventType {
    pub fn new(name: String, specs: Vec<FieldSpec>, time: usize, names: &mut Names) -> Result<Self, String> {
        let mut columns = Vec::new();
        let mut fields = Vec::new();
        let place = |column: &str| specs.iter().position(|spec| spec.0 == column);
        let ends = place("start_time").zip(place("end_time"));
        for (column, kind, flat, enveloped, default, choices) in specs {
            let kind = Kind::of(&kind)?;
            columns.push(Column::new(column, kind.data_type(), true));
            let mut numbers = |of: Vec<String>| of.iter().map(|name| names.add(name)).collect::<Result<Vec<u8>, _>>();
            let choices = (!choices.is_empty()).then_some(choices);
            fields.push(Field {
                kind,
                flat: numbers(flat)?,
                enveloped: numbers(enveloped)?,
                default: default.unwrap_or_default(),
                choices,
            });
        }
        columns.push(Column::new("sequence", DataType::UInt32, true));
        Ok(Self { name, fields, time, ends, schema: Arc::new(Schema::new(columns)) })
    }
}

/// Which numbers of milliseconds are times.
pub struct Times {
    pub earliest_ms: i64,
    pub latest_ms: i64,
    /// From and below: numbers that are something else when they are given as numbers, such as seconds.
    pub mistaken: Vec<(i64, i64)>,
}

impl Times {
    pub fn in_range(&self, milliseconds: i64) -> Option<i64> {
        (self.earliest_ms..=self.latest_ms).contains(&milliseconds).then_some(milliseconds)
    }

    pub fn plausible(&self, milliseconds: i64) -> Option<i64> {
        let mistaken = self.mistaken.iter().any(|(from, below)| (*from..*below).contains(&milliseconds));
        self.in_range(milliseconds).filter(|_| !mistaken)
    }
}
