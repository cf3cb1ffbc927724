; steps:
;   g' = g + weight_decay * p                                         # l2
;   momentum_buffer' = where(t == 1, g', momentum * momentum_buffer + (1 - dampening) * g')  # heavy_ball
;   p' = p - lr * momentum_buffer'                                    # descend
; stored as p f32, g f32, momentum_buffer f32; computed in float

define internal void @pass0.0(i64 %start, i64 %count, i64 %number, i64 %columns, i64 %matrix, i64 %slice, ptr %hosts, ptr %globals, ptr %known, ptr noalias %partials, ptr noalias %p.ptr10, ptr noalias %g.ptr11, ptr noalias %momentum_buffer.ptr12) {
entry:
  %at.1 = getelementptr inbounds double, ptr %hosts, i64 0
  %momentum.2 = load double, ptr %at.1
  %at.3 = getelementptr inbounds double, ptr %hosts, i64 1
  %weight_decay.4 = load double, ptr %at.3
  %at.5 = getelementptr inbounds double, ptr %hosts, i64 2
  %sub.6 = load double, ptr %at.5
  %at.7 = getelementptr inbounds double, ptr %hosts, i64 3
  %lr.8 = load double, ptr %at.7
  %momentum.9 = fptrunc double %momentum.2 to float
  %weight_decay.10 = fptrunc double %weight_decay.4 to float
  %sub.11 = fptrunc double %sub.6 to float
  %lr.12 = fptrunc double %lr.8 to float
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %i.next, %loop ]
  %index = add i64 %start, %i
  %at.13 = getelementptr inbounds float, ptr %p.ptr10, i64 %i
  %p.14 = load float, ptr %at.13
  %at.15 = getelementptr inbounds float, ptr %g.ptr11, i64 %i
  %g.16 = load float, ptr %at.15
  %at.17 = getelementptr inbounds float, ptr %momentum_buffer.ptr12, i64 %i
  %momentum_buffer.18 = load float, ptr %at.17
  ; heavy_ball
  %mul.19 = fmul float %momentum.9, %momentum_buffer.18
  ; l2
  %mul.20 = fmul float %weight_decay.10, %p.14
  %g.21 = fadd float %g.16, %mul.20
  ; heavy_ball
  %mul.22 = fmul float %sub.11, %g.21
  %add.23 = fadd float %mul.19, %mul.22
  ; descend
  %mul.24 = fmul float %lr.12, %add.23
  %p.25 = fsub float %p.14, %mul.24
  %at.26 = getelementptr inbounds float, ptr %momentum_buffer.ptr12, i64 %i
  store float %add.23, ptr %at.26
  %at.27 = getelementptr inbounds float, ptr %p.ptr10, i64 %i
  store float %p.25, ptr %at.27
  %i.next = add nuw nsw i64 %i, 1
  %more = icmp slt i64 %i.next, %count
  br i1 %more, label %loop, label %done
done:
  ret void
}

define internal void @pass0.1(i64 %start, i64 %count, i64 %number, i64 %columns, i64 %matrix, i64 %slice, ptr %hosts, ptr %globals, ptr %known, ptr noalias %partials, ptr noalias %p.ptr10, ptr noalias %g.ptr11, ptr noalias %momentum_buffer.ptr12) {
entry:
  %at.1 = getelementptr inbounds double, ptr %hosts, i64 1
  %weight_decay.2 = load double, ptr %at.1
  %at.3 = getelementptr inbounds double, ptr %hosts, i64 3
  %lr.4 = load double, ptr %at.3
  %weight_decay.5 = fptrunc double %weight_decay.2 to float
  %lr.6 = fptrunc double %lr.4 to float
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %i.next, %loop ]
  %index = add i64 %start, %i
  %at.7 = getelementptr inbounds float, ptr %p.ptr10, i64 %i
  %p.8 = load float, ptr %at.7
  %at.9 = getelementptr inbounds float, ptr %g.ptr11, i64 %i
  %g.10 = load float, ptr %at.9
  ; l2
  %mul.11 = fmul float %weight_decay.5, %p.8
  %g.12 = fadd float %g.10, %mul.11
  ; descend
  %mul.13 = fmul float %lr.6, %g.12
  %p.14 = fsub float %p.8, %mul.13
  %at.15 = getelementptr inbounds float, ptr %momentum_buffer.ptr12, i64 %i
  store float %g.12, ptr %at.15
  %at.16 = getelementptr inbounds float, ptr %p.ptr10, i64 %i
  store float %p.14, ptr %at.16
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
  %record.14 = mul i64 %entry.4, 15
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
  %offset.43 = mul i64 %entry.7, 4
  %address.44 = add i64 %word.42, %offset.43
  %pointer.45 = inttoptr i64 %address.44 to ptr
  %at.46 = add i64 %record.14, 11
  %at.47 = getelementptr i64, ptr %records, i64 %at.46
  %word.48 = load i64, ptr %at.47
  %offset.49 = mul i64 %entry.7, 4
  %address.50 = add i64 %word.48, %offset.49
  %pointer.51 = inttoptr i64 %address.50 to ptr
  %at.52 = add i64 %record.14, 12
  %at.53 = getelementptr i64, ptr %records, i64 %at.52
  %word.54 = load i64, ptr %at.53
  %offset.55 = mul i64 %entry.7, 4
  %address.56 = add i64 %word.54, %offset.55
  %pointer.57 = inttoptr i64 %address.56 to ptr
  switch i64 %word.20, label %case0 [ i64 0, label %case0 i64 1, label %case1 ]
case0:
  call void @pass0.0(i64 %entry.7, i64 %entry.10, i64 %word.23, i64 %word.29, i64 %word.32, i64 %word.35, ptr %hosts.36, ptr %globals, ptr %known.37, ptr %mine.39, ptr %pointer.45, ptr %pointer.51, ptr %pointer.57)
  br label %next
case1:
  call void @pass0.1(i64 %entry.7, i64 %entry.10, i64 %word.23, i64 %word.29, i64 %word.32, i64 %word.35, ptr %hosts.36, ptr %globals, ptr %known.37, ptr %mine.39, ptr %pointer.45, ptr %pointer.51, ptr %pointer.57)
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
