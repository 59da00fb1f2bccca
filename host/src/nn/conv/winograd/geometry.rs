//! Where tiles lie in the planes of a batch.

use super::{ConvShape, LANES, PATCH, TILE};

/// The tiles of a batch: image by image, row by row.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    h: usize,
    w: usize,
    rows: usize,
    columns: usize,
    /// How many there are.
    pub(super) count: usize,
}

impl Tiles {
    pub(super) fn of(s: ConvShape) -> Self {
        let (rows, columns) = (s.h.div_ceil(TILE), s.w.div_ceil(TILE));
        Self {
            h: s.h,
            w: s.w,
            rows,
            columns,
            count: s.n * rows * columns,
        }
    }

    /// First pixel of tile `t`: its index in a plane of the batch, its row and its column.
    fn place(self, t: usize) -> (usize, usize, usize) {
        let (image, rest) = (
            t / (self.rows * self.columns),
            t % (self.rows * self.columns),
        );
        let (y, x) = (rest / self.columns * TILE, rest % self.columns * TILE);
        ((image * self.h + y) * self.w + x, y, x)
    }
}

/// Sixteen tiles, as the lanes of vectors: what of each lies inside of its map.
pub(super) struct Group {
    /// Elements of a row of the map.
    pub(super) row: usize,
    /// Index of each tile's first pixel in the plane.
    pub(super) first: [usize; LANES],
    /// Columns of each row of a patch that lie inside, a bit each; the patch begins one row
    /// and one column before the tile.
    pub(super) patch: [[u8; PATCH]; LANES],
    /// Columns of each row of a tile that lie inside, a bit each.
    pub(super) tile: [[u8; TILE]; LANES],
}

impl Group {
    /// The tiles from `t` on; what is beyond the last one has nothing inside.
    pub(super) fn at(tiles: Tiles, t: usize) -> Self {
        let mut group = Self {
            row: tiles.w,
            first: [0; LANES],
            patch: [[0; PATCH]; LANES],
            tile: [[0; TILE]; LANES],
        };
        for (lane, t) in (t..tiles.count.min(t + LANES)).enumerate() {
            let (first, y, x) = tiles.place(t);
            group.first[lane] = first;
            let columns = inside::<PATCH>(x.wrapping_sub(1), tiles.w);
            for (i, mask) in group.patch[lane].iter_mut().enumerate() {
                if y.wrapping_add(i).wrapping_sub(1) < tiles.h {
                    *mask = columns;
                }
            }
            let columns = inside::<TILE>(x, tiles.w);
            for (i, mask) in group.tile[lane].iter_mut().enumerate() {
                if y + i < tiles.h {
                    *mask = columns;
                }
            }
        }
        group
    }
}

/// Which of `N` columns from `x` on lie in a row of `w`, a bit each; `x` may have wrapped.
fn inside<const N: usize>(x: usize, w: usize) -> u8 {
    (0..N)
        .filter(|j| x.wrapping_add(*j) < w)
        .fold(0, |mask, j| mask | 1 << j)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_are_outside_and_the_last_group_is_filled_up_with_nothing() {
        let s = ConvShape {
            c_in: 1,
            c_out: 1,
            n: 2,
            h: 5,
            w: 8,
        };
        let tiles = Tiles::of(s);
        assert_eq!(tiles.count, 2 * 2 * 2);
        let group = Group::at(tiles, 0);
        assert_eq!(group.first[..8], [0, 4, 32, 36, 40, 44, 72, 76]);
        assert_eq!(
            group.patch[0],
            [0, 0b11_1110, 0b11_1110, 0b11_1110, 0b11_1110, 0b11_1110]
        );
        assert_eq!(group.patch[3], [0b1_1111, 0b1_1111, 0, 0, 0, 0]);
        assert_eq!(group.tile[3], [0b1111, 0, 0, 0]);
        assert_eq!(group.patch[8], [0; PATCH]);
        assert_eq!(group.tile[8], [0; TILE]);
    }
}
