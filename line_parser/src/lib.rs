//! Lines of JSON become Arrow columns by table and month, at a speed that Python cannot have.
//!
//! Python stays the one that says what a line may hold (`transforms.events`): it hands the fields over when a parser is
//! made, and gets back every line that is not plainly good, to take it, or to reject it with the reason. So whatever is
//! taken here is taken there, too, as the same row, and nothing is rejected here.

mod fields;
mod json;
mod rows;
mod scan;
mod times;

use arrow_array::ffi::to_ffi;
use arrow_array::{Array, RecordBatch, StructArray};
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule};
use rustc_hash::FxHashMap;

use fields::{EventType, FieldSpec, Times};
use json::{Cursor, Stops};
use rows::{Rows, Source, Value};
use scan::{Names, Slots};

/// A line that was left to Python: where it starts and ends in the data, the number of newlines before it in what was
/// added, and the number of lines before it that are not blank.
type Left = (usize, usize, u32, u32);

/// What a column of text can hold, as Arrow counts its bytes in an i32. Counted for all columns together: no chunk is as large.
const MAX_TEXT_BYTES: usize = i32::MAX as usize;

/// What may be around the JSON of a line.
const WHITE: [char; 3] = [' ', '\t', '\r'];

/// Parses the lines of several files into rows. Not for threads.
#[pyclass(module = "transforms.events._line_parser")]
struct LineParser {
    types: Vec<EventType>,
    names: Names,
    times: Times,
    max_line_bytes: usize,
    rows: FxHashMap<(usize, i32), Rows>,
    text_bytes: usize,
    stops: Stops,
}

/// The rows of one event type and one month, for `pyarrow.record_batch`.
#[pyclass(frozen, module = "transforms.events._line_parser")]
struct Batch(RecordBatch);

#[pymethods]
impl LineParser {
    /// `types`: the fields of each event type, in the order of its columns, and the number of the one that is its time.
    #[new]
    fn new(
        types: Vec<(String, Vec<FieldSpec>, usize)>,
        earliest_ms: i64,
        latest_ms: i64,
        mistaken: Vec<(i64, i64)>,
        max_line_bytes: usize,
    ) -> PyResult<Self> {
        let mut names = Names::new().map_err(PyValueError::new_err)?;
        let types = types
            .into_iter()
            .map(|(name, specs, time)| EventType::new(name, specs, time, &mut names))
            .collect::<Result<_, _>>()
            .map_err(PyValueError::new_err)?;
        let times = Times { earliest_ms, latest_ms, mistaken };
        Ok(Self {
            types,
            names,
            times,
            max_line_bytes,
            rows: FxHashMap::default(),
            text_bytes: 0,
            stops: Stops::default(),
        })
    }

    /// Takes the lines in `data[start:end]`, all of one file. Returns how many became rows, how many newlines there are, and
    /// the lines that did not become rows.
    /// A row's `sequence` is the one given and the number of its line: OverflowError when a u32 may not hold it.
    #[allow(clippy::too_many_arguments)]
    fn add(
        &mut self,
        py: Python<'_>,
        data: &Bound<'_, PyBytes>,
        start: usize,
        end: usize,
        project_id: &str,
        recorded_at_ms: i64,
        sequence: u32,
    ) -> PyResult<(u32, u32, Vec<Left>)> {
        let bytes =
            data.as_bytes().get(start..end).ok_or_else(|| PyValueError::new_err("start and end are not in data"))?;
        // A line is at least a byte.
        if u32::try_from(bytes.len()).ok().and_then(|length| sequence.checked_add(length)).is_none() {
            return Err(PyOverflowError::new_err("lines that are parsed together are more than 4 GiB"));
        }
        py.detach(|| {
            let source = Source { project_id, recorded_at_ms };
            let (taken, newlines, mut left) = self.parse(bytes, &source, sequence);
            for line in &mut left {
                line.0 += start;
                line.1 += start;
            }
            Ok((taken, newlines, left))
        })
    }

    /// The rows of everything that was added: event type, month as YYYYMM, rows in the order of their lines.
    fn finish(&mut self) -> PyResult<Vec<(String, i32, Batch)>> {
        let made = std::mem::take(&mut self.rows);
        self.text_bytes = 0;
        made.into_iter()
            .map(|((kind, month), rows)| {
                let batch = rows.finish(&self.types[kind]).map_err(|e| PyValueError::new_err(e.to_string()))?;
                Ok((self.types[kind].name.clone(), month, Batch(batch)))
            })
            .collect()
    }
}

impl LineParser {
    fn parse(&mut self, bytes: &[u8], source: &Source, sequence: u32) -> (u32, u32, Vec<Left>) {
        let (mut outer, mut inner) = (Slots::default(), Slots::default());
        let mut values: Vec<Value> = Vec::new();
        self.stops.find(bytes);
        let whole = std::str::from_utf8(bytes).ok();
        let (mut taken, mut left) = (0, Vec::new());
        let (mut start, mut newlines, mut number) = (0, 0, 0);
        while start < bytes.len() {
            let end = memchr::memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |length| start + length);
            let text = match whole {
                Some(text) => text.get(start..end),
                None => std::str::from_utf8(&bytes[start..end]).ok(),
            };
            let begun = text.map(|text| text.strip_prefix('\u{feff}').unwrap_or(text).trim_start_matches(WHITE));
            let first = end - begun.map_or(0, str::len);
            let content = begun.map(|text| text.trim_end_matches(WHITE));
            if content != Some("") {
                let good = content.filter(|line| line.len() <= self.max_line_bytes).and_then(|line| {
                    let tag =
                        scan::scan(Cursor::new(line, &self.stops, first), &mut self.names, &mut outer, &mut inner)?;
                    let kind = self.types.iter().position(|kind| kind.name == tag)?;
                    let month = rows::values(&self.types[kind], &outer, &inner, source, &self.times, &mut values)?;
                    let text_bytes = self.text_bytes + values.iter().map(Value::len).sum::<usize>();
                    (text_bytes <= MAX_TEXT_BYTES).then_some((kind, month, text_bytes))
                });
                match good {
                    Some((kind, month, text_bytes)) => {
                        self.text_bytes = text_bytes;
                        let types = &self.types;
                        let rows = self.rows.entry((kind, month)).or_insert_with(|| Rows::new(&types[kind]));
                        rows.append(&values, sequence + number);
                        taken += 1;
                    }
                    None => left.push((start, end, newlines, number)),
                }
                number += 1;
            }
            newlines += u32::from(end < bytes.len());
            start = end + 1;
        }
        (taken, newlines, left)
    }
}

#[pymethods]
impl Batch {
    /// Arrow's PyCapsule interface: the schema and the array.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
        let _ = requested_schema; // there is nothing else that it could give
        let rows = StructArray::from(self.0.clone());
        let (array, schema) = to_ffi(&rows.to_data()).map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok((
            PyCapsule::new_with_value(py, schema, c"arrow_schema")?,
            PyCapsule::new_with_value(py, array, c"arrow_array")?,
        ))
    }
}

#[pymodule]
fn _line_parser(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<LineParser>()?;
    module.add_class::<Batch>()
}
