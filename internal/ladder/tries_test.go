package ladder

import "testing"

// TestTries pins how often a probe must stay unanswered, for each number of lost controls of each
// number of controls.
func TestTries(t *testing.T) {
	for controls, want := range map[int][]int{
		0:  {6},
		1:  {6, 9},
		3:  {5, 7, 10, 14},
		8:  {4, 5, 7, 8, 10, 12, 15, 19, 26},
		14: {4, 5, 5, 6, 7, 8, 10, 11, 13, 15, 17, 21, 25, 31, 39},
	} {
		for _, least := range []int{1, 9, DefaultTries} {
			for lost, n := range want {
				rule := rule(least)
				if got := rule.Pairs(rule.Loss(lost, controls)); got != max(n, least) {
					t.Errorf("%d of %d controls lost: %d tries, want %d", lost, controls, got, max(n, least))
				}
			}
		}
	}
}
