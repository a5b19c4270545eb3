// Package session is what two exporters say to each other to measure the path between them in each
// direction, and what one says to a foreign STAMP reflector (RFC 8762). It has the state of both
// ends, and no sockets: bytes and times go in, bytes and results come out.
//
//	Sender                                                Reflector
//	   │  request: token 0, or of another run     ────▶       │ no state
//	   │  ◀──── status new, token                             │
//	   │  request 0, 1, 2 … with the token        ────▶       │ replay window, counters
//	   │  ◀──── reply 0, 1, 2 …: both counters, DSCP as received, times
//	   ▼
//	lost there = sent − received; lost back = replies − replies received
//
// Requests and replies between exporters are in authenticated mode, with an HMAC TLV over the
// others, and carry one TLV of this package (extension). A Reflector answers configured partners
// alone, at most as many bytes as came unless the request is authenticated, and at a limited rate.
// Its token proves that a request is not from before its start and was not sent to anyone else. An
// error that it reports to its partner is a state of the partner and says nothing about the path.
package session

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"ipsec_path_exporter/internal/wire/stamp"
)

// Port is the UDP port of a Reflector unless another one is configured. The assigned port, 862
// (RFC 8762, section 4.1), belongs to the STAMP or TWAMP implementation of the host.
const Port = 10862

// The bounds of the size of a key, in bytes. RFC 2104, section 3, discourages keys that are shorter
// than the hash; they are accepted down to the size of the HMAC.
const (
	leastKey = stamp.SizeHMAC
	mostKey  = 4096
)

// ErrKey means that the content of a file is no key. It does not show the content.
var ErrKey = errors.New("not a key")

// A Key authenticates packets. It is not shown by any form of printing.
type Key struct{ secret []byte }

// ParseKey reads the content of a key file. White space at its end does not belong to the key.
func ParseKey(content []byte) (Key, error) {
	secret := strings.TrimRight(string(content), " \t\r\n")
	if n := len(secret); n < leastKey || n > mostKey {
		return Key{}, fmt.Errorf("%w: %d bytes (must have %d to %d)", ErrKey, n, leastKey, mostKey)
	}
	return Key{[]byte(secret)}, nil
}

// String hides the key.
func (Key) String() string { return "(secret)" }

// GoString hides the key.
func (Key) GoString() string { return "(secret)" }

// Keys are the keys of one partner. Requests are made with the first one; all of them are accepted,
// so that both ends can change them one after the other.
type Keys []Key

// verify returns the key that a packet was made with: its base and, if it has any, its TLVs.
func (k Keys) verify(packet []byte) (Key, bool) {
	for _, one := range k {
		if stamp.Verify(packet, one.secret) {
			return one, len(packet) == stamp.SizeAuthenticated || stamp.VerifyTLVs(packet, stamp.Authenticated, one.secret)
		}
	}
	return Key{}, false
}

// token returns the first 8 bytes of an HMAC over numbers, never 0.
func token(secret []byte, numbers ...uint64) uint64 {
	h := hmac.New(sha256.New, secret)
	for _, n := range numbers {
		h.Write(binary.BigEndian.AppendUint64(nil, n))
	}
	return binary.BigEndian.Uint64(h.Sum(nil)) | 1
}

// A Clock is what is known of the clock of this host.
type Clock struct {
	// Error is the largest error, if Synchronized.
	Error        time.Duration
	Synchronized bool
}

// estimate is the clock as packets show it. Without synchronization the error is a day.
func (c Clock) estimate() stamp.ErrorEstimate {
	if !c.Synchronized {
		return stamp.Estimate(uint64(24*time.Hour), false)
	}
	return stamp.Estimate(uint64(max(c.Error, 0)), true)
}

func stampOf(t time.Time) stamp.Timestamp {
	return stamp.FromUnix(t.Unix(), uint32(t.Nanosecond()), false)
}

func timeOf(t stamp.Timestamp, e stamp.ErrorEstimate) time.Time {
	return time.Unix(second(t.Unix(e.PTP)))
}

func second(seconds int64, nanoseconds uint32) (int64, int64) { return seconds, int64(nanoseconds) }
