// Package shard divides the peers of one configuration among several exporters. Every exporter reads
// all peers and measures the ones that belong to its shard.
//
//	name ──xxhash──▶ 64 bits ──jump consistent hash──▶ 0 … Total-1
//
// The shard of a peer depends on its name and on the number of shards, on nothing else: not on the
// address, not on the other peers, not on the host. From M to M+1 shards, about 1 of M+1 peers moves,
// and only to the new shard.
package shard

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// Most is the largest number of shards.
const Most = 1000

// Auto is the value of --shard that takes the ordinal from the host name.
const Auto = "auto"

// A Shard is one of several exporters that share the peers. The zero value has all peers.
type Shard struct {
	// Index is from 0 to Total-1.
	Index int
	// Total is the number of shards; 0 and 1 mean that there is only this exporter.
	Total int
}

// Why the flags are no shard.
var (
	errTotal   = fmt.Errorf("must be a whole number from 1 to %d", Most)
	errMissing = errors.New("missing")
	errOrdinal = errors.New("does not end in -NUMBER, as the host names of a StatefulSet do")
	errRange   = errors.New("not one of the shards")
)

// Parse returns the shard of the flags --shard and --total-shards. index is a number, Auto, or empty
// where there is one shard; hostname is os.Hostname.
func Parse(index string, total int, hostname func() (string, error)) (Shard, error) {
	if total < 1 || total > Most {
		return Shard{}, fmt.Errorf("--total-shards=%d: %w", total, errTotal)
	}
	s := Shard{Total: total}
	var err error
	switch index {
	case "":
		if total > 1 {
			return Shard{}, fmt.Errorf("--shard: %w: --total-shards=%d needs --shard=%s", errMissing, total, s.choices())
		}
		return s, nil
	case Auto:
		var host string
		if host, err = hostname(); err == nil {
			s.Index, err = ordinal(host)
		}
		if err != nil {
			return Shard{}, fmt.Errorf("--shard=%s: %w (give --shard=%s)", Auto, err, s.numbers())
		}
		index = fmt.Sprintf("%s: host name %q is shard %d, which is", Auto, host, s.Index)
	default:
		n, err := strconv.ParseUint(index, 10, 31)
		if err != nil {
			return Shard{}, fmt.Errorf("--shard=%s: %w: must be %s", index, errRange, s.choices())
		}
		s.Index = int(n)
		index += ":"
	}
	if s.Index >= total {
		return Shard{}, fmt.Errorf("--shard=%s %w of --total-shards=%d: must be %s", index, errRange, total, s.numbers())
	}
	return s, nil
}

// numbers lists the shards.
func (s Shard) numbers() string {
	if s.Total == 1 {
		return "0"
	}
	return fmt.Sprintf("0 to %d", s.Total-1)
}

// choices lists the values of --shard.
func (s Shard) choices() string { return s.numbers() + ", or " + Auto }

// ordinal returns the number at the end of a host name, whose domain does not count: 3 of
// exporter-3.example.net.
func ordinal(host string) (int, error) {
	name, _, _ := strings.Cut(host, ".")
	at := strings.LastIndexByte(name, '-')
	n, err := strconv.ParseUint(name[at+1:], 10, 31)
	if at < 1 || err != nil {
		return 0, fmt.Errorf("host name %q %w", host, errOrdinal)
	}
	return int(n), nil
}

// Alone reports whether this exporter measures all peers.
func (s Shard) Alone() bool { return s.Total <= 1 }

// Has reports whether a peer belongs to the shard. key is the peer's name as it is configured.
func (s Shard) Has(key string) bool { return s.Alone() || Of(key, s.Total) == s.Index }

// String returns the shard for people.
func (s Shard) String() string { return fmt.Sprintf("shard %d of %d", s.Index, max(s.Total, 1)) }

// Of returns the shard of a key, of total shards.
func Of(key string, total int) int { return jump(xxhash.Sum64String(key), total) }

// jump is the jump consistent hash of J. Lamping and E. Veach, "A Fast, Minimal Memory, Consistent
// Hash Algorithm", 2014, figure 1. The constants are those of the paper.
func jump(key uint64, buckets int) int {
	var last, next int64 = -1, 0
	for next < int64(buckets) {
		last = next
		key = key*2862933555777941757 + 1
		next = int64(float64(last+1) * (float64(int64(1)<<31) / float64((key>>33)+1)))
	}
	return int(last)
}
