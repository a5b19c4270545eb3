package evidence

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// What makes a round trip another one: a half more, and by more than jitter.
const (
	slowerBy   = 1.5
	slowerThan = 5 * time.Millisecond
)

// Compare says in a sentence how the path is now, compared with the baseline: "1500 bytes passed until 2026-01-02T02:14Z, now 1400; hops
// unchanged up to 198.51.100.1". What now does not tell is not compared, but the sizes that passed are always named.
func (b Baseline) Compare(now Baseline) string {
	parts := b.compareBytes(now.Bytes)
	if s := compareHops(b.Hops, now.Hops); s != "" {
		parts = append(parts, s)
	}
	if was, is := b.RoundTrip, now.RoundTrip; was > 0 && is-was > slowerThan && float64(is) > slowerBy*float64(was) {
		parts = append(parts, fmt.Sprintf("round trip %s instead of %s", seconds(is), seconds(was)))
	}
	return strings.Join(parts, "; ")
}

// compareBytes says what became of the sizes, methods of which the same is true together.
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

// compareHops says where the way has changed. Hops that did not answer, then or now, are as good as unchanged.
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
