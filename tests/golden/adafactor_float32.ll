; steps:
;   rate = maximum(eps2, rms(p)) * minimum(lr, t ** -0.5)             # relative_rate
;   p' = p * (1 - lr * weight_decay)                                  # decay
;   weight = t ** beta2_decay                                         # factored_square
;   x9 = square(g)                                                    # factored_square
;   row_var' = lerp(row_var, mean(x9, over="columns"), weight)        # factored_square
;   col_var' = lerp(col_var, mean(x9, over="rows"), weight)           # factored_square
;   second = row_var' * col_var' / maximum(mean(row_var', over="rows"), eps1)  # factored_square
;   u = g * rsqrt(maximum(second, eps1 * eps1))                       # clipped_descent
;   p'' = p' - rate / maximum(1, rms(u) / d) * u                      # clipped_descent
; stored as p f32, g f32; computed in float

declare float @llvm.maximum.f32(float, float)
declare float @llvm.sqrt.f32(float)


define internal void @pass0.0(i64 %start, i64 %count, i64 %number, i64 %columns, i64 %matrix, i64 %slice, ptr %hosts, ptr %globals, ptr %known, ptr noalias %partials, ptr noalias %p.ptr10, ptr noalias %g.ptr11, ptr noalias %field.ptr16, ptr noalias %field.ptr17, ptr noalias %field.ptr18) {
entry:
  br label %clear0
clear0:
  %c0 = phi i64 [ 0, %entry ], [ %c0.next, %clear0 ]
  %at.1 = getelementptr inbounds float, ptr %field.ptr18, i64 %c0
  store float 0.000000, ptr %at.1
  %c0.next = add nuw nsw i64 %c0, 1
  %c0.more = icmp slt i64 %c0.next, %columns
  br i1 %c0.more, label %clear0, label %cleared0
cleared0:
  br label %rows
rows:
  %k = phi i64 [ 0, %cleared0 ], [ %k.next, %rows.next ]
  %r = add i64 %start, %k
  %offset = mul i64 %r, %columns
  %b = udiv i64 %r, %matrix
  %f = udiv i64 %r, %slice
  br label %loop
loop:
  %j = phi i64 [ 0, %rows ], [ %j.next, %loop ]
  %sum0 = phi float [ 0.000000, %rows ], [ %sum0.next, %loop ]
  %sum1 = phi float [ 0.000000, %rows ], [ %sum1.next, %loop ]
  %i = add i64 %offset, %j
  %index = add i64 %i, 0
  %at.2 = getelementptr inbounds float, ptr %p.ptr10, i64 %i
  %p.3 = load float, ptr %at.2
  %at.4 = getelementptr inbounds float, ptr %g.ptr11, i64 %i
  %g.5 = load float, ptr %at.4
  ; factored_square
  %square.6 = fmul float %g.5, %g.5
  %product.7 = fmul float %p.3, %p.3
  %sum0.next = fadd reassoc nsz float %sum0, %product.7
  %sum1.next = fadd reassoc nsz float %sum1, %square.6
  %at.8 = getelementptr inbounds float, ptr %field.ptr18, i64 %j
  %old.9 = load float, ptr %at.8
  %new.10 = fadd reassoc nsz float %old.9, %square.6
  store float %new.10, ptr %at.8
  %j.next = add nuw nsw i64 %j, 1
  %more = icmp slt i64 %j.next, %columns
  br i1 %more, label %loop, label %rows.next, !llvm.loop !3
rows.next:
  %sum.11 = fpext float %sum0.next to double
  %at.12 = getelementptr inbounds double, ptr %field.ptr16, i64 %r
  store double %sum.11, ptr %at.12
  %sum.13 = fpext float %sum1.next to double
  %at.14 = getelementptr inbounds double, ptr %field.ptr17, i64 %r
  store double %sum.13, ptr %at.14
  %k.next = add nuw nsw i64 %k, 1
  %rows.more = icmp slt i64 %k.next, %count
  br i1 %rows.more, label %rows, label %done
done:
  ret void
}

define void @pass0(ptr %counter, i64 %chunks, ptr %table, ptr %records, ptr %globals, ptr %partials) {
entry:
  br label %next
next:
  %chunk = atomicrmw add ptr %counter, i64 1 monotonic
  %some = icmp slt i64 %chunk, %chunks
  br i1 %some, label %work, label %done
work:
  %place.1 = mul i64 %chunk, 4
  %at.2 = add i64 %place.1, 0
  %at.3 = getelementptr i64, ptr %table, i64 %at.2
  %entry.4 = load i64, ptr %at.3
  %at.5 = add i64 %place.1, 1
  %at.6 = getelementptr i64, ptr %table, i64 %at.5
  %entry.7 = load i64, ptr %at.6
  %at.8 = add i64 %place.1, 2
  %at.9 = getelementptr i64, ptr %table, i64 %at.8
  %entry.10 = load i64, ptr %at.9
  %at.11 = add i64 %place.1, 3
  %at.12 = getelementptr i64, ptr %table, i64 %at.11
  %entry.13 = load i64, ptr %at.12
  %record.14 = mul i64 %entry.4, 20
  %at.15 = add i64 %record.14, 0
  %at.16 = getelementptr i64, ptr %records, i64 %at.15
  %word.17 = load i64, ptr %at.16
  %at.18 = add i64 %record.14, 1
  %at.19 = getelementptr i64, ptr %records, i64 %at.18
  %word.20 = load i64, ptr %at.19
  %at.21 = add i64 %record.14, 2
  %at.22 = getelementptr i64, ptr %records, i64 %at.21
  %word.23 = load i64, ptr %at.22
  %at.24 = add i64 %record.14, 6
  %at.25 = getelementptr i64, ptr %records, i64 %at.24
  %word.26 = load i64, ptr %at.25
  %at.27 = add i64 %record.14, 7
  %at.28 = getelementptr i64, ptr %records, i64 %at.27
  %word.29 = load i64, ptr %at.28
  %at.30 = add i64 %record.14, 8
  %at.31 = getelementptr i64, ptr %records, i64 %at.30
  %word.32 = load i64, ptr %at.31
  %at.33 = add i64 %record.14, 9
  %at.34 = getelementptr i64, ptr %records, i64 %at.33
  %word.35 = load i64, ptr %at.34
  %hosts.36 = inttoptr i64 %word.17 to ptr
  %known.37 = inttoptr i64 %word.26 to ptr
  %shift.38 = mul i64 %chunk, 3
  %mine.39 = getelementptr double, ptr %partials, i64 %shift.38
  %at.40 = add i64 %record.14, 10
  %at.41 = getelementptr i64, ptr %records, i64 %at.40
  %word.42 = load i64, ptr %at.41
  %pointer.43 = inttoptr i64 %word.42 to ptr
  %at.44 = add i64 %record.14, 11
  %at.45 = getelementptr i64, ptr %records, i64 %at.44
  %word.46 = load i64, ptr %at.45
  %pointer.47 = inttoptr i64 %word.46 to ptr
  %at.48 = add i64 %record.14, 16
  %at.49 = getelementptr i64, ptr %records, i64 %at.48
  %word.50 = load i64, ptr %at.49
  %pointer.51 = inttoptr i64 %word.50 to ptr
  %at.52 = add i64 %record.14, 17
  %at.53 = getelementptr i64, ptr %records, i64 %at.52
  %word.54 = load i64, ptr %at.53
  %pointer.55 = inttoptr i64 %word.54 to ptr
  %at.56 = add i64 %record.14, 18
  %at.57 = getelementptr i64, ptr %records, i64 %at.56
  %word.58 = load i64, ptr %at.57
  %behind.59 = mul i64 %entry.13, %word.29
  %offset.60 = mul i64 %behind.59, 4
  %address.61 = add i64 %word.58, %offset.60
  %pointer.62 = inttoptr i64 %address.61 to ptr
  call void @pass0.0(i64 %entry.7, i64 %entry.10, i64 %word.23, i64 %word.29, i64 %word.32, i64 %word.35, ptr %hosts.36, ptr %globals, ptr %known.37, ptr %mine.39, ptr %pointer.43, ptr %pointer.47, ptr %pointer.51, ptr %pointer.55, ptr %pointer.62)
  br label %next
done:
  ret void
}

define void @pass0.shared(ptr %words) {
entry:
  %at.1 = getelementptr i64, ptr %words, i64 0
  %word.2 = load i64, ptr %at.1
  %at.3 = getelementptr i64, ptr %words, i64 1
  %word.4 = load i64, ptr %at.3
  %at.5 = getelementptr i64, ptr %words, i64 2
  %word.6 = load i64, ptr %at.5
  %at.7 = getelementptr i64, ptr %words, i64 3
  %word.8 = load i64, ptr %at.7
  %at.9 = getelementptr i64, ptr %words, i64 4
  %word.10 = load i64, ptr %at.9
  %at.11 = getelementptr i64, ptr %words, i64 5
  %word.12 = load i64, ptr %at.11
  %argument.13 = inttoptr i64 %word.2 to ptr
  %argument.14 = inttoptr i64 %word.6 to ptr
  %argument.15 = inttoptr i64 %word.8 to ptr
  %argument.16 = inttoptr i64 %word.10 to ptr
  %argument.17 = inttoptr i64 %word.12 to ptr
  call void @pass0(ptr %argument.13, i64 %word.4, ptr %argument.14, ptr %argument.15, ptr %argument.16, ptr %argument.17)
  ret void
}

define internal void @pass2.0(i64 %start, i64 %count, i64 %number, i64 %columns, i64 %matrix, i64 %slice, ptr %hosts, ptr %globals, ptr %known, ptr noalias %partials, ptr noalias %g.ptr11, ptr noalias %field.ptr13, ptr noalias %field.ptr14, ptr noalias %field.ptr15, ptr noalias %field.ptr19) {
entry:
  %at.1 = getelementptr inbounds double, ptr %hosts, i64 0
  %mul.2 = load double, ptr %at.1
  %mul.3 = fptrunc double %mul.2 to float
  br label %rows
rows:
  %k = phi i64 [ 0, %entry ], [ %k.next, %rows.next ]
  %r = add i64 %start, %k
  %offset = mul i64 %r, %columns
  %b = udiv i64 %r, %matrix
  %f = udiv i64 %r, %slice
  %at.4 = getelementptr inbounds float, ptr %field.ptr13, i64 %b
  %maximum.5 = load float, ptr %at.4
  %at.6 = getelementptr inbounds float, ptr %field.ptr15, i64 %r
  %row_var.7 = load float, ptr %at.6
  br label %loop
loop:
  %j = phi i64 [ 0, %rows ], [ %j.next, %loop ]
  %sum0 = phi float [ 0.000000, %rows ], [ %sum0.next, %loop ]
  %i = add i64 %offset, %j
  %index = add i64 %i, 0
  %at.8 = getelementptr inbounds float, ptr %g.ptr11, i64 %i
  %g.9 = load float, ptr %at.8
  %row.10 = mul i64 %b, %columns
  %column.11 = add i64 %row.10, %j
  %at.12 = getelementptr inbounds float, ptr %field.ptr14, i64 %column.11
  %col_var.13 = load float, ptr %at.12
  ; factored_square
  %mul.14 = fmul float %row_var.7, %col_var.13
  %second.15 = fdiv float %mul.14, %maximum.5
  ; clipped_descent
  %maximum.16 = call nsz float @llvm.maximum.f32(float %second.15, float %mul.3)
  %root.17 = call float @llvm.sqrt.f32(float %maximum.16)
  %rsqrt.18 = fdiv float 1.000000, %root.17
  %u.19 = fmul float %g.9, %rsqrt.18
  %product.20 = fmul float %u.19, %u.19
  %sum0.next = fadd reassoc nsz float %sum0, %product.20
  %j.next = add nuw nsw i64 %j, 1
  %more = icmp slt i64 %j.next, %columns
  br i1 %more, label %loop, label %rows.next, !llvm.loop !4
rows.next:
  %sum.21 = fpext float %sum0.next to double
  %at.22 = getelementptr inbounds double, ptr %field.ptr19, i64 %r
  store double %sum.21, ptr %at.22
  %k.next = add nuw nsw i64 %k, 1
  %rows.more = icmp slt i64 %k.next, %count
  br i1 %rows.more, label %rows, label %done
done:
  ret void
}

define void @pass2(ptr %counter, i64 %chunks, ptr %table, ptr %records, ptr %globals, ptr %partials) {
entry:
  br label %next
next:
  %chunk = atomicrmw add ptr %counter, i64 1 monotonic
  %some = icmp slt i64 %chunk, %chunks
  br i1 %some, label %work, label %done
work:
  %place.1 = mul i64 %chunk, 4
  %at.2 = add i64 %place.1, 0
  %at.3 = getelementptr i64, ptr %table, i64 %at.2
  %entry.4 = load i64, ptr %at.3
  %at.5 = add i64 %place.1, 1
  %at.6 = getelementptr i64, ptr %table, i64 %at.5
  %entry.7 = load i64, ptr %at.6
  %at.8 = add i64 %place.1, 2
  %at.9 = getelementptr i64, ptr %table, i64 %at.8
  %entry.10 = load i64, ptr %at.9
  %at.11 = add i64 %place.1, 3
  %at.12 = getelementptr i64, ptr %table, i64 %at.11
  %entry.13 = load i64, ptr %at.12
  %record.14 = mul i64 %entry.4, 20
  %at.15 = add i64 %record.14, 0
  %at.16 = getelementptr i64, ptr %records, i64 %at.15
  %word.17 = load i64, ptr %at.16
  %at.18 = add i64 %record.14, 1
  %at.19 = getelementptr i64, ptr %records, i64 %at.18
  %word.20 = load i64, ptr %at.19
  %at.21 = add i64 %record.14, 2
  %at.22 = getelementptr i64, ptr %records, i64 %at.21
  %word.23 = load i64, ptr %at.22
  %at.24 = add i64 %record.14, 6
  %at.25 = getelementptr i64, ptr %records, i64 %at.24
  %word.26 = load i64, ptr %at.25
  %at.27 = add i64 %record.14, 7
  %at.28 = getelementptr i64, ptr %records, i64 %at.27
  %word.29 = load i64, ptr %at.28
  %at.30 = add i64 %record.14, 8
  %at.31 = getelementptr i64, ptr %records, i64 %at.30
  %word.32 = load i64, ptr %at.31
  %at.33 = add i64 %record.14, 9
  %at.34 = getelementptr i64, ptr %records, i64 %at.33
  %word.35 = load i64, ptr %at.34
  %hosts.36 = inttoptr i64 %word.17 to ptr
  %known.37 = inttoptr i64 %word.26 to ptr
  %shift.38 = mul i64 %chunk, 1
  %mine.39 = getelementptr double, ptr %partials, i64 %shift.38
  %at.40 = add i64 %record.14, 11
  %at.41 = getelementptr i64, ptr %records, i64 %at.40
  %word.42 = load i64, ptr %at.41
  %pointer.43 = inttoptr i64 %word.42 to ptr
  %at.44 = add i64 %record.14, 13
  %at.45 = getelementptr i64, ptr %records, i64 %at.44
  %word.46 = load i64, ptr %at.45
  %pointer.47 = inttoptr i64 %word.46 to ptr
  %at.48 = add i64 %record.14, 14
  %at.49 = getelementptr i64, ptr %records, i64 %at.48
  %word.50 = load i64, ptr %at.49
  %pointer.51 = inttoptr i64 %word.50 to ptr
  %at.52 = add i64 %record.14, 15
  %at.53 = getelementptr i64, ptr %records, i64 %at.52
  %word.54 = load i64, ptr %at.53
  %pointer.55 = inttoptr i64 %word.54 to ptr
  %at.56 = add i64 %record.14, 19
  %at.57 = getelementptr i64, ptr %records, i64 %at.56
  %word.58 = load i64, ptr %at.57
  %pointer.59 = inttoptr i64 %word.58 to ptr
  call void @pass2.0(i64 %entry.7, i64 %entry.10, i64 %word.23, i64 %word.29, i64 %word.32, i64 %word.35, ptr %hosts.36, ptr %globals, ptr %known.37, ptr %mine.39, ptr %pointer.43, ptr %pointer.47, ptr %pointer.51, ptr %pointer.55, ptr %pointer.59)
  br label %next
done:
  ret void
}

define void @pass2.shared(ptr %words) {
entry:
  %at.1 = getelementptr i64, ptr %words, i64 0
  %word.2 = load i64, ptr %at.1
  %at.3 = getelementptr i64, ptr %words, i64 1
  %word.4 = load i64, ptr %at.3
  %at.5 = getelementptr i64, ptr %words, i64 2
  %word.6 = load i64, ptr %at.5
  %at.7 = getelementptr i64, ptr %words, i64 3
  %word.8 = load i64, ptr %at.7
  %at.9 = getelementptr i64, ptr %words, i64 4
  %word.10 = load i64, ptr %at.9
  %at.11 = getelementptr i64, ptr %words, i64 5
  %word.12 = load i64, ptr %at.11
  %argument.13 = inttoptr i64 %word.2 to ptr
  %argument.14 = inttoptr i64 %word.6 to ptr
  %argument.15 = inttoptr i64 %word.8 to ptr
  %argument.16 = inttoptr i64 %word.10 to ptr
  %argument.17 = inttoptr i64 %word.12 to ptr
  call void @pass2(ptr %argument.13, i64 %word.4, ptr %argument.14, ptr %argument.15, ptr %argument.16, ptr %argument.17)
  ret void
}

define internal void @pass3.0(i64 %start, i64 %count, i64 %number, i64 %columns, i64 %matrix, i64 %slice, ptr %hosts, ptr %globals, ptr %known, ptr noalias %partials, ptr noalias %p.ptr10, ptr noalias %g.ptr11, ptr noalias %field.ptr13, ptr noalias %field.ptr14, ptr noalias %field.ptr15) {
entry:
  %at.1 = getelementptr inbounds double, ptr %hosts, i64 0
  %mul.2 = load double, ptr %at.1
  %at.3 = getelementptr inbounds double, ptr %hosts, i64 1
  %sub.4 = load double, ptr %at.3
  %at.5 = getelementptr inbounds double, ptr %hosts, i64 2
  %eps2.6 = load double, ptr %at.5
  %at.7 = getelementptr inbounds double, ptr %hosts, i64 3
  %minimum.8 = load double, ptr %at.7
  %at.9 = getelementptr inbounds double, ptr %hosts, i64 4
  %d.10 = load double, ptr %at.9
  %at.11 = getelementptr inbounds double, ptr %known, i64 0
  %rms.12 = load double, ptr %at.11
  %at.13 = getelementptr inbounds double, ptr %known, i64 1
  %rms.14 = load double, ptr %at.13
  %mul.15 = fptrunc double %mul.2 to float
  %sub.16 = fptrunc double %sub.4 to float
  %eps2.17 = fptrunc double %eps2.6 to float
  %minimum.18 = fptrunc double %minimum.8 to float
  %d.19 = fptrunc double %d.10 to float
  %rms.20 = fptrunc double %rms.12 to float
  %rms.21 = fptrunc double %rms.14 to float
  ; relative_rate
  %maximum.22 = call nsz float @llvm.maximum.f32(float %eps2.17, float %rms.20)
  %rate.23 = fmul float %maximum.22, %minimum.18
  ; clipped_descent
  %div.24 = fdiv float %rms.21, %d.19
  %maximum.25 = call nsz float @llvm.maximum.f32(float 1.000000, float %div.24)
  %div.26 = fdiv float %rate.23, %maximum.25
  br label %rows
rows:
  %k = phi i64 [ 0, %entry ], [ %k.next, %rows.next ]
  %r = add i64 %start, %k
  %offset = mul i64 %r, %columns
  %b = udiv i64 %r, %matrix
  %f = udiv i64 %r, %slice
  %at.27 = getelementptr inbounds float, ptr %field.ptr13, i64 %b
  %maximum.28 = load float, ptr %at.27
  %at.29 = getelementptr inbounds float, ptr %field.ptr15, i64 %r
  %row_var.30 = load float, ptr %at.29
  br label %loop
loop:
  %j = phi i64 [ 0, %rows ], [ %j.next, %loop ]
  %i = add i64 %offset, %j
  %index = add i64 %i, 0
  %at.31 = getelementptr inbounds float, ptr %p.ptr10, i64 %i
  %p.32 = load float, ptr %at.31
  %at.33 = getelementptr inbounds float, ptr %g.ptr11, i64 %i
  %g.34 = load float, ptr %at.33
  %row.35 = mul i64 %b, %columns
  %column.36 = add i64 %row.35, %j
  %at.37 = getelementptr inbounds float, ptr %field.ptr14, i64 %column.36
  %col_var.38 = load float, ptr %at.37
  ; decay
  %p.39 = fmul float %p.32, %sub.16
  ; factored_square
  %mul.40 = fmul float %row_var.30, %col_var.38
  %second.41 = fdiv float %mul.40, %maximum.28
  ; clipped_descent
  %maximum.42 = call nsz float @llvm.maximum.f32(float %second.41, float %mul.15)
  %root.43 = call float @llvm.sqrt.f32(float %maximum.42)
  %rsqrt.44 = fdiv float 1.000000, %root.43
  %u.45 = fmul float %g.34, %rsqrt.44
  %mul.46 = fmul float %div.26, %u.45
  %p.47 = fsub float %p.39, %mul.46
  %at.48 = getelementptr inbounds float, ptr %p.ptr10, i64 %i
  store float %p.47, ptr %at.48
  %j.next = add nuw nsw i64 %j, 1
  %more = icmp slt i64 %j.next, %columns
  br i1 %more, label %loop, label %rows.next
rows.next:
  %k.next = add nuw nsw i64 %k, 1
  %rows.more = icmp slt i64 %k.next, %count
  br i1 %rows.more, label %rows, label %done
done:
  ret void
}

define void @pass3(ptr %counter, i64 %chunks, ptr %table, ptr %records, ptr %globals, ptr %partials) {
entry:
  br label %next
next:
  %chunk = atomicrmw add ptr %counter, i64 1 monotonic
  %some = icmp slt i64 %chunk, %chunks
  br i1 %some, label %work, label %done
work:
  %place.1 = mul i64 %chunk, 4
  %at.2 = add i64 %place.1, 0
  %at.3 = getelementptr i64, ptr %table, i64 %at.2
  %entry.4 = load i64, ptr %at.3
  %at.5 = add i64 %place.1, 1
  %at.6 = getelementptr i64, ptr %table, i64 %at.5
  %entry.7 = load i64, ptr %at.6
  %at.8 = add i64 %place.1, 2
  %at.9 = getelementptr i64, ptr %table, i64 %at.8
  %entry.10 = load i64, ptr %at.9
  %at.11 = add i64 %place.1, 3
  %at.12 = getelementptr i64, ptr %table, i64 %at.11
  %entry.13 = load i64, ptr %at.12
  %record.14 = mul i64 %entry.4, 20
  %at.15 = add i64 %record.14, 0
  %at.16 = getelementptr i64, ptr %records, i64 %at.15
  %word.17 = load i64, ptr %at.16
  %at.18 = add i64 %record.14, 1
  %at.19 = getelementptr i64, ptr %records, i64 %at.18
  %word.20 = load i64, ptr %at.19
  %at.21 = add i64 %record.14, 2
  %at.22 = getelementptr i64, ptr %records, i64 %at.21
  %word.23 = load i64, ptr %at.22
  %at.24 = add i64 %record.14, 6
  %at.25 = getelementptr i64, ptr %records, i64 %at.24
  %word.26 = load i64, ptr %at.25
  %at.27 = add i64 %record.14, 7
  %at.28 = getelementptr i64, ptr %records, i64 %at.27
  %word.29 = load i64, ptr %at.28
  %at.30 = add i64 %record.14, 8
  %at.31 = getelementptr i64, ptr %records, i64 %at.30
  %word.32 = load i64, ptr %at.31
  %at.33 = add i64 %record.14, 9
  %at.34 = getelementptr i64, ptr %records, i64 %at.33
  %word.35 = load i64, ptr %at.34
  %hosts.36 = inttoptr i64 %word.17 to ptr
  %known.37 = inttoptr i64 %word.26 to ptr
  %shift.38 = mul i64 %chunk, 0
  %mine.39 = getelementptr double, ptr %partials, i64 %shift.38
  %at.40 = add i64 %record.14, 10
  %at.41 = getelementptr i64, ptr %records, i64 %at.40
  %word.42 = load i64, ptr %at.41
  %pointer.43 = inttoptr i64 %word.42 to ptr
  %at.44 = add i64 %record.14, 11
  %at.45 = getelementptr i64, ptr %records, i64 %at.44
  %word.46 = load i64, ptr %at.45
  %pointer.47 = inttoptr i64 %word.46 to ptr
  %at.48 = add i64 %record.14, 13
  %at.49 = getelementptr i64, ptr %records, i64 %at.48
  %word.50 = load i64, ptr %at.49
  %pointer.51 = inttoptr i64 %word.50 to ptr
  %at.52 = add i64 %record.14, 14
  %at.53 = getelementptr i64, ptr %records, i64 %at.52
  %word.54 = load i64, ptr %at.53
  %pointer.55 = inttoptr i64 %word.54 to ptr
  %at.56 = add i64 %record.14, 15
  %at.57 = getelementptr i64, ptr %records, i64 %at.56
  %word.58 = load i64, ptr %at.57
  %pointer.59 = inttoptr i64 %word.58 to ptr
  call void @pass3.0(i64 %entry.7, i64 %entry.10, i64 %word.23, i64 %word.29, i64 %word.32, i64 %word.35, ptr %hosts.36, ptr %globals, ptr %known.37, ptr %mine.39, ptr %pointer.43, ptr %pointer.47, ptr %pointer.51, ptr %pointer.55, ptr %pointer.59)
  br label %next
done:
  ret void
}

define void @pass3.shared(ptr %words) {
entry:
  %at.1 = getelementptr i64, ptr %words, i64 0
  %word.2 = load i64, ptr %at.1
  %at.3 = getelementptr i64, ptr %words, i64 1
  %word.4 = load i64, ptr %at.3
  %at.5 = getelementptr i64, ptr %words, i64 2
  %word.6 = load i64, ptr %at.5
  %at.7 = getelementptr i64, ptr %words, i64 3
  %word.8 = load i64, ptr %at.7
  %at.9 = getelementptr i64, ptr %words, i64 4
  %word.10 = load i64, ptr %at.9
  %at.11 = getelementptr i64, ptr %words, i64 5
  %word.12 = load i64, ptr %at.11
  %argument.13 = inttoptr i64 %word.2 to ptr
  %argument.14 = inttoptr i64 %word.6 to ptr
  %argument.15 = inttoptr i64 %word.8 to ptr
  %argument.16 = inttoptr i64 %word.10 to ptr
  %argument.17 = inttoptr i64 %word.12 to ptr
  call void @pass3(ptr %argument.13, i64 %word.4, ptr %argument.14, ptr %argument.15, ptr %argument.16, ptr %argument.17)
  ret void
}

!0 = !{!"llvm.loop.vectorize.enable", i1 true}
!1 = !{!"llvm.loop.vectorize.width", i32 16}
!2 = !{!"llvm.loop.interleave.count", i32 4}
!3 = distinct !{!3, !0, !1, !2}
!4 = distinct !{!4, !0, !1, !2}
