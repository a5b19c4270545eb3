package stamp

import "math/bits"

// A Timestamp is a time in one of the two formats of RFC 8762, section 4.1.1. The Z flag of the
// error estimate beside it says in which.
type Timestamp uint64

// ntpEpoch is the Unix time 0 in seconds of NTP, which begin in 1900 (RFC 5905, section 6).
const ntpEpoch = 2208988800

// era is the length of an era of NTP in seconds.
const era = 1 << 32

// FromUnix returns the time in the 64-bit format of NTP (RFC 5905, section 6), or in the truncated
// format of PTPv2 (IEEE 1588-2008) if ptp is set: seconds and nanoseconds. The caller converts
// between the time scales; nanoseconds are below 1e9.
func FromUnix(seconds int64, nanoseconds uint32, ptp bool) Timestamp {
	if ptp {
		return Timestamp(uint64(uint32(seconds))<<32 | uint64(nanoseconds))
	}
	// Rounded up, so that Unix returns the same nanoseconds.
	fraction := (uint64(nanoseconds)<<32 + 1e9 - 1) / 1e9
	return Timestamp(uint64(uint32(seconds+ntpEpoch))<<32 | fraction)
}

// Unix returns the time in seconds and nanoseconds since 1970. A time stamp of NTP whose first bit
// is not set is of the era that begins in 2036 (RFC 4330, section 3); one of PTPv2 is before 2106.
// Nanoseconds of a malformed time stamp of PTPv2 may exceed 1e9.
func (t Timestamp) Unix(ptp bool) (seconds int64, nanoseconds uint32) {
	seconds = int64(t >> 32)
	if ptp {
		return seconds, uint32(t)
	}
	if seconds < era/2 {
		seconds += era
	}
	return seconds - ntpEpoch, uint32(uint64(uint32(t)) * 1e9 >> 32)
}

// An ErrorEstimate says how accurate a time stamp is (RFC 4656, section 4.1.2; RFC 8186, section
// 2.1).
type ErrorEstimate struct {
	// Synchronized is the S flag: the clock is synchronized to UTC by an external source.
	Synchronized bool
	// PTP is the Z flag: time stamps have the truncated format of PTPv2.
	PTP bool
	// Scale, at most 63, and Multiplier give the error in seconds: Multiplier * 2^(Scale-32). A
	// Multiplier of 0 is not valid.
	Scale, Multiplier uint8
}

const maxScale = 63

// ParseErrorEstimate reads the two bytes of an error estimate.
func ParseErrorEstimate(v uint16) ErrorEstimate {
	return ErrorEstimate{Synchronized: v&0x8000 != 0, PTP: v&0x4000 != 0, Scale: uint8(v>>8) & maxScale, Multiplier: uint8(v)}
}

// Bits returns the two bytes of an error estimate.
func (e ErrorEstimate) Bits() uint16 {
	v := uint16(e.Scale&maxScale)<<8 | uint16(e.Multiplier)
	if e.Synchronized {
		v |= 0x8000
	}
	if e.PTP {
		v |= 0x4000
	}
	return v
}

// maxError is the largest error in nanoseconds that is distinguished, about 292 years.
const maxError = 1<<63 - 1

// Nanoseconds returns the error, rounded up, at most 1<<63-1. It returns false for an estimate that
// is not valid.
func (e ErrorEstimate) Nanoseconds() (ns uint64, ok bool) {
	if e.Multiplier == 0 {
		return 0, false
	}
	hi, lo := bits.Mul64(uint64(e.Multiplier)*1e9, 1<<e.Scale)
	if hi>>31 != 0 {
		return maxError, true
	}
	ns = hi<<32 | lo>>32
	if lo<<32 != 0 {
		ns++
	}
	return min(ns, maxError), true
}

// Estimate returns the smallest error estimate that is at least the given error in nanoseconds, at
// most 1<<61.
func Estimate(ns uint64, synchronized bool) ErrorEstimate {
	// The error in units of 2^-32 s, rounded up.
	hi, lo := bits.Mul64(min(ns, 1<<61), 1<<32)
	units, rest := bits.Div64(hi, lo, 1e9)
	if rest != 0 {
		units++
	}
	e := ErrorEstimate{Synchronized: synchronized}
	for (units-1)>>e.Scale >= 1<<8-1 && units > 0 {
		e.Scale++
	}
	e.Multiplier = uint8(max((units+1<<e.Scale-1)>>e.Scale, 1))
	return e
}
