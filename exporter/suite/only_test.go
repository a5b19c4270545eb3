package suite

import (
	"slices"
	"testing"
)

func TestOnly(t *testing.T) {
	all := []int{1, 2, 3, 4, 5}
	small := func(limit int) func(r *int) bool { return func(r *int) bool { return *r <= limit } }
	if got := only(all, small(5)); &got[0] != &all[0] || len(got) != 5 {
		t.Error("where all pass, it is another slice")
	}
	if got := only(all, small(3)); !slices.Equal(got, []int{1, 2, 3}) || &got[0] == &all[0] {
		t.Errorf("%v", got)
	}
	odd := only(all, func(r *int) bool { return *r%2 == 1 })
	if !slices.Equal(odd, []int{1, 3, 5}) || len(only(all, small(0))) != 0 || len(only(nil, small(0))) != 0 {
		t.Errorf("odd: %v", odd)
	}
	if !slices.Equal(all, []int{1, 2, 3, 4, 5}) {
		t.Errorf("the results were changed: %v", all)
	}
	if n := testing.AllocsPerRun(10, func() { only(all, small(5)) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}
