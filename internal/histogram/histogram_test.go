package histogram_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"ipsec_path_exporter/internal/histogram"
)

var classic = []float64{0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 2}

// shapes are the buckets that a histogram may have.
func shapes() map[string]*histogram.Buckets {
	return map[string]*histogram.Buckets{
		"both": {Classic: classic, Native: true}, "native": {Native: true}, "classic": {Classic: classic},
	}
}

// reference is the histogram of client_golang with the same buckets.
func reference(b *histogram.Buckets) prometheus.Histogram {
	opts := prometheus.HistogramOpts{Name: "x_seconds", Help: "Help.", Buckets: b.Classic}
	if b.Native {
		opts.NativeHistogramBucketFactor, opts.NativeHistogramMaxBucketNumber = 1.1, histogram.MaxNative
	}
	return prometheus.NewHistogram(opts)
}

// same compares what both histograms expose. Only the time of creation may differ.
func same(t *testing.T, slab *histogram.Slab, h *histogram.Histogram, ref prometheus.Histogram) bool {
	t.Helper()
	var want dto.Metric
	if err := ref.Write(&want); err != nil {
		t.Fatal(err)
	}
	slab.Reset()
	got := slab.Expand(h.Buckets(), h.Append(nil))
	got.CreatedTimestamp = want.GetHistogram().GetCreatedTimestamp()
	if proto.Equal(want.GetHistogram(), got) {
		return true
	}
	t.Errorf("histogram (-client_golang +ours):\n%s", cmp.Diff(want.GetHistogram(), got, protocmp.Transform()))
	return false
}

// values are sources of values: paths, and what no path does.
func values(r *rand.Rand) map[string]func() float64 {
	return map[string]func() float64{
		"a path":           func() float64 { return 0.02 + 0.003*r.ExpFloat64() },
		"a changing path":  func() float64 { return math.Exp(3*r.NormFloat64()) / 50 },
		"any order":        func() float64 { return math.Ldexp(r.Float64(), r.IntN(600)-300) },
		"far apart":        func() float64 { return math.Ldexp(1, 8*(r.IntN(256)-128)) },
		"tiny":             func() float64 { return math.Ldexp(1+r.Float64(), -r.IntN(1074)) },
		"powers of two":    func() float64 { return math.Ldexp(1, r.IntN(60)-30) },
		"classic limits":   func() float64 { return classic[r.IntN(len(classic))] },
		"everything":       func() float64 { return math.Abs(math.Float64frombits(r.Uint64())) },
		"zero and the end": func() float64 { return []float64{0, math.MaxFloat64, math.Inf(1)}[r.IntN(3)] },
	}
}

// TestSameAsClientGolang: with the same values, the same is exposed, also where the histogram is
// exposed again and again.
func TestSameAsClientGolang(t *testing.T) {
	var slab histogram.Slab
	for shape, b := range shapes() {
		for source := range values(nil) {
			t.Run(shape+"/"+source, func(t *testing.T) {
				r := rand.New(rand.NewPCG(1, 2))
				value := values(r)[source]
				h, ref := histogram.New(b, time.Now()), reference(b)
				for range 2000 {
					v := value()
					if math.IsNaN(v) {
						continue
					}
					h.Observe(v)
					ref.Observe(v)
					if r.IntN(10) == 0 && !same(t, &slab, h, ref) {
						return
					}
				}
				same(t, &slab, h, ref)
			})
		}
	}
}

// FuzzSameAsClientGolang takes any values, eight bytes each.
func FuzzSameAsClientGolang(f *testing.F) {
	for source, value := range values(rand.New(rand.NewPCG(1, 2))) {
		var b []byte
		for range 130 {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(value()))
		}
		f.Add(b, source == "a path")
	}
	f.Fuzz(func(t *testing.T, data []byte, exposeEach bool) {
		var slab histogram.Slab
		b := &histogram.Buckets{Classic: classic, Native: true}
		h, ref := histogram.New(b, time.Now()), reference(b)
		for ; len(data) >= 8; data = data[8:] {
			v := math.Abs(math.Float64frombits(binary.LittleEndian.Uint64(data)))
			if math.IsNaN(v) {
				continue
			}
			h.Observe(v)
			ref.Observe(v)
			if exposeEach && !same(t, &slab, h, ref) {
				return
			}
		}
		same(t, &slab, h, ref)
	})
}

