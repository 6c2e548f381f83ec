//! For tests: figures that may differ by rounding.

#[track_caller]
pub(crate) fn close(left: &[f32], right: &[f32]) {
    assert_eq!(left.len(), right.len());
    for (left, right) in left.iter().zip(right) {
        assert!((left - right).abs() < 1e-6, "{left} is not {right}");
    }
}
