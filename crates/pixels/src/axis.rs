//! Where each output pixel of a resized line comes from: source positions and weights, for every way of resizing.
//!
//! Four kernels are those of `torch.nn.functional.interpolate` without antialiasing and with `align_corners=False`; their positions were
//! compared with torch 2.15 for some 7000 pairs of sizes. The fifth is Pillow's Lanczos, which widens when it shrinks a picture.

use std::f64::consts::PI;

use crate::cast::{index, size, weight};

/// A way of resizing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernel {
    NearestExact,
    Bilinear,
    Area,
    Bicubic,
    Lanczos,
}

/// The weighted source positions of every output position along one axis.
pub(crate) struct Axis {
    ends: Vec<usize>,
    positions: Vec<usize>,
    weights: Vec<f32>,
}

impl Axis {
    /// The sources of `to` pixels among `from` pixels that begin at `offset`.
    pub(crate) fn new(kernel: Kernel, offset: usize, from: usize, to: usize) -> Self {
        let mut axis = Self {
            ends: Vec::with_capacity(to),
            positions: Vec::new(),
            weights: Vec::new(),
        };
        // torch keeps the scale in f32; the positions follow from that rounding.
        let scale = f64::from(weight(size(from) / size(to)));
        for output in 0..to {
            match kernel {
                Kernel::NearestExact => axis.push_nearest(scale, output, from, offset),
                Kernel::Bilinear => axis.push_bilinear(scale, output, from, offset),
                Kernel::Area => axis.push_area(output, from, to, offset),
                Kernel::Bicubic => axis.push_bicubic(scale, output, from, offset),
                Kernel::Lanczos if from == to => axis.push(offset + output, 1.0),
                Kernel::Lanczos => axis.push_lanczos(output, from, to, offset),
            }
            axis.ends.push(axis.positions.len());
        }
        axis
    }

    fn push(&mut self, position: usize, share: f64) {
        self.positions.push(position);
        self.weights.push(weight(share));
    }

    fn push_nearest(&mut self, scale: f64, output: usize, from: usize, offset: usize) {
        // The centre is rounded to f32 between the multiplication and the cut, which decides exact ties.
        let centre = weight((size(output) + 0.5) * scale - 0.5).max(0.0);
        let position = index(f64::from(centre + 0.5)).min(from - 1);
        self.push(offset + position, 1.0);
    }

    fn push_bilinear(&mut self, scale: f64, output: usize, from: usize, offset: usize) {
        let centre = ((size(output) + 0.5) * scale - 0.5).max(0.0);
        let low = index(centre).min(from - 1);
        let share = (centre - size(low)).min(1.0);
        self.push(offset + low, 1.0 - share);
        self.push(offset + (low + 1).min(from - 1), share);
    }

    /// Adaptive average pooling: from `floor(i·n/m)` up to `ceil((i+1)·n/m)`, all with the same weight.
    fn push_area(&mut self, output: usize, from: usize, to: usize, offset: usize) {
        let first = output * from / to;
        let end = ((output + 1) * from).div_ceil(to);
        for position in first..end {
            self.push(offset + position, 1.0 / size(end - first));
        }
    }

    /// Cubic convolution with A = -0.75; positions beyond the edge are clamped, the centre is not.
    fn push_bicubic(&mut self, scale: f64, output: usize, from: usize, offset: usize) {
        const A: f64 = -0.75;
        let near = |d: f64| ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0;
        let far = |d: f64| ((A * d - 5.0 * A) * d + 8.0 * A) * d - 4.0 * A;
        let centre = (size(output) + 0.5) * scale - 0.5;
        let low = centre.floor();
        let t = centre - low;
        let shares = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)];
        for (step, share) in [-1.0, 0.0, 1.0, 2.0].into_iter().zip(shares) {
            self.push(offset + index(low + step).min(from - 1), share);
        }
    }

    /// A windowed sinc three pixels to each side, pixels of the larger of the two sizes; weights sum to 1 at the edges as well.
    fn push_lanczos(&mut self, output: usize, from: usize, to: usize, offset: usize) {
        let scale = size(from) / size(to);
        let stretch = scale.max(1.0);
        let centre = (size(output) + 0.5) * scale;
        let first = index(centre - 3.0 * stretch + 0.5);
        let end = index(centre + 3.0 * stretch + 0.5).min(from);
        let share = |position: usize| lanczos((size(position) + 0.5 - centre) / stretch);
        let sum: f64 = (first..end).map(share).sum();
        for position in first..end {
            self.push(offset + position, share(position) / sum);
        }
    }

    /// For every output position its source positions and weights.
    pub(crate) fn taps(&self) -> impl Iterator<Item = (&[usize], &[f32])> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, end)| (&self.positions[start..*end], &self.weights[start..*end]))
    }
}

fn lanczos(x: f64) -> f64 {
    let sinc = |x: f64| {
        if x == 0.0 {
            1.0
        } else {
            (PI * x).sin() / (PI * x)
        }
    };
    if (-3.0..3.0).contains(&x) {
        sinc(x) * sinc(x / 3.0)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_of_every_pixel_sum_to_one_and_lie_inside_the_source() {
        let kernels = [
            Kernel::NearestExact,
            Kernel::Bilinear,
            Kernel::Area,
            Kernel::Bicubic,
            Kernel::Lanczos,
        ];
        for kernel in kernels {
            for (from, to) in [(1, 1), (1, 9), (9, 1), (7, 5), (5, 7), (200, 3), (3, 200)] {
                let axis = Axis::new(kernel, 10, from, to);
                assert_eq!(axis.taps().count(), to);
                for (positions, weights) in axis.taps() {
                    let sum: f32 = weights.iter().sum();
                    assert!((sum - 1.0).abs() < 1e-5, "{kernel:?} {from} {to}: {sum}");
                    assert!(positions.iter().all(|p| (10..10 + from).contains(p)));
                }
            }
        }
    }
}
