; steps:
;   p' = p * (1 - lr * weight_decay)                            # decay
;   exp_avg' = lerp(exp_avg, g, 1 - beta1)                      # average_grad
;   exp_avg_sq' = beta2 * exp_avg_sq + (1 - beta2) * square(g)  # average_square
;   mean = exp_avg' / (1 - beta1 ** t)                          # adam
;   u = mean / (sqrt(exp_avg_sq' / (1 - beta2 ** t)) + eps)     # adam
;   p'' = p' - lr * u                                           # descend
; stored as p bf16, g bf16, exp_avg bf16, exp_avg_sq bf16; computed in float

declare float @llvm.fmuladd.f32(float, float, float)
declare float @llvm.sqrt.f32(float)
define internal float @steppers.load.bf16(i16 %h) alwaysinline nounwind willreturn memory(none) {
  %wide = zext i16 %h to i32
  %word = shl i32 %wide, 16
  %x = bitcast i32 %word to float
  ret float %x
}
define internal i16 @steppers.store.bf16(float %x) alwaysinline nounwind willreturn memory(none) {
  %b = bitcast float %x to i32
  %last = lshr i32 %b, 16
  %odd = and i32 %last, 1
  %half = add i32 %odd, 32767
  %sum = add i32 %b, %half
  %nearest = lshr i32 %sum, 16
  %quiet = or i32 %last, 64
  %nan = fcmp uno float %x, %x
  %word = select i1 %nan, i32 %quiet, i32 %nearest
  %h = trunc i32 %word to i16
  ret i16 %h
}


define internal void @pass0.0(i64 %start, i64 %count, i64 %number, i64 %columns, i64 %matrix, i64 %slice, ptr %hosts, ptr %globals, ptr %known, ptr noalias %partials, ptr noalias %p.ptr10, ptr noalias %g.ptr11, ptr noalias %exp_avg.ptr12, ptr noalias %exp_avg_sq.ptr13) {
entry:
  %at.1 = getelementptr inbounds double, ptr %hosts, i64 0
  %sub.2 = load double, ptr %at.1
  %at.3 = getelementptr inbounds double, ptr %hosts, i64 1
  %sub.4 = load double, ptr %at.3
  %at.5 = getelementptr inbounds double, ptr %hosts, i64 2
  %sub.6 = load double, ptr %at.5
  %at.7 = getelementptr inbounds double, ptr %hosts, i64 3
  %beta2.8 = load double, ptr %at.7
  %at.9 = getelementptr inbounds double, ptr %hosts, i64 4
  %sub.10 = load double, ptr %at.9
  %at.11 = getelementptr inbounds double, ptr %hosts, i64 5
  %sub.12 = load double, ptr %at.11
  %at.13 = getelementptr inbounds double, ptr %hosts, i64 6
  %eps.14 = load double, ptr %at.13
  %at.15 = getelementptr inbounds double, ptr %hosts, i64 7
  %lr.16 = load double, ptr %at.15
  %sub.17 = fptrunc double %sub.2 to float
  %sub.18 = fptrunc double %sub.4 to float
  %sub.19 = fptrunc double %sub.6 to float
  %beta2.20 = fptrunc double %beta2.8 to float
  %sub.21 = fptrunc double %sub.10 to float
  %sub.22 = fptrunc double %sub.12 to float
  %eps.23 = fptrunc double %eps.14 to float
  %lr.24 = fptrunc double %lr.16 to float
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %i.next, %loop ]
  %index = add i64 %start, %i
  %at.25 = getelementptr inbounds i16, ptr %p.ptr10, i64 %i
  %p.26 = load i16, ptr %at.25
  %p.27 = call float @steppers.load.bf16(i16 %p.26)
  %at.28 = getelementptr inbounds i16, ptr %g.ptr11, i64 %i
  %g.29 = load i16, ptr %at.28
  %g.30 = call float @steppers.load.bf16(i16 %g.29)
  %at.31 = getelementptr inbounds i16, ptr %exp_avg_sq.ptr13, i64 %i
  %exp_avg_sq.32 = load i16, ptr %at.31
  %exp_avg_sq.33 = call float @steppers.load.bf16(i16 %exp_avg_sq.32)
  %at.34 = getelementptr inbounds i16, ptr %exp_avg.ptr12, i64 %i
  %exp_avg.35 = load i16, ptr %at.34
  %exp_avg.36 = call float @steppers.load.bf16(i16 %exp_avg.35)
  ; decay
  %p.37 = fmul float %p.27, %sub.17
  ; average_grad
  %near.38 = fcmp olt float %sub.18, 0.500000
  %less.39 = fsub float %sub.18, 1.000000
  %weight.40 = select i1 %near.38, float %sub.18, float %less.39
  %base.41 = select i1 %near.38, float %exp_avg.36, float %g.30
  %difference.42 = fsub float %g.30, %exp_avg.36
  %exp_avg.43 = call float @llvm.fmuladd.f32(float %weight.40, float %difference.42, float %base.41)
  ; adam
  %mean.44 = fdiv float %exp_avg.43, %sub.19
  ; average_square
  %mul.45 = fmul float %beta2.20, %exp_avg_sq.33
  %square.46 = fmul float %g.30, %g.30
  %mul.47 = fmul float %sub.21, %square.46
  %exp_avg_sq.48 = fadd float %mul.45, %mul.47
  ; adam
  %div.49 = fdiv float %exp_avg_sq.48, %sub.22
  %sqrt.50 = call float @llvm.sqrt.f32(float %div.49)
  %add.51 = fadd float %sqrt.50, %eps.23
  %u.52 = fdiv float %mean.44, %add.51
  ; descend
  %mul.53 = fmul float %lr.24, %u.52
  %p.54 = fsub float %p.37, %mul.53
  %word.55 = call i16 @steppers.store.bf16(float %p.54)
  %at.56 = getelementptr inbounds i16, ptr %p.ptr10, i64 %i
  store i16 %word.55, ptr %at.56
  %word.57 = call i16 @steppers.store.bf16(float %exp_avg.43)
  %at.58 = getelementptr inbounds i16, ptr %exp_avg.ptr12, i64 %i
  store i16 %word.57, ptr %at.58
  %word.59 = call i16 @steppers.store.bf16(float %exp_avg_sq.48)
  %at.60 = getelementptr inbounds i16, ptr %exp_avg_sq.ptr13, i64 %i
  store i16 %word.59, ptr %at.60
  %i.next = add nuw nsw i64 %i, 1
  %more = icmp slt i64 %i.next, %count
  br i1 %more, label %loop, label %done
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
  %record.14 = mul i64 %entry.4, 17
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
  %offset.43 = mul i64 %entry.7, 2
  %address.44 = add i64 %word.42, %offset.43
  %pointer.45 = inttoptr i64 %address.44 to ptr
  %at.46 = add i64 %record.14, 11
  %at.47 = getelementptr i64, ptr %records, i64 %at.46
  %word.48 = load i64, ptr %at.47
  %offset.49 = mul i64 %entry.7, 2
  %address.50 = add i64 %word.48, %offset.49
  %pointer.51 = inttoptr i64 %address.50 to ptr
  %at.52 = add i64 %record.14, 12
  %at.53 = getelementptr i64, ptr %records, i64 %at.52
  %word.54 = load i64, ptr %at.53
  %offset.55 = mul i64 %entry.7, 2
  %address.56 = add i64 %word.54, %offset.55
  %pointer.57 = inttoptr i64 %address.56 to ptr
  %at.58 = add i64 %record.14, 13
  %at.59 = getelementptr i64, ptr %records, i64 %at.58
  %word.60 = load i64, ptr %at.59
  %offset.61 = mul i64 %entry.7, 2
  %address.62 = add i64 %word.60, %offset.61
  %pointer.63 = inttoptr i64 %address.62 to ptr
  call void @pass0.0(i64 %entry.7, i64 %entry.10, i64 %word.23, i64 %word.29, i64 %word.32, i64 %word.35, ptr %hosts.36, ptr %globals, ptr %known.37, ptr %mine.39, ptr %pointer.45, ptr %pointer.51, ptr %pointer.57, ptr %pointer.63)
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
