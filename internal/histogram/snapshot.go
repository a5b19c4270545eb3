package histogram

import (
	"encoding/binary"
	"math"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Append appends a snapshot of the histogram, some 100 bytes, for Slab.Expand.
func (h *Histogram) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(h.created))
	b = binary.LittleEndian.AppendUint64(b, math.Float64bits(h.sum))
	b = binary.AppendUvarint(b, h.count)
	for _, n := range h.counts[:len(h.buckets.Classic)] {
		b = binary.AppendUvarint(b, uint64(n))
	}
	if !h.buckets.Native {
		return b
	}
	b = binary.AppendUvarint(b, h.zero)
	b = append(b, byte(h.schema))
	b = binary.AppendUvarint(b, uint64(len(h.keys)))
	before := int16(0)
	for i, n := range h.native() {
		b = binary.AppendVarint(b, int64(h.keys[i]-before))
		b = binary.AppendUvarint(b, uint64(n))
		before = h.keys[i]
	}
	return b
}

// Buckets returns the buckets that the histogram was made with.
func (h *Histogram) Buckets() *Buckets { return h.buckets }

// A Slab holds the messages of many expanded histograms, and is used again for the next ones. The
// zero Slab is ready.
type Slab struct {
	histograms []expanded
	buckets    []dto.Bucket
	lent       []*dto.Bucket
	cumulative []uint64
	spans      []span
	spansLent  []*dto.BucketSpan
	deltas     []int64
}

// An expanded histogram is a message with room for what it points to.
type expanded struct {
	dto       dto.Histogram
	created   timestamppb.Timestamp
	count     uint64
	sum       float64
	zero      uint64
	schema    int32
	threshold float64
}

type span struct {
	dto    dto.BucketSpan
	offset int32
	length uint32
}

// Reset takes back all messages.
func (s *Slab) Reset() {
	s.histograms, s.buckets, s.lent, s.cumulative = s.histograms[:0], s.buckets[:0], s.lent[:0], s.cumulative[:0]
	s.spans, s.spansLent, s.deltas = s.spans[:0], s.spansLent[:0], s.deltas[:0]
}

// A reader reads a snapshot.
type reader struct{ rest []byte }

func (r *reader) fixed() uint64 {
	v := binary.LittleEndian.Uint64(r.rest)
	r.rest = r.rest[8:]
	return v
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	r.rest = r.rest[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	r.rest = r.rest[n:]
	return v
}

// Expand returns the message for a snapshot of a histogram with these buckets. It is valid until
// Reset. The arrays may move while they grow, so every part is complete before the next one begins.
func (s *Slab) Expand(b *Buckets, snapshot []byte) *dto.Histogram {
	r := reader{snapshot}
	e := next(&s.histograms)
	created := time.Unix(0, int64(r.fixed()))
	e.created.Seconds, e.created.Nanos = created.Unix(), int32(created.Nanosecond())
	e.sum, e.count = math.Float64frombits(r.fixed()), r.uvarint()
	h := &e.dto
	h.SampleCount, h.SampleSum, h.CreatedTimestamp = &e.count, &e.sum, &e.created
	h.Bucket = s.classic(b.Classic, &r)
	h.ZeroCount, h.ZeroThreshold, h.Schema, h.PositiveSpan, h.PositiveDelta = nil, nil, nil, nil, nil
	if b.Native {
		e.zero, e.threshold = r.uvarint(), zeroThreshold
		e.schema, r.rest = int32(int8(r.rest[0])), r.rest[1:]
		h.ZeroCount, h.ZeroThreshold, h.Schema = &e.zero, &e.threshold, &e.schema
		h.PositiveSpan, h.PositiveDelta = s.native(&r)
	}
	return h
}

// next lengthens a slice by an element, which may hold what it held before a Reset.
func next[E any](of *[]E) *E {
	n := len(*of)
	*of = slices.Grow(*of, 1)[:n+1]
	return &(*of)[n]
}

func (s *Slab) classic(bounds []float64, r *reader) []*dto.Bucket {
	from, total := len(s.lent), uint64(0)
	for i := range bounds {
		total += r.uvarint()
		s.cumulative = append(s.cumulative, total)
		b := next(&s.buckets)
		b.UpperBound, b.CumulativeCount = &bounds[i], &s.cumulative[len(s.cumulative)-1]
		s.lent = append(s.lent, b)
	}
	return s.lent[from:len(s.lent):len(s.lent)]
}

// gap is the number of empty buckets that are written as such rather than by a new span.
const gap = 2

func (s *Slab) native(r *reader) ([]*dto.BucketSpan, []int64) {
	spansFrom, deltasFrom := len(s.spansLent), len(s.deltas)
	key, expected, before := int64(0), int64(0), int64(0)
	var open *span
	for n := r.uvarint(); n > 0; n-- {
		key += r.varint()
		count := int64(r.uvarint())
		skipped := key - expected
		if open == nil || skipped > gap {
			open = next(&s.spans)
			open.offset, open.length = int32(skipped), 0
			open.dto.Offset, open.dto.Length = &open.offset, &open.length
			s.spansLent = append(s.spansLent, &open.dto)
			skipped = 0
		}
		for ; skipped > 0; skipped-- {
			s.deltas, before = append(s.deltas, -before), 0
			open.length++
		}
		s.deltas, before = append(s.deltas, count-before), count
		open.length++
		expected = key + 1
	}
	return s.spansLent[spansFrom:len(s.spansLent):len(s.spansLent)], s.deltas[deltasFrom:len(s.deltas):len(s.deltas)]
}
