; steps:
;   exp_avg' = lerp(exp_avg, g, 1 - beta1)                            # average_grad
;   exp_avg_sq' = beta2 * exp_avg_sq + (1 - beta2) * square(g)        # average_square
;   mean = exp_avg' / (1 - beta1 ** t)                                # adam
;   u = mean / (sqrt(exp_avg_sq' / (1 - beta2 ** t)) + eps)           # adam
;   u' = u + weight_decay * p                                         # decayed_direction
;   p_norm = norm(p)                                                  # trust_ratio
;   u_norm = norm(u')                                                 # trust_ratio
;   ratio = where((p_norm > 0) & (u_norm > 0), minimum(p_norm / u_norm, trust_clip), 1)  # trust_ratio
;   u'' = ratio * u'                                                  # trust_ratio
;   p' = p - lr * u''                                                 # descend
; stored as p f32, g f32, exp_avg f32, exp_avg_sq f32; computed in float

declare float @llvm.fmuladd.f32(float, float, float)
declare double @llvm.maximum.f64(double, double)
declare float @llvm.minimum.f32(float, float)
declare float @llvm.sqrt.f32(float)
declare double @llvm.sqrt.f64(double)


define internal void @pass0.0(i64 %start, i64 %count, i64 %number, i64 %columns, i64 %matrix, i64 %slice, ptr %hosts, ptr %globals, ptr %known, ptr noalias %partials, ptr noalias %p.ptr10, ptr noalias %g.ptr11, ptr noalias %exp_avg.ptr12, ptr noalias %exp_avg_sq.ptr13) {
entry:
  %at.1 = getelementptr inbounds double, ptr %hosts, i64 0
  %sub.2 = load double, ptr %at.1
  %at.3 = getelementptr inbounds double, ptr %hosts, i64 1
  %sub.4 = load double, ptr %at.3
  %at.5 = getelementptr inbounds double, ptr %hosts, i64 2
  %beta2.6 = load double, ptr %at.5
  %at.7 = getelementptr inbounds double, ptr %hosts, i64 3
  %sub.8 = load double, ptr %at.7
  %at.9 = getelementptr inbounds double, ptr %hosts, i64 4
  %sub.10 = load double, ptr %at.9
  %at.11 = getelementptr inbounds double, ptr %hosts, i64 5
  %eps.12 = load double, ptr %at.11
  %at.13 = getelementptr inbounds double, ptr %hosts, i64 6
  %weight_decay.14 = load double, ptr %at.13
  %sub.15 = fptrunc double %sub.2 to float
  %sub.16 = fptrunc double %sub.4 to float
  %beta2.17 = fptrunc double %beta2.6 to float
  %sub.18 = fptrunc double %sub.8 to float
  %sub.19 = fptrunc double %sub.10 to float
  %eps.20 = fptrunc double %eps.12 to float
  %weight_decay.21 = fptrunc double %weight_decay.14 to float
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %i.next, %loop ]
  %sum0 = phi float [ 0.000000, %entry ], [ %sum0.next, %loop ]
  %sum1 = phi float [ 0.000000, %entry ], [ %sum1.next, %loop ]
  %index = add i64 %start, %i
  %at.22 = getelementptr inbounds float, ptr %p.ptr10, i64 %i
  %p.23 = load float, ptr %at.22
  %at.24 = getelementptr inbounds float, ptr %g.ptr11, i64 %i
  %g.25 = load float, ptr %at.24
  %at.26 = getelementptr inbounds float, ptr %exp_avg_sq.ptr13, i64 %i
  %exp_avg_sq.27 = load float, ptr %at.26
  %at.28 = getelementptr inbounds float, ptr %exp_avg.ptr12, i64 %i
  %exp_avg.29 = load float, ptr %at.28
  ; average_grad
  %near.30 = fcmp olt float %sub.15, 0.500000
  %less.31 = fsub float %sub.15, 1.000000
  %weight.32 = select i1 %near.30, float %sub.15, float %less.31
  %base.33 = select i1 %near.30, float %exp_avg.29, float %g.25
  %difference.34 = fsub float %g.25, %exp_avg.29
  %exp_avg.35 = call float @llvm.fmuladd.f32(float %weight.32, float %difference.34, float %base.33)
  ; adam
  %mean.36 = fdiv float %exp_avg.35, %sub.16
  ; average_square
  %mul.37 = fmul float %beta2.17, %exp_avg_sq.27
  %square.38 = fmul float %g.25, %g.25
  %mul.39 = fmul float %sub.18, %square.38
  %exp_avg_sq.40 = fadd float %mul.37, %mul.39
  ; adam
  %div.41 = fdiv float %exp_avg_sq.40, %sub.19
  %sqrt.42 = call float @llvm.sqrt.f32(float %div.41)
  %add.43 = fadd float %sqrt.42, %eps.20
  %u.44 = fdiv float %mean.36, %add.43
  ; decayed_direction
  %mul.45 = fmul float %weight_decay.21, %p.23
  %u.46 = fadd float %u.44, %mul.45
  %at.47 = getelementptr inbounds float, ptr %exp_avg.ptr12, i64 %i
  store float %exp_avg.35, ptr %at.47
  %at.48 = getelementptr inbounds float, ptr %exp_avg_sq.ptr13, i64 %i
  store float %exp_avg_sq.40, ptr %at.48
  %product.49 = fmul float %p.23, %p.23
  %sum0.next = fadd reassoc nsz float %sum0, %product.49
  %product.50 = fmul float %u.46, %u.46
  %sum1.next = fadd reassoc nsz float %sum1, %product.50
  %i.next = add nuw nsw i64 %i, 1
  %more = icmp slt i64 %i.next, %count
  br i1 %more, label %loop, label %done, !llvm.loop !3
done:
  %sum.51 = fpext float %sum0.next to double
  %at.52 = getelementptr inbounds double, ptr %partials, i64 0
  store double %sum.51, ptr %at.52
  %sum.53 = fpext float %sum1.next to double
  %at.54 = getelementptr inbounds double, ptr %partials, i64 1
  store double %sum.53, ptr %at.54
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
  %record.14 = mul i64 %entry.4, 19
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
  %shift.38 = mul i64 %chunk, 2
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
  %at.58 = add i64 %record.14, 13
  %at.59 = getelementptr i64, ptr %records, i64 %at.58
  %word.60 = load i64, ptr %at.59
  %offset.61 = mul i64 %entry.7, 4
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

define void @finish0(i64 %tensors, ptr %records, ptr %partials, ptr %totals) {
entry:
  br label %tensor
tensor:
  %t = phi i64 [ 0, %entry ], [ %t.next, %tensor.next ]
  %record.1 = mul i64 %t, 19
  %at.2 = add i64 %record.1, 4
  %at.3 = getelementptr i64, ptr %records, i64 %at.2
  %word.4 = load i64, ptr %at.3
  %at.5 = add i64 %record.1, 5
  %at.6 = getelementptr i64, ptr %records, i64 %at.5
  %word.7 = load i64, ptr %at.6
  %at.8 = add i64 %record.1, 3
  %at.9 = getelementptr i64, ptr %records, i64 %at.8
  %word.10 = load i64, ptr %at.9
  %at.11 = add i64 %record.1, 6
  %at.12 = getelementptr i64, ptr %records, i64 %at.11
  %word.13 = load i64, ptr %at.12
  %count.14 = sitofp i64 %word.10 to double
  %known.15 = inttoptr i64 %word.13 to ptr
  %none = icmp sge i64 %word.4, %word.7
  br i1 %none, label %tensor.next, label %chunk
chunk:
  %c = phi i64 [ %word.4, %tensor ], [ %c.next, %chunk ]
  %sum0 = phi double [ 0.000000, %tensor ], [ %sum0.next, %chunk ]
  %sum1 = phi double [ 0.000000, %tensor ], [ %sum1.next, %chunk ]
  %base.16 = mul i64 %c, 2
  %at.17 = add i64 %base.16, 0
  %at.18 = getelementptr double, ptr %partials, i64 %at.17
  %part.19 = load double, ptr %at.18
  %sum0.next = fadd double %sum0, %part.19
  %at.20 = add i64 %base.16, 1
  %at.21 = getelementptr double, ptr %partials, i64 %at.20
  %part.22 = load double, ptr %at.21
  %sum1.next = fadd double %sum1, %part.22
  %c.next = add nuw nsw i64 %c, 1
  %c.more = icmp slt i64 %c.next, %word.7
  br i1 %c.more, label %chunk, label %tensor.next
tensor.next:
  %total0 = phi double [ 0.000000, %tensor ], [ %sum0.next, %chunk ]
  %total1 = phi double [ 0.000000, %tensor ], [ %sum1.next, %chunk ]
  %root.23 = call double @llvm.sqrt.f64(double %total0)
  %at.24 = getelementptr double, ptr %known.15, i64 0
  store double %root.23, ptr %at.24
  %root.25 = call double @llvm.sqrt.f64(double %total1)
  %at.26 = getelementptr double, ptr %known.15, i64 1
  store double %root.25, ptr %at.26
  %t.next = add nuw nsw i64 %t, 1
  %t.more = icmp slt i64 %t.next, %tensors
  br i1 %t.more, label %tensor, label %done
done:
  ret void
}

define internal void @pass1.0(i64 %start, i64 %count, i64 %number, i64 %columns, i64 %matrix, i64 %slice, ptr %hosts, ptr %globals, ptr %known, ptr noalias %partials, ptr noalias %p.ptr10, ptr noalias %exp_avg.ptr12, ptr noalias %exp_avg_sq.ptr13) {
entry:
  %at.1 = getelementptr inbounds double, ptr %hosts, i64 1
  %sub.2 = load double, ptr %at.1
  %at.3 = getelementptr inbounds double, ptr %hosts, i64 4
  %sub.4 = load double, ptr %at.3
  %at.5 = getelementptr inbounds double, ptr %hosts, i64 5
  %eps.6 = load double, ptr %at.5
  %at.7 = getelementptr inbounds double, ptr %hosts, i64 6
  %weight_decay.8 = load double, ptr %at.7
  %at.9 = getelementptr inbounds double, ptr %hosts, i64 7
  %trust_clip.10 = load double, ptr %at.9
  %at.11 = getelementptr inbounds double, ptr %hosts, i64 8
  %lr.12 = load double, ptr %at.11
  %at.13 = getelementptr inbounds double, ptr %known, i64 0
  %p_norm.14 = load double, ptr %at.13
  %at.15 = getelementptr inbounds double, ptr %known, i64 1
  %u_norm.16 = load double, ptr %at.15
  %sub.17 = fptrunc double %sub.2 to float
  %sub.18 = fptrunc double %sub.4 to float
  %eps.19 = fptrunc double %eps.6 to float
  %weight_decay.20 = fptrunc double %weight_decay.8 to float
  %trust_clip.21 = fptrunc double %trust_clip.10 to float
  %lr.22 = fptrunc double %lr.12 to float
  %p_norm.23 = fptrunc double %p_norm.14 to float
  %u_norm.24 = fptrunc double %u_norm.16 to float
  ; trust_ratio
  %gt.25 = fcmp ogt float %p_norm.23, 0.000000
  %gt.26 = fcmp ogt float %u_norm.24, 0.000000
  %and.27 = and i1 %gt.25, %gt.26
  %div.28 = fdiv float %p_norm.23, %u_norm.24
  %minimum.29 = call nsz float @llvm.minimum.f32(float %div.28, float %trust_clip.21)
  %ratio.30 = select i1 %and.27, float %minimum.29, float 1.000000
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %i.next, %loop ]
  %index = add i64 %start, %i
  %at.31 = getelementptr inbounds float, ptr %p.ptr10, i64 %i
  %p.32 = load float, ptr %at.31
  %at.33 = getelementptr inbounds float, ptr %exp_avg.ptr12, i64 %i
  %exp_avg.34 = load float, ptr %at.33
  %at.35 = getelementptr inbounds float, ptr %exp_avg_sq.ptr13, i64 %i
  %exp_avg_sq.36 = load float, ptr %at.35
  ; adam
  %mean.37 = fdiv float %exp_avg.34, %sub.17
  %div.38 = fdiv float %exp_avg_sq.36, %sub.18
  %sqrt.39 = call float @llvm.sqrt.f32(float %div.38)
  %add.40 = fadd float %sqrt.39, %eps.19
  %u.41 = fdiv float %mean.37, %add.40
  ; decayed_direction
  %mul.42 = fmul float %weight_decay.20, %p.32
  %u.43 = fadd float %u.41, %mul.42
  ; trust_ratio
  %u.44 = fmul float %ratio.30, %u.43
  ; descend
  %mul.45 = fmul float %lr.22, %u.44
  %p.46 = fsub float %p.32, %mul.45
  %at.47 = getelementptr inbounds float, ptr %p.ptr10, i64 %i
  store float %p.46, ptr %at.47
  %i.next = add nuw nsw i64 %i, 1
  %more = icmp slt i64 %i.next, %count
  br i1 %more, label %loop, label %done
done:
  ret void
}

define void @pass1(ptr %counter, i64 %chunks, ptr %table, ptr %records, ptr %globals, ptr %partials) {
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
  %record.14 = mul i64 %entry.4, 19
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
  %at.46 = add i64 %record.14, 12
  %at.47 = getelementptr i64, ptr %records, i64 %at.46
  %word.48 = load i64, ptr %at.47
  %offset.49 = mul i64 %entry.7, 4
  %address.50 = add i64 %word.48, %offset.49
  %pointer.51 = inttoptr i64 %address.50 to ptr
  %at.52 = add i64 %record.14, 13
  %at.53 = getelementptr i64, ptr %records, i64 %at.52
  %word.54 = load i64, ptr %at.53
  %offset.55 = mul i64 %entry.7, 4
  %address.56 = add i64 %word.54, %offset.55
  %pointer.57 = inttoptr i64 %address.56 to ptr
  call void @pass1.0(i64 %entry.7, i64 %entry.10, i64 %word.23, i64 %word.29, i64 %word.32, i64 %word.35, ptr %hosts.36, ptr %globals, ptr %known.37, ptr %mine.39, ptr %pointer.45, ptr %pointer.51, ptr %pointer.57)
  br label %next
done:
  ret void
}

define void @pass1.shared(ptr %words) {
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
  call void @pass1(ptr %argument.13, i64 %word.4, ptr %argument.14, ptr %argument.15, ptr %argument.16, ptr %argument.17)
  ret void
}

!0 = !{!"llvm.loop.vectorize.enable", i1 true}
!1 = !{!"llvm.loop.vectorize.width", i32 16}
!2 = !{!"llvm.loop.interleave.count", i32 4}
!3 = distinct !{!3, !0, !1, !2}
