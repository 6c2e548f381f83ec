//! Resampling as `torch.nn.functional.interpolate` does it, in f32.
//!
//! Both axes are lists of positions and weights ([`Axis`]), so that all kernels are the same two passes: rows are summed first (long contiguous
//! runs), then the columns of that one row, so that no whole intermediate picture exists.

use crate::axis::{Axis, Kernel};

/// A rectangle of a picture that is interleaved by `channels` and `stride` values wide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    pub(crate) x: usize,
    pub(crate) y: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) channels: usize,
    pub(crate) stride: usize,
}

impl Region {
    /// All of a picture.
    pub(crate) fn whole(width: usize, height: usize, channels: usize) -> Self {
        Self {
            x: 0,
            y: 0,
            width,
            height,
            channels,
            stride: width * channels,
        }
    }
}

/// Resamples a region of one picture to `width`×`height` and appends the result to `out`. Values are not clamped.
pub(crate) fn resample(
    source: &[f32],
    region: Region,
    kernel: Kernel,
    width: usize,
    height: usize,
    out: &mut Vec<f32>,
) {
    let columns = Axis::new(kernel, region.x, region.width, width);
    let rows = Axis::new(kernel, region.y, region.height, height);
    let row_of = |y: usize| &source[y * region.stride..(y + 1) * region.stride];
    let mut blended = vec![0.0; region.stride];
    for (positions, weights) in rows.taps() {
        if let ([y], [_]) = (positions, weights) {
            push_columns(row_of(*y), &columns, region.channels, out);
        } else {
            blended.fill(0.0);
            for (y, share) in positions.iter().zip(weights) {
                add_scaled(&mut blended, row_of(*y), *share);
            }
            push_columns(&blended, &columns, region.channels, out);
        }
    }
}

/// `sum += share * values`, element by element.
pub(crate) fn add_scaled(sum: &mut [f32], values: &[f32], share: f32) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += share * value;
    }
}

/// Appends one output row; the usual channel counts get loops of their own.
pub(crate) fn push_columns(row: &[f32], columns: &Axis, channels: usize, out: &mut Vec<f32>) {
    match channels {
        1 => push_pixels::<1>(row, columns, out),
        3 => push_pixels::<3>(row, columns, out),
        4 => push_pixels::<4>(row, columns, out),
        _ => {
            for (positions, weights) in columns.taps() {
                for channel in 0..channels {
                    let terms = positions.iter().zip(weights);
                    out.push(terms.map(|(x, w)| row[x * channels + channel] * w).sum());
                }
            }
        }
    }
}

fn push_pixels<const C: usize>(row: &[f32], columns: &Axis, out: &mut Vec<f32>) {
    let (pixels, _) = row.as_chunks::<C>();
    for (positions, weights) in columns.taps() {
        let mut sum = [0.0; C];
        for (x, share) in positions.iter().zip(weights) {
            for (sum, value) in sum.iter_mut().zip(pixels[*x]) {
                *sum += share * value;
            }
        }
        out.extend_from_slice(&sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close::close;

    fn line(kernel: Kernel, values: &[f32], to: usize) -> Vec<f32> {
        let mut out = Vec::new();
        resample(
            values,
            Region::whole(values.len(), 1, 1),
            kernel,
            to,
            1,
            &mut out,
        );
        out
    }

    const VALUES: [f32; 5] = [0.1, 0.9, 0.3, 0.7, 0.2];

    // The expected numbers are torch 2.15's for the same five values.
    #[test]
    fn nearest_exact_matches_torch() {
        close(
            &line(Kernel::NearestExact, &VALUES, 8),
            &[0.1, 0.1, 0.9, 0.3, 0.3, 0.7, 0.2, 0.2],
        );
        close(&line(Kernel::NearestExact, &VALUES, 3), &[0.1, 0.3, 0.2]);
    }

    #[test]
    fn bilinear_matches_torch() {
        close(
            &line(Kernel::Bilinear, &VALUES, 8),
            &[0.1, 0.45, 0.8625, 0.4875, 0.425, 0.675, 0.418_75, 0.2],
        );
        close(
            &line(Kernel::Bilinear, &VALUES, 3),
            &[0.366_666_6, 0.3, 0.366_666_8],
        );
    }

    #[test]
    fn area_matches_torch() {
        close(
            &line(Kernel::Area, &VALUES, 8),
            &[0.1, 0.5, 0.9, 0.6, 0.5, 0.7, 0.45, 0.2],
        );
        close(&line(Kernel::Area, &VALUES, 3), &[0.5, 0.633_333_4, 0.45]);
    }

    #[test]
    fn bicubic_matches_torch() {
        close(
            &line(Kernel::Bicubic, &VALUES, 8),
            &[
                0.025_732_42,
                0.492_297_4,
                0.902_050_8,
                0.471_386_7,
                0.375_653_1,
                0.699_078_4,
                0.447_204_6,
                0.153_582_8,
            ],
        );
        close(
            &line(Kernel::Bicubic, &VALUES, 3),
            &[0.385_185_3, 0.3, 0.379_629_7],
        );
    }

    #[test]
    fn rows_and_columns_are_resampled_alike() {
        let mut across = Vec::new();
        resample(
            &VALUES,
            Region::whole(5, 1, 1),
            Kernel::Bicubic,
            8,
            1,
            &mut across,
        );
        let mut down = Vec::new();
        resample(
            &VALUES,
            Region::whole(1, 5, 1),
            Kernel::Bicubic,
            1,
            8,
            &mut down,
        );
        close(&across, &down);
    }

    #[test]
    fn every_channel_count_gives_the_same_numbers() {
        let plane = line(Kernel::Area, &VALUES, 3);
        for channels in [2, 3, 4, 5] {
            let source: Vec<f32> = VALUES.iter().flat_map(|v| vec![*v; channels]).collect();
            let mut out = Vec::new();
            resample(
                &source,
                Region::whole(5, 1, channels),
                Kernel::Area,
                3,
                1,
                &mut out,
            );
            let expected: Vec<f32> = plane.iter().flat_map(|v| vec![*v; channels]).collect();
            close(&out, &expected);
        }
    }

    #[test]
    fn a_region_does_not_see_what_lies_around_it() {
        let source = [9.0, 9.0, 9.0, 9.0, 9.0, 0.1, 0.9, 9.0, 9.0, 9.0, 9.0, 9.0];
        let region = Region {
            x: 1,
            y: 1,
            width: 2,
            height: 1,
            channels: 1,
            stride: 4,
        };
        for kernel in [
            Kernel::NearestExact,
            Kernel::Bilinear,
            Kernel::Area,
            Kernel::Bicubic,
        ] {
            let mut out = Vec::new();
            resample(&source, region, kernel, 5, 3, &mut out);
            assert!(out.iter().all(|value| *value < 1.1), "{kernel:?}: {out:?}");
        }
    }

    #[test]
    fn the_usual_ties_of_nearest_exact_go_where_torch_takes_them() {
        // Output 23 of 470 from 20 has its centre on 1.0 exactly; torch takes 1 there, while a product rounded to f32 would take 0.
        let ramp: Vec<f32> = (0..20_u8).map(f32::from).collect();
        close(&line(Kernel::NearestExact, &ramp, 470)[23..24], &[1.0]);
    }
}
