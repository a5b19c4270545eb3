package slab_test

import (
	"strconv"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"ipsec_path_exporter/internal/histogram"
	"ipsec_path_exporter/internal/slab"
)

// plain makes the i-th metric without a slab.
func plain(i int, h *histogram.Histogram) *dto.Metric {
	m := &dto.Metric{}
	switch i % 3 {
	case 0:
		m.Gauge = &dto.Gauge{Value: new(float64(i))}
	case 1:
		m.Counter = &dto.Counter{Value: new(float64(i))}
	case 2:
		m.Histogram = new(histogram.Slab).Expand(h.Buckets(), h.Append(nil))
	}
	for k := range i % 4 {
		m.Label = append(m.Label, &dto.LabelPair{Name: new("l" + strconv.Itoa(k)), Value: new(strconv.Itoa(i))})
	}
	return m
}

// lend makes it with one.
func lend(s *slab.Slab, i int, h *histogram.Histogram) {
	switch i % 3 {
	case 0:
		s.Gauge(new(float64(i)))
	case 1:
		s.Counter(new(float64(i)))
	case 2:
		s.Histogram(h.Buckets(), h.Append(nil))
	}
	for k := range i % 4 {
		s.Label(s.Pair(new("l"+strconv.Itoa(k)), new(strconv.Itoa(i))))
	}
}

// TestLent: what is lent is what was added, while the slab grows and when it is used again, and holds
// nothing of what it held before.
func TestLent(t *testing.T) {
	h := histogram.New(&histogram.Buckets{Classic: []float64{1, 2}, Native: true}, time.Unix(1, 0))
	head := &dto.MetricFamily{Name: new("x"), Help: new("Help."), Type: dto.MetricType_UNTYPED.Enum()}
	for _, sizes := range [][]int{{3, 1000, 7}, {10_000}} {
		s := slab.Get()
		for offset, size := range sizes {
			s.Reset()
			want := &dto.MetricFamily{Name: head.Name, Help: head.Help, Type: head.Type}
			for i := range size {
				h.Observe(float64(i) / 100)
				lend(s, i+offset, h)
				want.Metric = append(want.Metric, plain(i+offset, h))
			}
			if s.Len() != size {
				t.Errorf("%d metrics, want %d", s.Len(), size)
			}
			if got := s.Family(head); !proto.Equal(want, got) {
				t.Errorf("of %d metrics some differ", size)
			}
		}
		slab.Put(s)
	}
	if s := slab.Get(); s.Len() != 0 {
		t.Errorf("a slab that is used again has %d metrics", s.Len())
	}
}
