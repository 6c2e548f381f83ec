//! Members of a list or map that were evaluated one by one, put together again.

use indexmap::IndexMap;

use super::sealed::EditValue;
use crate::artifact::Datum;

pub(super) fn join_list(values: Vec<EditValue>) -> EditValue {
    if values.iter().all(|v| matches!(v, EditValue::Ready(_))) {
        EditValue::Ready(Datum::List(values.into_iter().filter_map(ready).collect()))
    } else {
        EditValue::List(values)
    }
}

pub(super) fn join_map(values: IndexMap<String, EditValue>) -> EditValue {
    if values.values().all(|v| matches!(v, EditValue::Ready(_))) {
        EditValue::Ready(Datum::Map(
            values
                .into_iter()
                .filter_map(|(key, value)| Some((key, ready(value)?)))
                .collect(),
        ))
    } else {
        EditValue::Map(values)
    }
}

fn ready(value: EditValue) -> Option<Datum> {
    match value {
        EditValue::Ready(datum) => Some(datum),
        _ => None,
    }
}
