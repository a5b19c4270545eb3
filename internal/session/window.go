package session

// windowSize is how many numbers below the highest one a window knows.
const windowSize = 64

// A window knows which of the newest sequence numbers were seen (as RFC 4303, section 3.4.3, for
// ESP).
type window struct {
	any     bool
	highest uint32
	seen    uint64 // bit i: highest - i
}

// A place says how a number relates to those seen before.
type place uint8

const (
	ahead   place = iota // above all before
	behind               // new, and below the highest
	again                // seen before
	outside              // too far below the highest to know
)

// of returns the place of a number and changes nothing.
func (w *window) of(n uint32) place {
	switch below := w.highest - n; {
	case !w.any || n > w.highest:
		return ahead
	case below >= windowSize:
		return outside
	case w.seen&(1<<below) != 0:
		return again
	}
	return behind
}

// add notes a number and returns the place that it had.
func (w *window) add(n uint32) place {
	p := w.of(n)
	switch p {
	case ahead:
		if up := n - w.highest; w.any && up < windowSize {
			w.seen <<= up
		} else {
			w.seen = 0
		}
		w.any, w.highest, w.seen = true, n, w.seen|1
	case behind:
		w.seen |= 1 << (w.highest - n)
	case again, outside:
	}
	return p
}