// TestNoTime: a clock that was set back yields negative times, which count as none.
func TestNoTime(t *testing.T) {
	b := &histogram.Buckets{Classic: classic, Native: true}
	h, ref := histogram.New(b, time.Now()), reference(b)
	for _, v := range []float64{-1, math.Inf(-1), math.NaN(), 0.1} {
		h.Observe(v)
	}
	for _, v := range []float64{0, 0, 0, 0.1} {
		ref.Observe(v)
	}
	same(t, new(histogram.Slab), h, ref)
	var none *histogram.Histogram
	none.Observe(1) // a family may be left out
}

// TestCreated: the time of creation is exposed, for scrapers that count from there.
func TestCreated(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)
	h := histogram.New(&histogram.Buckets{Native: true}, at)
	got := new(histogram.Slab).Expand(h.Buckets(), h.Append(nil))
	if !got.GetCreatedTimestamp().AsTime().Equal(at) {
		t.Errorf("created %v, want %v", got.GetCreatedTimestamp().AsTime(), at)
	}
}

// TestSlabIsUsedAgain: many histograms share a slab, and what one held is not seen in the next.
func TestSlabIsUsedAgain(t *testing.T) {
	var slab histogram.Slab
	var kept, copies []*dto.Histogram
	r := rand.New(rand.NewPCG(3, 4))
	all := shapes()
	for round := range 3 {
		slab.Reset()
		kept, copies = kept[:0], copies[:0]
		for i := range 200 {
			for _, name := range []string{"both", "native", "classic"} {
				h := histogram.New(all[name], time.Now())
				for range (i + round) % 40 {
					h.Observe(r.ExpFloat64())
				}
				snapshot := h.Append(nil)
				kept = append(kept, slab.Expand(h.Buckets(), snapshot))
				copies = append(copies, new(histogram.Slab).Expand(h.Buckets(), snapshot))
			}
		}
		for i := range kept {
			if !proto.Equal(kept[i], copies[i]) {
				t.Fatalf("round %d, histogram %d: %v, want %v", round, i, kept[i], copies[i])
			}
		}
	}
}

// BenchmarkObserve is what each round trip costs.
func BenchmarkObserve(b *testing.B) {
	h := histogram.New(&histogram.Buckets{Classic: classic, Native: true}, time.Now())
	r := rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	for b.Loop() {
		h.Observe(0.02 + 0.003*r.ExpFloat64())
	}
}

// BenchmarkExpose is what each peer's histogram costs a scrape.
func BenchmarkExpose(b *testing.B) {
	h := ofAPath(&histogram.Buckets{Classic: classic, Native: true}, 10_000)
	var slab histogram.Slab
	var snapshot []byte
	b.ReportAllocs()
	for b.Loop() {
		slab.Reset()
		snapshot = h.Append(snapshot[:0])
		slab.Expand(h.Buckets(), snapshot)
	}
	b.ReportMetric(float64(len(snapshot)), "snapshot-B")
}

func ofAPath(b *histogram.Buckets, n int) *histogram.Histogram {
	h, r := histogram.New(b, time.Now()), rand.New(rand.NewPCG(uint64(n), 2))
	for range n {
		h.Observe(0.02 + 0.003*r.ExpFloat64())
	}
	return h
}

// BenchmarkSize compares the memory of the histogram of a path with that of client_golang.
func BenchmarkSize(b *testing.B) {
	const n, observations = 1000, 1000
	buckets := &histogram.Buckets{Classic: classic, Native: true}
	live := func() float64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	var ours, theirs float64
	for b.Loop() {
		before := live()
		all := make([]*histogram.Histogram, n)
		for i := range all {
			all[i] = ofAPath(buckets, observations)
		}
		between := live()
		refs := make([]prometheus.Histogram, n)
		for i := range refs {
			refs[i] = reference(buckets)
			r := rand.New(rand.NewPCG(observations, 2))
			for range observations {
				refs[i].Observe(0.02 + 0.003*r.ExpFloat64())
			}
		}
		ours, theirs = (between-before)/n, (live()-between)/n
		runtime.KeepAlive(all)
		runtime.KeepAlive(refs)
	}
	b.ReportMetric(ours, "B/histogram")
	b.ReportMetric(theirs, "client_golang-B/histogram")
	b.ReportMetric(ours/theirs, "ratio")
}
