package exporter

import (
	"slices"
	"sync"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/diagnosis"
)

// The least time between comparisons of flows that verdicts wait for is compareGap, and twice the last
// one, up to longestCompareGap, after a comparison that refuted the silence: on a path with heavy loss
// methods are silent again and again.
const (
	compareGap        = 30 * time.Second
	longestCompareGap = 5 * time.Minute
)

// comparisons says when verdicts may demand a comparison of flows. The zero value is ready.
type comparisons struct {
	mu     sync.Mutex
	asked  time.Time           // when the last one was demanded
	silent []collectors.Method // the methods that were silent then
	gap    time.Duration       // from the last one to the next
}

// demand reports whether the verdicts demand a comparison now.
func (c *comparisons) demand(now time.Time, f *diagnosis.Facts) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.learn(f)
	if !f.Uncompared() || f.SilenceExplained() || now.Sub(c.asked) < max(c.gap, compareGap) {
		return false
	}
	c.asked, c.silent = now, f.SilentBy()
	return true
}

// learn sets the gap after the first comparison that began since one was demanded. The caller holds the
// lock.
func (c *comparisons) learn(f *diagnosis.Facts) {
	if f.Flows == nil || c.silent == nil || !f.Flows.At.After(c.asked) {
		return
	}
	refuted := len(c.silent) > 0 && !slices.ContainsFunc(c.silent, func(m collectors.Method) bool { r := f.Flows.Of(m); return !r.Own })
	if refuted {
		c.gap = min(2*max(c.gap, compareGap), longestCompareGap)
	} else {
		c.gap = compareGap
	}
	c.silent = nil
}
