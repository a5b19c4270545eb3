package crowd

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// A Distribution is one of times: a uniform part from Low to High, and an exponential part with the
// mean Tail. The zero value is no delay.
type Distribution struct{ Low, High, Tail time.Duration }

// longestTail limits the exponential part, in multiples of its mean.
const longestTail = 20

var errDistribution = errors.New("distribution of times: must be like 20ms, 5ms-80ms, exp:3ms, or a sum with +")

// ParseDistribution reads "20ms", "5ms-80ms", "exp:3ms" or a sum of these with "+".
func ParseDistribution(s string) (Distribution, error) {
	var d Distribution
	for term := range strings.SplitSeq(s, "+") {
		if tail, found := strings.CutPrefix(term, "exp:"); found {
			mean, err := time.ParseDuration(tail)
			if err != nil {
				return d, fmt.Errorf("%w: %q", errDistribution, s)
			}
			d.Tail += mean
			continue
		}
		low, high, isRange := strings.Cut(term, "-")
		if !isRange {
			high = low
		}
		least, lowErr := time.ParseDuration(low)
		most, highErr := time.ParseDuration(high)
		if lowErr != nil || highErr != nil || least > most {
			return d, fmt.Errorf("%w: %q", errDistribution, s)
		}
		d.Low, d.High = d.Low+least, d.High+most
	}
	return d, nil
}

// String returns the form that ParseDistribution reads.
func (d Distribution) String() string {
	s := d.Low.String()
	if d.High > d.Low {
		s += "-" + d.High.String()
	}
	if d.Tail > 0 {
		s += "+exp:" + d.Tail.String()
	}
	return s
}

// at returns the time for two independent numbers from 0 to 1.
func (d Distribution) at(u, v float64) time.Duration {
	out := d.Low + time.Duration(u*float64(d.High-d.Low))
	if d.Tail > 0 {
		out += time.Duration(min(-math.Log1p(-v), longestTail) * float64(d.Tail))
	}
	return out
}
