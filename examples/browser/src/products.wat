;; Sums of products of rows of 8-bit weights and of rows of 16-bit numbers, eight at a time.
;; src/products.ts has what `npx --package wabt wat2wasm products.wat` makes of it.
(module
  (import "e" "m" (memory 1))
  (func (export "f")
    (param $weights i32) (param $outputs i32)  ;; [outputs, inputs], inputs a multiple of 8
    (param $rows i32) (param $end i32)         ;; [rows, inputs], and where they end
    (param $inputs i32)
    (param $sums i32)                          ;; [outputs, rows], 32 bits each
    (local $row i32) (local $at i32) (local $stop i32) (local $sum v128)
    (loop $each_output
      (local.set $row (local.get $rows))
      (local.set $stop (i32.add (local.get $weights) (local.get $inputs)))
      (loop $each_row
        (local.set $sum (v128.const i32x4 0 0 0 0))
        (local.set $at (local.get $weights))
        (loop $each_eight
          (local.set $sum
            (i32x4.add
              (local.get $sum)
              (i32x4.dot_i16x8_s
                (v128.load8x8_s (local.get $at))
                (v128.load (local.get $row)))))
          (local.set $row (i32.add (local.get $row) (i32.const 16)))
          (br_if $each_eight
            (i32.lt_u
              (local.tee $at (i32.add (local.get $at) (i32.const 8)))
              (local.get $stop))))
        (i32.store (local.get $sums)
          (i32.add
            (i32.add
              (i32x4.extract_lane 0 (local.get $sum))
              (i32x4.extract_lane 1 (local.get $sum)))
            (i32.add
              (i32x4.extract_lane 2 (local.get $sum))
              (i32x4.extract_lane 3 (local.get $sum)))))
        (local.set $sums (i32.add (local.get $sums) (i32.const 4)))
        (br_if $each_row (i32.lt_u (local.get $row) (local.get $end))))
      (local.set $weights (local.get $stop))
      (br_if $each_output
        (local.tee $outputs (i32.sub (local.get $outputs) (i32.const 1)))))))
