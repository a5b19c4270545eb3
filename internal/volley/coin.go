package volley

// A Coin draws which half of a matched pair goes first: no limiter on the path may keep step with the order. The same Seed draws the
// same order.
type Coin struct {
	Seed  uint64
	drawn uint64
}

// Heads draws once.
func (c *Coin) Heads() bool {
	c.drawn++
	return Mix(c.Seed+c.drawn)&1 == 0
}

// Mix is the output function of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): every input bit changes half of the output's.
func Mix(x uint64) uint64 {
	x *= 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
