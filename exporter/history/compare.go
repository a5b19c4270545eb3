package history

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// A round trip is slower if it takes half as long again, and by more than jitter.
const (
	slowerBy   = 1.5
	slowerThan = 5 * time.Millisecond
)

// Compare returns a sentence on how the path differs from the baseline: "1500 bytes passed until
// 2026-01-02T02:14Z, now 1400; hops unchanged up to 198.51.100.1". Values that are missing in now
// are not compared, except that the sizes of the baseline are always named.
func (b Baseline) Compare(now Baseline) string {
	parts := b.compareBytes(now.Bytes)
	if s := compareHops(b.Hops, now.Hops); s != "" {
		parts = append(parts, s)
	}
	if was, is := b.RoundTrip, now.RoundTrip; was > 0 && is-was > slowerThan && float64(is) > slowerBy*float64(was) {
		parts = append(parts, fmt.Sprintf("round trip %v ms instead of %v ms", milliseconds(is), milliseconds(was)))
	}
	return strings.Join(parts, "; ")
}

func milliseconds(d time.Duration) float64 {
	return math.Round(100*float64(d)/float64(time.Millisecond)) / 100
}

// compareBytes compares the sizes, methods with the same result together.
func (b Baseline) compareBytes(now map[string]int) []string {
	at := b.At.UTC().Format("2006-01-02T15:04Z")
	groups := make(map[string][]string)
	for _, method := range slices.Sorted(maps.Keys(b.Bytes)) {
		was, is := b.Bytes[method], now[method]
		s := fmt.Sprintf("%d bytes passed until %s", was, at)
		switch {
		case is == was:
			s = fmt.Sprintf("%d bytes pass as at %s", was, at)
		case is > 0:
			s += fmt.Sprintf(", now %d", is)
		}
		groups[s] = append(groups[s], method)
	}
	var parts []string
	for s, methods := range groups {
		if len(groups) > 1 {
			s = strings.Join(methods, ", ") + ": " + s
		}
		parts = append(parts, s)
	}
	slices.Sort(parts)
	return parts
}

// compareHops names the first hop that has changed. A hop without an answer counts as unchanged.
func compareHops(was, is []netip.Addr) string {
	if len(was) == 0 || len(is) == 0 {
		return ""
	}
	same := ""
	for i := range min(len(was), len(is)) {
		switch {
		case !was[i].IsValid(), !is[i].IsValid():
		case was[i] != is[i]:
			return fmt.Sprintf("hop %d changed from %s to %s", i+1, was[i], is[i])
		default:
			same = is[i].String()
		}
	}
	switch {
	case same == "":
		return ""
	case len(was) == len(is):
		return "hops unchanged"
	}
	return "hops unchanged up to " + same
}
