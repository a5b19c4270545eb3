package fragments

import "testing"

// TestWanted pins how many fragmented messages must stay unanswered, for each number of lost
// controls of each number of controls.
func TestWanted(t *testing.T) {
	for controls, want := range map[int][]int{
		0:  {20},
		1:  {17, 30},
		3:  {13, 20, 32, 53},
		8:  {9, 12, 17, 22, 30, 41, 57, 85, 136},
		14: {9, 9, 12, 14, 18, 21, 26, 32, 41, 51, 67, 89, 123, 179, 283},
	} {
		for lost, n := range want {
			first := trial{controls: controls, controlsAnswered: controls - lost}
			second := first.again()
			for _, run := range []trial{first, second} {
				if got := rule().Pairs(run.loss()); got != n {
					t.Errorf("%d of %d controls lost: %d messages, want %d", lost, controls, got, n)
				}
			}
		}
	}
}
